//! The token of a dial: what its source's program prints.

use std::time::Duration;

use crate::config::approach::{Approach, TokenCommand};
use crate::config::template::Fillings;

use super::leash::Tether;
use super::program;

/// What fills the holes of this dial. Runs the program, if there is one, on this tether, and waits
/// for it.
pub(super) fn fillings(approach: &Approach, tether: Option<Tether>) -> Result<Fillings, String> {
    let timeout = approach.token_timeout();
    let run = |(command, tether)| token(command, timeout, &tether);
    let token = approach.token.as_ref().zip(tether).map(run).transpose();
    Ok(Fillings::new(token.map_err(|why| format!("token_command {why}"))?))
}

/// Its output without the line break at its end.
fn token(command: &TokenCommand, timeout: Duration, tether: &Tether) -> Result<String, String> {
    let printed = program::run(&command.argv, &[], timeout, tether)?;
    let mut token = String::from_utf8(printed).map_err(|_| "printed what is not UTF-8")?;
    token.truncate(token.trim_end_matches(['\r', '\n']).len());
    if token.is_empty() {
        return Err("printed nothing".to_owned());
    }
    Ok(token)
}

#[cfg(test)]
#[cfg(feature = "programs")]
mod tests {
    use super::*;
    use crate::daemon::leash::Programs;
    use crate::relay::settings::SourceId;

    const LONG: Duration = Duration::from_mins(1);

    fn token_of(script: &str) -> Result<String, String> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let token = Some(TokenCommand { argv });
        let approach = Approach { token, token_timeout: Some(LONG), ..Approach::default() };
        let mut programs = Programs::default();
        let tether = programs.start(SourceId(0), None).unwrap();
        fillings(&approach, Some(tether)).map(|fillings| fillings.token.unwrap())
    }

    #[test]
    fn token_is_what_was_printed_without_the_line_break_at_its_end() {
        assert_eq!(token_of("echo t0ken"), Ok("t0ken".to_owned()));
        assert_eq!(token_of("printf 'a b\\r\\n\\n'"), Ok("a b".to_owned()));
        assert_eq!(fillings(&Approach::default(), None), Ok(Fillings::default()));
    }

    #[test]
    fn nothing_and_garbage_are_no_token() {
        assert_eq!(token_of("echo"), Err("token_command printed nothing".to_owned()));
        assert_eq!(
            token_of("printf '\\377'"),
            Err("token_command printed what is not UTF-8".to_owned())
        );
        let failed = token_of("echo t0ken; echo 'log in first' >&2; exit 2").unwrap_err();
        assert_eq!(failed, "token_command ended with status 2: \"log in first\"");
    }
}
