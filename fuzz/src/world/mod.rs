//! A relay of two channels and two sources, and everyone around it, as a fuzzer tells their story.
//!
//! The first channel is fed by one source, the second by both. Messages of a source are numbered, so
//! that every client's share can be told: whoever always reads gets all that the relay has received
//! since it joined, in order. Others may lose the oldest, but never see an order of their own.

mod client;
mod source;
mod story;

use std::time::{Duration, Instant};

use veylor::codec::{Gate, Wire, ws};
use veylor::reactor::table::Key;
use veylor::relay::settings::{
    ChannelId, ChannelSettings, OnSourceLoss, SlowClient, SourceId, SourceSettings,
};
use veylor::relay::stats::Departures;
use veylor::relay::{Command, DRAIN, LINGER, Outcome, Peer, Relay};

use self::client::{Client, End};
use self::source::Source;
pub use self::story::{Manner, Shape, Step, Story};
use crate::pipe::{Far, Pipe};

/// Turns in which nothing comes to rest: a loop that spins.
const MAX_TURNS: usize = 20_000;
/// Clients of one story.
const MAX_CLIENTS: usize = 10;
/// Steps of one story.
const MAX_STEPS: usize = 80;
/// Bytes of a client's message.
const MAX_CLIENT_MESSAGE: usize = 10_000;

/// The sources that feed a channel.
fn feeds(channel: usize) -> &'static [usize] {
    if channel == 0 { &[0] } else { &[0, 1] }
}

/// A relay and its peers.
#[derive(Debug)]
pub struct World {
    relay: Relay<Pipe>,
    now: Instant,
    ends: Vec<(Key, Far)>,
    clients: Vec<Client>,
    sources: [Source; 2],
    /// Events are told together with the next that settles.
    is_hasty: bool,
    accepts_nobody: bool,
    is_aborted: bool,
    /// Nobody was awake while it ended: a message that a source held reached nobody, and the log
    /// says so.
    has_overslept: bool,
    /// When the relay must be finished.
    ends_by: Option<Instant>,
    shape: Shape,
}

impl World {
    /// A relay that has dialled its sources.
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    pub fn new(shape: Shape) -> Self {
        let channels = [0, 1].map(|n| channel(&shape, n)).to_vec();
        let sources = [0, 1].map(|n| source(&shape, n)).to_vec();
        Self {
            relay: Relay::new(channels, sources, 7),
            now: Instant::now(),
            ends: Vec::new(),
            clients: Vec::new(),
            sources: [0, 1].map(Source::new),
            is_hasty: false,
            accepts_nobody: false,
            is_aborted: false,
            has_overslept: false,
            ends_by: None,
            shape,
        }
    }

    /// Lets a story happen, up to the end of the relay.
    pub fn tell(&mut self, steps: &[Step]) {
        self.settle();
        for step in steps.iter().take(MAX_STEPS) {
            self.step(step);
            if !self.is_hasty {
                self.settle();
            }
        }
        self.conclude();
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Join { second, prefixed, is_stranger } => {
                self.join(usize::from(*second), *prefixed, *is_stranger);
            }
            Step::Send { second, count, length, is_split } => {
                let source = &mut self.sources[usize::from(*second)];
                for _ in 0..1 + count % 40 {
                    source.send(usize::from(*length % 8_000), *is_split);
                }
            }
            Step::SourceSays { second, bytes } => self.sources[usize::from(*second)].say(bytes),
            Step::SourceCloses { second } => self.sources[usize::from(*second)].close(),
            Step::LoseSource { second } => self.sources[usize::from(*second)].reset(),
            Step::Next { second, manner } => self.sources[usize::from(*second)].manner = *manner,
            Step::StallSource { second, bytes } => {
                self.sources[usize::from(*second)].stall(usize::from(*bytes));
            }
            Step::ResumeSource { second } => self.sources[usize::from(*second)].resume(),
            Step::Pass(time) => self.pass(milliseconds(*time)),
            Step::Jump(time) => {
                self.now += milliseconds(*time);
                self.has_overslept |= self.relay.outcome().is_some();
            }
            Step::Haste(is_hasty) => self.is_hasty = *is_hasty,
            Step::Stop => self.relay.drain(Outcome::Asked, self.now),
            Step::Abort => {
                self.relay.abort(self.now);
                self.is_aborted = true;
            }
            Step::Client { number, deed } => {
                let count = self.clients.len().max(1);
                if let Some(client) = self.clients.get_mut(usize::from(*number) % count) {
                    client.act(deed);
                }
            }
        }
    }

    fn join(&mut self, channel: usize, prefixed: bool, is_stranger: bool) {
        self.settle();
        if self.accepts_nobody || self.clients.len() == MAX_CLIENTS {
            return;
        }
        let wire = if prefixed { Wire::Prefixed } else { Wire::WebSocket };
        let gate = if prefixed { Gate::Unix } else { Gate::Web };
        let (near, far) = Pipe::pair();
        let key =
            self.relay.open_client(near, ChannelId(channel), gate, Peer::Unix(None), self.now);
        let Some(key) = key else { return };
        self.ends.push((key, far.clone()));
        let joined_at = self.received();
        self.clients.push(Client::new(self.clients.len(), channel, wire, far, joined_at));
        if !is_stranger && let Some(client) = self.clients.last_mut() {
            client.shake_hands();
        }
        self.settle();
    }

    /// How many numbered messages of each source the relay has received.
    fn received(&self) -> [usize; 2] {
        [0, 1].map(|n| self.sources[n].received(self.relay.source_tally(SourceId(n))))
    }

    /// Lets time pass, with every deadline met when it comes.
    fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.settle();
        while let Some(at) = self.relay.wake_at(self.now).filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Lets everything happen that can happen without time.
    fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            let is_still = !self.turn();
            if is_still && self.relay.wake_at(self.now).is_none_or(|at| at > self.now) {
                self.check_end();
                return;
            }
        }
        panic!("the relay does not come to rest");
    }

    /// One turn of the loop. Says whether anything moved outside.
    fn turn(&mut self) -> bool {
        let received = self.received();
        let mut moved = false;
        for source in &mut self.sources {
            moved |= source.listen();
        }
        for client in &mut self.clients {
            moved |= client.listen(received);
        }
        self.relay.read_ready(self.now);
        for (key, far) in &self.ends {
            let news = far.take_news();
            moved |= news.readable || news.writable;
            if news.writable {
                self.relay.writable(*key);
            }
            if news.readable {
                self.relay.read(*key, self.now);
            }
        }
        self.relay.expire(self.now);
        self.relay.flush(self.now);
        while let Some(end) = self.relay.reap() {
            moved = true;
            drop(end);
        }
        self.ends.retain(|(key, _)| self.relay.stream_mut(*key).is_some());
        while let Some(command) = self.relay.next_command() {
            moved = true;
            self.obey(command);
        }
        moved
    }

    fn obey(&mut self, command: Command) {
        let Command::Dial(id) = command else {
            self.accepts_nobody = true;
            return;
        };
        let tally = self.relay.source_tally(id);
        let source = &mut self.sources[id.0];
        if source.manner == Manner::Unreachable {
            self.relay.dial_failed(id, &"unreachable", self.now);
            return;
        }
        let (near, far) = Pipe::pair();
        source.connect(far.clone(), tally);
        let request =
            ws::Request { path_and_query: "/".into(), host: "x".into(), ..Default::default() };
        let key = self.relay.open_source(near, id, &request, Peer::Unix(None), self.now);
        self.ends.push((key, far));
    }

    /// An end that was begun comes in time.
    fn check_end(&mut self) {
        if self.relay.outcome().is_some() && self.ends_by.is_none() {
            self.ends_by = Some(self.now + DRAIN + LINGER);
        }
        if self.ends_by.is_some_and(|at| at <= self.now) || self.is_aborted {
            assert!(self.relay.is_finished(), "the relay does not end");
        }
    }

    /// Everyone reads again and must have got what was for it; then the relay is stopped.
    fn conclude(&mut self) {
        self.is_hasty = false;
        for client in &mut self.clients {
            client.resume();
        }
        for source in &mut self.sources {
            source.resume();
        }
        self.pass(Duration::from_secs(3));
        self.check();
        self.check_forwarded();
        for client in self.clients.iter_mut().filter(|_| self.shape.ends_stalled) {
            client.stall_if_unfaithful();
        }
        self.relay.drain(Outcome::Asked, self.now);
        self.pass(DRAIN + LINGER);
        assert!(self.relay.is_finished(), "the relay does not end");
        self.check();
    }

    fn check(&self) {
        self.check_counters();
        let received = self.received();
        for source in &self.sources {
            source.check(self.shape.read_only);
        }
        for client in &self.clients {
            let is_closed_with_its_sources = self.shape.closes_on_loss
                && feeds(client.channel).iter().all(|n| self.sources[*n].was_lost);
            let may_end = self.relay.outcome().is_some() || is_closed_with_its_sources;
            let end = End {
                may_come: may_end,
                is_aborted: self.is_aborted,
                is_overslept: self.has_overslept,
            };
            client.check(&self.sources, received, end);
        }
    }

    /// The relay's own counters fit one another, and its backlogs their limits.
    fn check_counters(&self) {
        let received: u64 =
            self.relay.source_stats(self.now).iter().map(|s| s.received_messages).sum();
        for channel in self.relay.channel_stats(self.now) {
            let Departures { closed, broken, silent, slow, protocol, dismissed } =
                channel.departures;
            let gone = closed + broken + silent + slow + protocol + dismissed;
            if !self.is_aborted {
                assert_eq!(channel.clients + gone, channel.clients_ever, "clients of {channel:?}");
            }
            for backlog in &channel.backlogs {
                assert!(backlog.messages <= backlog.max_messages, "{backlog:?}");
                assert!(backlog.bytes <= backlog.max_bytes || backlog.messages <= 1, "{backlog:?}");
            }
        }
        for client in self.relay.client_stats(self.now) {
            let told = client.sent_messages + client.dropped_messages + client.lag_messages;
            assert!(told <= received, "more than the {received} that came: {client:?}");
        }
    }

    /// All that clients have sent has arrived at the sources that were always there.
    fn check_forwarded(&self) {
        if self.shape.read_only || self.relay.outcome().is_some() {
            return;
        }
        for client in &self.clients {
            for source in feeds(client.channel) {
                let heard = self.sources[*source].heard_of(client.number);
                let is_whole = heard.is_none_or(|heard| heard >= client.sent());
                assert!(is_whole, "source {source} heard {heard:?} of client {}", client.number);
            }
        }
    }
}

fn milliseconds(time: u16) -> Duration {
    Duration::from_millis(u64::from(time))
}

fn channel(shape: &Shape, n: usize) -> ChannelSettings {
    ChannelSettings {
        name: format!("channel{n}"),
        sources: feeds(n).iter().copied().map(SourceId).collect(),
        max_queue_size: 1 + usize::from(shape.max_queue_size % 40),
        max_queue_bytes: 1 + usize::from(shape.max_queue_bytes),
        max_pause: Duration::from_millis(3 * u64::from(shape.max_pause)),
        slow_client: if shape.drops { SlowClient::DropOldest } else { SlowClient::Disconnect },
        on_source_loss: if shape.closes_on_loss { OnSourceLoss::Close } else { OnSourceLoss::Keep },
        read_only: shape.read_only,
        max_client_message_size: MAX_CLIENT_MESSAGE,
        max_clients: 1 + usize::from(shape.max_clients % 12),
        ..ChannelSettings::default()
    }
}

fn source(shape: &Shape, n: usize) -> SourceSettings {
    SourceSettings {
        name: format!("source{n}"),
        max_message_size: 20_000,
        reconnect_delay: Duration::from_secs(1),
        reconnect_max_delay: Duration::from_secs(5),
        reconnect_max_attempts: u32::from(shape.max_attempts % 8),
        ..SourceSettings::default()
    }
}
