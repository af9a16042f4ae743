//! What becomes of the legs of feeds: who is dialled, who is let go, which of their messages pass.
//!
//! `feed` says which legs are wanted. Here is looked at how they stand, once in each turn, and when
//! one has failed. A message of a leg is sifted before anything else is done with it: a copy of one
//! that another leg has brought goes no further. What a service says to a connection alone, as the
//! answer to a subscription, is a message like any other: clients hear it once if it is the same on
//! all connections.

use std::time::Instant;

use super::backoff::Verdict;
use super::conn::Goodbye;
use super::dedup::{MAX_LEGS, MAX_SKEW};
use super::feed::{Early, Feed, JOIN_WAIT, Leg, Place, Standing};
use super::settings::{SourceId, Strategy};
use super::source::{Held, Source, State};
use super::tap::Way;
use super::{Command, Relay};
use crate::codec::Message;
use crate::net::stream::Socket;
use crate::reactor::table::Key;

/// What a message of a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sifted {
    /// Clients get it.
    News,
    /// Clients have got it from another leg.
    Copy,
    /// It is ahead of what the other legs have brought, and waits for them.
    Early,
}

impl<S: Socket> Relay<S> {
    /// Finds the feeds that the sources make, and dials those that are wanted at the start.
    pub(super) fn begin_feeds(&mut self) {
        self.group();
        for n in 0..self.feeds.len() {
            let wanted = self.feeds[n].wanted_at_first();
            for leg in 0..self.feeds[n].legs.len() {
                let source = self.feeds[n].legs[leg].source;
                if !wanted.has(leg) {
                    self.sources[source.0].state = State::Idle;
                }
            }
        }
        for id in (0..self.sources.len()).map(SourceId) {
            if self.sources[id.0].state == State::Dialing {
                self.commands.push_back(Command::Dial(id));
            }
        }
    }

    /// Finds the feeds that the sources make after these have changed.
    pub(super) fn regroup(&mut self, now: Instant) {
        self.group();
        for id in (0..self.sources.len()).map(SourceId) {
            // It was a leg whose feed did not want it, and is alone.
            if self.sources[id.0].place.is_none() && self.sources[id.0].state == State::Idle {
                self.dial(id, now);
            }
        }
        self.steer_feeds(now);
    }

    /// Looks at how the legs of all feeds stand, and does what follows.
    pub(super) fn steer_feeds(&mut self, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        for n in 0..self.feeds.len() {
            self.look_at_legs(n, now);
            self.release_early(n, now);
            self.choose_legs(n, now);
            self.note_feed(n, now);
        }
    }

    /// When a feed must be looked at.
    pub(super) fn next_look_at_feeds(&self) -> Option<Instant> {
        // Nothing is chosen any more at the relay's end.
        let feeds = self.feeds.iter().filter(|_| self.ending.is_none());
        feeds.filter_map(|feed| feed.look_at).min()
    }

    /// The source that stands for the feed of a leg; a source that is none stands for itself.
    pub(super) fn head(&self, id: SourceId) -> SourceId {
        let place = self.sources[id.0].place;
        place.map_or(id, |place| self.feeds[place.feed].legs[0].source)
    }

    /// The leg of a feed that clients' messages go to. If none serves, one that will.
    pub(super) fn speaker(&self, id: SourceId) -> SourceId {
        let Some(Place { feed, .. }) = self.sources[id.0].place else { return id };
        let feed = &self.feeds[feed];
        if let Some(leg) = feed.speaker() {
            return feed.legs[leg].source;
        }
        let sources = || feed.legs.iter().map(|leg| leg.source);
        let is_open = |id: &SourceId| self.sources[id.0].open_key().is_some();
        sources().find(is_open).or_else(|| sources().next()).unwrap_or(id)
    }

    /// Whether clients' messages go to a source: of a feed, to one leg alone.
    pub(super) fn is_spoken_to(&self, id: SourceId) -> bool {
        self.sources[id.0].place.is_none() || self.speaker(id) == id
    }

    /// Whether another leg of its feed is open.
    pub(super) fn has_open_sibling(&self, id: SourceId) -> bool {
        let Some(Place { feed, .. }) = self.sources[id.0].place else { return false };
        let mut others = self.feeds[feed].legs.iter().filter(|leg| leg.source != id);
        others.any(|leg| self.sources[leg.source.0].open_key().is_some())
    }

    /// Keeps for new clients how the source begins, anew. A leg that comes while another of its feed is
    /// open begins nothing: its messages go on with theirs.
    pub(super) fn begin_prologue(&mut self, id: SourceId, now: Instant) {
        if self.has_open_sibling(id) {
            return;
        }
        let head = self.head(id);
        for channel in &self.sources[id.0].channels {
            self.channels[channel.0].begin(head, now);
        }
    }

    /// Whether its feed has another url that may be reached.
    pub(super) fn has_other_url(&self, id: SourceId) -> bool {
        let Some(Place { feed, leg }) = self.sources[id.0].place else { return false };
        let legs = &self.feeds[feed].legs;
        let mut others = legs.iter().filter(|other| other.rank != legs[leg].rank);
        others.any(|other| {
            !matches!(self.sources[other.source.0].state, State::GivenUp | State::Removed)
        })
    }

    /// Dials all connections of a source anew, as if they had never failed.
    pub fn redial_source(&mut self, id: SourceId, now: Instant) {
        let Some(Place { feed, .. }) = self.sources[id.0].place else {
            return self.redial(id, now);
        };
        for leg in 0..self.feeds[feed].legs.len() {
            self.redial(self.feeds[feed].legs[leg].source, now);
        }
    }

    /// Learns that a source that was not read is read again.
    pub(super) fn put_off_copies(&mut self, id: SourceId, since: Instant, now: Instant) {
        if let Some(Place { feed, .. }) = self.sources[id.0].place {
            self.feeds[feed].put_off(since, now);
        }
    }

    /// Learns that a source is connected.
    pub(super) fn open_leg(&mut self, id: SourceId) {
        if let Some(Place { feed, leg }) = self.sources[id.0].place {
            self.feeds[feed].open(leg);
        }
    }

    /// Learns that a leg is dialled.
    pub(super) fn begin_leg(&mut self, id: SourceId) {
        if let Some(Place { feed, leg }) = self.sources[id.0].place {
            self.feeds[feed].dedup.begin(leg);
        }
    }

    /// Learns that a leg was lost, or not reached.
    pub(super) fn note_failure(&mut self, id: SourceId) {
        if let Some(Place { feed, leg }) = self.sources[id.0].place {
            self.feeds[feed].legs[leg].end();
            self.feeds[feed].legs[leg].has_failed = true;
        }
    }

    /// A leg has reached its `max_age`: the other of its url shall take its place. Says whether there
    /// is one.
    pub(super) fn age_leg(&mut self, id: SourceId) -> bool {
        let Some(Place { feed, leg }) = self.sources[id.0].place else { return false };
        let legs = &mut self.feeds[feed].legs;
        let rank = legs[leg].rank;
        let has_twin = legs.iter().filter(|other| other.rank == rank).count() > 1;
        if has_twin {
            legs[leg].is_aged = true;
            let label = self.sources[id.0].label();
            log::info!("source {label}: max_age is reached, its successor is dialled");
        }
        has_twin
    }

    /// Says what a message is that a source has sent, and counts it if it is no news.
    pub(super) fn sift(
        &mut self,
        key: Key,
        id: SourceId,
        message: Message<'_>,
        now: Instant,
    ) -> Sifted {
        let Some(Place { feed: n, leg }) = self.sources[id.0].place else { return Sifted::News };
        let (is_ready, is_noting) = (self.is_ready(key), self.is_noting(n, now));
        let feed = &mut self.feeds[n];
        if is_ready {
            feed.serve(leg, now);
        }
        if !is_noting {
            feed.legs[leg].won_messages += 1;
            return Sifted::News;
        }
        let print = feed.dedup.print(message, &feed.rule);
        if feed.dedup.is_copy(leg, print) {
            feed.note_copy(leg, print);
            return Sifted::Copy;
        }
        if feed.is_early(leg) {
            let held = Held::new(message);
            feed.legs[leg].early = Some(Early { print, held, until: now + JOIN_WAIT });
            return Sifted::Early;
        }
        feed.note_new(leg, print, now);
        Sifted::News
    }

    /// Whether copies may come: more than one leg is in play, or was until lately.
    fn is_noting(&mut self, n: usize, now: Instant) -> bool {
        let is_in_play = |leg: &&Leg| {
            let state = self.sources[leg.source.0].state;
            matches!(state, State::Dialing | State::Opening(_) | State::Open { .. })
        };
        let in_play = self.feeds[n].legs.iter().filter(is_in_play).count();
        let feed = &mut self.feeds[n];
        let clock = feed.clock(now);
        feed.dedup.expire(clock);
        // Who has a key knows what a service repeats on the next connection, too.
        let has_key = feed.rule.key.is_some();
        if in_play > 1 || feed.strategy == Strategy::Race || has_key {
            feed.noting_until = Some(clock + MAX_SKEW);
        } else if feed.noting_until.is_some_and(|until| until <= clock) {
            feed.noting_until = None;
            feed.dedup.clear();
        }
        feed.noting_until.is_some()
    }

    /// Gives each leg its place. What is known of those that have one already stays.
    fn group(&mut self) {
        let mut before = std::mem::take(&mut self.feeds);
        for source in &mut self.sources {
            source.place = None;
        }
        for id in (0..self.sources.len()).map(SourceId) {
            let source = &self.sources[id.0];
            let Some(settings) = source.settings.leg.as_ref().filter(|_| !source.is_removed())
            else {
                continue;
            };
            let known = self.feeds.iter().position(|feed| feed.name == settings.feed);
            let n = known.unwrap_or_else(|| {
                self.feeds.push(Feed::new(settings));
                self.feeds.len() - 1
            });
            if self.feeds[n].legs.len() < MAX_LEGS {
                self.feeds[n].legs.push(Leg::new(id, settings.rank));
            }
        }
        for (n, feed) in self.feeds.iter_mut().enumerate() {
            let sources = &mut self.sources;
            feed.legs.sort_by_key(|leg| (leg.rank, !sources[leg.source.0].is_head(), leg.source));
            for (leg, known) in feed.legs.iter().enumerate() {
                sources[known.source.0].place = Some(Place { feed: n, leg });
            }
            if let Some(old) = before.iter().position(|old| old.name == feed.name) {
                feed.succeed(before.swap_remove(old));
            }
        }
    }

    /// Learns which legs serve, and whether they are read.
    fn look_at_legs(&mut self, n: usize, now: Instant) {
        for leg in 0..self.feeds[n].legs.len() {
            let source = self.feeds[n].legs[leg].source;
            let key = self.sources[source.0].open_key();
            if key.is_some_and(|key| self.is_ready(key)) {
                self.feeds[n].serve(leg, now);
            } else if self.feeds[n].legs[leg].ready_since.is_some() {
                self.feeds[n].legs[leg].end();
            }
        }
        // What an old connection has brought is not known before it is read.
        let is_held_back = |leg: &Leg| self.is_held_back(leg.source);
        if self.feeds[n].legs.iter().any(is_held_back) {
            for leg in &mut self.feeds[n].legs {
                leg.read_since = leg.ready_since.map(|_| now);
                if let Some(early) = &mut leg.early {
                    early.until = now + JOIN_WAIT;
                }
            }
        }
    }

    /// Dials the legs that are wanted, and lets those go that are not.
    fn choose_legs(&mut self, n: usize, now: Instant) {
        let sources = &self.sources;
        let wanted = self.feeds[n].wanted(|leg| standing(&sources[leg.source.0], leg), now);
        for leg in 0..self.feeds[n].legs.len() {
            let id = self.feeds[n].legs[leg].source;
            match (wanted.has(leg), self.sources[id.0].state) {
                (true, State::Idle) => match self.feeds[n].legs[leg].not_before.take() {
                    Some(until) if until > now => {
                        self.sources[id.0].enter(State::Waiting(until), now);
                    }
                    Some(_) | None => self.dial(id, now),
                },
                (false, State::Waiting(until)) => {
                    self.feeds[n].legs[leg].not_before = Some(until);
                    self.rest(n, leg, now);
                }
                (false, State::Opening(key) | State::Open { key, .. }) => {
                    self.let_go(n, leg, key, now);
                }
                // A dial that is under way is ended when it has led to something.
                (
                    _,
                    State::Dialing
                    | State::Idle
                    | State::GivenUp
                    | State::Ended
                    | State::Removed
                    | State::Opening(_)
                    | State::Open { .. }
                    | State::Waiting(_),
                ) => {}
            }
        }
    }

    /// Ends the connection of a leg in peace.
    fn let_go(&mut self, n: usize, leg: usize, key: Key, now: Instant) {
        let id = self.feeds[n].legs[leg].source;
        let is_aged = self.feeds[n].legs[leg].is_aged;
        let goodbye = if is_aged { Goodbye::MaxAge } else { Goodbye::Superseded };
        let source = &mut self.sources[id.0];
        log::info!("source {}: let go, another connection serves", source.label());
        source.backoff.reset();
        source.last_error = None;
        source.verdict = Verdict::None;
        self.rest(n, leg, now);
        self.see_off_source(id, key, goodbye, now);
    }

    /// A leg is not wanted.
    fn rest(&mut self, n: usize, leg: usize, now: Instant) {
        let feed = &mut self.feeds[n];
        let rank = feed.legs[leg].rank;
        let is_spared = feed.legs.iter().any(|o| o.rank < rank && o.ready_since.is_some());
        feed.legs[leg].end();
        feed.legs[leg].has_failed &= !is_spared;
        self.sources[feed.legs[leg].source.0].enter(State::Idle, now);
    }

    /// Says in the log whether a feed is there, and lets clients go on that waited for a leg that
    /// they need no more.
    fn note_feed(&mut self, n: usize, now: Instant) {
        let speaker = self.feeds[n].speaker();
        let was_up = std::mem::replace(&mut self.feeds[n].is_up, speaker.is_some());
        for leg in 0..self.feeds[n].legs.len() {
            let id = self.feeds[n].legs[leg].source;
            if speaker.is_some_and(|speaker| speaker != leg) {
                self.release_waiting(id);
            }
        }
        let head = self.feeds[n].legs.first().map(|leg| leg.source);
        let feed = &mut self.feeds[n];
        let name = &feed.name;
        match (was_up, speaker) {
            (true, None) => {
                feed.down_since = Some(now);
                log::warn!("source {name}: down, none of its connections is left");
            }
            (false, Some(_)) => {
                if let Some(since) = feed.down_since.take() {
                    let seconds = now.saturating_duration_since(since).as_secs_f64();
                    log::warn!("source {name}: there again after {seconds:.1} s");
                }
                let Some(head) = head else { return };
                let dropped = std::mem::take(&mut self.sources[head.0].dropped_messages);
                if dropped > 0 {
                    log::warn!(
                        "source {name}: {dropped} messages of clients were dropped while it was \
                         down"
                    );
                }
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Counts a message that clients get, and shows it to those who look on.
    pub(super) fn take_in(&mut self, id: SourceId, message: Message<'_>) {
        let tally = &mut self.sources[id.0].tally;
        let bytes = message.payload.len() as u64;
        tally.received_messages += 1;
        tally.received_bytes += bytes;
        tally.largest_bytes = tally.largest_bytes.max(bytes);
        let head = self.head(id);
        self.tap.note(head, Way::Received, message);
        self.ledgers.note(head, message);
    }
}

fn standing(source: &Source, leg: &Leg) -> Standing {
    match source.state {
        State::Idle => Standing::Idle,
        State::Open { .. } if leg.ready_since.is_some() => {
            if leg.is_aged {
                Standing::Aged
            } else {
                Standing::Ready
            }
        }
        State::Dialing | State::Opening(_) | State::Open { .. } => Standing::Trying,
        State::Waiting(until) => Standing::Failed(until),
        State::GivenUp | State::Ended | State::Removed => Standing::Over,
    }
}
