//! What stands in for running programs in a program that was built without it.

use std::time::Duration;

use super::leash::Tether;

/// Refuses.
pub(super) fn run(_: &[String], _: &[u8], _: Duration, _: &Tether) -> Result<Vec<u8>, String> {
    Err("cannot be run: this veylor was built without programs".to_owned())
}
