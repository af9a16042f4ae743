//! One codec, and what it makes of a stream.

use std::io::{self, Read, Write};
use std::sync::Arc;

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};
use veylor::codec::http::MAX_HEAD_BYTES;
use veylor::codec::{Codec, Error, Event, Kind, ws};
use veylor::reactor::inbox::Inbox;
use veylor::reactor::outbox::Outbox;

use crate::bytes::Cuts;
use crate::frames;

/// Bytes of a message at most, in all targets.
pub const LIMIT: usize = 2_000;
/// What an inbox may hold besides a message: its header, and what was spent between fragments.
const SLACK: usize = 5 * 1024;

/// A request that every endpoint accepts.
pub const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// What a codec saw in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The handshake is done.
    Opened,
    /// A stream is what was asked for.
    Streams,
    /// A text.
    Text(Vec<u8>),
    /// Bytes.
    Binary(Vec<u8>),
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A goodbye, with its code.
    Closed(Option<u16>, String),
}

/// A codec with its two buffers.
#[derive(Debug)]
pub struct Peer {
    codec: Codec,
    policy: Arc<ws::Policy>,
    inbox: Inbox,
    /// What is owed to the other end.
    pub outbox: Outbox,
}

/// All events of a stream, and the error that ended them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// In order.
    pub seen: Vec<Seen>,
    /// Nothing follows it.
    pub error: Option<Error>,
}

impl Peer {
    /// Any codec.
    pub fn new(codec: Codec, outbox: Outbox) -> Self {
        Self { codec, policy: Arc::default(), inbox: Inbox::default(), outbox }
    }

    /// The server's end, before the request.
    pub fn accepting(policy: &Arc<ws::Policy>) -> Self {
        let codec = Codec::WebSocket(ws::Codec::accept(LIMIT));
        Self { policy: Arc::clone(policy), ..Self::new(codec, Outbox::default()) }
    }

    /// The client's end, before the response, and the key that the response must have.
    pub fn dialing(request: &ws::Request) -> (Self, String) {
        let mut outbox = Outbox::default();
        let codec = ws::Codec::dial(request, LIMIT, &mut outbox);
        let text = std::str::from_utf8(outbox.bytes()).expect("a request is text");
        let line = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = derive_accept_key(line.expect("a request has a key").as_bytes());
        outbox.clear();
        (Self::new(Codec::WebSocket(codec), outbox), accept)
    }

    /// The server's end, opened.
    pub fn server() -> Self {
        let mut peer = Self::accepting(&Arc::default());
        peer.opens(REQUEST.as_bytes());
        peer
    }

    /// The client's end, opened.
    pub fn client() -> Self {
        let (mut peer, accept) = Self::dialing(&ws::Request::default());
        peer.opens(response(&accept).as_bytes());
        peer
    }

    /// Reads a stream in pieces, up to its end or the first error.
    pub fn read(&mut self, bytes: &[u8], cuts: Cuts) -> Story {
        let mut story = Story { seen: Vec::new(), error: None };
        for piece in cuts.pieces(bytes) {
            self.inbox.push(piece);
            if let Err(error) = self.understand(&mut story.seen) {
                story.error = Some(error);
                break;
            }
            if matches!(story.seen.last(), Some(Seen::Closed(..))) {
                break;
            }
            let bound = if self.codec.is_open() { LIMIT + SLACK } else { MAX_HEAD_BYTES };
            assert!(self.inbox.len() <= bound, "{} bytes wait", self.inbox.len());
        }
        story
    }

    fn understand(&mut self, seen: &mut Vec<Seen>) -> Result<(), Error> {
        while let Some(event) = self.codec.poll_event(&mut self.inbox, &mut self.outbox)? {
            seen.push(match event {
                Event::Opened => Seen::Opened,
                Event::Request(head) => {
                    let asked = self.codec.asked(head, false, &mut self.outbox)?;
                    let ws::Asked::Messages(entrance) = asked else { panic!("one channel") };
                    self.codec.answer(head, &entrance, &self.policy, None, &mut self.outbox)?;
                    if self.codec.is_open() { Seen::Opened } else { Seen::Streams }
                }
                Event::Message(message) => {
                    assert!(message.payload.len() <= LIMIT, "a message above the limit");
                    match message.kind {
                        Kind::Text => {
                            assert!(
                                std::str::from_utf8(message.payload).is_ok(),
                                "text that is none"
                            );
                            Seen::Text(message.payload.to_vec())
                        }
                        Kind::Binary => Seen::Binary(message.payload.to_vec()),
                    }
                }
                Event::Ping => Seen::Ping,
                Event::Pong => Seen::Pong,
                Event::Closed(reason) => Seen::Closed(reason.code, reason.text),
            });
        }
        Ok(())
    }

    fn opens(&mut self, head: &[u8]) {
        let story = self.read(head, Cuts::none());
        assert_eq!(story.seen, [Seen::Opened]);
        self.outbox.clear();
    }
}

/// A response that fits the key.
pub fn response(accept: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// Frames that were owed to the other end, and nothing but whole frames.
pub fn said(mut bytes: &[u8]) -> Vec<frames::Frame> {
    let mut said = Vec::new();
    while !bytes.is_empty() {
        let (frame, length) = frames::parse(bytes).expect("only whole frames are owed");
        bytes = &bytes[length..];
        said.push(frame);
    }
    said
}

/// Holds what an opened end of ours makes of a stream against what tungstenite makes of it, and
/// against what it makes of the same stream in other pieces.
pub fn compare(role: Role, bytes: &[u8], cuts: Cuts) {
    let opened = || if role == Role::Server { Peer::server() } else { Peer::client() };
    let (mut peer, mut other) = (opened(), opened());
    let story = peer.read(bytes, cuts);
    assert_eq!(story, other.read(bytes, Cuts::none()), "the cuts made a difference");
    let said = said(peer.outbox.bytes());
    assert_eq!(said, self::said(other.outbox.bytes()), "the cuts made a difference to the answer");
    check_answer(role, &story, &said);
    check_theirs(&story, role, bytes);
}

/// A pong for each ping; a goodbye once, at the end, with the code of the error.
fn check_answer(role: Role, story: &Story, said: &[frames::Frame]) {
    for frame in said {
        assert!(frame.is_final && frame.payload.len() <= 125, "a wrong control frame: {frame:?}");
        assert_eq!(frame.was_masked, role == Role::Client, "clients mask, servers do not");
    }
    let pings = story.seen.iter().filter(|seen| **seen == Seen::Ping).count();
    assert!(said.iter().take(pings).all(|frame| frame.opcode == 10), "a ping has no pong");
    let goodbye = match (&story.error, story.seen.last()) {
        (Some(error), _) => Some(Some(error.close_code())),
        (None, Some(Seen::Closed(code, _))) => Some(*code),
        (None, _) => None,
    };
    match (&said[pings..], goodbye) {
        ([], None) => {}
        ([close], Some(code)) => {
            assert_eq!(close.opcode, 8);
            let told = close.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
            assert_eq!(told, code);
        }
        (rest, goodbye) => panic!("{goodbye:?} was answered by {rest:?}"),
    }
}

/// The same events as tungstenite sees; an error only where it has one, too, or waits for the rest
/// of a frame that we have refused by its header.
fn check_theirs(story: &Story, role: Role, bytes: &[u8]) {
    let mut ours = story.seen.iter();
    let config = WebSocketConfig::default()
        .read_buffer_size(4096)
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let mut theirs = WebSocket::from_raw_socket(Stream(bytes), role, Some(config));
    loop {
        let message = match theirs.read() {
            Ok(message) => message,
            Err(tungstenite::Error::Io(_)) => {
                assert_eq!(ours.next(), None, "tungstenite waits for more");
                assert_ne!(story.error, Some(Error::NotUtf8), "tungstenite takes it for text");
                return;
            }
            Err(error) => {
                assert_eq!(ours.next(), None, "tungstenite says {error}");
                let our_error = story.error.as_ref().expect("tungstenite has an error");
                if *our_error == Error::NotUtf8 {
                    assert!(matches!(error, tungstenite::Error::Utf8(_)), "{error}");
                }
                return;
            }
        };
        let expected = match message {
            Message::Text(text) => Seen::Text(text.as_bytes().to_vec()),
            Message::Binary(payload) => Seen::Binary(payload.to_vec()),
            Message::Ping(_) => Seen::Ping,
            Message::Pong(_) => Seen::Pong,
            Message::Close(Some(close)) => {
                return check_close(u16::from(close.code), &close.reason, ours.next(), story);
            }
            Message::Close(None) => Seen::Closed(None, String::new()),
            Message::Frame(_) => unreachable!("reading never hands over a bare frame"),
        };
        match (ours.next(), &story.error) {
            // Tungstenite takes a length in more bytes than it needs.
            (None, Some(Error::Protocol(reason))) if reason.starts_with("a length ") => return,
            (ours, _) => assert_eq!(ours, Some(&expected)),
        }
        if let Seen::Closed(..) = expected {
            return;
        }
    }
}

/// Tungstenite reports a code that may not be sent as a goodbye with 1002, and takes 1014, which is
/// younger than its table, for one of them.
fn check_close(code: u16, reason: &str, ours: Option<&Seen>, story: &Story) {
    match ours {
        Some(Seen::Closed(Some(1014), _)) => assert_eq!(code, 1002),
        Some(ours) => assert_eq!(*ours, Seen::Closed(Some(code), reason.to_owned())),
        None => match story.error {
            Some(Error::Protocol(ours)) if ours.starts_with("a length ") => {}
            Some(Error::Protocol(_)) => assert_eq!((code, reason), (1002, "Protocol violation")),
            _ => panic!("a goodbye with {code} was overlooked: {:?}", story.error),
        },
    }
}

/// Hands out bytes, then has no more for now; takes everything.
struct Stream<'a>(&'a [u8]);

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(buffer)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
