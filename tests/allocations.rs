//! In steady state a message is carried without an allocation, whichever way it goes.
//!
//! Allocations are counted for the thread that runs the test; the sockets are buffers that were
//! made before.

#![expect(clippy::unwrap_used, reason = "a test that is surprised shall fail")]

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use allocation_counter::measure;
use veylor::codec::entrance::Entrance;
use veylor::codec::{Codec, Event, Gate, Kind, Message, Wire, prefixed, ws};
use veylor::net::stream::Socket;
use veylor::reactor::inbox::Inbox;
use veylor::reactor::outbox::Outbox;
use veylor::reactor::table::Key;
use veylor::relay::settings::{ChannelId, ChannelSettings, SourceId, SourceSettings};
use veylor::relay::{Command, Peer, Relay};

/// Batches before the counting begins: buffers find their size.
const WARM_UP: usize = 20;
/// Batches that are counted.
const BATCHES: usize = 100;
/// Messages of a batch.
const MESSAGES: usize = 100;
/// Bytes of a message.
const PAYLOAD: [u8; 128] = [b'x'; 128];
/// Allocations in all that may happen: a queue that grows late, not one for each message or batch.
const A_HANDFUL: u64 = 5;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";
const PING: &[u8] = b"\x89\x04ping";

#[test]
fn counter_sees_new_and_grown_buffers() {
    let mut buffer = vec![0_u8; 16];
    assert_eq!(measure(|| buffer.reserve_exact(1 << 16)).count_total, 1);
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

#[test]
fn broadcasting_to_many_allocates_nothing() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..20).map(|_| world.client(Wire::WebSocket)).collect();
    clients.extend((0..10).map(|_| world.client(Wire::Prefixed)));
    let batch = unmasked(Kind::Text).repeat(MESSAGES);

    let allocations = world.count(|world| {
        let source = world.source;
        world.hears(source, &batch);
    });

    let carried = world.relay.source_tally(SourceId(0)).received_messages;
    assert_eq!(carried, ((WARM_UP + BATCHES) * MESSAGES) as u64);
    for client in clients {
        assert!(world.ends[client].written() >= BATCHES * MESSAGES * PAYLOAD.len());
    }
    assert!(allocations <= A_HANDFUL, "{allocations} allocations");
}

#[test]
fn every_wire_and_filter_allocates_nothing() {
    let mut world = World::new();
    let two = "/?match=/s=A,B&match=/n=1.5";
    let targets = ["/?seq=1", "/?match=/s=A", "/?match=/s=Z", "/?match=price", two];
    let mut clients: Vec<_> = targets.iter().map(|target| world.guest(target)).collect();
    clients.extend(["/sse", "/ndjson", "/sse?match=/s=A"].map(|target| world.stream(target)));
    let payload = br#"{"s":"A","n":1.5,"price":"17.25","list":[1,2,3],"text":"nothing special"}"#;
    let texts = Message { kind: Kind::Text, payload };
    let bytes = Message { kind: Kind::Binary, payload: &PAYLOAD };
    let batch = [framed(texts), framed(bytes)].concat().repeat(MESSAGES / 2);

    let allocations = world.count(|world| {
        let source = world.source;
        world.hears(source, &batch);
    });

    let carried = world.relay.source_tally(SourceId(0)).received_messages;
    assert_eq!(carried, ((WARM_UP + BATCHES) * MESSAGES) as u64);
    for (place, client) in clients.into_iter().enumerate() {
        let is_nobodys = targets.get(place) == Some(&"/?match=/s=Z");
        let wanted = BATCHES * MESSAGES / 2 * payload.len();
        assert_eq!(world.ends[client].written() < wanted, is_nobodys, "client {place}");
    }
    assert!(allocations <= A_HANDFUL, "{allocations} allocations");
}

#[test]
fn joining_fragments_and_answering_pings_allocates_nothing() {
    let mut world = World::new();
    let client = world.client(Wire::WebSocket);
    let fragments = [b"\x01\x03one".as_slice(), PING, b"\x80\x03two"].concat();
    let batch = fragments.repeat(MESSAGES);
    let masked_pings = masked(0x89, b"ping").repeat(MESSAGES);

    let allocations = world.count(|world| {
        let source = world.source;
        world.hears(source, &batch);
        world.hears(client, &masked_pings);
    });

    let carried = world.relay.source_tally(SourceId(0)).received_messages;
    assert_eq!(carried, ((WARM_UP + BATCHES) * MESSAGES) as u64);
    assert!(allocations <= A_HANDFUL, "{allocations} allocations");
}

#[test]
fn forwarding_allocates_nothing() {
    let mut world = World::new();
    let clients: Vec<_> = (0..5).map(|_| world.client(Wire::WebSocket)).collect();
    let framed = masked(0x81, &PAYLOAD).repeat(MESSAGES / 10);
    let unix: Vec<_> = (0..5).map(|_| world.client(Wire::Prefixed)).collect();
    let prefix = u32::try_from(PAYLOAD.len()).unwrap().to_be_bytes();
    let prefixed = [&prefix, PAYLOAD.as_slice()].concat().repeat(MESSAGES / 10);

    let allocations = world.count(|world| {
        for client in &clients {
            world.hears(*client, &framed);
        }
        for client in &unix {
            world.hears(*client, &prefixed);
        }
    });

    let carried = world.relay.source_tally(SourceId(0)).forwarded_messages;
    assert_eq!(carried, ((WARM_UP + BATCHES) * MESSAGES) as u64);
    assert!(allocations <= A_HANDFUL, "{allocations} allocations");
}

#[test]
fn codecs_allocate_nothing_either_way() {
    let mut outbox = Outbox::default();
    let mut server = Codec::WebSocket(ws::Codec::accept(1 << 20));
    let mut opening = Inbox::default();
    opening.push(REQUEST);
    let request = server.poll_event(&mut opening, &mut outbox);
    let Ok(Some(Event::Request(head))) = request else { panic!("{request:?}") };
    let head = head.to_vec();
    server.answer(&head, &Entrance::default(), &ws::Policy::default(), None, &mut outbox).unwrap();
    let mut unix = Codec::Prefixed(prefixed::Codec::new(prefixed::MessageType::Auto, 1 << 20));
    assert_eq!(unix.poll_event(&mut opening, &mut outbox), Ok(Some(Event::Opened)));
    let mut inbox = Inbox::with_capacity(64 * 1024);
    let framed = masked(0x81, &PAYLOAD).repeat(MESSAGES);
    let message = Message { kind: Kind::Text, payload: &PAYLOAD };
    let mut understood = 0;
    let mut turn = || {
        inbox.push(&framed);
        while let Some(Event::Message(message)) =
            server.poll_event(&mut inbox, &mut outbox).unwrap()
        {
            understood += message.payload.len();
        }
        for _ in 0..MESSAGES {
            server.send(message, &mut outbox);
            unix.send(message, &mut outbox);
        }
        outbox.clear();
    };
    turn();
    let counted = measure(|| (0..BATCHES).for_each(|_| turn()));
    assert_eq!(understood, (BATCHES + 1) * MESSAGES * PAYLOAD.len());
    assert_eq!(counted.count_total, 0);
}

/// A relay with an open source and clients, on sockets that allocate nothing.
struct World {
    relay: Relay<Socketed>,
    now: Instant,
    ends: Vec<End>,
    keys: Vec<Key>,
    source: usize,
}

/// The far end of a relay's socket.
#[derive(Clone)]
struct End(Rc<RefCell<Buffers>>);

struct Buffers {
    /// What the relay has still to read.
    incoming: Vec<u8>,
    start: usize,
    /// What the relay wrote while it was kept.
    kept: Option<Vec<u8>>,
    written: usize,
}

struct Socketed(End);

impl World {
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn new() -> Self {
        let mut world = Self {
            relay: Relay::new(vec![channel()], vec![source()], 7),
            now: Instant::now(),
            ends: Vec::new(),
            keys: Vec::new(),
            source: 0,
        };
        assert_eq!(world.relay.next_command(), Some(Command::Dial(SourceId(0))));
        let request =
            ws::Request { path_and_query: "/".into(), host: "x".into(), ..ws::Request::default() };
        let end = End::new();
        end.keep();
        let (socket, now) = (Socketed(end.clone()), world.now);
        let peer = Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 9)));
        let key = world.relay.open_source(socket, SourceId(0), &request, peer, now);
        world.ends.push(end);
        world.keys.push(key);
        world.turn();
        let response = world.ends[0].response();
        world.hears(0, response.as_bytes());
        world
    }

    fn client(&mut self, wire: Wire) -> usize {
        if wire == Wire::WebSocket {
            self.enter(Gate::Web, REQUEST)
        } else {
            self.enter(Gate::Unix, b"")
        }
    }

    /// A WebSocket client that asks for something of its own.
    fn guest(&mut self, target: &str) -> usize {
        let request = String::from_utf8(REQUEST.to_vec()).unwrap();
        let request = request.replacen('/', target, 1);
        self.enter(Gate::Web, request.as_bytes())
    }

    /// A client that asks for a stream of HTTP.
    fn stream(&mut self, target: &str) -> usize {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.enter(Gate::Web, request.as_bytes())
    }

    fn enter(&mut self, gate: Gate, opening: &[u8]) -> usize {
        let end = End::new();
        let socket = Socketed(end.clone());
        let key =
            self.relay.open_client(socket, ChannelId(0), gate, Peer::Unix(None), self.now).unwrap();
        self.ends.push(end);
        self.keys.push(key);
        let client = self.ends.len() - 1;
        self.hears(client, opening);
        client
    }

    /// Lets the relay read bytes of a peer and do all that follows.
    fn hears(&mut self, peer: usize, bytes: &[u8]) {
        self.ends[peer].say(bytes);
        self.relay.read(self.keys[peer], self.now);
        self.turn();
        assert!(self.ends[peer].is_heard());
    }

    fn turn(&mut self) {
        loop {
            self.relay.read_ready(self.now);
            self.relay.expire(self.now);
            self.relay.flush(self.now);
            assert!(self.relay.reap().is_none(), "somebody was cut off");
            if self.relay.wake_at(self.now).is_none_or(|at| at > self.now) {
                return;
            }
        }
    }

    /// The allocations of all batches after the first ones.
    fn count(&mut self, mut batch: impl FnMut(&mut Self)) -> u64 {
        (0..WARM_UP).for_each(|_| batch(self));
        measure(|| (0..BATCHES).for_each(|_| batch(self))).count_total
    }
}

impl End {
    fn new() -> Self {
        let incoming = Vec::with_capacity(64 * 1024);
        Self(Rc::new(RefCell::new(Buffers { incoming, start: 0, kept: None, written: 0 })))
    }

    fn keep(&self) {
        self.0.borrow_mut().kept = Some(Vec::new());
    }

    /// What a source answers to the request that was kept.
    fn response(&self) -> String {
        let request = String::from_utf8(self.0.borrow_mut().kept.take().unwrap()).unwrap();
        let (_, key) = request.split_once("Sec-WebSocket-Key: ").unwrap();
        let (key, _) = key.split_once("\r\n").unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    }

    fn say(&self, bytes: &[u8]) {
        let mut buffers = self.0.borrow_mut();
        buffers.incoming.clear();
        buffers.incoming.extend_from_slice(bytes);
        buffers.start = 0;
    }

    fn is_heard(&self) -> bool {
        let buffers = self.0.borrow();
        buffers.start == buffers.incoming.len()
    }

    fn written(&self) -> usize {
        self.0.borrow().written
    }
}

impl Read for Socketed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffers = self.0.0.borrow_mut();
        let start = buffers.start;
        if start == buffers.incoming.len() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffers.incoming[start..].as_ref().read(buffer)?;
        buffers.start += count;
        Ok(count)
    }
}

impl Write for Socketed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffers = self.0.0.borrow_mut();
        buffers.written += bytes.len();
        if let Some(kept) = &mut buffers.kept {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Socketed {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame of [`PAYLOAD`] as a source sends it.
fn unmasked(kind: Kind) -> Vec<u8> {
    framed(Message { kind, payload: &PAYLOAD })
}

fn framed(message: Message<'_>) -> Vec<u8> {
    let frame = Wire::WebSocket.frame(message).unwrap();
    [frame.header(), frame.payload()].concat()
}

/// A frame as a client sends it, under a mask that changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if payload.len() < 126 {
        frame.push(0x80 | u8::try_from(payload.len()).unwrap());
    } else {
        frame.push(0xfe);
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn channel() -> ChannelSettings {
    ChannelSettings {
        name: "test".into(),
        sources: vec![SourceId(0)],
        ..ChannelSettings::default()
    }
}

fn source() -> SourceSettings {
    SourceSettings { name: "test".into(), ..SourceSettings::default() }
}
