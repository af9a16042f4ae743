//! One connection, whoever dialled whom.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::MAX_CLIENT_OUTBOX_BYTES;
use super::backlog::{Backlog, Cursor};
use super::progress::Session;
use super::settings::{ChannelId, ChannelSettings, SourceId};
use crate::codec::ws::Closed;
use crate::codec::{Codec, Event, Gate, Message, Wire};
use crate::net::credentials::Credentials;
use crate::net::stream::Socket;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;
use crate::reactor::pace::Pace;

/// The close code of who may not be here (RFC 6455, section 7.4.1).
const POLICY_VIOLATION: u16 = 1008;
/// The close code, of those for private use, for a client whose messages are not kept any more; as
/// HTTP's 410.
const GAP: u16 = 4410;

/// Slices of one vectored write at most; 64 segments are 4 MiB.
const MAX_SLICES: usize = 64;

/// The part of an IPv6 address that a host cannot choose (RFC 4291, section 2.5.1).
const NETWORK_MASK: Ipv6Addr = Ipv6Addr::from_bits(u128::MAX << 64);

/// What a peer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It dialled us and has not said which channel it wants.
    Newcomer,
    /// It dialled us and gets what the channel carries.
    Client(ChannelId),
    /// We dialled it.
    Source(SourceId),
}

/// Where a peer is, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The address of the other end.
    Tcp(SocketAddr),
    /// Some process of this machine; which one, if the system tells.
    Unix(Option<Credentials>),
    /// A recording that is played.
    Recording,
}

/// How far a connection's life has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The handshake is under way.
    Opening,
    /// Messages pass.
    Open,
    /// It gets what is kept for it, then a goodbye.
    Draining { goodbye: Goodbye },
    /// Our last words are in the outbox; what the peer says is no longer heard.
    Lingering { half_closed: bool },
}

/// A reason to close that we give ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goodbye {
    /// The relay ends.
    ShuttingDown,
    /// The channel's last source is gone and its clients shall be told.
    SourceLost,
    /// The operator asked for it.
    Operator,
    /// Nobody can connect there any more.
    EndpointRemoved,
    /// A source is no longer wanted, or lives elsewhere.
    Reconfigured,
    /// The secret that it came with is not known any more.
    Unwelcome,
    /// What it has missed is not kept any more.
    Gap,
    /// The connection to a source has reached its `max_age`.
    MaxAge,
    /// A source has not said what was waited for.
    Unanswered,
    /// Another connection to the same source serves.
    Superseded,
}

/// A connection and all that belongs to it alone.
#[derive(Debug)]
pub(super) struct Conn<S> {
    pub(super) stream: S,
    pub(super) codec: Codec,
    pub(super) role: Role,
    pub(super) stage: Stage,
    pub(super) peer: Peer,
    /// A number for the log, unique in the relay's life.
    pub(super) id: u64,
    pub(super) inbox: Inbox,
    pub(super) outbox: Outbox,
    /// The position in the channel's backlog, for clients.
    pub(super) cursor: Cursor,
    /// By which kind of endpoint it came in, for clients.
    pub(super) gate: Gate,
    /// Why its request will be refused, if it will.
    pub(super) closed: Option<Closed>,
    /// The place of its view in the channel.
    pub(super) view: usize,
    /// The place in the view's list of clients.
    pub(super) place: usize,
    /// The last write would have blocked.
    pub(super) is_blocked: bool,
    /// A write was refused, and none has succeeded since: the next that does is a sign of life.
    pub(super) was_refused: bool,
    /// Writing has failed. What the peer has sent before it went is still read.
    pub(super) broken: Option<io::ErrorKind>,
    pub(super) listed: Listed,
    /// Why it is read no further, if it is not.
    pub(super) wait: Option<Wait>,
    /// When a byte of the peer was last seen.
    pub(super) last_heard: Instant,
    pub(super) pinged_at: Option<Instant>,
    /// Between the last ping and its answer.
    pub(super) round_trip: Option<Duration>,
    /// When the handshake was done; before that, when it connected.
    pub(super) opened_at: Instant,
    /// The entry in the timers that counts.
    pub(super) look_at: Instant,
    pub(super) patience: Patience,
    /// How many messages it sends, and how many bytes.
    pub(super) paces: Paces,
    pub(super) tally: Tally,
    /// What is said to a source; clients have none.
    pub(super) session: Option<Box<Session>>,
}

/// In which of the relay's lists a connection is, each of which names it once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Listed {
    /// Of those to be read in the next turn.
    pub(super) to_read: bool,
    /// Of those to be flushed.
    pub(super) to_flush: bool,
}

/// Why a connection is read no further: what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// A source takes no more of what its clients send.
    Source,
    /// It sends, and does not read what it is answered.
    Itself,
    /// It has sent as much as it may for now.
    Time,
    /// Its handshake takes much computing, and others come first.
    TurnToSecure,
}

/// What a client has sent of what it may.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Paces {
    messages: Pace,
    bytes: Pace,
}

/// How a slow client stands with its channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Patience {
    /// How long it has held the sources back since it last had everything.
    pub(super) held: Duration,
    /// It loses the oldest messages until it has caught up.
    pub(super) is_dropping: bool,
}

/// What is said about a connection at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Messages of its view before the first that was meant for it.
    pub(super) first_count: u64,
    /// Messages from before that one that stand in its outbox.
    pub(super) greeting: u64,
    /// Those of them that it has got.
    pub(super) greeted: u64,
    pub(super) sent_bytes: u64,
    pub(super) received_messages: u64,
    pub(super) dropped_messages: u64,
    /// As many were dropped before the spell of now.
    pub(super) dropped_before_spell: u64,
    /// The log has said that its messages are refused.
    pub(super) is_refusal_told: bool,
}

/// A client's name in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label<'a> {
    channel: &'a str,
    id: u64,
    peer: Peer,
    name: &'a str,
}

/// How a flush went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing is left to send.
    All,
    /// The peer takes no more now.
    Blocked,
}

impl Goodbye {
    pub(super) fn code(self) -> u16 {
        match self {
            Self::Reconfigured
            | Self::Operator
            | Self::MaxAge
            | Self::Unanswered
            | Self::Superseded => 1000,
            Self::ShuttingDown | Self::EndpointRemoved => 1001,
            Self::Unwelcome => POLICY_VIOLATION,
            Self::SourceLost => 1012,
            Self::Gap => GAP,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::ShuttingDown => "the relay is shutting down",
            Self::SourceLost => "the source was lost",
            Self::Operator => "the operator asked for it",
            Self::EndpointRemoved => "the endpoint was removed",
            Self::Reconfigured => "the configuration has changed",
            Self::Unwelcome => "the token or password is not known any more",
            Self::Gap => "gap: what came after that message is not kept any more",
            Self::MaxAge => "the connection has reached its age",
            Self::Unanswered => "what was waited for did not come",
            Self::Superseded => "another connection serves",
        }
    }
}

impl<S: Socket> Conn<S> {
    /// What a client of a channel is called in the log: `trades#7 127.0.0.1:41612 (dashboard)`.
    pub(super) fn label<'a>(&'a self, channel: &'a str) -> Label<'a> {
        let name = self.codec.grant().map_or("", |grant| &grant.name);
        Label { channel, id: self.id, peer: self.peer, name }
    }

    pub(super) fn wire(&self) -> Wire {
        self.codec.wire()
    }

    /// Gives a client of a channel the rights that its secret has now. `false`: it would not be let
    /// in with that again.
    pub(super) fn renew(&mut self, settings: &ChannelSettings) -> bool {
        if self.gate != Gate::Web {
            return true;
        }
        let grant = settings.auth.renew(self.codec.grant());
        let is_welcome = grant.is_ok();
        if let Ok(grant) = grant {
            self.codec.set_grant(grant);
        }
        is_welcome
    }

    /// Counts a message of a client towards what it may send.
    pub(super) fn count(&mut self, message: Message<'_>, settings: &ChannelSettings, now: Instant) {
        let Paces { messages, bytes } = &mut self.paces;
        if settings.max_client_message_rate > 0 {
            messages.spend(1, settings.max_client_message_rate, now);
        }
        if settings.max_client_byte_rate > 0 {
            bytes.spend(message.payload.len() as u64, settings.max_client_byte_rate, now);
        }
    }

    /// Whether it is noted of a source that it is not read.
    pub(super) fn is_held(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.held_since.is_some())
    }

    /// Whether the backlog still concerns it.
    pub(super) fn is_following(&self) -> bool {
        match self.stage {
            Stage::Open | Stage::Draining { .. } => true,
            Stage::Opening | Stage::Lingering { .. } => false,
        }
    }

    /// Understands the next event of an inbox that was lent to this connection.
    pub(super) fn poll_event<'a>(
        &mut self,
        inbox: &'a mut Inbox,
    ) -> Result<Option<Event<'a>>, crate::codec::Error> {
        self.codec.poll_event(inbox, &mut self.outbox)
    }

    /// Reads and forgets, until the end of the stream (`true`) or of what is there.
    pub(super) fn discard(&mut self, scratch: &mut Inbox, mut budget: usize) -> io::Result<bool> {
        while budget > 0 {
            let count = scratch.fill(&mut self.stream)?;
            if count == 0 {
                return Ok(true);
            }
            scratch.take(scratch.len());
            budget = budget.saturating_sub(count);
        }
        Ok(false)
    }

    /// Sends what is owed: the rest of a frame once begun, the outbox, the backlog.
    pub(super) fn flush(&mut self, backlog: Option<&Backlog>) -> io::Result<Flushed> {
        let backlog = if self.is_following() { backlog } else { None };
        while !self.is_blocked && self.broken.is_none() {
            match self.write_once(backlog) {
                Ok(0) => match self.stream.flush() {
                    Ok(()) => return Ok(Flushed::All),
                    Err(error) => self.note(error)?,
                },
                Ok(_) => {}
                Err(error) => self.note(error)?,
            }
        }
        Ok(Flushed::Blocked)
    }

    /// One write of everything, in the right order. `Ok(0)`: there was nothing.
    fn write_once(&mut self, backlog: Option<&Backlog>) -> io::Result<usize> {
        let mut parts = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        let mut add = |bytes| {
            let has_room = count < MAX_SLICES;
            if has_room {
                parts[count] = IoSlice::new(bytes);
                count += 1;
            }
            has_room
        };
        let mut begun = 0;
        if !self.outbox.is_empty() {
            let rest = backlog.map_or(&[][..], |backlog| backlog.rest_of_frame(self.cursor));
            begun = rest.len();
            if begun > 0 {
                add(rest);
            }
            add(self.outbox.bytes());
        }
        if let Some(backlog) = backlog {
            let _ = backlog.slices(self.cursor.advanced(begun)).all(&mut add);
        }
        let written = match count {
            0 => return Ok(0),
            1 => self.stream.write(&parts[0])?,
            _ => self.stream.write_vectored(&parts[..count])?,
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.account(written, begun);
        Ok(written)
    }

    fn account(&mut self, written: usize, begun: usize) {
        self.tally.sent_bytes += written as u64;
        let of_frame = written.min(begun);
        let of_outbox = (written - of_frame).min(self.outbox.len());
        self.outbox.consume(of_outbox);
        if self.outbox.is_empty() {
            self.tally.greeted += std::mem::take(&mut self.tally.greeting);
        }
        self.cursor = self.cursor.advanced(written - of_outbox);
    }

    /// A refusal to take more now is no error.
    fn note(&mut self, error: io::Error) -> io::Result<()> {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.is_blocked = true;
            self.was_refused = true;
        } else if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
        Ok(())
    }

    /// Makes the rest of a frame once begun its own, so that the backlog is needed no more. Says
    /// whether it could: a rest that is too large to be kept for one client alone is lost, and
    /// nothing can be said to the client any more.
    pub(super) fn carry_rest(&mut self, backlog: &Backlog) -> bool {
        let rest = backlog.rest_of_frame(self.cursor);
        if rest.len() > MAX_CLIENT_OUTBOX_BYTES {
            return false;
        }
        if !rest.is_empty() {
            self.outbox.push_front(rest);
            self.cursor = self.cursor.advanced(rest.len());
        }
        true
    }

    /// The messages it has got whole.
    pub(super) fn sent_messages(&self, backlog: &Backlog) -> u64 {
        let passed = backlog.count_before(self.cursor).saturating_sub(self.tally.first_count);
        self.tally.greeted + passed.saturating_sub(self.tally.dropped_messages)
    }

    /// Whether it has everything the channel has.
    pub(super) fn has_all(&self, backlog: &Backlog) -> bool {
        self.cursor == backlog.end()
    }
}

impl Paces {
    /// When it may send more, `None` if it may now.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        self.messages.ready_at(now).max(self.bytes.ready_at(now))
    }
}

impl Peer {
    /// What it is counted by, if it has an address: that of IPv4, the /64 network of IPv6, of which
    /// one host has all addresses.
    pub(super) fn network(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(match address.ip().to_canonical() {
                IpAddr::V4(address) => address.into(),
                IpAddr::V6(address) => (address & NETWORK_MASK).into(),
            }),
            Self::Unix(_) | Self::Recording => None,
        }
    }
}

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{} {}", self.channel, self.id, self.peer)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " ({})", self.name) }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(Some(credentials)) => credentials.fmt(f),
            Self::Unix(None) => f.write_str("unix"),
            Self::Recording => f.write_str("recording"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_is_counted_by_what_its_host_cannot_choose() {
        let network = |ip: &str| Peer::Tcp(SocketAddr::new(ip.parse().unwrap(), 1)).network();
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:192.0.2.2"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(Peer::Unix(None).network(), None);
    }
}
