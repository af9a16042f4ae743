//! Why the relay cannot start, or cannot go on.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::net::listener::BindError;

/// Why the relay cannot start, or cannot go on.
#[derive(Debug)]
pub enum Error {
    /// An address cannot be listened at.
    Bind(BindError),
    /// A socket file cannot have the mode it should have.
    Mode(String, io::Error),
    /// A file cannot be logged to.
    Log(PathBuf, io::Error),
    /// The system refuses what the loop cannot do without.
    System(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Mode(address, error) => write!(f, "cannot set the mode of {address}: {error}"),
            Self::Log(file, error) => write!(f, "cannot log to {}: {error}", file.display()),
            Self::System(error) => write!(f, "the system refuses to go on: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind(error) => Some(error),
            Self::Mode(_, error) | Self::Log(_, error) | Self::System(error) => Some(error),
        }
    }
}
