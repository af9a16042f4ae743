//! Reading: what peers send, and where it goes.

use std::fmt::Display;
use std::io;
use std::time::Instant;

use super::backoff::Verdict;
use super::conn::{Conn, Role, Stage, Wait};
use super::legs::Sifted;
use super::session::Heard;
use super::settings::{ChannelId, SourceId};
use super::source::State;
use super::tap::Way;
use super::{MAX_SECURED_PER_TURN, PING_INTERVAL, Relay};
use crate::codec::entrance::Entrance;
use crate::codec::{Event, Message, Wire};
use crate::net::stream::Socket;
use crate::reactor::inbox::Inbox;
use crate::reactor::table::Key;

/// The buffer that a read is offered.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that one connection may read in one turn; then others have theirs.
const READ_BYTES: usize = 2 * BUFFER_BYTES;
/// With less left of them its turn is over: a buffer that begins with a part of a message is offered
/// no more than the rest of it.
const LEAST_READ_BYTES: usize = BUFFER_BYTES / 4;

/// What the kernel hands on at once, 64 KiB with all headers: 45 segments of an Ethernet.
const PACKET_BYTES: usize = 45 * 1448;
/// A source's turn is over before its messages make more: a few bytes more would be a packet of their
/// own for each client, which costs nearly as much as the first. Two of them, for with a thousand
/// clients it costs as much to come to each again (`benches/fanout`, `flat-1000`).
const TURN_BYTES: usize = 2 * PACKET_BYTES;

/// What the connection at hand has given its clients this turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Portion {
    /// Of each message the largest of its frames.
    bytes: usize,
    /// The largest of them.
    largest: usize,
}

/// Whether to go on with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// There may be more.
    GoOn,
    /// Not before something has changed, which will put it on the list of the ready.
    Stop,
}

impl Portion {
    fn add(&mut self, frame_bytes: usize) {
        self.bytes += frame_bytes;
        self.largest = self.largest.max(frame_bytes);
    }

    /// Whether another message like those might be too much.
    fn is_full(self) -> bool {
        self.bytes > 0 && self.bytes + self.largest > TURN_BYTES
    }
}

impl<S: Socket> Relay<S> {
    /// Reads what a socket has, within its budget for a turn; whoever has had that waits for the
    /// next one.
    pub fn read(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get(key) else { return };
        if conn.listed.to_read {
            return;
        }
        if let Stage::Lingering { .. } = conn.stage {
            self.discard(key);
            return;
        }
        if conn.stream.is_securing() {
            self.wait_for_turn(key);
            return;
        }
        self.read_now(key, now);
    }

    fn read_now(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let role = conn.role;
        // Who has a rest of a message goes on in a buffer of its own, all other clients share one.
        let is_own = !conn.inbox.is_empty() || matches!(conn.role, Role::Source(_));
        let mut inbox = std::mem::take(if is_own { &mut conn.inbox } else { &mut self.scratch });
        inbox.reserve(BUFFER_BYTES);
        self.read_into(&mut inbox, key, now);
        let rest = if is_own { std::mem::take(&mut inbox) } else { inbox.split_off() };
        if !is_own {
            self.scratch = inbox;
        }
        if let Some(conn) = self.conns.get_mut(key) {
            conn.inbox = rest;
            if let Role::Newcomer | Role::Client(_) = role {
                conn.inbox.release();
            }
        }
    }

    /// Puts a client in the row of those whose handshake takes much computing.
    fn wait_for_turn(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.wait.replace(Wait::TurnToSecure).is_none() {
            self.securing.push_back(key);
        }
    }

    /// Reads the first in that row.
    fn read_securing(&mut self, now: Instant) {
        let count = self.securing.len().min(MAX_SECURED_PER_TURN);
        for key in self.securing.drain(..count).collect::<Vec<_>>() {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.wait = None;
            }
            self.read_now(key, now);
        }
    }

    /// Begins a turn: reads those that had more than their last one allowed.
    pub fn read_ready(&mut self, now: Instant) {
        self.turn = self.turn.wrapping_add(1);
        let mut ready = std::mem::take(&mut self.ready);
        // Another is the first each time: of several sources that fill a channel, it has the room.
        let count = ready.len().max(1);
        ready.rotate_left(self.turn % count);
        self.read_securing(now);
        for key in ready.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.listed.to_read = false;
                self.read(key, now);
            }
        }
        // Keeps its storage; who is not done is read on in the next turn.
        ready.append(&mut self.ready);
        self.ready = ready;
    }

    /// Has a connection read in the next turn.
    pub(super) fn await_turn(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !conn.listed.to_read
        {
            conn.listed.to_read = true;
            self.ready.push(key);
        }
    }

    fn read_into(&mut self, inbox: &mut Inbox, key: Key, now: Instant) {
        let mut budget = READ_BYTES;
        self.portion = Portion::default();
        loop {
            if self.understand(inbox, key, now) == Next::Stop {
                return;
            }
            if budget < LEAST_READ_BYTES {
                self.await_turn(key);
                return;
            }
            let Some(conn) = self.conns.get_mut(key) else { return };
            match inbox.fill(&mut conn.stream) {
                Ok(0) => return self.ended(key, now),
                Ok(count) => {
                    conn.last_heard = now;
                    budget = budget.saturating_sub(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.end_if_broken(key, now);
                }
                // TLS: much came that held nothing. It goes on in the next turn.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    return self.await_turn(key);
                }
                Err(error) => return self.broke(key, &error, now),
            }
        }
    }

    /// A peer that takes no more has nothing more to say either.
    fn end_if_broken(&mut self, key: Key, now: Instant) {
        if let Some(kind) = self.conns.get(key).and_then(|conn| conn.broken) {
            self.broke(key, &kind.into(), now);
        }
    }

    /// Handles the events that are whole in an inbox.
    fn understand(&mut self, inbox: &mut Inbox, key: Key, now: Instant) -> Next {
        loop {
            if self.must_wait(key, now) {
                return Next::Stop;
            }
            if self.portion.is_full() {
                self.await_turn(key);
                return Next::Stop;
            }
            let Some(conn) = self.conns.get_mut(key) else { return Next::Stop };
            let role = conn.role;
            let outbox_bytes = conn.outbox.len();
            let event = conn.poll_event(inbox);
            if conn.outbox.len() > outbox_bytes {
                self.queue(key);
            }
            match event {
                Ok(Some(event)) => self.handle(key, role, &event, now),
                Ok(None) => return Next::GoOn,
                Err(error) => self.misbehaved(key, &error, now),
            }
        }
    }

    /// What every event means.
    fn handle(&mut self, key: Key, role: Role, event: &Event<'_>, now: Instant) {
        match (role, event) {
            (Role::Newcomer | Role::Client(_), Event::Request(head)) => {
                self.asked(key, head, now);
            }
            (Role::Client(channel), Event::Opened) => {
                let wire = self.conns.get(key).map_or(Wire::Prefixed, Conn::wire);
                self.client_opened(key, channel, &Entrance::plain(wire), now);
            }
            (Role::Source(source), Event::Opened) => self.source_opened(key, source, now),
            (Role::Client(channel), Event::Message(message)) => {
                self.forward(key, channel, *message, now);
            }
            (Role::Source(source), Event::Message(message)) => {
                self.received(key, source, *message, now);
            }
            (Role::Client(_) | Role::Source(_), Event::Pong) => self.pong(key, now),
            // That bytes came is known already; the codec has answered a ping. A newcomer's codec
            // knows requests alone, and a source is asked by us.
            (_, Event::Ping)
            | (
                Role::Newcomer,
                Event::Opened | Event::Message(_) | Event::Pong | Event::Closed(_),
            )
            | (Role::Source(_), Event::Request(_)) => {}
            (Role::Client(_), Event::Closed(reason)) => self.client_closed(key, reason, now),
            (Role::Source(source), Event::Closed(reason)) => {
                self.source_closed(key, source, reason, now);
            }
        }
    }

    fn pong(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Some(pinged_at) = conn.pinged_at {
            conn.round_trip = Some(now.saturating_duration_since(pinged_at));
        }
    }

    fn source_opened(&mut self, key: Key, id: SourceId, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.stage = Stage::Open;
        let peer = conn.peer;
        let source = &mut self.sources[id.0];
        source.enter(State::Open { key, since: now }, now);
        source.tally.connects += 1;
        source.carry_by(key);
        source.verdict = Verdict::None;
        let chosen = conn.codec.subprotocol().map(|chosen| format!(", subprotocol {chosen}"));
        let chosen = chosen.unwrap_or_default();
        self.begin_prologue(id, now);
        self.schedule(key, now + PING_INTERVAL);
        self.open_leg(id);
        let is_ready = self.has_nothing_to_say(key);
        self.note_opened(id, &format_args!("{peer}{chosen}"), is_ready, now);
        self.begin_session(key, id, now);
    }

    /// Says in the log that a source is there. One that is not ready is down for clients still.
    fn note_opened(&mut self, id: SourceId, place: &dyn Display, is_ready: bool, now: Instant) {
        if self.sources[id.0].place.is_some() {
            log::info!("source {}: connected ({place})", self.sources[id.0].label());
            if !self.has_open_sibling(id) {
                self.ledgers.note_opening(self.head(id));
            }
            return;
        }
        let source = &mut self.sources[id.0];
        let name = &source.settings.name;
        let down_since = if is_ready { source.down_since.take() } else { None };
        match down_since {
            None => log::info!("source {name}: connected ({place})"),
            Some(since) => {
                let seconds = now.saturating_duration_since(since).as_secs_f64();
                // As loud as its loss was.
                log::warn!("source {name}: connected again ({place}) after {seconds:.1} s");
            }
        }
        let dropped = std::mem::take(&mut source.dropped_messages);
        if dropped > 0 {
            let name = &source.settings.name;
            log::warn!(
                "source {name}: {dropped} messages of clients were dropped while it was down"
            );
        }
        self.ledgers.note_opening(id);
    }

    /// A source has sent a message.
    fn received(&mut self, key: Key, id: SourceId, message: Message<'_>, now: Instant) {
        self.sources[id.0].has_delivered = true;
        let sifted = self.sift(key, id, message, now);
        if sifted == Sifted::News {
            self.take_in(id, message);
        }
        match (sifted, self.converse(key, id, message, now)) {
            (Sifted::News, Heard::ForClients | Heard::Awaited) => self.deliver(id, message, now),
            (Sifted::Early, Heard::ForUs) => self.forget_early(id, now),
            // It is said to this connection, so others bring nothing that comes before it.
            (Sifted::Early, Heard::Awaited) => self.pass_early(id, now),
            (Sifted::Early, Heard::ForClients)
            | (Sifted::News, Heard::ForUs)
            | (Sifted::Copy, _) => {}
        }
    }

    /// Broadcasts a message, or holds it until there is room.
    pub(super) fn deliver(&mut self, id: SourceId, message: Message<'_>, now: Instant) {
        if self.make_room(id, message, now) {
            self.broadcast(id, message, now);
        } else {
            self.hold(id, message);
        }
    }

    /// Broadcasts the message that was prepared.
    pub(super) fn broadcast(&mut self, id: SourceId, message: Message<'_>, now: Instant) {
        let head = self.head(id);
        let channels = self.sources[id.0].channels.iter();
        let frames = channels.map(|channel| self.channels[channel.0].push(head, message, now));
        let bytes = frames.max().unwrap_or_default().max(message.payload.len());
        self.portion.add(bytes);
        self.batch_bytes += bytes;
    }

    /// Puts a client's message on its way to the sources of its channel.
    fn forward(&mut self, key: Key, id: ChannelId, message: Message<'_>, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.tally.received_messages += 1;
        let channel = &self.channels[id.0];
        conn.count(message, &channel.settings, now);
        let may_only_read = conn.codec.grant().is_some_and(|grant| grant.read_only);
        if channel.settings.read_only || may_only_read || channel.is_removed {
            self.refuse_message(key, id);
            return;
        }
        for source in 0..self.channels[id.0].settings.sources.len() {
            let source = self.channels[id.0].settings.sources[source];
            if self.is_spoken_to(source) {
                self.forward_to(source, message);
            }
        }
    }

    pub(super) fn forward_to(&mut self, id: SourceId, message: Message<'_>) {
        let head = self.head(id);
        let source = &mut self.sources[id.0];
        let open = source.open_key().and_then(|key| Some((key, self.conns.get_mut(key)?)));
        let Some((key, conn)) = open else {
            let name = &source.settings.name;
            if source.dropped_messages == 0 && self.ending.is_none() {
                log::warn!("source {name}: down, messages of clients are dropped until it is back");
            }
            source.dropped_messages += 1;
            source.tally.dropped_messages += 1;
            return;
        };
        if !conn.codec.takes_messages() {
            Self::refuse_to_record(source);
            return;
        }
        source.tally.forwarded_messages += 1;
        source.tally.forwarded_bytes += message.payload.len() as u64;
        self.tap.note(head, Way::Forwarded, message);
        conn.codec.send(message, &mut conn.outbox);
        source.unsent.push_back(conn.tally.sent_bytes + conn.outbox.len() as u64);
        self.queue(key);
    }

    fn refuse_message(&mut self, key: Key, id: ChannelId) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.tally.is_refusal_told {
            let channel = &self.channels[id.0];
            let label = conn.label(&channel.settings.name);
            let why = if channel.is_removed {
                "the channel was removed"
            } else if channel.settings.read_only {
                "the channel is read_only"
            } else {
                "its token or password is read_only"
            };
            log::info!("client {label}: sends messages, which are dropped: {why}");
        }
        conn.tally.is_refusal_told = true;
    }

    /// Reads the last words of a peer that we have said goodbye to, and forgets them.
    fn discard(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        match conn.discard(&mut self.scratch, READ_BYTES) {
            Ok(false) => self.await_turn(key),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.await_turn(key),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(true) | Err(_) => self.condemned.push(key),
        }
    }
}
