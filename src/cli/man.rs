//! `veylor man [COMMAND]`: the manual page, for `man -l -` or a package.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The page of this command [default: that of the program]
    command: Option<String>,
}

/// Prints a page in roff.
pub(super) fn man(args: &Args) -> Result<(), Failure> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Failure::Usage(format!("man: there is no command {name:?}")))?,
    };
    let mut page = Vec::new();
    Man::new(command)
        .render(&mut page)
        .and_then(|()| io::stdout().write_all(&page))
        .map_err(|error| Failure::System("cannot print".to_owned(), error))
}
