//! The `veylor` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    veylor::cli::main()
}
