//! Who gets what. Sources in, clients out, both ways; time is an argument.
//!
//! Reading and deadlines only change state and fill outboxes and backlogs; [`Relay::flush`] alone
//! writes, [`Relay::reap`] alone lets connections go. The files follow a connection's life: `mod`
//! opens it, `exchange` reads it, `flush` writes to it, `expiry` watches its deadlines, `slow` is
//! about those who do not keep up, `departure` ends it; `reload` changes who is there at all.
//! `session` is what we say to a source ourselves, `script` what that shall be. `feed`, `legs` and
//! `dedup` make one source of several connections.

mod arrival;
pub mod backlog;
pub mod backoff;
mod channel;
mod conn;
mod crowd;
mod dedup;
mod departure;
mod early;
mod exchange;
mod expiry;
mod farewell;
pub mod feed;
mod flush;
pub mod greeting;
mod history;
mod leg_stats;
mod legs;
mod progress;
pub mod record;
pub mod reload;
mod replay;
pub mod script;
pub mod session;
pub mod settings;
mod slow;
mod source;
pub mod stats;
mod steer;
pub mod tap;
mod view;
mod waits;

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant};

use self::backoff::Verdict;
use self::channel::Channel;
use self::conn::{Conn, Goodbye, Listed, Paces, Patience, Stage, Tally};
pub use self::conn::{Peer, Role};
use self::feed::Feed;
use self::progress::Session;
pub use self::replay::LAST_WAIT;
use self::script::Script;
use self::settings::{ChannelId, ChannelSettings, SourceId, SourceSettings};
use self::source::Source;
pub use self::source::{STABLE_AFTER, SourceTally, State};
use crate::codec::ws::Closed;
use crate::codec::{Codec, Gate, Location, ws};
use crate::net::stream::Socket;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;
use crate::reactor::table::{Key, Table};
use crate::reactor::timers::Timers;

/// A handshake takes no longer, on either side.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A ping goes out this often, and must have had any answer when the next one is due.
pub const PING_INTERVAL: Duration = Duration::from_secs(20);
/// A peer has this long to answer our last words.
pub const LINGER: Duration = Duration::from_millis(700);
/// What is kept for a client is delivered for no longer when the relay or its channel ends.
pub const DRAIN: Duration = Duration::from_secs(1);
/// Bytes owed to one client alone: it is read no further while it does not take these, and the rest
/// of a frame it has begun to get is kept for it up to this size.
pub const MAX_CLIENT_OUTBOX_BYTES: usize = 64 * 1024;
/// Timers that nobody counts on any more are forgotten when there are more than this many, and more
/// than a few for each connection.
const SPENT_TIMERS: usize = 1024;
/// Clients' handshakes that take much computing (TLS) and are read in one turn, so that a crowd that
/// comes keeps nobody waiting who is there.
pub const MAX_SECURED_PER_TURN: usize = 4;
/// Clients above `max_clients` that are being told so; more are cut off without a word.
pub const MAX_REFUSALS: usize = 16;
/// Clients of shared endpoints that have not said which channel they want; the oldest make way for more.
pub const MAX_NEWCOMERS: usize = 256;
/// Bytes of the largest message of a client whose channel is not known: it has sent none yet.
const NO_MESSAGE_BYTES: usize = 0;

/// What the relay asks of whoever owns the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Dial a source and answer with [`Relay::open_source`] or [`Relay::dial_failed`].
    Dial(SourceId),
    /// Run the `on_connect_command` of a source with what [`Relay::take_overture`] gives for this
    /// connection, and answer with [`Relay::prompted`].
    Prompt(Key),
    /// Dial a source where it has said that it is, [`Relay::take_location`], and answer in the same
    /// way.
    Follow(SourceId),
    /// Accept nobody and dial nothing from now on.
    Close,
}

/// How the relay came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to.
    Asked,
    /// Every source has given up.
    AllSourcesGaveUp,
    /// Every source was a recording and was played to its end.
    Played,
}

/// Sources, channels and their connections.
#[derive(Debug)]
pub struct Relay<S> {
    conns: Table<Conn<S>>,
    channels: Vec<Channel>,
    sources: Vec<Source>,
    /// Sources that have several connections.
    feeds: Vec<Feed>,
    timers: Timers,
    /// When clients that have sent too much may be read on.
    paced: Timers,
    /// When something is to be said to a source, or should have been said by it.
    sessions: Timers,
    /// The buffer that connections read into which have nothing unread.
    scratch: Inbox,
    /// Connections to be read in the next turn: they may have more than the last one allowed.
    ready: Vec<Key>,
    /// Clients in a handshake that takes much computing: they are read one after the other.
    securing: VecDeque<Key>,
    /// Connections whose outbox was filled, or which can be written to again.
    to_flush: Vec<Key>,
    condemned: Vec<Key>,
    commands: VecDeque<Command>,
    /// Clients that have not said which channel they want.
    newcomers: usize,
    numbering: Numbering,
    next_id: u64,
    /// For the jitter of redials.
    seed: u64,
    /// Bytes of sources' messages, of each the largest frame, since they were asked for.
    batch_bytes: usize,
    portion: exchange::Portion,
    /// Counts the turns.
    turn: usize,
    tap: tap::Tap,
    ledgers: record::Ledgers,
    /// Since when all recordings have ended, if nothing else is left.
    played_since: Option<Instant>,
    ending: Option<Ending>,
}

/// Where the numbers of a channel begin.
#[derive(Clone, Copy, Debug, Default)]
struct Numbering {
    /// Microseconds since the epoch.
    base: u64,
    /// When that was.
    since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Ending {
    outcome: Outcome,
    until: Instant,
}

impl<S: Socket> Relay<S> {
    /// A relay that wants to dial all its sources. `seed` is for the jitter of redials.
    pub fn new(channels: Vec<ChannelSettings>, sources: Vec<SourceSettings>, seed: u64) -> Self {
        let fed_by = |id| {
            let feeds = |(_, channel): &(_, &ChannelSettings)| channel.sources.contains(&id);
            channels.iter().enumerate().filter(feeds).map(|(n, _)| ChannelId(n)).collect()
        };
        let sources: Vec<_> = (0..)
            .map(SourceId)
            .zip(sources)
            .map(|(id, settings)| Source::new(settings, fed_by(id), seed.wrapping_add(id.0 as u64)))
            .collect();
        let mut relay = Self {
            conns: Table::new(),
            channels: channels.into_iter().map(|channel| Channel::new(channel, 0)).collect(),
            sources,
            feeds: Vec::new(),
            timers: Timers::default(),
            paced: Timers::default(),
            sessions: Timers::default(),
            scratch: Inbox::with_capacity(exchange::BUFFER_BYTES),
            ready: Vec::new(),
            securing: VecDeque::new(),
            to_flush: Vec::new(),
            condemned: Vec::new(),
            commands: VecDeque::new(),
            newcomers: 0,
            numbering: Numbering::default(),
            next_id: 1,
            seed,
            batch_bytes: 0,
            portion: exchange::Portion::default(),
            turn: 0,
            tap: tap::Tap::default(),
            ledgers: record::Ledgers::default(),
            played_since: None,
            ending: None,
        };
        relay.begin_feeds();
        relay
    }

    /// Numbers messages from here on, in microseconds since the epoch: so that a number of an
    /// earlier life of the relay is not taken for one of this. To be called at its start.
    pub fn number_from(&mut self, microseconds: u64, now: Instant) {
        self.numbering = Numbering { base: microseconds, since: Some(now) };
        for channel in &mut self.channels {
            channel.next_number = microseconds;
        }
    }

    /// Takes in a client that has connected to an endpoint of a channel. `None`: there was no
    /// room, the stream is gone.
    pub fn open_client(
        &mut self,
        stream: S,
        channel: ChannelId,
        gate: Gate,
        peer: Peer,
        now: Instant,
    ) -> Option<Key> {
        self.note_fullness(channel, gate);
        let (codec, closed) = self.codec_for(channel, gate, peer)?;
        self.channels[channel.0].crowd_mut(gate).enter(peer);
        let key = self.open(stream, codec, Role::Client(channel), peer, Outbox::default(), now);
        if let Some(conn) = self.conns.get_mut(key) {
            conn.gate = gate;
            conn.closed = closed;
        }
        Some(key)
    }

    /// Takes in a client that has connected to an endpoint of all channels. `None`: there was no
    /// room, the stream is gone.
    pub fn open_newcomer(&mut self, stream: S, peer: Peer, now: Instant) -> Option<Key> {
        if self.newcomers >= MAX_NEWCOMERS && !self.cut_off_oldest_newcomer(now) {
            return None;
        }
        self.newcomers += 1;
        let codec = Codec::WebSocket(ws::Codec::accept(NO_MESSAGE_BYTES));
        Some(self.open(stream, codec, Role::Newcomer, peer, Outbox::default(), now))
    }

    /// Takes in the connection to a source that was dialled, and asks it for WebSocket.
    pub fn open_source(
        &mut self,
        stream: S,
        source: SourceId,
        request: &ws::Request,
        peer: Peer,
        now: Instant,
    ) -> Key {
        let mut outbox = Outbox::default();
        let limit = self.sources[source.0].settings.max_message_size;
        let codec = Codec::WebSocket(ws::Codec::dial(request, limit, &mut outbox));
        let key = self.open(stream, codec, Role::Source(source), peer, outbox, now);
        self.sources[source.0].enter(State::Opening(key), now);
        key
    }

    /// Where a source has said that it is instead.
    pub fn take_location(&mut self, source: SourceId) -> Option<Location> {
        self.sources[source.0].location.take()
    }

    /// Learns that the dial it asked for led to no connection.
    pub fn dial_failed(&mut self, source: SourceId, why: &dyn Display, now: Instant) {
        if self.sources[source.0].state == State::Dialing {
            let what = format_args!("cannot connect ({why})");
            self.fail_source(source, Verdict::None, &what, now);
        }
    }

    /// Learns that a socket may be written to again.
    pub fn writable(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key) {
            conn.is_blocked = false;
            self.queue(key);
        }
    }

    /// Lets the next condemned connection go.
    pub fn reap(&mut self) -> Option<S> {
        loop {
            let key = self.condemned.pop()?;
            let Some(conn) = self.conns.remove(key) else { continue };
            match conn.role {
                Role::Newcomer => self.newcomers -= 1,
                Role::Client(channel) => {
                    self.channels[channel.0].crowd_mut(conn.gate).exit(conn.peer);
                }
                Role::Source(source) => self.sources[source.0].let_go(key),
            }
            return Some(conn.stream);
        }
    }

    /// When the next turn must come at the latest, `None` if only a socket can bring work.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let has_work = !self.ready.is_empty()
            || !self.securing.is_empty()
            || !self.to_flush.is_empty()
            || !self.commands.is_empty()
            || self.channels.iter().any(|channel| channel.is_dirty);
        if has_work {
            return Some(now);
        }
        let redials = self.sources.iter().filter_map(Source::redial_at);
        let patience =
            self.channels.iter().filter_map(|channel| channel.pause.and_then(|p| p.deadline));
        let ending = self.ending.filter(|_| !self.conns.is_empty()).map(|ending| ending.until);
        let timers =
            [&self.timers, &self.paced, &self.sessions].into_iter().filter_map(Timers::next);
        let last_wait = self.last_wait_ends_at();
        let feeds = self.next_look_at_feeds();
        redials.chain(patience).chain(ending).chain(last_wait).chain(feeds).chain(timers).min()
    }

    /// Bytes of sources' messages, as clients get them, since they were last taken note of.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// The same, of which note is taken.
    pub fn take_batch_bytes(&mut self) -> usize {
        std::mem::take(&mut self.batch_bytes)
    }

    /// The socket of a connection, for its owner to register.
    pub fn stream_mut(&mut self, key: Key) -> Option<&mut S> {
        self.conns.get_mut(key).map(|conn| &mut conn.stream)
    }

    /// What the owner of the sockets shall do next.
    pub fn next_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// Begins the end: clients get what is kept for them and a goodbye, all within
    /// [`DRAIN`] and [`LINGER`].
    pub fn drain(&mut self, outcome: Outcome, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        for n in 0..self.feeds.len() {
            self.settle_feed(n, now);
        }
        self.ending = Some(Ending { outcome, until: now + DRAIN + LINGER });
        self.commands.clear();
        self.commands.push_back(Command::Close);
        for source in self.sources.iter_mut().filter(|source| !source.is_removed()) {
            source.enter(State::GivenUp, now);
        }
        let keys: Vec<_> = self.conns.keys().collect();
        for key in keys {
            self.dismiss(key, Goodbye::ShuttingDown, now);
        }
    }

    /// Ends at once, without goodbyes.
    pub fn abort(&mut self, now: Instant) {
        self.condemned.extend(self.conns.keys());
        self.ending.get_or_insert(Ending { outcome: Outcome::Asked, until: now });
    }

    /// Whether the relay is ending and every connection is gone.
    pub fn is_finished(&self) -> bool {
        self.ending.is_some() && self.conns.is_empty()
    }

    /// How the relay came to its end, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.ending.map(|ending| ending.outcome)
    }

    /// Says in the log what has passed through each source.
    pub fn log_tallies(&self) {
        for source in self.sources.iter().filter(|source| !source.is_removed()) {
            log::info!("source {}: {} in all", source.label(), source.tally);
        }
    }

    /// The name of a channel.
    pub fn channel_name(&self, channel: ChannelId) -> &str {
        &self.channels[channel.0].settings.name
    }

    /// Where a source's life stands.
    pub fn source_state(&self, source: SourceId) -> State {
        self.sources[source.0].state
    }

    /// What has passed through a source.
    pub fn source_tally(&self, source: SourceId) -> SourceTally {
        self.sources[source.0].tally
    }

    fn open(
        &mut self,
        stream: S,
        codec: Codec,
        role: Role,
        peer: Peer,
        outbox: Outbox,
        now: Instant,
    ) -> Key {
        let until = now + HANDSHAKE_TIMEOUT;
        let key = self.conns.insert(Conn {
            stream,
            codec,
            role,
            stage: Stage::Opening,
            peer,
            id: self.next_id,
            inbox: Inbox::default(),
            outbox,
            cursor: backlog::Cursor::default(),
            gate: Gate::Web,
            closed: None,
            view: 0,
            place: 0,
            is_blocked: false,
            was_refused: false,
            broken: None,
            listed: Listed::default(),
            wait: None,
            last_heard: now,
            pinged_at: None,
            round_trip: None,
            opened_at: now,
            look_at: until,
            patience: Patience::default(),
            paces: Paces::default(),
            tally: Tally::default(),
            session: matches!(role, Role::Source(_))
                .then(|| Box::new(Session::new(Script::default(), now))),
        });
        self.next_id += 1;
        self.schedule(key, until);
        self.await_turn(key);
        self.queue(key);
        if self.ending.is_some() {
            self.dismiss(key, Goodbye::ShuttingDown, now);
        }
        key
    }

    fn codec_for(
        &self,
        channel: ChannelId,
        gate: Gate,
        peer: Peer,
    ) -> Option<(Codec, Option<Closed>)> {
        let channel = &self.channels[channel.0];
        if channel.is_removed { None } else { channel.codec(gate, peer) }
    }

    /// Says once that clients are turned away.
    fn note_fullness(&mut self, id: ChannelId, gate: Gate) {
        let channel = &mut self.channels[id.0];
        let is_full = channel.crowd(gate).population >= channel.settings.max_clients;
        let was_full = std::mem::replace(&mut channel.crowd_mut(gate).is_full, is_full);
        if is_full && !was_full {
            let (name, limit) = (&channel.settings.name, channel.settings.max_clients);
            log::warn!(
                "channel {name}: full with {limit} clients, others are refused; see max_clients"
            );
        }
    }

    fn dial(&mut self, id: SourceId, now: Instant) {
        self.played_since = None;
        self.begin_leg(id);
        self.sources[id.0].enter(State::Dialing, now);
        self.commands.push_back(Command::Dial(id));
    }
}

impl Numbering {
    /// The first number of a channel that is there from now on.
    fn at(self, now: Instant) -> u64 {
        let since = self.since.map(|since| now.saturating_duration_since(since).as_micros());
        self.base + u64::try_from(since.unwrap_or_default()).unwrap_or_default()
    }
}
