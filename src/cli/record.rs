//! `veylor record URL FILE`: what one service sends, written down.

use std::path::PathBuf;

use super::relay::{in_arguments, quoted};
use super::{Failure, run};
use crate::config;
use crate::config::settings::Settings;
use crate::daemon::logging::Logging;
use crate::daemon::recording::try_out;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service, such as `wss://example.com/stream`; `${env:NAME}` keeps a secret out of sight
    url: String,
    /// Where to record; what is there already is kept in front
    file: PathBuf,
    /// Begins another file at this size, such as 100MiB; FILE.1 and so on are the older ones
    #[arg(long, value_name = "SIZE")]
    rotate_size: Option<String>,
    /// Keeps so many older files
    #[arg(long, value_name = "N", default_value_t = 5, requires = "rotate_size")]
    rotate_keep: u64,
    /// Sends a header with the handshake; may be given several times
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Ends after so many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// The settings of a configuration with this one source and no clients.
pub(super) fn settings(args: &Args) -> Result<Settings, Failure> {
    let Args { url, file, rotate_size, rotate_keep, .. } = args;
    let file = file.to_str().ok_or_else(|| Failure::Usage("FILE: is not UTF-8".to_owned()))?;
    let size = quoted(rotate_size.as_deref().unwrap_or("0"));
    let mut lines = vec![
        "sources:".to_owned(),
        format!("  - url: {}", quoted(url)),
        "    record:".to_owned(),
        format!("      path: {}", quoted(&literal(file))),
        format!("      rotate: {{size: {size}, keep: {rotate_keep}}}"),
    ];
    if !args.header.is_empty() {
        lines.push("    headers:".to_owned());
    }
    for header in &args.header {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Failure::Usage("--header: expected 'NAME: VALUE', with a colon".to_owned())
        })?;
        lines.push(format!("      {}: {}", quoted(name.trim()), quoted(value.trim())));
    }
    let own = [
        ("url", "URL"),
        ("path", "FILE"),
        ("size", "--rotate-size"),
        ("keep", "--rotate-keep"),
        ("", "--header"),
    ];
    let mut settings =
        config::parse(&lines.join("\n")).map_err(|error| in_arguments(&error, &own))?;
    for record in settings.sources.iter_mut().filter_map(|source| source.record.as_mut()) {
        record.messages = args.count;
    }
    Ok(settings)
}

/// Records until it is told to stop. A file that cannot be recorded in is told before anything is
/// dialled, and messages that are missing in it at the end.
pub(super) fn record(settings: Settings, logging: Logging) -> Result<(), Failure> {
    for source in &settings.sources {
        let Some(record) = &source.record else { continue };
        let refused =
            |error| Failure::System(format!("cannot record in {}", record.path.display()), error);
        try_out(source).map_err(refused)?;
    }
    match run::run(settings, logging)? {
        0 => Ok(()),
        missing => Err(Failure::NotRecorded(missing)),
    }
}

/// A text in which nothing is filled in.
pub(super) fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::Fillings;

    fn args() -> Args {
        Args {
            url: "ws://example.com/it's".into(),
            file: "a 'b' ${c}.vrec".into(),
            rotate_size: None,
            rotate_keep: 5,
            header: Vec::new(),
            count: None,
        }
    }

    #[test]
    fn arguments_become_the_settings_of_a_source_without_clients() {
        let header = vec!["X-Key: it's: ${env:NO_SUCH:-secret}".to_owned()];
        let settings = settings(&Args { header, count: Some(3), ..args() }).unwrap();
        assert!(settings.endpoints.is_empty() && settings.channels.is_empty());
        let record = settings.sources[0].record.clone().unwrap();
        assert_eq!(record.path.to_str(), Some("a 'b' ${c}.vrec"));
        assert_eq!((record.rotate_bytes, record.messages), (0, Some(3)));
        let target = settings.sources[0].target(&Fillings::default()).unwrap();
        assert_eq!(target.headers, [("X-Key".to_owned(), "it's: secret".to_owned())]);
    }

    #[test]
    fn wrong_arguments_are_named() {
        let told = |args: Args| settings(&args).unwrap_err().to_string();
        let size = Some("lots".to_owned());
        assert!(told(Args { rotate_size: size, ..args() }).starts_with("veylor: --rotate-size: "));
        let error = told(Args { header: vec!["Host: x".to_owned()], ..args() });
        assert!(error.starts_with("veylor: --header: is made from the url"), "{error}");
        assert!(told(Args { header: vec!["x".to_owned()], ..args() }).contains("with a colon"));
        assert!(told(Args { url: "x".into(), ..args() }).starts_with("veylor: URL: is not a URL"));
    }
}
