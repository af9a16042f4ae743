//! A named stream: its backlogs and its clients.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::MAX_REFUSALS;
use super::backlog::{Backlog, Cursor};
use super::conn::{Conn, Peer};
use super::settings::ChannelSettings;
use super::stats::{ChannelStats, Departures};
use crate::codec::{Codec, Frame, Message, Wire, prefixed, ws};
use crate::net::stream::Socket;
use crate::reactor::table::{Key, Table};

/// All wires, in the order of a channel's broadcasts.
pub(super) const WIRES: [Wire; 2] = [Wire::WebSocket, Wire::Prefixed];

/// A channel and whom it reaches.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) settings: ChannelSettings,
    broadcasts: [Broadcast; WIRES.len()],
    /// Something was pushed, or a client left, since the last flush.
    pub(super) is_dirty: bool,
    pub(super) pause: Option<Pause>,
    policies: Policies,
    /// It is a free place, or its clients are being seen off.
    pub(super) is_removed: bool,
    pub(super) clients_ever: u64,
    /// What clients got that have gone.
    pub(super) past: ChannelStats,
    pub(super) departures: Departures,
}

/// One channel in one wire.
#[derive(Debug)]
pub(super) struct Broadcast {
    pub(super) backlog: Backlog,
    /// Those who follow the backlog.
    pub(super) clients: Vec<Key>,
    /// Those of them who lose the oldest messages until they have caught up.
    pub(super) dropping: Vec<Key>,
    /// All connections of this wire, also those who are coming or going.
    pub(super) population: usize,
    /// How many of them come from each address, or network of IPv6.
    from: HashMap<IpAddr, usize>,
    /// Clients were turned away since there was room.
    pub(super) is_full: bool,
    /// The position before which nothing may be evicted: a client that has not got it is
    /// entitled to it. Exact after a survey; cursors move in between only forwards.
    pub(super) entitled: Cursor,
}

/// What clients are told in their handshake.
#[derive(Debug)]
struct Policies {
    /// When there is room.
    open: Arc<ws::Policy>,
    /// When there is none.
    full: Arc<ws::Policy>,
    /// When there is none for their address.
    crowded: Arc<ws::Policy>,
}

/// Whether there is room for another client.
#[derive(Clone, Copy)]
enum Room {
    /// There is.
    Free,
    /// There is for a few to whom that is said.
    ToRefuse,
    /// There is not.
    None,
}

/// A channel that holds its sources back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    /// Up to when the patience of those who hold back has been counted.
    pub(super) counted_until: Instant,
    /// Whether somebody has everything and waits for more.
    pub(super) is_starving: bool,
    /// When the first patience ends.
    pub(super) deadline: Option<Instant>,
}

impl Channel {
    pub(super) fn new(settings: ChannelSettings) -> Self {
        Self {
            broadcasts: WIRES.map(|_| Broadcast::new(&settings)),
            is_dirty: false,
            pause: None,
            policies: Policies::of(&settings),
            is_removed: false,
            clients_ever: 0,
            past: ChannelStats::default(),
            departures: Departures::default(),
            settings,
        }
    }

    /// Takes new settings on. Those who are connected stay, and so does what is kept for them.
    pub(super) fn adopt(&mut self, settings: ChannelSettings) {
        for broadcast in &mut self.broadcasts {
            broadcast.backlog.set_limits(settings.max_queue_size, settings.max_queue_bytes);
            broadcast.is_full = false;
        }
        self.policies = Policies::of(&settings);
        self.settings = settings;
    }

    /// Is fed by nobody and accepts nobody from now on.
    pub(super) fn retire(&mut self) {
        self.is_removed = true;
        self.settings.sources.clear();
        self.pause = None;
        for wire in WIRES {
            self.release(wire);
        }
    }

    /// Gives memory back that nobody needs: the last client of a removed channel has gone.
    pub(super) fn release(&mut self, wire: Wire) {
        let is_removed = self.is_removed;
        let broadcast = self.broadcast_mut(wire);
        if is_removed && broadcast.population == 0 {
            broadcast.backlog = Backlog::new(1, 1);
        }
    }

    /// The codec of a client that has just connected, `None` if there is no room for it, nor for
    /// saying so.
    pub(super) fn codec(&self, wire: Wire, peer: Peer) -> Option<Codec> {
        let (limit, broadcast) = (self.settings.max_client_message_size, self.broadcast(wire));
        let room = |most: usize, there: usize| match there.checked_sub(most) {
            None => Room::Free,
            Some(above) if above < MAX_REFUSALS => Room::ToRefuse,
            Some(_) => Room::None,
        };
        let room_there = room(self.settings.max_clients, broadcast.population);
        let from_there = broadcast.population_from(peer);
        let room_for_peer = room(self.settings.max_clients_per_address, from_there);
        let policy = match (room_there, room_for_peer) {
            (Room::Free, Room::Free) => &self.policies.open,
            (Room::None, _) | (_, Room::None) => return None,
            (Room::ToRefuse, _) => &self.policies.full,
            (Room::Free, Room::ToRefuse) => &self.policies.crowded,
        };
        match wire {
            Wire::WebSocket => Some(Codec::WebSocket(ws::Codec::accept(Arc::clone(policy), limit))),
            // This wire has no words to refuse with.
            Wire::Prefixed if policy.closed.is_some() => None,
            Wire::Prefixed => {
                let message_type = self.settings.unix_message_type;
                Some(Codec::Prefixed(prefixed::Codec::new(message_type, limit)))
            }
        }
    }

    pub(super) fn broadcast(&self, wire: Wire) -> &Broadcast {
        &self.broadcasts[index(wire)]
    }

    pub(super) fn broadcast_mut(&mut self, wire: Wire) -> &mut Broadcast {
        &mut self.broadcasts[index(wire)]
    }

    pub(super) fn backlog(&self, wire: Wire) -> &Backlog {
        &self.broadcast(wire).backlog
    }

    /// Everyone who follows, whatever the wire.
    pub(super) fn clients(&self) -> impl Iterator<Item = Key> + '_ {
        self.broadcasts.iter().flat_map(|broadcast| broadcast.clients.iter().copied())
    }

    /// Encodes a message once for each wire that somebody follows.
    pub(super) fn push(&mut self, message: Message<'_>, now: Instant) {
        self.put(message, now, Backlog::push);
    }

    /// Takes in what a source held for this channel, whatever the limits: the source leaves it.
    pub(super) fn push_last(&mut self, message: Message<'_>, now: Instant) {
        self.put(message, now, Backlog::append);
    }

    fn put(
        &mut self,
        message: Message<'_>,
        now: Instant,
        put: impl Fn(&mut Backlog, Frame<'_>, Instant),
    ) {
        for wire in WIRES {
            let broadcast = self.broadcast_mut(wire);
            if !broadcast.clients.is_empty() {
                put(&mut broadcast.backlog, wire.frame(message), now);
                self.is_dirty = true;
            }
        }
    }

    /// Adds a client that is to get everything from now on.
    pub(super) fn join<S: Socket>(&mut self, key: Key, conn: &mut Conn<S>) {
        self.clients_ever += 1;
        let broadcast = self.broadcast_mut(conn.wire());
        conn.cursor = broadcast.backlog.end();
        conn.tally.first_sequence = broadcast.backlog.sequence(conn.cursor);
        conn.place = broadcast.clients.len();
        if broadcast.clients.is_empty() {
            broadcast.entitled = conn.cursor;
        }
        broadcast.clients.push(key);
    }

    /// Removes a client that follows; `conns` learns the new place of the one who takes its place.
    pub(super) fn leave<S: Socket>(
        &mut self,
        wire: Wire,
        place: usize,
        conns: &mut Table<Conn<S>>,
    ) {
        self.is_dirty = true;
        let broadcast = self.broadcast_mut(wire);
        let key = broadcast.clients.swap_remove(place);
        broadcast.dropping.retain(|dropping| *dropping != key);
        if let Some(moved) = broadcast.clients.get(place).and_then(|key| conns.get_mut(*key)) {
            moved.place = place;
        }
    }
}

impl Broadcast {
    fn new(settings: &ChannelSettings) -> Self {
        Self {
            backlog: Backlog::new(settings.max_queue_size, settings.max_queue_bytes),
            clients: Vec::new(),
            dropping: Vec::new(),
            population: 0,
            from: HashMap::new(),
            is_full: false,
            entitled: Cursor::default(),
        }
    }

    /// Counts a connection that comes.
    pub(super) fn enter(&mut self, peer: Peer) {
        self.population += 1;
        if let Some(network) = peer.network() {
            *self.from.entry(network).or_default() += 1;
        }
    }

    /// Counts a connection that is gone.
    pub(super) fn exit(&mut self, peer: Peer) {
        self.population -= 1;
        if let Some(network) = peer.network()
            && let Entry::Occupied(mut count) = self.from.entry(network)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn population_from(&self, peer: Peer) -> usize {
        peer.network().and_then(|network| self.from.get(&network).copied()).unwrap_or_default()
    }

    /// Looks at every cursor: forgets what everyone has, and finds out what some are entitled to.
    pub(super) fn survey<S: Socket>(&mut self, conns: &Table<Conn<S>>) {
        let end = self.backlog.end();
        let (mut slowest, mut entitled) = (end, end);
        for conn in self.clients.iter().filter_map(|key| conns.get(*key)) {
            slowest = slowest.min(conn.cursor);
            if !conn.patience.is_dropping {
                entitled = entitled.min(conn.cursor);
            }
        }
        self.backlog.evict(slowest);
        self.entitled = entitled;
    }
}

impl Pause {
    /// How much patience the clients of a paused channel have used up since it was last counted.
    pub(super) fn elapsed(&self, now: Instant) -> Duration {
        if self.is_starving {
            now.saturating_duration_since(self.counted_until)
        } else {
            Duration::ZERO
        }
    }
}

impl Policies {
    fn of(settings: &ChannelSettings) -> Self {
        let open = ws::Policy {
            allowed_origins: settings.allowed_origins.clone(),
            subprotocols: settings.subprotocols.clone(),
            auth: settings.auth.clone(),
            closed: None,
        };
        let closed = |why| Arc::new(ws::Policy { closed: Some(why), ..open.clone() });
        let (full, crowded) = (closed(ws::Closed::Full), closed(ws::Closed::Crowded));
        Self { open: Arc::new(open), full, crowded }
    }
}

fn index(wire: Wire) -> usize {
    match wire {
        Wire::WebSocket => 0,
        Wire::Prefixed => 1,
    }
}
