//! Waits: who is read no further, for what, and when it is read on.

use std::time::Instant;

use super::conn::{Role, Stage, Wait};
use super::feed::Place;
use super::settings::{ChannelId, SourceId};
use super::{MAX_CLIENT_OUTBOX_BYTES, Relay};
use crate::net::stream::Socket;
use crate::reactor::table::Key;

impl<S: Socket> Relay<S> {
    /// Whether a connection may not be read on now. Who waits for something is put on the list of
    /// those that are ready when it comes.
    pub(super) fn must_wait(&mut self, key: Key, now: Instant) -> bool {
        let Some(conn) = self.conns.get(key) else { return true };
        // Who does not is heard to its end, which must be noticed.
        let takes_more = conn.broken.is_none();
        match (conn.stage, conn.role) {
            (Stage::Lingering { .. }, _) => true,
            (Stage::Opening, _) | (_, Role::Newcomer) => false,
            (Stage::Open | Stage::Draining { .. }, Role::Source(source)) => {
                let is_paused = self.is_paused(source);
                let is_owed = !conn.outbox.is_empty();
                if is_paused != conn.is_held() {
                    self.note_pause(key, source, is_paused, now);
                }
                is_paused || (is_owed && takes_more && self.waits_for_itself(key))
            }
            (Stage::Open | Stage::Draining { .. }, Role::Client(channel)) => {
                self.waits_for_source(key, channel)
                    || (takes_more && (self.waits_for_itself(key) || self.waits_for_time(key, now)))
            }
        }
    }

    /// Whether a source is not read because a channel of its is full, or for another leg's sake.
    pub(super) fn is_paused(&self, id: SourceId) -> bool {
        self.is_held_back(id) || self.is_early(id)
    }

    /// Whether a source is not read because a message waits for room: its own, one of another leg of
    /// its feed, which comes before its own, or one of any source of a channel of its.
    pub(super) fn is_held_back(&self, id: SourceId) -> bool {
        let is_full = |channel: &ChannelId| self.channels[channel.0].pause.is_some();
        self.has_held(id) || self.sources[id.0].channels.iter().any(is_full)
    }

    /// Whether a source, or another leg of its feed, holds a message.
    pub(super) fn has_held(&self, id: SourceId) -> bool {
        let holds = |id: SourceId| self.sources[id.0].held.is_some();
        match self.sources[id.0].place {
            None => holds(id),
            Some(Place { feed, .. }) => self.feeds[feed].legs.iter().any(|leg| holds(leg.source)),
        }
    }

    /// Whether a peer does not read what it is answered.
    fn waits_for_itself(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get(key) else { return true };
        let owed = conn.outbox.len();
        let waits = owed > 0 && owed > self.max_own_bytes(conn.role);
        if let Some(conn) = self.conns.get_mut(key).filter(|_| waits) {
            conn.wait = Some(Wait::Itself);
        }
        waits
    }

    /// Whether a client has sent as much as it may for now. It is read on when its time has come.
    fn waits_for_time(&mut self, key: Key, now: Instant) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return true };
        let Some(ready_at) = conn.paces.ready_at(now) else { return false };
        if conn.wait.replace(Wait::Time) != Some(Wait::Time) {
            self.paced.schedule(key, ready_at);
        }
        true
    }

    /// Puts a client among those who wait, if a source of its channel takes no more.
    fn waits_for_source(&mut self, key: Key, channel: ChannelId) -> bool {
        let settings = &self.channels[channel.0].settings;
        let is_congested = |id: &SourceId| {
            let source = &self.sources[id.0];
            let Some(key) = source.open_key() else { return false };
            let owed = self.conns.get(key).map_or(0, |conn| conn.outbox.len());
            let is_full = owed > 0 && owed >= self.max_forward_bytes(*id);
            is_full || !self.is_ready(key)
        };
        let is_meant = |id: &SourceId| self.is_spoken_to(*id) && is_congested(id);
        let congested = settings.sources.iter().copied().find(is_meant);
        let Some(source) = congested.filter(|_| !settings.read_only) else { return false };
        let Some(conn) = self.conns.get_mut(key) else { return true };
        if conn.wait.replace(Wait::Source) != Some(Wait::Source) {
            self.sources[source.0].waiting.push(key);
        }
        true
    }

    /// The bytes of clients' messages that are kept for a source before its clients wait.
    pub(super) fn max_forward_bytes(&self, id: SourceId) -> usize {
        let channels = self.sources[id.0].channels.iter();
        let limits = channels.map(|id| self.channels[id.0].settings.max_queue_bytes);
        limits.max().unwrap_or_default()
    }

    fn largest_forward_bytes(&self, id: SourceId) -> usize {
        let channels = self.sources[id.0].channels.iter();
        let largest = channels.map(|id| self.channels[id.0].settings.max_client_message_size);
        largest.max().unwrap_or_default()
    }

    /// The bytes that may be owed to a peer before it is read no further itself.
    fn max_own_bytes(&self, role: Role) -> usize {
        match role {
            Role::Newcomer | Role::Client(_) => MAX_CLIENT_OUTBOX_BYTES,
            Role::Source(id) => 2 * self.max_forward_bytes(id) + self.largest_forward_bytes(id),
        }
    }

    /// Reads those on that waited for a peer to take what it is owed, once it has taken half.
    pub(super) fn resume_reading(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let (role, owed, wait, sent_bytes) =
            (conn.role, conn.outbox.len(), conn.wait, conn.tally.sent_bytes);
        if wait == Some(Wait::Itself) && owed <= self.max_own_bytes(role) / 2 {
            self.read_on(key);
        }
        let Role::Source(id) = role else { return };
        if self.sources[id.0].carrier == Some(key) {
            self.sources[id.0].sent(sent_bytes);
        }
        if !self.sources[id.0].waiting.is_empty()
            && owed <= self.max_forward_bytes(id) / 2
            && self.is_ready(key)
        {
            self.release_waiting(id);
        }
    }

    pub(super) fn read_on(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.wait = None;
            self.await_turn(key);
        }
    }

    /// Has all legs of a source's feed read in the next turn: they may have waited for each other.
    pub(super) fn read_feed_on(&mut self, id: SourceId) {
        let Some(Place { feed, .. }) = self.sources[id.0].place else {
            return self.read_source_on(id);
        };
        for leg in 0..self.feeds[feed].legs.len() {
            self.read_source_on(self.feeds[feed].legs[leg].source);
        }
    }

    /// Has a source that is connected read in the next turn.
    pub(super) fn read_source_on(&mut self, id: SourceId) {
        if let Some(key) = self.sources[id.0].open_key() {
            self.await_turn(key);
        }
    }

    /// Lets the clients that wait for a source be read again.
    pub(super) fn release_waiting(&mut self, source: SourceId) {
        for key in std::mem::take(&mut self.sources[source.0].waiting) {
            self.read_on(key);
        }
    }
}
