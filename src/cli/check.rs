//! `veylor check`: tells all that is wrong with a file, or what it comes to.

use std::path::{Path, PathBuf};

use super::Failure;
use super::print;
use crate::config;
use crate::config::settings::Settings;
use crate::net::listener::Address;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration [default: config.yaml in this folder]
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Prints the plan of a file.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    let settings = config::load(path).map_err(Failure::Config)?;
    let lines = std::iter::once(settings.plan().to_string()).chain(missing_folders(&settings));
    print(&lines.collect::<Vec<_>>().join("\n"))
}

/// Sockets, logs and recordings that could not be made here now. Elsewhere, or later, they may.
fn missing_folders(settings: &Settings) -> impl Iterator<Item = String> {
    let sockets = settings.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
        Address::Tcp { .. } => None,
        Address::Unix { path, .. } => Some(path),
    });
    sockets.chain(&settings.log.file).chain(settings.recording_paths()).filter_map(|path| {
        let folder = path.parent().filter(|folder| *folder != Path::new(""))?;
        (!folder.is_dir()).then(|| format!("warning: there is no folder {}", folder.display()))
    })
}
