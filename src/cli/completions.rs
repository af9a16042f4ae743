//! `veylor completions SHELL`: what a shell needs to complete commands and options.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, Failure};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Whose language to speak
    shell: Shell,
}

/// Prints the script for a shell.
pub(super) fn completions(args: &Args) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "veylor", &mut script);
    io::stdout()
        .write_all(&script)
        .map_err(|error| Failure::System("cannot print".to_owned(), error))
}
