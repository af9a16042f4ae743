//! A relay and everyone around it.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, Instant};

use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};
use veylor::codec::{Gate, Wire, ws};
use veylor::net::stream::Socket;
use veylor::reactor::table::Key;
use veylor::relay::reload::Layout;
use veylor::relay::script::Script;
use veylor::relay::settings::{ChannelId, ChannelSettings, SourceId, SourceSettings};
use veylor::relay::{Command, Outcome, Peer, Relay, State};

use crate::peer::{Peered, SourcePeer, finish, read_all};
use crate::pipe::{Pipe, RelayEnd};

/// Turns in which nothing comes to rest: a loop that spins.
const MAX_TURNS: usize = 10_000;

/// A relay, most often of one source and one channel, and its peers.
pub(crate) struct World {
    pub(crate) relay: Relay<RelayEnd>,
    pub(crate) now: Instant,
    start: Instant,
    ends: Vec<(Key, Pipe)>,
    /// What each end was last said to have received.
    arrived: HashMap<Key, (usize, bool)>,
    peers: Vec<Peered>,
    /// By their places in the relay; those that are connected.
    sources: Vec<Option<SourcePeer>>,
    /// Whether sources can be reached.
    pub(crate) is_up: bool,
    /// Sources that cannot be reached though others can.
    pub(crate) unreachable: Vec<SourceId>,
    /// When they were dialled.
    pub(crate) dials: Vec<Duration>,
    /// What sources answer instead of agreeing.
    pub(crate) refusal: Option<String>,
    /// Whether the next of them does so, and none after it.
    pub(crate) refuses_once: bool,
    /// Where sources have sent us on.
    pub(crate) locations: Vec<String>,
    accepts_nobody: bool,
    /// What is said to each source that is dialled from now on.
    pub(crate) script: Script,
    /// Connections for which a program was asked what to say.
    pub(crate) prompts: Vec<Key>,
    /// The most bytes that a client was given in a turn.
    pub(crate) largest_gift: usize,
}

/// Names a client of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client(usize);

/// The kind of endpoint at which most clients get a wire.
pub(crate) fn gate(wire: Wire) -> Gate {
    match wire {
        Wire::WebSocket | Wire::Numbered | Wire::Sse | Wire::Ndjson => Gate::Web,
        Wire::Prefixed => Gate::Unix,
        Wire::Lines => Gate::Tcp,
    }
}

/// A channel with the defaults of the manual.
pub(crate) fn channel() -> ChannelSettings {
    ChannelSettings {
        name: "test".into(),
        sources: vec![SourceId(0)],
        ..ChannelSettings::default()
    }
}

/// A source with the defaults of the manual.
pub(crate) fn source() -> SourceSettings {
    SourceSettings { name: "test".into(), ..SourceSettings::default() }
}

impl World {
    /// A world whose source is up and connected.
    pub(crate) fn new(channel: ChannelSettings) -> Self {
        Self::of(vec![channel], vec![source()])
    }

    /// A world of several channels, whose sources are up and connected.
    pub(crate) fn of(channels: Vec<ChannelSettings>, sources: Vec<SourceSettings>) -> Self {
        let mut world = Self::at_rest(channels, sources);
        world.is_up = true;
        world.settle();
        world
    }

    /// A world whose source cannot be reached until `is_up` is set.
    pub(crate) fn without_source(channel: ChannelSettings, source: SourceSettings) -> Self {
        Self::at_rest(vec![channel], vec![source])
    }

    /// A world of several channels, whose sources cannot be reached until `is_up` is set.
    pub(crate) fn laid_out(channels: Vec<ChannelSettings>, sources: Vec<SourceSettings>) -> Self {
        Self::at_rest(channels, sources)
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn at_rest(channels: Vec<ChannelSettings>, sources: Vec<SourceSettings>) -> Self {
        let start = Instant::now();
        Self {
            relay: Relay::new(channels, sources, 7),
            now: start,
            start,
            ends: Vec::new(),
            arrived: HashMap::new(),
            peers: Vec::new(),
            sources: Vec::new(),
            is_up: false,
            unreachable: Vec::new(),
            dials: Vec::new(),
            refusal: None,
            refuses_once: false,
            locations: Vec::new(),
            accepts_nobody: false,
            script: Script::default(),
            prompts: Vec::new(),
            largest_gift: 0,
        }
    }

    /// Connects WebSocket clients.
    pub(crate) fn clients<const N: usize>(&mut self) -> [Client; N] {
        std::array::from_fn(|_| self.client(Wire::WebSocket))
    }

    /// Connects a client and lets it open.
    pub(crate) fn client(&mut self, wire: Wire) -> Client {
        self.client_of(ChannelId(0), wire)
    }

    /// Connects a client to a channel and lets it open.
    pub(crate) fn client_of(&mut self, channel: ChannelId, wire: Wire) -> Client {
        let client = self.stranger_of(channel, wire);
        if wire == Wire::WebSocket {
            self.say(client, HANDSHAKE.as_bytes());
            let response = self.heard(client);
            let text = String::from_utf8_lossy(&response);
            assert!(text.starts_with("HTTP/1.1 101 "), "not opened: {text}");
            let peer = &mut self.peers[client.0];
            peer.socket = Some(WebSocket::from_raw_socket(peer.pipe.clone(), Role::Client, None));
        }
        self.settle();
        client
    }

    /// Connects a WebSocket client that asks for a target such as `/?seq=1`.
    pub(crate) fn client_at(&mut self, target: &str) -> Client {
        let client = self.stranger(Wire::WebSocket);
        self.upgrade(client, target);
        client
    }

    /// Connects a WebSocket client to an endpoint of all channels.
    pub(crate) fn newcomer_at(&mut self, target: &str) -> Client {
        let client = self.newcomer();
        self.upgrade(client, target);
        client
    }

    /// Connects a client to an endpoint of all channels; it says nothing yet.
    pub(crate) fn newcomer(&mut self) -> Client {
        let (near, far) = Pipe::pair();
        let end = RelayEnd(near.clone());
        if let Some(key) = self.relay.open_newcomer(end, Peer::Unix(None), self.now) {
            self.ends.push((key, near));
        }
        self.keep_peer(far, Wire::WebSocket)
    }

    /// Connects a client that asks for a stream; the head of the answer.
    pub(crate) fn stream_at(&mut self, target: &str) -> (Client, String) {
        let client = self.stranger(Wire::Sse);
        self.say(client, format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        let answer = String::from_utf8(self.heard(client)).unwrap();
        let (head, rest) = answer.split_once("\r\n\r\n").expect("an answer with a head");
        self.peers[client.0].raw = rest.as_bytes().to_vec();
        (client, head.to_owned())
    }

    /// What has come to a client as text since it was last asked.
    pub(crate) fn streamed(&mut self, client: Client) -> String {
        String::from_utf8(self.heard(client)).unwrap()
    }

    fn upgrade(&mut self, client: Client, target: &str) {
        self.say(client, HANDSHAKE.replace("GET / ", &format!("GET {target} ")).as_bytes());
        let mut response = self.heard(client);
        let end = response.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head");
        let rest = response.split_off(end + 4);
        let head = String::from_utf8_lossy(&response).into_owned();
        assert!(head.starts_with("HTTP/1.1 101 "), "not opened: {head}");
        let peer = &mut self.peers[client.0];
        let socket = WebSocket::from_partially_read(peer.pipe.clone(), rest, Role::Client, None);
        peer.socket = Some(socket);
        self.settle();
    }

    fn keep_peer(&mut self, pipe: Pipe, wire: Wire) -> Client {
        self.peers.push(Peered {
            pipe,
            wire,
            socket: None,
            raw: Vec::new(),
            seen: Vec::new(),
            is_reading: true,
        });
        Client(self.peers.len() - 1)
    }

    /// Connects a client that says nothing yet.
    pub(crate) fn stranger(&mut self, wire: Wire) -> Client {
        self.stranger_of(ChannelId(0), wire)
    }

    /// Connects a client that says nothing yet to a channel.
    pub(crate) fn stranger_of(&mut self, channel: ChannelId, wire: Wire) -> Client {
        let (near, far) = Pipe::pair();
        let end = RelayEnd(near.clone());
        let gate = gate(wire);
        if let Some(key) = self.relay.open_client(end, channel, gate, Peer::Unix(None), self.now) {
            self.ends.push((key, near));
        }
        self.keep_peer(far, wire)
    }

    /// Lets a client say raw bytes.
    pub(crate) fn say(&mut self, client: Client, bytes: &[u8]) {
        // Who was cut off already cannot say more, and that is fine.
        let _ = self.peers[client.0].pipe.clone().write_all(bytes);
        self.settle();
    }

    /// The raw bytes that came to a client that has no WebSocket of its own.
    pub(crate) fn heard(&mut self, client: Client) -> Vec<u8> {
        self.settle();
        std::mem::take(&mut self.peers[client.0].raw)
    }

    /// Lets a client send a text.
    pub(crate) fn client_sends(&mut self, client: Client, text: &str) {
        let peer = &mut self.peers[client.0];
        if let Some(socket) = &mut peer.socket {
            finish(socket.send(Message::text(text)));
        } else {
            let length = u32::try_from(text.len()).unwrap().to_be_bytes();
            // Who was cut off already cannot say more, and that is fine.
            let _ = peer.pipe.write_all(&[&length, text.as_bytes()].concat());
        }
        self.settle();
    }

    /// Lets a client say goodbye.
    pub(crate) fn client_closes(&mut self, client: Client) {
        finish(self.peers[client.0].socket.as_mut().unwrap().close(None));
        self.settle();
    }

    /// Lets a Unix client send a last message and go between a turn's reading and its writing,
    /// while there is something to write to it.
    pub(crate) fn client_goes_before_the_flush(&mut self, client: Client, last: &[u8]) {
        let mut source = self.source(SourceId(0)).pipe.clone();
        source.write_all(b"\x81\x01x").unwrap();
        let keys: Vec<_> = self.ends.iter().map(|(key, _)| *key).collect();
        for key in keys {
            self.relay.read(key, self.now);
        }
        let pipe = &mut self.peers[client.0].pipe;
        pipe.write_all(last).unwrap();
        pipe.finish().unwrap();
        pipe.close_reading();
        self.relay.expire(self.now);
        self.relay.flush(self.now);
        self.settle();
    }

    /// Breaks a client's connection.
    pub(crate) fn reset(&mut self, client: Client) {
        self.peers[client.0].pipe.reset();
        self.settle();
    }

    /// Makes a client take nothing any more.
    pub(crate) fn stall(&mut self, client: Client) {
        self.stall_after(client, 0);
    }

    /// Makes a client take so many more bytes and then nothing.
    pub(crate) fn stall_after(&mut self, client: Client, bytes: usize) {
        self.peers[client.0].is_reading = false;
        self.peers[client.0].pipe.set_capacity(bytes);
    }

    /// Lets a client take everything again.
    pub(crate) fn resume(&mut self, client: Client) {
        self.peers[client.0].is_reading = true;
        self.peers[client.0].pipe.set_capacity(256 * 1024);
        self.settle();
    }

    /// Lets the relay write to a client only so many bytes at once.
    pub(crate) fn dribble(&mut self, client: Client, step: usize) {
        self.peers[client.0].pipe.set_step(step);
    }

    /// What a client has received: texts as they are, `close CODE REASON`, `end`.
    pub(crate) fn received(&mut self, client: Client) -> Vec<String> {
        self.settle();
        self.peers[client.0].seen.clone()
    }

    /// Whether the relay has closed a client's connection.
    pub(crate) fn is_cut_off(&self, client: Client) -> bool {
        self.peers[client.0].pipe.is_finished()
    }

    /// Lets the source send texts, all in one go.
    pub(crate) fn source_sends<T: AsRef<str>>(&mut self, texts: impl IntoIterator<Item = T>) {
        self.sends(SourceId(0), texts);
    }

    /// Lets one of the sources send texts, all in one go.
    pub(crate) fn sends<T: AsRef<str>>(
        &mut self,
        source: SourceId,
        texts: impl IntoIterator<Item = T>,
    ) {
        self.keeps(source, texts);
        self.settle();
    }

    /// Has one of the sources send texts as soon as anything happens.
    pub(crate) fn keeps<T: AsRef<str>>(
        &mut self,
        source: SourceId,
        texts: impl IntoIterator<Item = T>,
    ) {
        for text in texts {
            self.source(source).kept.push(Message::text(text.as_ref()));
        }
    }

    /// Lets the source send a message when the relay takes it, without waiting for that.
    pub(crate) fn queue_from_source(&mut self, message: Message) {
        self.source(SourceId(0)).kept.push(message);
    }

    fn source(&mut self, id: SourceId) -> &mut SourcePeer {
        self.sources[id.0].as_mut().expect("the source is connected")
    }

    /// Connects a recording in place of the source, and lets it say raw bytes.
    pub(crate) fn plays(&mut self, bytes: &[u8]) -> Pipe {
        let (near, mut far) = Pipe::pair();
        let key = self.relay.open_recording(RelayEnd(near.clone()), SourceId(0), self.now);
        self.ends.push((key, near));
        far.write_all(bytes).unwrap();
        self.settle();
        far
    }

    /// Lets the source say raw bytes.
    pub(crate) fn source_says(&mut self, bytes: &[u8]) {
        self.source(SourceId(0)).pipe.clone().write_all(bytes).unwrap();
        self.settle();
    }

    /// What the source has received.
    pub(crate) fn source_received(&mut self) -> Vec<String> {
        self.received_by(SourceId(0))
    }

    /// What one of the sources has received since it was dialled the last time.
    pub(crate) fn received_by(&mut self, source: SourceId) -> Vec<String> {
        self.settle();
        let source = self.sources.get(source.0).and_then(Option::as_ref);
        source.map(|source| source.seen.clone()).unwrap_or_default()
    }

    /// Makes the source take so many more bytes and then nothing.
    pub(crate) fn stall_source(&mut self, bytes: usize) {
        let source = self.source(SourceId(0));
        source.is_reading = false;
        source.pipe.set_capacity(bytes);
    }

    /// Lets the source take everything again.
    pub(crate) fn resume_source(&mut self) {
        let source = self.source(SourceId(0));
        source.is_reading = true;
        source.pipe.set_capacity(256 * 1024);
        self.settle();
    }

    /// Breaks the connection to the source.
    pub(crate) fn lose_source(&mut self) {
        self.lose(SourceId(0));
    }

    /// Breaks the connection to one of the sources.
    pub(crate) fn lose(&mut self, source: SourceId) {
        self.sources[source.0].take().unwrap().pipe.reset();
        self.settle();
    }

    /// Whether the source is connected.
    pub(crate) fn source_is_open(&self) -> bool {
        self.is_open(SourceId(0))
    }

    /// Whether one of the sources is connected.
    pub(crate) fn is_open(&self, source: SourceId) -> bool {
        matches!(self.relay.source_state(source), State::Open { .. })
    }

    /// Whether one of the sources is open at its own end.
    pub(crate) fn is_connected(&self, source: SourceId) -> bool {
        let peer = self.sources.get(source.0).and_then(Option::as_ref);
        peer.is_some_and(|peer| peer.socket.is_some())
    }

    /// Changes who is there.
    pub(crate) fn reload(&mut self, layout: Layout) {
        self.relay.reload(layout, self.now);
        self.settle();
    }

    /// Asks the relay to stop.
    pub(crate) fn stop(&mut self) {
        self.relay.drain(Outcome::Asked, self.now);
        self.settle();
    }

    /// Whether the relay accepts nobody any more.
    pub(crate) fn accepts_nobody(&self) -> bool {
        self.accepts_nobody
    }

    /// Lets time pass, with every deadline met when it comes.
    pub(crate) fn pass(&mut self, duration: Duration) {
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
    pub(crate) fn settle(&mut self) {
        for _ in 0..MAX_TURNS {
            let is_still = !self.turn();
            if is_still && self.relay.wake_at(self.now).is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("the relay does not come to rest");
    }

    /// One turn of the loop. Says whether anything moved outside.
    fn turn(&mut self) -> bool {
        let written = self.written();
        let mut moved = false;
        for source in self.sources.iter_mut().flatten() {
            moved |= source.step();
        }
        for n in 0..self.peers.len() {
            moved |= self.step_peer(n);
        }
        let events = self.events();
        let is_due = self.relay.wake_at(self.now).is_some_and(|at| at <= self.now);
        if events.is_empty() && !is_due {
            return moved || self.written() != written;
        }
        self.relay.read_ready(self.now);
        for (key, is_readable, is_writable) in events {
            if is_writable {
                self.relay.writable(key);
            }
            if is_readable {
                self.relay.read(key, self.now);
            }
        }
        self.relay.expire(self.now);
        let before: Vec<_> = self.peers.iter().map(|peer| peer.pipe.written()).collect();
        self.relay.flush(self.now);
        let given =
            self.peers.iter().zip(before).map(|(peer, before)| peer.pipe.written() - before);
        self.largest_gift = given.fold(self.largest_gift, usize::max);
        while let Some(end) = self.relay.reap() {
            moved = true;
            drop(end);
        }
        self.ends.retain(|(key, _)| self.relay.stream_mut(*key).is_some());
        while let Some(command) = self.relay.next_command() {
            moved = true;
            self.obey(command);
        }
        moved || self.written() != written
    }

    /// What a poller says: each change once, and nothing that it has said before.
    fn events(&mut self) -> Vec<(Key, bool, bool)> {
        let mut events = Vec::new();
        for (key, pipe) in &self.ends {
            let before = self.arrived.insert(*key, pipe.arrived());
            let is_readable = before.unwrap_or_default() != pipe.arrived();
            let is_writable = pipe.take_writable_edge() || before.is_none();
            if is_readable || is_writable {
                events.push((*key, is_readable, is_writable));
            }
        }
        events
    }

    /// Bytes ever written by anyone.
    fn written(&self) -> usize {
        let sources = self.sources.iter().flatten().map(|source| source.pipe.written());
        sources.sum::<usize>() + self.peers.iter().map(|peer| peer.pipe.written()).sum::<usize>()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Close => self.accepts_nobody = true,
            Command::Prompt(key) => self.prompts.push(key),
            Command::Follow(id) => {
                self.locations.extend(self.relay.take_location(id).map(|location| location.0));
                self.obey(Command::Dial(id));
            }
            Command::Dial(id) => {
                self.dials.push(self.now - self.start);
                if self.is_up && !self.unreachable.contains(&id) {
                    let (near, far) = Pipe::pair();
                    let request = ws::Request {
                        path_and_query: "/".into(),
                        host: "x".into(),
                        ..Default::default()
                    };
                    let end = RelayEnd(near.clone());
                    let key = self.relay.open_source(end, id, &request, Peer::Unix(None), self.now);
                    self.relay.instruct(key, self.script.clone());
                    self.ends.push((key, near));
                    if self.sources.len() <= id.0 {
                        self.sources.resize_with(id.0 + 1, || None);
                    }
                    self.sources[id.0] = Some(SourcePeer::new(far, self.refusal.clone()));
                    if self.refuses_once {
                        self.refusal = None;
                    }
                } else {
                    self.relay.dial_failed(id, &"unreachable", self.now);
                }
            }
        }
    }

    fn step_peer(&mut self, n: usize) -> bool {
        let peer = &mut self.peers[n];
        if !peer.is_reading {
            return false;
        }
        let Some(socket) = &mut peer.socket else {
            let bytes = peer.pipe.take_all();
            let moved = !bytes.is_empty();
            peer.raw.extend(bytes);
            if peer.wire == Wire::Prefixed {
                peer.unpack();
            }
            return moved;
        };
        read_all(socket, &mut peer.seen)
    }
}

/// A request that any endpoint accepts.
pub(crate) const HANDSHAKE: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
