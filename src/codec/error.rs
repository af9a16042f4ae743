//! Why a connection cannot go on.

use std::fmt;
use std::time::Duration;

/// A peer's mistake. It ends this peer's connection and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A client's opening handshake was refused with this status.
    Refused {
        /// The HTTP status it was answered with.
        status: u16,
        /// What was wrong.
        reason: String,
    },
    /// A source did not agree to speak WebSocket.
    NotAccepted {
        /// Its HTTP status; 101 if its agreement was faulty.
        status: u16,
        /// What was wrong, in our words or in its own.
        reason: String,
        /// How long it wants to be left alone, if it says so.
        retry_after: Option<Duration>,
    },
    /// A source lives elsewhere.
    Moved {
        /// Its HTTP status: 301, 302, 303, 307 or 308.
        status: u16,
        /// Where, in its words.
        location: Location,
    },
    /// The framing broke the rules: close code 1002.
    Protocol(&'static str),
    /// Text that is not UTF-8: close code 1007.
    NotUtf8,
    /// A message above the limit: close code 1009.
    TooLarge {
        /// Bytes announced, or received so far.
        size: u64,
        /// Bytes allowed.
        limit: usize,
    },
}

/// A place as a source's `Location` names it. What is in it may be secret: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Location(pub String);

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Location(…)")
    }
}

impl Error {
    /// The close code that says it to the peer (RFC 6455, section 7.4.1).
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Refused { .. }
            | Self::NotAccepted { .. }
            | Self::Moved { .. }
            | Self::Protocol(_) => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge { .. } => 1009,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, reason } => write!(f, "refused with {status}: {reason}"),
            Self::NotAccepted { status: 101, reason, .. } => {
                write!(f, "faulty handshake: {reason}")
            }
            Self::NotAccepted { status, reason, .. } => {
                write!(f, "answered HTTP {status} {reason}")
            }
            Self::Moved { status, .. } => write!(f, "answered HTTP {status} and is elsewhere"),
            Self::Protocol(reason) => write!(f, "protocol error: {reason}"),
            Self::NotUtf8 => f.write_str("text is not valid UTF-8"),
            Self::TooLarge { size, limit } => {
                write!(f, "message of {size} bytes is above the limit of {limit}")
            }
        }
    }
}

impl std::error::Error for Error {}
