//! A named stream: its views and its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backlog::Backlog;
use super::conn::{Conn, Peer};
use super::crowd::{Crowd, Room};
use super::greeting::{Kept, LastValues, Prologue};
use super::history::History;
use super::settings::{ChannelSettings, SourceId, TcpFraming};
use super::stats::{ChannelStats, Departures};
use super::view::{self, View};
use crate::codec::entrance::{Entrance, Filter};
use crate::codec::{Codec, Gate, Message, Wire, lines, prefixed, ws};
use crate::net::stream::Socket;
use crate::reactor::table::{Key, Table};

/// The views that are always there, by their places: everything, as most clients want it.
const PLAIN_WIRES: [Wire; 2] = [Wire::WebSocket, Wire::Prefixed];

/// Whether the view at a place is there also when nobody follows it.
pub(super) fn is_plain(place: usize) -> bool {
    place < PLAIN_WIRES.len()
}

/// A channel and whom it reaches.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) settings: ChannelSettings,
    /// By their places; one beyond the plain ones that nobody follows is free.
    pub(super) views: Vec<View>,
    crowds: [Crowd; 3],
    /// The number of the message that comes next.
    pub(super) next_number: u64,
    history: Option<History>,
    prologues: Vec<Prologue>,
    last_values: LastValues,
    /// One of the views is to be flushed.
    pub(super) is_dirty: bool,
    pub(super) pause: Option<Pause>,
    /// How often what waits for room here has changed.
    pub(super) held_changes: u64,
    pub(super) policy: Arc<ws::Policy>,
    /// It is a free place, or its clients are being seen off.
    pub(super) is_removed: bool,
    pub(super) clients_ever: u64,
    /// What clients got that have gone.
    pub(super) past: ChannelStats,
    pub(super) departures: Departures,
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

/// Where a client begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With what comes live, after so many of the last messages; it is new.
    Anew,
    /// Behind the last message that it has.
    Resumed(u64),
    /// With the oldest message that is kept: what it asks for is not there any more.
    Gap(u64),
}

impl Channel {
    /// A channel whose first message has this number.
    pub(super) fn new(settings: ChannelSettings, first_number: u64) -> Self {
        let history = history_of(&settings);
        Self {
            views: PLAIN_WIRES.map(|wire| View::new(wire, None, &settings, None)).into(),
            crowds: Default::default(),
            next_number: first_number,
            history,
            prologues: Vec::new(),
            last_values: LastValues::default(),
            is_dirty: false,
            pause: None,
            held_changes: 0,
            policy: Arc::new(policy_of(&settings)),
            is_removed: false,
            clients_ever: 0,
            past: ChannelStats::default(),
            departures: Departures::default(),
            settings,
        }
    }

    /// Takes new settings on. Those who are connected stay, and so does what is kept for them.
    pub(super) fn adopt(&mut self, settings: ChannelSettings) {
        for view in &mut self.views {
            view.backlog.set_limits(settings.max_queue_size, settings.max_queue_bytes);
        }
        for crowd in &mut self.crowds {
            crowd.is_full = false;
        }
        match (&mut self.history, settings.history) {
            (Some(history), 1..) => {
                history.set_limits(settings.history, settings.max_queue_bytes);
            }
            (history, _) => *history = history_of(&settings),
        }
        if settings.last_value != self.settings.last_value {
            self.last_values = LastValues::default();
        }
        if settings.prologue != self.settings.prologue {
            self.prologues.clear();
        }
        // Who feeds it no longer has begun nothing of what comes.
        self.prologues.retain(|prologue| settings.sources.contains(&prologue.source));
        self.policy = Arc::new(policy_of(&settings));
        self.settings = settings;
        // Who held something may feed it no longer.
        self.held_changes += 1;
    }

    /// Is fed by nobody and accepts nobody from now on.
    pub(super) fn retire(&mut self) {
        self.is_removed = true;
        self.settings.sources.clear();
        self.pause = None;
        self.history = None;
        self.last_values = LastValues::default();
        self.prologues.clear();
        for place in 0..self.views.len() {
            self.release(place);
        }
    }

    /// Gives memory back that nobody needs: the last client of a view has gone for good.
    fn release(&mut self, place: usize) {
        let is_kept = is_plain(place) && !self.is_removed;
        let view = &mut self.views[place];
        if view.clients.is_empty() && !is_kept {
            view.backlog = Backlog::new(1, 1);
            view.filter = None;
        }
    }

    /// The codec of a client that has just connected, and why it will be sent away, if it will.
    /// `None` if there is no room for it, nor for saying so.
    pub(super) fn codec(&self, gate: Gate, peer: Peer) -> Option<(Codec, Option<ws::Closed>)> {
        let limit = self.settings.max_client_message_size;
        let closed = match self.crowd(gate).room(&self.settings, peer) {
            Room::Free => None,
            Room::ToRefuse(why) => Some(why),
            Room::None => return None,
        };
        let message_type = self.settings.unix_message_type;
        let prefixed = || Codec::Prefixed(prefixed::Codec::new(message_type, limit));
        let codec = match (gate, self.settings.tcp_framing) {
            (Gate::Web, _) => Codec::WebSocket(ws::Codec::accept(limit)),
            // These have no words to refuse with.
            (Gate::Unix | Gate::Tcp, _) if closed.is_some() => return None,
            (Gate::Unix, _) | (Gate::Tcp, TcpFraming::Length) => prefixed(),
            (Gate::Tcp, TcpFraming::Newline) => Codec::Lines(lines::Codec::new(limit)),
        };
        Some((codec, closed))
    }

    pub(super) fn crowd(&self, gate: Gate) -> &Crowd {
        &self.crowds[gate as usize]
    }

    pub(super) fn crowd_mut(&mut self, gate: Gate) -> &mut Crowd {
        &mut self.crowds[gate as usize]
    }

    pub(super) fn backlog(&self, view: usize) -> &Backlog {
        &self.views[view].backlog
    }

    /// Everyone who follows, whatever the view.
    pub(super) fn clients(&self) -> impl Iterator<Item = Key> + '_ {
        self.views.iter().flat_map(|view| view.clients.iter().copied())
    }

    /// Finds out whom a message is for, and makes its frames: before room is made for it, and
    /// before it is pushed. Says whether there is room in all views.
    pub(super) fn prepare(&mut self, message: Message<'_>) -> view::Room {
        let mut reading = None;
        let views = self.views.iter_mut();
        let rooms = views.map(|view| view.prepare(message, self.next_number, &mut reading));
        rooms.fold(view::Room::Free, view::Room::max)
    }

    /// Gives the message that was prepared to each view that it is for. Says how many bytes its
    /// largest frame has.
    pub(super) fn push(&mut self, id: SourceId, message: Message<'_>, now: Instant) -> usize {
        let number = self.number(id, message, now);
        let mut largest = 0;
        for view in self.views.iter_mut().filter(|view| view.is_meant) {
            largest = largest.max(view.push(message, number, now));
            self.is_dirty = true;
        }
        largest
    }

    /// Takes in what a source held for this channel, whatever the limits: the source leaves it.
    pub(super) fn push_last(&mut self, id: SourceId, message: Message<'_>, now: Instant) {
        self.prepare(message);
        let number = self.number(id, message, now);
        for view in self.views.iter_mut().filter(|view| view.is_meant) {
            view.append(message, number, now);
        }
        self.stir();
    }

    /// Has everybody looked at in the next flush, also those for whom there is nothing: they may
    /// have waited for a held message that was not for them.
    pub(super) fn stir(&mut self) {
        self.is_dirty = true;
        for view in &mut self.views {
            view.is_dirty = true;
        }
    }

    /// Numbers a message, and keeps it for those who come later, as far as that is wanted.
    fn number(&mut self, id: SourceId, message: Message<'_>, now: Instant) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let ChannelSettings { prologue, last_value, .. } = &self.settings;
        if self.history.is_some() || prologue.is_some() || last_value.is_some() {
            self.keep(id, message, number, now);
        }
        number
    }

    /// Stands apart, so that the way of messages that nobody keeps stays short.
    #[inline(never)]
    fn keep(&mut self, id: SourceId, message: Message<'_>, number: u64, now: Instant) {
        if let Some(history) = &mut self.history {
            history.push(message, number, now);
        }
        if let Some(rule) = &self.settings.prologue {
            let prologue = self.prologues.iter_mut().find(|prologue| prologue.source == id);
            if let Some(prologue) = prologue {
                prologue.note(rule, message, number, now);
            }
        }
        if let Some(rule) = &self.settings.last_value {
            self.last_values.note(rule, message, number, &self.settings.name);
        }
    }

    /// Learns that a source has a new connection.
    pub(super) fn begin(&mut self, source: SourceId, now: Instant) {
        if self.settings.prologue.is_some() {
            self.prologues.retain(|prologue| prologue.source != source);
            self.prologues.push(Prologue::new(source, now));
        }
    }

    /// Where a client begins that asks for something.
    pub(super) fn start(&self, entrance: &Entrance) -> Start {
        let Some(since) = entrance.since else { return Start::Anew };
        let kept = self.history.as_ref().and_then(History::first_number);
        let view = self.view(entrance.wire, entrance.filter.as_ref());
        let evicted = view.and_then(|view| self.views[view].backlog.last_evicted());
        let is_whole = since < self.next_number
            && since.saturating_add(1) >= kept.unwrap_or(self.next_number)
            // Without a history, what the view has is not kept for anybody in particular.
            && (kept.is_none() || evicted.is_none_or(|evicted| evicted <= since));
        if is_whole { Start::Resumed(since) } else { Start::Gap(since) }
    }

    /// Whether a part of the channel can be had.
    pub(super) fn has_filter(&self, entrance: &Entrance) -> bool {
        let Some(filter) = &entrance.filter else { return true };
        let is_followed = |view: &&View| view.filter.is_some() && !view.clients.is_empty();
        let count = self.views.iter().filter(is_followed).count();
        count < self.settings.max_filters || self.view(entrance.wire, Some(filter)).is_some()
    }

    /// Adds a client, which gets everything that it asks for from its start on.
    pub(super) fn join<S: Socket>(&mut self, key: Key, conn: &mut Conn<S>, entrance: &Entrance) {
        self.clients_ever += 1;
        let start = self.start(entrance);
        let place = self.open_view(entrance);
        let view = &mut self.views[place];
        conn.view = place;
        conn.cursor = match start {
            Start::Anew => view.backlog.from_last(self.settings.replay),
            Start::Resumed(since) => view.backlog.from_number(since.saturating_add(1)),
            Start::Gap(_) => match self.history.as_ref().and_then(History::first_number) {
                Some(kept) => view.backlog.from_number(kept),
                None => view.backlog.end(),
            },
        };
        conn.tally.first_count = view.backlog.count_before(conn.cursor);
        conn.place = view.clients.len();
        view.entitled =
            if view.clients.is_empty() { conn.cursor } else { view.entitled.min(conn.cursor) };
        view.clients.push(key);
        let first = view.backlog.number_at(conn.cursor).unwrap_or(self.next_number);
        match start {
            Start::Anew => self.greet(conn, first),
            Start::Resumed(_) => {}
            Start::Gap(since) => {
                let gap = format!("{{\"notice\":\"gap\",\"since\":{since},\"first\":{first}}}");
                let wire = conn.wire();
                conn.outbox.write(|bytes| wire.encode_notice("gap", &gap, bytes));
                self.greet(conn, first);
            }
        }
    }

    /// Owes a new client what is kept from before a message.
    fn greet<S: Socket>(&self, conn: &mut Conn<S>, first: u64) {
        let view = &self.views[conn.view];
        let begun = self.prologues.iter().flat_map(Prologue::messages);
        let is_meant = |kept: &&Kept| kept.number() < first && view.wants(kept.message());
        let mut owed: Vec<_> = begun.chain(self.last_values.messages()).filter(is_meant).collect();
        // In the order of their numbers: who is cut off among them and asks for what came after the
        // last that it has got lacks none. What began a connection may be the latest of its key still.
        owed.sort_unstable_by_key(|kept| kept.number());
        owed.dedup_by_key(|kept| kept.number());
        conn.tally.greeting = owed.len() as u64;
        for kept in owed {
            let (message, number) = (kept.message(), kept.number());
            conn.outbox.write(|bytes| view.wire.encode(message, number, bytes));
        }
    }

    /// The view that has a form, if somebody follows it or it is always there.
    fn view(&self, wire: Wire, filter: Option<&Filter>) -> Option<usize> {
        let is_there = |place: usize, view: &View| {
            (is_plain(place) || !view.clients.is_empty())
                && view.wire == wire
                && view.filter.as_ref() == filter
        };
        (0..).zip(&self.views).find_map(|(place, view)| is_there(place, view).then_some(place))
    }

    /// The place of the view that a client asks for; opens it if it is not there.
    fn open_view(&mut self, entrance: &Entrance) -> usize {
        let history = self.history.as_ref();
        if let Some(place) = self.view(entrance.wire, entrance.filter.as_ref()) {
            if self.views[place].clients.is_empty() {
                self.views[place].take_history(history);
            }
            return place;
        }
        let view = View::new(entrance.wire, entrance.filter.clone(), &self.settings, history);
        let is_free = |place: &usize| self.views[*place].clients.is_empty();
        if let Some(place) = (PLAIN_WIRES.len()..self.views.len()).find(is_free) {
            self.views[place] = view;
            return place;
        }
        self.views.push(view);
        self.views.len() - 1
    }

    /// Removes a client that follows; `conns` learns the new place of the one who takes its place.
    pub(super) fn leave<S: Socket>(
        &mut self,
        view: usize,
        place: usize,
        conns: &mut Table<Conn<S>>,
    ) {
        self.is_dirty = true;
        let follows = &mut self.views[view];
        follows.is_dirty = true;
        let key = follows.clients.swap_remove(place);
        follows.dropping.retain(|dropping| *dropping != key);
        if let Some(moved) = follows.clients.get(place).and_then(|key| conns.get_mut(*key)) {
            moved.place = place;
        }
        self.release(view);
    }

    /// Looks at all cursors of a view.
    pub(super) fn survey<S: Socket>(&mut self, view: usize, conns: &Table<Conn<S>>) {
        self.views[view].survey(conns, self.history.as_ref());
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

fn history_of(settings: &ChannelSettings) -> Option<History> {
    let has_history = settings.history > 0;
    has_history.then(|| History::new(settings.history, settings.max_queue_bytes))
}

fn policy_of(settings: &ChannelSettings) -> ws::Policy {
    ws::Policy {
        allowed_origins: settings.allowed_origins.clone(),
        subprotocols: settings.subprotocols.clone(),
        auth: settings.auth.clone(),
    }
}
