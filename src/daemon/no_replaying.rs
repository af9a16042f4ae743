//! What stands in for playing recordings in a program that was built without it: nothing is played.

use std::convert::Infallible;
use std::io;
use std::path::Path;

use crate::config::recording::Replay;

/// No recording.
#[derive(Debug)]
pub struct Recording(Infallible);

impl Recording {
    /// Refuses.
    pub(super) fn open(_: &Path, _: Replay, _: &str, _: usize) -> Result<Self, String> {
        Err("this veylor was built without recordings".to_owned())
    }

    /// Never comes to it.
    pub(super) fn audience(&self) -> usize {
        match self.0 {}
    }

    /// Never comes to it.
    pub(super) fn play(self) -> io::Result<mio::net::UnixStream> {
        match self.0 {}
    }
}
