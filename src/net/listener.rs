//! Where clients connect: TCP and Unix sockets.

use std::fmt;
use std::path::PathBuf;

/// A configured address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP port; clients speak WebSocket.
    Tcp {
        /// A name or an address; `0.0.0.0` and `::` are all interfaces.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// A Unix socket; clients speak length-prefixed messages.
    Unix {
        /// Where the socket file is made.
        path: PathBuf,
        /// Permission bits of the file, `0o660` by default.
        mode: u32,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "ws://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "ws://{host}:{port}"),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}
