//! Writing: who is owed what, in which order, and what follows when it is sent.

use std::time::Instant;

use super::Relay;
use super::conn::{Flushed, Patience, Role, Stage};
use super::settings::ChannelId;
use crate::net::stream::Socket;
use crate::reactor::table::Key;

impl<S: Socket> Relay<S> {
    /// Writes what is owed, to everyone who takes it.
    pub fn flush(&mut self, now: Instant) {
        for channel in (0..self.channels.len()).map(ChannelId) {
            if self.channels[channel.0].is_dirty {
                self.flush_channel(channel, now);
            }
        }
        let mut to_flush = std::mem::take(&mut self.to_flush);
        for key in to_flush.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.listed.to_flush = false;
                self.flush_conn(key, now);
            }
        }
        // Keeps its storage; what was queued meanwhile is for the next turn.
        to_flush.append(&mut self.to_flush);
        self.to_flush = to_flush;
        self.review_pauses(now);
        if self.played_since.is_some() {
            self.end_if_all_gave_up(now);
        }
    }

    /// Puts a connection on the list of those to be flushed.
    pub(super) fn queue(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.listed.to_flush
        {
            conn.listed.to_flush = true;
            self.to_flush.push(key);
        }
    }

    /// Whether a message waits for room in a client's channel.
    fn holds_for(&self, role: Role) -> bool {
        matches!(role, Role::Client(channel) if self.is_asked(channel))
    }

    fn flush_channel(&mut self, id: ChannelId, now: Instant) {
        self.channels[id.0].is_dirty = false;
        for view in 0..self.channels[id.0].views.len() {
            // Thousands of clients may follow other parts of the channel.
            if !std::mem::take(&mut self.channels[id.0].views[view].is_dirty) {
                continue;
            }
            // By place, since a flush may end a connection and another takes its place.
            let mut place = 0;
            while let Some(&key) = self.channels[id.0].views[view].clients.get(place) {
                self.flush_conn(key, now);
                if self.channels[id.0].views[view].clients.get(place) == Some(&key) {
                    place += 1;
                }
            }
            self.channels[id.0].survey(view, &self.conns);
        }
    }

    fn flush_conn(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let channel = match conn.role {
            Role::Client(channel) => Some(channel),
            Role::Newcomer | Role::Source(_) => None,
        };
        let backlog = channel.map(|channel| self.channels[channel.0].backlog(conn.view));
        let (sent_before, was_refused) = (conn.tally.sent_bytes, conn.was_refused);
        conn.was_refused = false;
        let flushed = conn.flush(backlog);
        let has_sent = conn.tally.sent_bytes > sent_before;
        conn.was_refused |= was_refused && !has_sent;
        // That the system takes bytes says nothing of the peer, unless it had refused some before.
        if has_sent && (was_refused || !conn.codec.has_pings()) {
            conn.last_heard = now;
        }
        match flushed {
            Ok(Flushed::All) => self.flushed_all(key, now),
            Ok(Flushed::Blocked) => {}
            Err(error) => self.broke_writing(key, &error, now),
        }
        self.resume_reading(key);
    }

    /// What follows when a connection has everything that was for it.
    fn flushed_all(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        match conn.stage {
            Stage::Opening => {}
            Stage::Open if conn.patience == Patience::default() => {}
            Stage::Open => self.caught_up(key),
            Stage::Draining { .. } if self.holds_for(conn.role) => {}
            Stage::Draining { goodbye } => {
                self.say_goodbye(key, goodbye, now);
                self.flush_conn(key, now);
            }
            Stage::Lingering { .. } => self.half_close(key),
        }
    }
}
