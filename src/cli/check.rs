//! `veylor check`: tells all that is wrong with a file, or what it comes to.

use std::io::{self, Write};
use std::path::Path;

use super::Failure;
use crate::config;

/// Prints the plan of a file.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let settings = config::load(path).map_err(Failure::Config)?;
    writeln!(io::stdout(), "{}", settings.plan())
        .map_err(|error| Failure::System("cannot print".to_owned(), error))
}
