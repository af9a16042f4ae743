//! Bytes to events and back. No socket, no clock.
//!
//! Decoding works in place: an event borrows its payload from the inbox it was read into.
//! Encoding for clients happens once per wire: see [`Wire::frame`].

pub mod auth;
pub mod base64;
mod date;
pub mod entrance;
pub mod error;
pub mod http;
pub mod json;
pub mod lines;
pub mod pattern;
pub mod prefixed;
pub mod recording;
pub mod request;
mod wire;
pub mod ws;

use std::sync::Arc;

pub use error::{Error, Location};
use serde::{Deserialize, Serialize};
pub use wire::{Frame, Gate, Head, Wire};

use self::auth::Grant;
use self::entrance::Entrance;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// Whether a payload is text or binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Valid UTF-8.
    Text,
    /// Any bytes.
    Binary,
}

/// What is carried: a whole message, its fragments joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text or binary.
    pub kind: Kind,
    /// The bytes; valid UTF-8 if the kind is text.
    pub payload: &'a [u8],
}

/// What a peer did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The handshake is done; messages may follow.
    Opened,
    /// A client asks for something: the head of its request, to be answered at once with
    /// [`Codec::answer`] or another of its kind.
    Request(&'a [u8]),
    /// A message arrived.
    Message(Message<'a>),
    /// A ping arrived; its answer is in the outbox.
    Ping,
    /// A ping of ours was answered.
    Pong,
    /// The peer said goodbye, or answered ours. The codec has answered; nothing else will come.
    Closed(CloseReason),
}

/// Why a peer closed: the contents of its close frame (RFC 6455, section 7.1.5 and 7.1.6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReason {
    /// The code, if there was one.
    pub code: Option<u16>,
    /// Its words, empty if there were none.
    pub text: String,
}

/// Only who speaks HTTP asks for something.
const NOT_ASKED: Error = Error::Protocol("a request where none is asked for");

/// One connection's protocol.
#[derive(Debug)]
pub enum Codec {
    /// RFC 6455, as server or client.
    WebSocket(ws::Codec),
    /// Length and payload.
    Prefixed(prefixed::Codec),
    /// Lines.
    Lines(lines::Codec),
    /// A recording that is played, as a source.
    Recording(recording::Codec),
}

impl Codec {
    /// Understands the next event of `inbox`, `None` if its bytes do not suffice.
    ///
    /// What the protocol owes the peer in return (a handshake, a pong, a close) is put into
    /// `outbox`; also after an error, which ends the connection as soon as the outbox is sent.
    pub fn poll_event<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        outbox: &mut Outbox,
    ) -> Result<Option<Event<'a>>, Error> {
        match self {
            Self::WebSocket(codec) => codec.poll_event(inbox, outbox),
            Self::Prefixed(codec) => codec.poll_event(inbox),
            Self::Lines(codec) => codec.poll_event(inbox),
            Self::Recording(codec) => codec.poll_event(inbox),
        }
    }

    /// The wire of broadcasts to this peer. A recording gets none; like `Prefixed`, it has no pings.
    pub fn wire(&self) -> Wire {
        match self {
            Self::WebSocket(codec) => codec.wire(),
            Self::Prefixed(_) | Self::Recording(_) => Wire::Prefixed,
            Self::Lines(_) => Wire::Lines,
        }
    }

    /// Whether the peer answers pings: who does not, and takes what it is owed, is alive.
    pub fn has_pings(&self) -> bool {
        self.websocket().is_some_and(ws::Codec::has_pings)
    }

    /// Understands where a client's request leads, and owes a refusal if that is nowhere.
    /// `is_shared`: its path names a channel.
    pub fn asked(
        &mut self,
        head: &[u8],
        is_shared: bool,
        outbox: &mut Outbox,
    ) -> Result<ws::Asked, Error> {
        let codec = self.websocket_mut().ok_or(NOT_ASKED)?;
        codec.asked(head, is_shared, outbox)
    }

    /// Answers a client's request, and is open if that is a yes. It is none if `closed` says so.
    pub fn answer(
        &mut self,
        head: &[u8],
        entrance: &Entrance,
        policy: &ws::Policy,
        closed: Option<ws::Closed>,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        let codec = self.websocket_mut().ok_or(NOT_ASKED)?;
        codec.answer(head, entrance, policy, closed, outbox)
    }

    /// Owes a client that asks for a channel that is not there an answer that says so.
    pub fn refuse(&mut self, status: u16, reason: &str, outbox: &mut Outbox) -> Error {
        match self.websocket_mut() {
            Some(codec) => codec.refuse((status, reason.to_owned().into()), outbox),
            None => NOT_ASKED,
        }
    }

    /// Owes a client a page, with which the connection ends.
    pub fn show(&mut self, content_type: &str, body: &str, outbox: &mut Outbox) {
        if let Some(codec) = self.websocket_mut() {
            codec.show(content_type, body, outbox);
        }
    }

    /// Changes the size of the largest message the peer may send from now on, in bytes.
    pub fn set_max_message_size(&mut self, max_message_size: usize) {
        match self {
            Self::WebSocket(codec) => codec.set_max_message_size(max_message_size),
            Self::Prefixed(codec) => codec.set_max_message_size(max_message_size),
            Self::Lines(codec) => codec.set_max_message_size(max_message_size),
            // Its thread has the limit that it was started with.
            Self::Recording(_) => {}
        }
    }

    /// Changes the type of the peer's messages, where its wire does not say it.
    pub fn set_message_type(&mut self, message_type: prefixed::MessageType) {
        if let Self::Prefixed(codec) = self {
            codec.set_message_type(message_type);
        }
    }

    /// What a WebSocket client calls itself in its handshake.
    pub fn user_agent(&self) -> Option<&str> {
        self.websocket()?.user_agent()
    }

    /// The subprotocol that a source has chosen of those it was offered.
    pub fn subprotocol(&self) -> Option<&str> {
        self.websocket()?.subprotocol()
    }

    /// What a client may do that had to show a secret.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        self.websocket()?.grant()
    }

    /// Changes what a client may do.
    pub fn set_grant(&mut self, grant: Option<Arc<Grant>>) {
        if let Some(codec) = self.websocket_mut() {
            codec.set_grant(grant);
        }
    }

    /// Whether the handshake is done and no close was sent or received.
    pub fn is_open(&self) -> bool {
        match self {
            Self::WebSocket(codec) => codec.is_open(),
            Self::Prefixed(_) | Self::Lines(_) => true,
            Self::Recording(codec) => codec.is_open(),
        }
    }

    /// Owes the peer a message of its own.
    pub fn send(&mut self, message: Message<'_>, outbox: &mut Outbox) {
        match self {
            Self::WebSocket(codec) => codec.send(message, outbox),
            Self::Prefixed(_) | Self::Lines(_) => {
                outbox.write(|bytes| self.wire().encode(message, 0, bytes));
            }
            Self::Recording(_) => {}
        }
    }

    /// Whether there is somebody who takes messages.
    pub fn takes_messages(&self) -> bool {
        !matches!(self, Self::Recording(_))
    }

    /// Owes the peer a ping. A wire without pings, or a connection that is not open, owes nothing.
    pub fn ping(&mut self, outbox: &mut Outbox) {
        if let Some(codec) = self.websocket_mut() {
            codec.ping(outbox);
        }
    }

    /// Says goodbye. A wire without a goodbye says nothing.
    pub fn close(&mut self, code: u16, reason: &str, outbox: &mut Outbox) {
        if let Some(codec) = self.websocket_mut() {
            codec.close(code, reason, outbox);
        }
    }

    fn websocket(&self) -> Option<&ws::Codec> {
        match self {
            Self::WebSocket(codec) => Some(codec),
            Self::Prefixed(_) | Self::Lines(_) | Self::Recording(_) => None,
        }
    }

    fn websocket_mut(&mut self) -> Option<&mut ws::Codec> {
        match self {
            Self::WebSocket(codec) => Some(codec),
            Self::Prefixed(_) | Self::Lines(_) | Self::Recording(_) => None,
        }
    }
}
