//! What is said of a connection at its end, and how it is counted.

use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

use log::Level;

use super::backlog::Backlog;
use super::conn::Conn;
use super::stats::{ChannelStats, Departures};
use crate::codec::CloseReason;
use crate::net::stream::Socket;

/// Why a client goes, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    Closed,
    Broken,
    Silent,
    Slow,
    Protocol,
    /// Its handshake was in order, but this endpoint does not want it.
    Refused,
    Dismissed,
}

/// An I/O error in a few words.
pub(super) struct Broken<'a>(pub(super) &'a io::Error);

impl Display for Broken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.0.kind();
        if matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
            f.write_str("reset by peer")
        } else if kind == io::ErrorKind::UnexpectedEof {
            f.write_str("closed without a TLS goodbye")
        } else {
            self.0.fmt(f)
        }
    }
}

/// A wait, as a person says it.
pub(super) struct Seconds(pub(super) Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.0} s", self.0.as_secs_f64())
        }
    }
}

/// What a client has had, in numbers.
pub(super) struct Farewell {
    pub(super) sent_messages: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_messages: u64,
    pub(super) dropped_messages: u64,
    pub(super) unsent_messages: u64,
    pub(super) unread_bytes: u64,
}

impl Farewell {
    pub(super) fn of<S: Socket>(conn: &Conn<S>, backlog: &Backlog) -> Self {
        Self {
            sent_messages: conn.sent_messages(backlog),
            sent_bytes: conn.tally.sent_bytes,
            received_messages: conn.tally.received_messages,
            dropped_messages: conn.tally.dropped_messages,
            unsent_messages: backlog.count_before(backlog.end())
                - backlog.count_before(conn.cursor),
            unread_bytes: conn.inbox.len() as u64,
        }
    }

    /// Adds what one client had to what all had that have gone.
    pub(super) fn add_to(&self, past: &mut ChannelStats) {
        past.sent_messages += self.sent_messages;
        past.sent_bytes += self.sent_bytes;
        past.received_messages += self.received_messages;
        past.dropped_messages += self.dropped_messages + self.unsent_messages;
    }
}

impl Reason {
    /// Who was refused on purpose may be somebody the operator wants; the rest is noise.
    pub(super) fn level_of_stranger(self) -> Level {
        match self {
            Self::Refused => Level::Info,
            Self::Closed
            | Self::Broken
            | Self::Silent
            | Self::Slow
            | Self::Protocol
            | Self::Dismissed => Level::Debug,
        }
    }

    /// Who is cut off because it was slow has lost something.
    pub(super) fn level(self) -> Level {
        match self {
            Self::Slow => Level::Warn,
            Self::Closed
            | Self::Broken
            | Self::Silent
            | Self::Protocol
            | Self::Refused
            | Self::Dismissed => Level::Info,
        }
    }

    pub(super) fn count_in(self, departures: &mut Departures) {
        *match self {
            Self::Closed => &mut departures.closed,
            Self::Broken => &mut departures.broken,
            Self::Silent => &mut departures.silent,
            Self::Slow => &mut departures.slow,
            Self::Protocol | Self::Refused => &mut departures.protocol,
            Self::Dismissed => &mut departures.dismissed,
        } += 1;
    }
}

impl Display for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages and {} bytes sent", self.sent_messages, self.sent_bytes)?;
        for (count, what) in [
            (self.received_messages, "received"),
            (self.dropped_messages, "dropped"),
            (self.unsent_messages, "unsent"),
            (self.unread_bytes, "bytes of its messages unread"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) if self.text.is_empty() => write!(f, ", {code}"),
            // The words are the peer's: quoted, so that they cannot forge a line of the log.
            Some(code) => write!(f, ", {code} {:?}", self.text),
            None => Ok(()),
        }
    }
}
