//! A service we dial: its life, and what is held while its channels are full.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::settings::{ChannelId, SourceSettings};
use crate::codec::{Kind, Message};
use crate::reactor::table::Key;

/// A connection that stood this long and delivered a message was a good one: the backoff starts
/// anew after it.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Where a source's life stands. Resolving and connecting are the dialler's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The loop was asked to dial.
    Dialing,
    /// Connected; the handshake is under way.
    Opening(Key),
    /// Messages come.
    Open {
        /// Its connection.
        key: Key,
        /// Since when.
        since: Instant,
    },
    /// The next dial comes at this instant.
    Waiting(Instant),
    /// The attempts are spent, or the relay ends.
    GivenUp,
}

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) settings: SourceSettings,
    /// The channels it feeds.
    pub(super) channels: Vec<ChannelId>,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    /// Whether the connection of now has delivered a message.
    pub(super) has_delivered: bool,
    /// A message for which a channel has no room. While there is one the source is not read.
    pub(super) held: Option<Held>,
    /// Clients that are read no further until it takes more.
    pub(super) waiting: Vec<Key>,
    /// Clients' messages that came while it was down.
    pub(super) dropped_messages: u64,
    pub(super) tally: SourceTally,
}

/// Counters of the source's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// Messages it sent.
    pub received_messages: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// Clients' messages that were put on their way to it.
    pub forwarded_messages: u64,
    /// Clients' messages that came while it was down.
    pub dropped_messages: u64,
}

/// A message that waits for room.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) kind: Kind,
    pub(super) payload: Vec<u8>,
}

impl Source {
    pub(super) fn new(settings: SourceSettings, channels: Vec<ChannelId>, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(&settings, seed),
            settings,
            channels,
            state: State::GivenUp,
            has_delivered: false,
            held: None,
            waiting: Vec::new(),
            dropped_messages: 0,
            tally: SourceTally::default(),
        }
    }

    /// The connection, if messages can pass.
    pub(super) fn open_key(&self) -> Option<Key> {
        match self.state {
            State::Open { key, .. } => Some(key),
            State::Dialing | State::Opening(_) | State::Waiting(_) | State::GivenUp => None,
        }
    }

    /// The wait before the next dial, after the connection or the attempt of now has failed.
    pub(super) fn fail(&mut self, now: Instant) -> Option<Duration> {
        if let State::Open { since, .. } = self.state
            && self.has_delivered
            && now.saturating_duration_since(since) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        self.has_delivered = false;
        self.backoff.fail()
    }
}

impl Held {
    pub(super) fn new(message: Message<'_>) -> Self {
        Self { kind: message.kind, payload: message.payload.to_vec() }
    }

    pub(super) fn message(&self) -> Message<'_> {
        Message { kind: self.kind, payload: &self.payload }
    }
}
