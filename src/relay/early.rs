//! Messages of legs that are ahead of the others: each waits for theirs, and is passed on then, so that
//! a feed keeps its order.

use std::time::Instant;

use super::Relay;
use super::feed::{Early, Place};
use super::settings::SourceId;
use super::source::Held;
use crate::net::stream::Socket;

impl<S: Socket> Relay<S> {
    /// Whether a leg waits for others that it is ahead of.
    pub(super) fn is_early(&self, id: SourceId) -> bool {
        let place = self.sources[id.0].place;
        place.is_some_and(|Place { feed, leg }| self.feeds[feed].legs[leg].early.is_some())
    }

    /// Takes back that an early message waits: clients do not get it at all.
    pub(super) fn forget_early(&mut self, id: SourceId, now: Instant) {
        let Some(Place { feed, leg }) = self.sources[id.0].place else { return };
        if let Some(early) = self.feeds[feed].legs[leg].early.take() {
            self.feeds[feed].note_new(leg, early.print, now);
        }
    }

    /// Passes an early message on at once, if there is one.
    pub(super) fn pass_early(&mut self, id: SourceId, now: Instant) {
        let Some(Place { feed, leg }) = self.sources[id.0].place else { return };
        if let Some(early) = self.feeds[feed].legs[leg].early.take() {
            self.pass(id, &early, now);
        }
    }

    /// Passes on whatever waits in a feed, for room or for other legs, whatever the limits: the feed
    /// ends, or its legs do not stay the same.
    pub(super) fn settle_feed(&mut self, n: usize, now: Instant) {
        let legs = self.feeds[n].legs.len();
        // What waits for room came first.
        for leg in 0..legs {
            let id = self.feeds[n].legs[leg].source;
            if let Some(held) = self.sources[id.0].held.take() {
                self.push_last(id, &held, now);
            }
        }
        for leg in 0..legs {
            let id = self.feeds[n].legs[leg].source;
            if let Some(early) = self.feeds[n].legs[leg].early.take()
                && self.is_news(id, &early, now)
            {
                self.push_last(id, &early.held, now);
            }
            self.read_source_on(id);
        }
    }

    fn push_last(&mut self, id: SourceId, last: &Held, now: Instant) {
        let head = self.head(id);
        for channel in &self.sources[id.0].channels {
            self.channels[channel.0].push_last(head, last.message(), now);
        }
        self.note_held(id);
    }

    /// Passes the messages on that have waited long enough for other legs.
    pub(super) fn release_early(&mut self, n: usize, now: Instant) {
        for leg in 0..self.feeds[n].legs.len() {
            let id = self.feeds[n].legs[leg].source;
            // What waits for room comes first.
            if self.has_held(id) {
                return;
            }
            if let Some(early) = self.feeds[n].take_early(leg, now) {
                self.pass(id, &early, now);
                self.read_source_on(id);
            }
        }
    }

    /// Passes a message on that has waited for others, unless they have brought it.
    fn pass(&mut self, id: SourceId, early: &Early, now: Instant) {
        if self.is_news(id, early, now) {
            self.deliver(id, early.held.message(), now);
        }
    }

    /// Takes note of a message that has waited for others. Says whether they have not brought it.
    fn is_news(&mut self, id: SourceId, early: &Early, now: Instant) -> bool {
        let Some(Place { feed, leg }) = self.sources[id.0].place else { return true };
        let (feed, print) = (&mut self.feeds[feed], early.print);
        let is_copy = feed.dedup.is_copy(leg, print);
        if is_copy {
            feed.note_copy(leg, print);
        } else {
            feed.note_new(leg, print, now);
            self.take_in(id, early.held.message());
        }
        !is_copy
    }
}
