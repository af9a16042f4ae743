//! Deadlines: handshakes, pings, goodbyes, patience, redials; those of sessions are in `session`.

use std::time::Instant;

use super::channel::Channel;
use super::conn::{Conn, Role, Stage, Wait};
use super::settings::SourceId;
use super::{PING_INTERVAL, Relay, SPENT_TIMERS, State};
use crate::net::stream::Socket;
use crate::reactor::table::Key;

impl<S: Socket> Relay<S> {
    /// Looks at what is due: handshakes, pings, goodbyes, patience, redials.
    pub fn expire(&mut self, now: Instant) {
        while let Some((at, key)) = self.timers.pop_due(now) {
            self.look_at(key, at, now);
        }
        while let Some((_, key)) = self.paced.pop_due(now) {
            if self.conns.get(key).is_some_and(|conn| conn.wait == Some(Wait::Time)) {
                self.read_on(key);
            }
        }
        self.expire_sessions(now);
        self.count_patience(now);
        for id in (0..self.sources.len()).map(SourceId) {
            if matches!(self.sources[id.0].state, State::Waiting(until) if until <= now) {
                self.dial(id, now);
            }
        }
        self.steer_feeds(now);
        if self.ending.is_some_and(|ending| ending.until <= now) {
            self.give_up_on_everyone();
        }
    }

    /// The relay's end has come, and not everyone has taken what was kept.
    fn give_up_on_everyone(&mut self) {
        self.condemned.extend(self.conns.keys());
        for source in &mut self.sources {
            if source.held.take().is_some() {
                log::warn!("source {}: its last message reached nobody", source.label());
            }
        }
    }

    /// Promises a look at a connection, in place of the one that was promised before.
    pub(super) fn schedule(&mut self, key: Key, at: Instant) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.look_at = at;
            self.timers.schedule(key, at);
        }
        if self.timers.len() > 4 * self.conns.len() + SPENT_TIMERS {
            let Self { timers, conns, .. } = self;
            timers.retain(|at, key| conns.get(key).is_some_and(|conn| conn.look_at == at));
        }
    }

    fn look_at(&mut self, key: Key, at: Instant, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        if conn.look_at != at {
            return;
        }
        match conn.stage {
            Stage::Opening => self.handshake_expired(key, now),
            Stage::Open => self.check_life(key, now),
            Stage::Draining { goodbye } => self.say_goodbye(key, goodbye, now),
            Stage::Lingering { .. } => self.condemned.push(key),
        }
    }

    /// Ends a connection that was silent after a ping; pings one that was not.
    fn check_life(&mut self, key: Key, now: Instant) {
        let is_held = self.is_held(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.codec.has_pings() && !owes(conn, &self.channels) {
            // This wire has no pings: a peer that is owed nothing is alive.
            conn.last_heard = now;
        }
        if conn.pinged_at.is_some_and(|pinged_at| conn.last_heard < pinged_at) && !is_held {
            self.fall_silent(key, now);
            return;
        }
        conn.outbox.release();
        conn.codec.ping(&mut conn.outbox);
        // Who is not read cannot be heard, and is not blamed for it.
        conn.pinged_at = (!is_held).then_some(now);
        self.queue(key);
        self.schedule(key, now + PING_INTERVAL);
    }

    /// Whether we are the ones who do not read, or have not read yet since we may again.
    fn is_held(&self, key: Key) -> bool {
        let Some(conn) = self.conns.get(key) else { return false };
        let is_kept_waiting = match conn.role {
            Role::Newcomer => false,
            Role::Client(_) => matches!(conn.wait, Some(Wait::Source | Wait::Time)),
            Role::Source(source) => self.is_paused(source),
        };
        is_kept_waiting || conn.listed.to_read
    }
}

/// Whether something is owed to a client, by its channel or by us.
fn owes<S: Socket>(conn: &Conn<S>, channels: &[Channel]) -> bool {
    match conn.role {
        Role::Client(channel) => {
            let backlog = channels[channel.0].backlog(conn.view);
            !conn.outbox.is_empty() || (conn.is_following() && !conn.has_all(backlog))
        }
        Role::Newcomer | Role::Source(_) => !conn.outbox.is_empty(),
    }
}
