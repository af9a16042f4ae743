//! How connections end, and what is said about it.
//!
//! Who is told goodbye lingers: the outbox is sent, the writing side closed, and what the peer
//! still says read and forgotten until it closes too. So the goodbye is not lost to a reset.

use std::fmt::Display;
use std::io;
use std::time::Instant;

use log::Level;

use super::backoff::Verdict;
use super::conn::{Goodbye, Role, Stage, Wait};
use super::farewell::{Broken, Farewell, Reason, Seconds};
use super::settings::{ChannelId, OnSourceLoss, SourceId};
use super::source::{Source, State};
use super::{Command, DRAIN, HANDSHAKE_TIMEOUT, LINGER, Outcome, PING_INTERVAL, Relay};
use crate::codec::{CloseReason, Error, Location};
use crate::net::stream::Socket;
use crate::reactor::table::Key;

/// A close code that asks a client to come back later (registered with IANA).
const TRY_AGAIN_LATER: u16 = 1013;

impl<S: Socket> Relay<S> {
    /// The peer has closed its writing side without a goodbye.
    pub(super) fn ended(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        // A Unix client has no other way to say it.
        let why = match conn.role {
            _ if conn.codec.has_pings() => "closed without a goodbye",
            Role::Newcomer | Role::Client(_) => "closed by the client",
            Role::Source(_) => "it is read no further",
        };
        self.part(key, Reason::Closed, &why, now);
        self.condemned.push(key);
    }

    /// Learns that a connection failed below the protocol.
    pub fn broke(&mut self, key: Key, error: &io::Error, now: Instant) {
        // That is how a stream says that the peer may not come in.
        let is_refusal = error.kind() == io::ErrorKind::PermissionDenied;
        let reason = if is_refusal { Reason::Refused } else { Reason::Broken };
        self.part(key, reason, &Broken(error), now);
        self.condemned.push(key);
    }

    /// A peer takes no more. What it has sent before it went is read to the end first.
    pub(super) fn broke_writing(&mut self, key: Key, error: &io::Error, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match conn.stage {
            Stage::Open | Stage::Draining { .. } => {
                conn.broken = Some(error.kind());
                self.await_turn(key);
            }
            Stage::Opening | Stage::Lingering { .. } => self.broke(key, error, now),
        }
    }

    /// The peer broke the protocol; the codec has put the answer into the outbox.
    pub(super) fn misbehaved(&mut self, key: Key, error: &Error, now: Instant) {
        let limit = match (error, self.conns.get(key).map(|conn| conn.role)) {
            (Error::TooLarge { .. }, Some(Role::Newcomer | Role::Client(_))) => {
                ", see max_client_message_size"
            }
            (Error::TooLarge { .. }, Some(Role::Source(_))) => ", see max_message_size",
            _ => "",
        };
        if let Some(Role::Source(source)) = self.conns.get(key).map(|conn| conn.role) {
            if let Error::Moved { location, .. } = error {
                return self.follow(source, key, location, now);
            }
            let (why, verdict) = (format_args!("{error}{limit}"), Verdict::of_error(error));
            self.lose_source(source, key, verdict, &why, now);
            return self.linger(key, now + LINGER);
        }
        let is_refusal =
            matches!(error, Error::Refused { status: 401 | 403 | 404 | 410 | 429, .. });
        let reason = if is_refusal { Reason::Refused } else { Reason::Protocol };
        self.part(key, reason, &format_args!("{error}{limit}"), now);
        self.linger(key, now + LINGER);
    }

    /// The peer has answered a ping with silence, or taken nothing of what it is owed.
    pub(super) fn fall_silent(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        let seconds = PING_INTERVAL.as_secs();
        if conn.codec.has_pings() {
            self.part(
                key,
                Reason::Silent,
                &format_args!("silent for {seconds} s after a ping"),
                now,
            );
        } else {
            self.part(key, Reason::Silent, &format_args!("took nothing for {seconds} s"), now);
        }
        self.condemned.push(key);
    }

    pub(super) fn handshake_expired(&mut self, key: Key, now: Instant) {
        let seconds = HANDSHAKE_TIMEOUT.as_secs();
        self.part(key, Reason::Silent, &format_args!("no handshake within {seconds} s"), now);
        self.condemned.push(key);
    }

    pub(super) fn client_closed(&mut self, key: Key, reason: &CloseReason, now: Instant) {
        self.part(key, Reason::Closed, &format_args!("closed by the client{reason}"), now);
        self.linger(key, now + LINGER);
    }

    pub(super) fn source_closed(
        &mut self,
        key: Key,
        source: SourceId,
        reason: &CloseReason,
        now: Instant,
    ) {
        if self.conns.get(key).is_some_and(|conn| !conn.codec.takes_messages()) {
            return self.recording_ended(key, source, reason, now);
        }
        let why = format_args!("closed by the source{reason}");
        self.lose_source(source, key, Verdict::of_close(reason), &why, now);
        self.linger(key, now + LINGER);
    }

    pub(super) fn disconnect_slow(&mut self, key: Key, id: ChannelId, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        let channel = &self.channels[id.0];
        let behind = channel.backlog(conn.view).lag(conn.cursor, now);
        let until = now + (channel.settings.max_pause / 2).min(LINGER);
        let why = format!("slow consumer: {} messages behind", behind.messages);
        self.part(key, Reason::Slow, &"too slow", now);
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.codec.close(TRY_AGAIN_LATER, &why, &mut conn.outbox);
        // What is left to say reaches it when it reads again, also after we have let it go.
        conn.is_blocked = conn.stream.open_reserve().is_err();
        self.linger(key, until);
    }

    /// Sees a peer off: a client gets what is kept for it first.
    pub(super) fn dismiss(&mut self, key: Key, goodbye: Goodbye, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match (conn.role, conn.stage) {
            (Role::Newcomer | Role::Client(_), Stage::Open) => {
                conn.stage = Stage::Draining { goodbye };
                self.schedule(key, now + DRAIN);
                self.queue(key);
            }
            (Role::Source(_), Stage::Open) | (_, Stage::Opening) => {
                self.say_goodbye(key, goodbye, now);
            }
            (_, Stage::Draining { .. } | Stage::Lingering { .. }) => {}
        }
    }

    pub(super) fn say_goodbye(&mut self, key: Key, goodbye: Goodbye, now: Instant) {
        self.part(key, Reason::Dismissed, &goodbye.reason(), now);
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.codec.close(goodbye.code(), goodbye.reason(), &mut conn.outbox);
        self.linger(key, now + LINGER);
    }

    /// Closes our writing side when our last words are sent. A source closes first itself:
    /// its side of the connection is the server's (RFC 6455, section 7.1.1).
    pub(super) fn half_close(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let is_client = !matches!(conn.role, Role::Source(_));
        if is_client && conn.stage == (Stage::Lingering { half_closed: false }) {
            match conn.stream.finish() {
                Ok(()) => conn.stage = Stage::Lingering { half_closed: true },
                // The last words of TLS wait for room.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.is_blocked = true,
                Err(_) => self.condemned.push(key),
            }
        }
    }

    pub(super) fn linger(&mut self, key: Key, until: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.stage = Stage::Lingering { half_closed: false };
        // There is nobody who would hear last words, or say some.
        if !conn.codec.takes_messages() {
            self.condemned.push(key);
            return;
        }
        self.schedule(key, until);
        self.await_turn(key);
        self.queue(key);
    }

    /// Says why a connection ends and takes it out of everything it was part of. Does so once.
    /// A client to which nothing can be said any more is condemned at once.
    pub(super) fn part(&mut self, key: Key, reason: Reason, why: &dyn Display, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        match conn.role {
            Role::Newcomer => {
                let (level, peer) = (reason.level_of_stranger(), conn.peer);
                if !matches!(conn.stage, Stage::Lingering { .. }) {
                    log::log!(level, "client {peer}: not opened ({why})");
                }
            }
            Role::Client(channel) => self.part_client(key, channel, reason, why),
            Role::Source(source) => self.lose_source(source, key, Verdict::None, why, now),
        }
    }

    fn part_client(&mut self, key: Key, id: ChannelId, reason: Reason, why: &dyn Display) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let channel = &mut self.channels[id.0];
        let label = conn.label(&channel.settings.name);
        match conn.stage {
            Stage::Opening => {
                log::log!(reason.level_of_stranger(), "client {label}: not opened ({why})");
            }
            Stage::Open | Stage::Draining { .. } => {
                let backlog = channel.backlog(conn.view);
                let farewell = Farewell::of(conn, backlog);
                log::log!(reason.level(), "client {label}: gone ({why}), {farewell}");
                if !conn.carry_rest(backlog) {
                    conn.outbox.clear();
                    conn.broken = Some(io::ErrorKind::WriteZero);
                    self.condemned.push(key);
                }
                farewell.add_to(&mut channel.past);
                reason.count_in(&mut channel.departures);
                let (view, place, wait) = (conn.view, conn.place, conn.wait);
                channel.leave(view, place, &mut self.conns);
                if wait == Some(Wait::Source) {
                    self.forget_waiting(key, id);
                }
            }
            Stage::Lingering { .. } => return,
        }
        if let Some(conn) = self.conns.get_mut(key) {
            conn.stage = Stage::Lingering { half_closed: false };
        }
    }

    /// Takes a client off the lists of those who wait for a source of its channel.
    fn forget_waiting(&mut self, key: Key, id: ChannelId) {
        for source in &self.channels[id.0].settings.sources {
            self.sources[source.0].waiting.retain(|waiting| *waiting != key);
        }
    }

    /// A source is elsewhere: it is dialled there. That is a part of the same attempt.
    fn follow(&mut self, id: SourceId, key: Key, location: &Location, now: Instant) {
        let source = &mut self.sources[id.0];
        if source.key() == Some(key) && self.ending.is_none() {
            source.location = Some(location.clone());
            source.enter(State::Dialing, now);
            self.commands.push_back(Command::Follow(id));
        }
        self.linger(key, now + LINGER);
    }

    /// The connection to a source ends; another will be dialled.
    fn lose_source(
        &mut self,
        id: SourceId,
        key: Key,
        verdict: Verdict,
        why: &dyn Display,
        now: Instant,
    ) {
        if self.sources[id.0].key() != Some(key) {
            return;
        }
        let was_open = self.sources[id.0].open_key().is_some() && self.is_ready(key);
        if !was_open {
            // It was never of use: it has proved nothing, and its clients have lost nothing.
            self.sources[id.0].enter(State::Opening(key), now);
        }
        let what = match (verdict, was_open) {
            (Verdict::Refuses, _) => format!("refused ({why}): check its token or headers"),
            (Verdict::None | Verdict::Restarts | Verdict::IsBusy(_), true) => {
                format!("lost ({why})")
            }
            (Verdict::None | Verdict::Restarts | Verdict::IsBusy(_), false) => {
                format!("cannot open ({why})")
            }
        };
        if !was_open {
            return self.fail_source(id, verdict, &what, now);
        }
        self.sources[id.0].down_since = Some(now);
        self.tell_clients_of_loss(id, now);
        match self.sources[id.0].take_unsent() {
            0 => self.fail_source(id, verdict, &what, now),
            unsent => {
                let what = format_args!("{what}, {unsent} messages of clients were unsent");
                self.fail_source(id, verdict, &what, now);
            }
        }
    }

    /// A source's attempt or connection has ended; `what` says so in the log.
    pub(super) fn fail_source(
        &mut self,
        id: SourceId,
        verdict: Verdict,
        what: &dyn Display,
        now: Instant,
    ) {
        if self.ending.is_some() {
            return;
        }
        self.note_failure(id);
        let source = &mut self.sources[id.0];
        let (name, is_leg) = (source.label().to_owned(), source.place.is_some());
        source.last_error = Some(what.to_string());
        if let Some(wait) = source.fail(verdict, now) {
            source.enter(State::Waiting(now + wait), now);
            // The first of a row is news, also to who does not want to hear of each attempt.
            // Of a feed, it is news that no leg is left.
            let is_news = source.backoff.failures() <= 1 && !is_leg;
            let level = if is_news { Level::Warn } else { Level::Info };
            log::log!(level, "source {name}: {what}, redial in {}", Seconds(wait));
        } else {
            source.enter(State::GivenUp, now);
            let attempts = source.settings.reconnect_max_attempts;
            let level = if self.has_other_url(id) { Level::Warn } else { Level::Error };
            log::log!(level, "source {name}: {what}, given up after {attempts} attempts");
        }
        self.release_waiting(id);
        self.steer_feeds(now);
        self.end_if_all_gave_up(now);
    }

    /// Learns that a source may be dialled no more before then: its budget is used up.
    pub fn postpone(&mut self, id: SourceId, until: Instant, budget: &dyn Display, now: Instant) {
        let source = &mut self.sources[id.0];
        if source.state != State::Dialing {
            return;
        }
        let name = source.label();
        let wait = Seconds(until.saturating_duration_since(now));
        log::warn!("source {name}: its dial_budget of {budget} is used up, dial in {wait}");
        source.last_error = Some(format!("its dial_budget of {budget} is used up"));
        source.enter(State::Waiting(until), now);
        source.is_over_budget = true;
    }

    /// Ends when no source is left that could come back.
    pub(super) fn end_if_all_gave_up(&mut self, now: Instant) {
        let mut present = self.sources.iter().filter(|source| !source.is_removed()).peekable();
        // What a feed does not want it will not want when the others have given up.
        let is_over =
            |source: &Source| matches!(source.state, State::GivenUp | State::Ended | State::Idle);
        if self.ending.is_some() || present.peek().is_none() || !present.all(is_over) {
            self.played_since = None;
        } else if self.sources.iter().all(|source| source.state != State::GivenUp) {
            self.end_if_all_was_played(now);
        } else {
            log::error!("every source has given up, nothing is left to relay");
            self.drain(Outcome::AllSourcesGaveUp, now);
        }
    }

    /// Closes the clients of channels that shall not outlive their last source.
    pub(super) fn tell_clients_of_loss(&mut self, id: SourceId, now: Instant) {
        for n in 0..self.sources[id.0].channels.len() {
            let channel = &self.channels[self.sources[id.0].channels[n].0];
            let is_up = |other: &SourceId| {
                let key = self.sources[other.0].open_key();
                *other != id && key.is_some_and(|key| self.is_ready(key))
            };
            let shall_close = channel.settings.on_source_loss == OnSourceLoss::Close;
            if shall_close && !channel.settings.sources.iter().any(is_up) {
                let clients: Vec<_> = channel.clients().collect();
                for key in clients {
                    self.dismiss(key, Goodbye::SourceLost, now);
                }
            }
        }
    }
}
