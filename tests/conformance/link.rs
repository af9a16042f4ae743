//! A relay between one client and one source, both raw, in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tungstenite::handshake::derive_accept_key;
use veylor::codec::{Gate, ws};
use veylor::net::stream::Socket;
use veylor::reactor::table::Key;
use veylor::relay::settings::{ChannelId, ChannelSettings, SourceId, SourceSettings};
use veylor::relay::{Command, Outcome, Peer, Relay};

use crate::frame::Frame;

/// The largest message in either direction.
pub(crate) const MAX_MESSAGE_SIZE: usize = 1 << 20;

pub(crate) const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// Which side of the relay a peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The peer dialled the relay, which is its server.
    Client,
    /// The relay dialled the peer, and is its client.
    Source,
}

/// A relay and its two peers.
pub(crate) struct Link {
    relay: Relay<End>,
    now: Instant,
    client: Line,
    source: Line,
    keys: Vec<(Side, Key)>,
}

/// What lies between the relay and a peer.
#[derive(Clone, Default)]
struct Line(Rc<RefCell<Buffers>>);

#[derive(Default)]
struct Buffers {
    to_relay: VecDeque<u8>,
    to_peer: Vec<u8>,
    is_let_go: bool,
}

struct End(Line);

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Client, Self::Source];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::Client => Self::Source,
            Self::Source => Self::Client,
        }
    }

    /// Whether this peer's frames are masked.
    pub(crate) fn masks(self) -> bool {
        self == Self::Client
    }
}

impl Link {
    /// A relay whose peers are connected and have said nothing.
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    pub(crate) fn connected() -> Self {
        let now = Instant::now();
        let mut relay = Relay::new(vec![channel()], vec![source()], 7);
        assert_eq!(relay.next_command(), Some(Command::Dial(SourceId(0))));
        let (client, source) = (Line::default(), Line::default());
        let request =
            ws::Request { path_and_query: "/".into(), host: "x".into(), ..ws::Request::default() };
        let end = End(source.clone());
        let dialled = relay.open_source(end, SourceId(0), &request, Peer::Unix(None), now);
        let end = End(client.clone());
        let accepted = relay.open_client(end, ChannelId(0), Gate::Web, Peer::Unix(None), now);
        let keys = vec![(Side::Client, accepted.unwrap()), (Side::Source, dialled)];
        let mut link = Self { relay, now, client, source, keys };
        link.settle();
        link
    }

    /// A relay that messages pass through.
    pub(crate) fn open() -> Self {
        let mut link = Self::connected();
        let response = link.response();
        link.say(Side::Source, response.as_bytes());
        link.say(Side::Client, REQUEST.as_bytes());
        let answer = String::from_utf8(link.heard(Side::Client)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        link
    }

    /// The right answer to the relay's request.
    pub(crate) fn response(&self) -> String {
        let request = String::from_utf8(self.heard(Side::Source)).unwrap();
        let (_, key) = request.split_once("Sec-WebSocket-Key: ").unwrap();
        let (key, _) = key.split_once("\r\n").unwrap();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        )
    }

    /// Lets a peer say bytes, and the relay do what follows.
    pub(crate) fn say(&mut self, side: Side, bytes: &[u8]) {
        self.line(side).0.borrow_mut().to_relay.extend(bytes);
        for (_, key) in self.keys.iter().filter(|(of, _)| *of == side) {
            self.relay.read(*key, self.now);
        }
        self.settle();
    }

    /// Takes all that the relay said to a peer.
    pub(crate) fn heard(&self, side: Side) -> Vec<u8> {
        std::mem::take(&mut self.line(side).0.borrow_mut().to_peer)
    }

    /// Takes the next frame that the relay sent to a peer.
    pub(crate) fn next_frame(&self, side: Side) -> Option<Frame> {
        Frame::take(&mut self.line(side).0.borrow_mut().to_peer, side == Side::Source)
    }

    /// Whether the relay has let a peer's connection go.
    pub(crate) fn is_cut_off(&self, side: Side) -> bool {
        self.line(side).0.borrow().is_let_go
    }

    /// Asks the relay to stop.
    pub(crate) fn stop(&mut self) {
        self.relay.drain(Outcome::Asked, self.now);
        self.settle();
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.settle();
    }

    fn line(&self, side: Side) -> &Line {
        match side {
            Side::Client => &self.client,
            Side::Source => &self.source,
        }
    }

    fn settle(&mut self) {
        loop {
            self.relay.read_ready(self.now);
            self.relay.expire(self.now);
            self.relay.flush(self.now);
            while let Some(end) = self.relay.reap() {
                drop(end);
            }
            while self.relay.next_command().is_some() {}
            if self.relay.wake_at(self.now).is_none_or(|at| at > self.now) {
                return;
            }
        }
    }
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffers = self.0.0.borrow_mut();
        if buffers.to_relay.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffers.to_relay.read(buffer)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.0.borrow_mut().to_peer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for End {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.0.borrow_mut().is_let_go = true;
    }
}

fn channel() -> ChannelSettings {
    ChannelSettings {
        name: "test".into(),
        sources: vec![SourceId(0)],
        max_client_message_size: MAX_MESSAGE_SIZE,
        ..ChannelSettings::default()
    }
}

fn source() -> SourceSettings {
    SourceSettings {
        name: "test".into(),
        max_message_size: MAX_MESSAGE_SIZE,
        ..SourceSettings::default()
    }
}
