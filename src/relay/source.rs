//! A service we dial: its life, and what is held while its channels are full.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use super::backoff::{Backoff, Verdict};
use super::feed::Place;
use super::settings::{ChannelId, SourceSettings};
use crate::codec::{Kind, Location, Message};
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
    /// It is a recording and was played to its end.
    Ended,
    /// Others of its feed serve: it is not dialled.
    Idle,
    /// It is wanted no longer: a free place.
    Removed,
}

/// One source.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) settings: SourceSettings,
    /// The channels it feeds.
    pub(super) channels: Vec<ChannelId>,
    pub(super) state: State,
    /// Since when; `None`: since the relay's start.
    pub(super) state_since: Option<Instant>,
    /// Since when it has been lost, if it was ever up.
    pub(super) down_since: Option<Instant>,
    /// Why it was lost, or not reached, the last time.
    pub(super) last_error: Option<String>,
    pub(super) backoff: Backoff,
    /// What it let know as it was lost the last time.
    pub(super) verdict: Verdict,
    /// Whether its next dial waits for its budget.
    pub(super) is_over_budget: bool,
    /// Where it is instead, as the connection of before has said.
    pub(super) location: Option<Location>,
    /// Whether the connection of now has delivered a message.
    pub(super) has_delivered: bool,
    /// A message for which a channel has no room. While there is one the source is not read.
    pub(super) held: Option<Held>,
    /// Clients that are read no further until it takes more.
    pub(super) waiting: Vec<Key>,
    /// Clients' messages that came while it was down.
    pub(super) dropped_messages: u64,
    /// A connection of ours that we have said goodbye to. Another is dialled when it is gone: some
    /// services allow one for each user.
    pub(super) leaving: Option<Key>,
    /// Where each message ends that is on its way, in bytes ever owed to the connection.
    pub(super) unsent: VecDeque<u64>,
    /// That connection.
    pub(super) carrier: Option<Key>,
    /// Its feed, if it is one of several legs.
    pub(super) place: Option<Place>,
    pub(super) tally: SourceTally,
}

/// Counters of the source's whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceTally {
    /// Connections that were opened.
    pub connects: u64,
    /// Messages it sent.
    pub received_messages: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// The largest of them, in bytes.
    pub largest_bytes: u64,
    /// Clients' messages that were sent to it, or are on their way.
    pub forwarded_messages: u64,
    /// Their payload bytes.
    pub forwarded_bytes: u64,
    /// Clients' messages that came while it was down, or were on their way when it was lost.
    pub dropped_messages: u64,
    /// Messages that the relay itself sent: of `on_connect`, heartbeats, replies. They are not among
    /// those forwarded.
    pub own_messages: u64,
}

impl fmt::Display for SourceTally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages and ", self.received_messages)?;
        write!(f, "{} bytes received", self.received_bytes)?;
        for (count, what) in
            [(self.forwarded_messages, "forwarded"), (self.dropped_messages, "dropped")]
        {
            if count > 0 {
                write!(f, ", {count} of clients {what}")?;
            }
        }
        Ok(())
    }
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
            state: State::Dialing,
            state_since: None,
            down_since: None,
            last_error: None,
            verdict: Verdict::None,
            is_over_budget: false,
            location: None,
            has_delivered: false,
            held: None,
            waiting: Vec::new(),
            dropped_messages: 0,
            leaving: None,
            unsent: VecDeque::new(),
            carrier: None,
            place: None,
            tally: SourceTally::default(),
        }
    }

    /// Takes new settings on; the failures so far still count.
    pub(super) fn adopt(&mut self, settings: SourceSettings, now: Instant) {
        self.backoff.adopt(&settings);
        if let (State::Waiting(until), Verdict::None) = (self.state, self.verdict) {
            self.state = State::Waiting(until.min(now + self.backoff.longest()));
        }
        self.settings = settings;
    }

    /// What it is called in the log.
    pub(super) fn label(&self) -> &str {
        self.settings.leg.as_ref().map_or(&self.settings.name, |leg| &leg.label)
    }

    /// Whether it stands for a source of the configuration: each does, but for the further legs of a
    /// feed.
    pub(super) fn is_head(&self) -> bool {
        self.settings.leg.as_ref().is_none_or(|leg| leg.feed == self.settings.name)
    }

    /// Whether it is there at all.
    pub(super) fn is_removed(&self) -> bool {
        self.state == State::Removed
    }

    /// Goes over to another state of its life.
    pub(super) fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.state_since = Some(now);
        self.is_over_budget = false;
    }

    /// The connection, if there is one.
    pub(super) fn key(&self) -> Option<Key> {
        match self.state {
            State::Opening(key) | State::Open { key, .. } => Some(key),
            State::Dialing
            | State::Waiting(_)
            | State::GivenUp
            | State::Ended
            | State::Idle
            | State::Removed => None,
        }
    }

    /// Whether it does not want us as we are, as far as is known.
    pub(super) fn is_refused(&self) -> bool {
        self.verdict == Verdict::Refuses && self.open_key().is_none()
    }

    /// When it is dialled again, if it waits for that.
    pub(super) fn redial_at(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(until) => Some(until),
            State::Dialing
            | State::Opening(_)
            | State::Open { .. }
            | State::GivenUp
            | State::Ended
            | State::Idle
            | State::Removed => None,
        }
    }

    /// The connection, if messages can pass.
    pub(super) fn open_key(&self) -> Option<Key> {
        match self.state {
            State::Open { key, .. } => Some(key),
            State::Dialing
            | State::Opening(_)
            | State::Waiting(_)
            | State::GivenUp
            | State::Ended
            | State::Idle
            | State::Removed => None,
        }
    }

    /// Learns how many bytes of all that was owed to its connection have been sent.
    pub(super) fn sent(&mut self, bytes: u64) {
        while self.unsent.front().is_some_and(|end| *end <= bytes) {
            self.unsent.pop_front();
        }
    }

    /// Learns by which connection clients' messages go from now on.
    pub(super) fn carry_by(&mut self, key: Key) {
        if self.carrier.replace(key).is_some() {
            self.tell_unsent();
        }
    }

    fn tell_unsent(&mut self) {
        let unsent = self.take_unsent();
        if unsent > 0 {
            let name = self.label();
            log::warn!("source {name}: {unsent} messages of clients were unsent at the end");
        }
    }

    /// Learns that a connection is gone for good.
    pub(super) fn let_go(&mut self, key: Key) {
        if self.carrier == Some(key) {
            self.carrier = None;
            self.tell_unsent();
        }
        if self.leaving == Some(key) {
            self.leaving = None;
            self.dial_soon();
        }
    }

    /// Waits for nothing any more: what was in the way of a dial is gone.
    fn dial_soon(&mut self) {
        if let (State::Waiting(_), Some(since)) = (self.state, self.state_since) {
            self.state = State::Waiting(since);
        }
    }

    /// The messages that were on their way to a connection that is lost. They are dropped.
    pub(super) fn take_unsent(&mut self) -> u64 {
        let unsent = self.unsent.len() as u64;
        self.unsent.clear();
        self.tally.forwarded_messages -= unsent;
        self.tally.dropped_messages += unsent;
        unsent
    }

    /// The wait before the next dial, after the connection or the attempt of now has failed.
    pub(super) fn fail(&mut self, verdict: Verdict, now: Instant) -> Option<Duration> {
        if let State::Open { since, .. } = self.state
            && self.has_delivered
            && now.saturating_duration_since(since) >= STABLE_AFTER
        {
            self.backoff.reset();
        }
        self.has_delivered = false;
        self.verdict = verdict;
        self.backoff.fail(verdict)
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
