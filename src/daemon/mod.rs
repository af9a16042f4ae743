//! The loop, and what steers it.
//!
//! A turn has fixed phases; only here are sockets accepted, registered and dropped, and only here
//! is the clock read.

mod admin;
mod answers;
mod budget;
mod clock;
mod dialing;
mod error;
mod leash;
pub mod limits;
mod listening;
pub mod logging;
mod notify;
mod printed;
#[cfg_attr(not(feature = "programs"), path = "no_program.rs")]
mod program;
mod reach;
#[cfg_attr(not(feature = "recording"), path = "no_recording.rs")]
pub mod recording;
mod redirect;
mod reloading;
#[cfg_attr(not(feature = "recording"), path = "no_replaying.rs")]
pub mod replaying;
mod sandbox;
pub mod signals;
mod token;
mod watch;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use self::admin::Admin;
use self::budget::Budgets;
use self::dialing::{Attempt, Begun, Connected, Dialing};
pub use self::error::Error;
use self::listening::{Arrival, Listening};
use self::logging::Logging;
use self::notify::Notify;
use self::printed::Printed;
use self::reach::Resolved;
use self::recording::Recorders;
use self::reloading::{Reading, ReloadError, Reloading};
use self::replaying::Recording;
use self::sandbox::Sandbox;
use self::signals::Signal;
use self::watch::Watch;
use crate::codec::Gate;
use crate::config::settings::{Guests, Settings};
use crate::net::listener::Accepted;
use crate::net::passed::Passed;
use crate::net::stream::{Socket, Stream};
use crate::observe::histogram::Recorder;
use crate::observe::snapshot::Event;
use crate::reactor::mailbox::{Mailbox, Post};
use crate::reactor::poller::{Pace, Poller, Readiness};
use crate::reactor::table::Key;
use crate::reactor::target::Target;
use crate::relay::settings::{ChannelId, SourceId};
use crate::relay::{Command, Outcome, Peer, Relay};

/// A turn that passed so much on does not linger: its batch is large enough.
const BATCH_BYTES: usize = 16 * 1024;

/// Those who watch get a snapshot this often.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);

/// A relay with its sockets.
#[derive(Debug)]
pub struct Daemon {
    poller: Poller,
    mailbox: Mailbox<Letter>,
    relay: Relay<Stream>,
    listening: Listening,
    dialing: Dialing,
    recorders: Recorders,
    admin: Admin,
    watch: Watch,
    logging: Logging,
    reloading: Reloading,
    sandbox: Arc<Sandbox>,
    notify: Notify,
    events: Vec<(Target, Readiness)>,
    settings: Settings,
    started: Instant,
    turns: Recorder,
    deliveries: Recorder,
    /// When those who watch get the next snapshot.
    next_snapshot: Option<Instant>,
}

/// How a relay has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why.
    pub outcome: Outcome,
    /// Messages of recorded sources that are in no file.
    pub unrecorded_messages: u64,
}

/// What other threads tell the loop.
#[derive(Debug)]
pub enum Letter {
    /// The operator wants something.
    Signal(Signal),
    /// The operator wants a client to go.
    Disconnect(u64),
    /// A source's url, headers and addresses are known, or why not.
    Resolved(Attempt, Result<Box<Resolved>, String>),
    /// What an `on_connect_command` has printed for a connection, or why it has failed.
    Prompted(Key, Result<Printed, String>),
    /// A recording is open, or why not.
    Opened(Attempt, Result<Box<Recording>, String>),
    /// The state file was written, or not.
    Saved,
    /// The configuration was read again, or is wrong.
    Reloaded(u64, Result<Box<Reading>, ReloadError>),
}

impl Daemon {
    /// Opens all endpoints. Nothing is dialled before [`Self::run`].
    pub fn new(settings: Settings, logging: Logging) -> Result<Self, Error> {
        let poller = Poller::new().map_err(Error::System)?;
        let mailbox = Mailbox::new(poller.registry()).map_err(Error::System)?;
        let mut passed = Passed::take();
        let listening = Listening::open(&settings, &mut passed, poller.registry())?;
        let sources = settings.sources.iter().map(|source| source.relay.clone()).collect();
        let mut relay = Relay::new(settings.channels.clone(), sources, fastrand::u64(..));
        relay.number_from(clock::first_number(), clock::now());
        let mut budgets = Budgets::open(settings.state_file.clone(), mailbox.post(), clock::now());
        budgets.adopt(settings.sources.iter(), clock::now());
        let dialing = Dialing::new(settings.sources.clone(), budgets, mailbox.post());
        passed.dismiss();
        let mailbox_post = mailbox.post();
        Ok(Self {
            poller,
            mailbox,
            relay,
            listening,
            dialing,
            recorders: Recorders::new(),
            reloading: Reloading::new(mailbox_post),
            sandbox: Arc::default(),
            admin: Admin::default(),
            watch: Watch::default(),
            logging,
            notify: Notify::from_env(),
            events: Vec::new(),
            settings,
            started: clock::now(),
            turns: Recorder::default(),
            deliveries: Recorder::default(),
            next_snapshot: None,
        })
    }

    /// Gives up what the relay does not need, where the kernel allows it: for this thread, and for
    /// those that it starts from then on. The log says so.
    pub fn confine(&mut self) {
        let sandbox = Arc::new(Sandbox::enter(&self.settings));
        self.dialing.confine(Arc::clone(&sandbox));
        self.reloading.confine(Arc::clone(&sandbox));
        self.sandbox = sandbox;
    }

    /// Where other threads send letters.
    pub fn post(&self) -> Post<Letter> {
        self.mailbox.post()
    }

    /// What each open socket is for, and its address, for people to connect to.
    pub fn addresses(&self) -> impl Iterator<Item = (String, String)> {
        self.listening.addresses().map(|(guests, address)| match guests {
            Guests::Clients(id) => (format!("channel {}", self.relay.channel_name(id)), address),
            Guests::Newcomers => ("all channels".to_owned(), address),
            Guests::Operators => ("admin".to_owned(), address),
        })
    }

    /// Watches the relay from this process: a snapshot a second, and the log's lines.
    pub fn watch(&mut self) -> Receiver<Event> {
        self.watch.join()
    }

    /// Relays until it is told to stop, or nothing is left to relay.
    pub fn run(mut self) -> Result<Ended, Error> {
        let mut now = clock::now();
        let sources = (0..).map(SourceId).zip(self.settings.sources.iter().map(Some));
        self.recorders.reload(sources, &mut self.relay);
        self.notify.ready();
        self.obey(now);
        self.notify.turn(now, || self.relay.census());
        while !self.relay.is_finished() {
            let pace = self.poller.wait(now, self.wake_at(now)).map_err(Error::System)?;
            self.linger(pace);
            now = clock::now();
            self.recorders.begin_turn(&mut self.relay);
            self.read(now);
            self.relay.expire(now);
            self.relay.flush(now);
            self.record(now);
            while let Some(mut stream) = self.relay.reap() {
                // Tells a peer in TLS that this end is meant; whoever is gone does not mind.
                let _ = stream.finish();
            }
            self.obey(now);
            self.serve_visitors(now);
            self.notify.turn(now, || self.relay.census());
            now = self.end_turn(now);
        }
        let unrecorded_messages = self.recorders.end(&mut self.relay);
        self.relay.log_tallies();
        let outcome = self.relay.outcome().unwrap_or(Outcome::Asked);
        Ok(Ended { outcome, unrecorded_messages })
    }

    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let wakes = [
            self.relay.wake_at(now),
            self.dialing.wake_at(),
            self.listening.wake_at(now),
            self.admin.wake_at(now),
            self.reloading.wake_at(),
            self.next_snapshot,
            self.notify.wake_at(),
        ];
        wakes.into_iter().flatten().min()
    }

    /// Answers operators, and tells those who watch what is going on, once a second.
    fn serve_visitors(&mut self, now: Instant) {
        self.answer_visitors(now);
        self.show_messages(now);
        self.admin.expire(now);
        while let Some(line) = self.logging.next_line() {
            self.watch.remember(line.clone());
            self.tell(&Event::Log(line), now);
        }
        if !self.is_watched() {
            self.next_snapshot = None;
            return;
        }
        let due = *self.next_snapshot.get_or_insert(now);
        if due <= now {
            let event = Event::Snapshot(Box::new(self.snapshot(now)));
            self.tell(&event, now);
            self.next_snapshot = Some(now + SNAPSHOT_INTERVAL);
        }
    }

    fn is_watched(&self) -> bool {
        self.admin.is_watched() || self.watch.is_watched()
    }

    fn tell(&mut self, event: &Event, now: Instant) {
        if self.admin.is_watched() {
            self.admin.tell(&answers::line(event), now);
        }
        self.watch.tell(event);
    }

    /// Measures the turn. The next wait counts from its end.
    fn end_turn(&mut self, begun: Instant) -> Instant {
        let now = clock::now();
        let spent = now.saturating_duration_since(begun);
        self.turns.record(spent);
        if self.relay.batch_bytes() > 0 {
            self.deliveries.record(spent);
        }
        now
    }

    /// Lets messages gather when turns follow one another and each brings little.
    fn linger(&mut self, pace: Pace) {
        let batch = self.relay.take_batch_bytes();
        let coalesce = self.settings.coalesce;
        if pace == Pace::Busy && (1..BATCH_BYTES).contains(&batch) && !coalesce.is_zero() {
            self.poller.linger(coalesce);
        }
    }

    /// Takes in what the sockets and the mailbox have.
    fn read(&mut self, now: Instant) {
        self.relay.read_ready(now);
        let mut events = std::mem::take(&mut self.events);
        events.extend(self.poller.ready());
        for (target, readiness) in events.drain(..) {
            match target {
                Target::Mailbox => self.open_letters(now),
                Target::Listener(place) => self.listening.ready(place),
                Target::Dial(key) => {
                    if let Some(connected) = self.dialing.ready(key, now) {
                        self.open_source(connected, now);
                    }
                }
                Target::Visitor(key) => self.admin.ready(key),
                Target::Conn(key) => {
                    if readiness.writable {
                        self.relay.writable(key);
                    }
                    if readiness.readable {
                        self.relay.read(key, now);
                    }
                }
            }
        }
        self.events = events;
        self.accept(now);
    }

    fn accept(&mut self, now: Instant) {
        while let Some(Arrival { accepted, guests, gate }) = self.listening.accept(now) {
            match guests {
                Guests::Clients(channel) => self.open_client(accepted, gate, channel, now),
                Guests::Newcomers => self.open_newcomer(accepted, now),
                Guests::Operators => self.admin.enter(accepted, self.poller.registry(), now),
            }
        }
    }

    fn open_client(&mut self, accepted: Accepted, gate: Gate, channel: ChannelId, now: Instant) {
        let (stream, peer) = apart(accepted);
        if let Some(key) = self.relay.open_client(stream, channel, gate, peer, now) {
            self.register(key, Stream::register, now);
        }
    }

    fn open_newcomer(&mut self, accepted: Accepted, now: Instant) {
        let (stream, peer) = apart(accepted);
        if let Some(key) = self.relay.open_newcomer(stream, peer, now) {
            self.register(key, Stream::register, now);
        }
    }

    fn open_source(&mut self, connected: Connected, now: Instant) {
        let Connected { source, stream, peer, request, script } = connected;
        match stream {
            Ok(stream) => {
                let key = self.relay.open_source(stream, source, &request, Peer::Tcp(peer), now);
                self.relay.instruct(key, script);
                self.register(key, Stream::reregister, now);
            }
            Err(why) => self.relay.dial_failed(source, &why, now),
        }
    }

    /// Makes the poller report on a connection of the relay under its own token.
    fn register(
        &mut self,
        key: Key,
        register: fn(&mut Stream, &Registry, Token) -> io::Result<()>,
        now: Instant,
    ) {
        let Some(stream) = self.relay.stream_mut(key) else { return };
        if let Err(error) = register(stream, self.poller.registry(), Target::Conn(key).token()) {
            self.relay.broke(key, &error, now);
        }
    }

    /// Plays recordings whose audience is there.
    fn play(&mut self, now: Instant) {
        while let Some((source, recording)) =
            self.dialing.next_recording(|id| self.relay.audience(id))
        {
            match recording.play() {
                Ok(stream) => {
                    let key = self.relay.open_recording(Stream::Unix(stream), source, now);
                    self.register(key, Stream::register, now);
                }
                Err(error) => self.relay.dial_failed(source, &error, now),
            }
        }
    }

    /// Hands over what is recorded, and ends when no more is wanted.
    fn record(&mut self, now: Instant) {
        if self.recorders.end_turn(&mut self.relay) && self.relay.outcome().is_none() {
            log::info!("all messages are recorded that were wanted");
            self.relay.drain(Outcome::Asked, now);
        }
    }

    fn open_letters(&mut self, now: Instant) {
        while let Some(letter) = self.mailbox.next() {
            match letter {
                Letter::Signal(Signal::Stop) if self.relay.outcome().is_some() => {
                    log::warn!("asked to stop again, ending at once");
                    self.relay.abort(now);
                }
                Letter::Signal(Signal::Stop) => {
                    log::info!("asked to stop, saying goodbye to everyone");
                    self.relay.drain(Outcome::Asked, now);
                }
                Letter::Disconnect(id) => {
                    self.relay.disconnect_client(id, now);
                }
                Letter::Signal(Signal::HangUp) if self.settings.file.is_none() => {
                    log::info!("the terminal has gone, and there is no file to read again: ending");
                    self.relay.drain(Outcome::Asked, now);
                }
                Letter::Signal(Signal::HangUp | Signal::Reload) => self.begin_reload(None, now),
                Letter::Reloaded(number, reading) => self.take_reading(number, reading, now),
                Letter::Prompted(key, answer) => {
                    self.dialing.prompt_ended();
                    let answer = answer.as_ref().map(|Printed(bytes)| bytes.as_slice());
                    let answer = answer.map_err(String::as_str);
                    self.relay.prompted(key, answer, now);
                }
                Letter::Opened(attempt, opened) => {
                    if let Some((source, why)) = self.dialing.opened(attempt, opened) {
                        self.relay.dial_failed(source, &why, now);
                    }
                }
                Letter::Saved => self.dialing.saved(now),
                Letter::Resolved(attempt, resolved) => {
                    if let Some((source, why)) = self.dialing.resolved(attempt, resolved, now) {
                        self.relay.dial_failed(source, &why, now);
                    }
                }
            }
        }
    }

    /// Asks a source's program what to say on a connection.
    fn prompt(&mut self, key: Key, now: Instant) {
        // Its connection may have been lost since.
        let Some((source, overture, timeout)) = self.relay.take_overture(key) else { return };
        if let Some(why) = self.dialing.prompt(source, key, overture, timeout) {
            self.relay.prompted(key, Err(&why), now);
        }
    }

    /// Does what the relay asks for, and ends programs that are wanted no longer, and dials and
    /// readings that took too long.
    fn obey(&mut self, now: Instant) {
        self.dialing.stop_prompts(|key| self.relay.awaits_prompt(key));
        while let Some(command) = self.relay.next_command() {
            match command {
                Command::Dial(source) => match self.dialing.begin(source, now) {
                    Begun::UnderWay => {}
                    Begun::Failed(why) => self.relay.dial_failed(source, &why, now),
                    Begun::Postponed(until, budget) => {
                        self.relay.postpone(source, until, &budget, now);
                    }
                },
                Command::Prompt(key) => self.prompt(key, now),
                Command::Follow(source) => self.follow(source, now),
                Command::Close => {
                    self.notify.stopping();
                    self.listening.close();
                    self.dialing.close();
                    self.admin.close();
                }
            }
        }
        while let Some((source, why)) = self.dialing.poll(self.poller.registry(), now) {
            self.relay.dial_failed(source, &why, now);
        }
        self.play(now);
        self.expire_reading(now);
    }

    /// Dials a source where it has said that it is.
    fn follow(&mut self, source: SourceId, now: Instant) {
        let Some(location) = self.relay.take_location(source) else { return };
        if let Some(why) = self.dialing.follow(source, &location, now) {
            self.relay.dial_failed(source, &why, now);
        }
    }
}

fn apart(accepted: Accepted) -> (Stream, Peer) {
    match accepted {
        Accepted::Tcp(stream, address) => (stream, Peer::Tcp(address)),
        Accepted::Unix(stream, credentials) => (stream, Peer::Unix(credentials)),
    }
}
