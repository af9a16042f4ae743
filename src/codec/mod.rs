//! Bytes to events and back. No socket, no clock.
//!
//! Decoding works in place: an event borrows its payload from the inbox it was read into.
//! Encoding for clients happens once per wire: see [`Wire::frame`].

pub mod auth;
pub mod error;
pub mod http;
pub mod pattern;
pub mod prefixed;
pub mod request;
pub mod ws;

use std::sync::Arc;

pub use error::Error;
use serde::{Deserialize, Serialize};

use self::auth::Grant;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// A format for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Unmasked WebSocket frames (RFC 6455, section 5).
    WebSocket,
    /// Four length bytes, big-endian, then the payload.
    Prefixed,
}

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

/// A message as it stands on a wire.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    header: [u8; MAX_HEADER_BYTES],
    header_len: u8,
    payload: &'a [u8],
}

/// The largest header of a frame for clients.
const MAX_HEADER_BYTES: usize = 10;

impl Wire {
    /// The frame of a message, the same bytes for every client.
    pub fn frame(self, message: Message<'_>) -> Frame<'_> {
        let mut header = [0; MAX_HEADER_BYTES];
        let header_len = match self {
            Self::WebSocket => ws::frame::write_header(message, None, &mut header),
            Self::Prefixed => prefixed::write_header(message, &mut header),
        };
        let header_len = u8::try_from(header_len).expect("a header is short");
        Frame { header, header_len, payload: message.payload }
    }
}

impl<'a> Frame<'a> {
    /// The bytes in front of the payload.
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes of header and payload together.
    pub fn len(&self) -> usize {
        usize::from(self.header_len) + self.payload.len()
    }

    /// Never: a frame has at least a header.
    pub fn is_empty(&self) -> bool {
        false
    }
}

/// One connection's protocol.
#[derive(Debug)]
pub enum Codec {
    /// RFC 6455, as server or client.
    WebSocket(ws::Codec),
    /// Length and payload.
    Prefixed(prefixed::Codec),
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
        }
    }

    /// The wire of broadcasts to this peer.
    pub fn wire(&self) -> Wire {
        match self {
            Self::WebSocket(_) => Wire::WebSocket,
            Self::Prefixed(_) => Wire::Prefixed,
        }
    }

    /// Changes the size of the largest message the peer may send from now on, in bytes.
    pub fn set_max_message_size(&mut self, max_message_size: usize) {
        match self {
            Self::WebSocket(codec) => codec.set_max_message_size(max_message_size),
            Self::Prefixed(codec) => codec.set_max_message_size(max_message_size),
        }
    }

    /// Changes the type of the peer's messages, where its wire does not say it.
    pub fn set_message_type(&mut self, message_type: prefixed::MessageType) {
        match self {
            Self::WebSocket(_) => {}
            Self::Prefixed(codec) => codec.set_message_type(message_type),
        }
    }

    /// What a WebSocket client calls itself in its handshake.
    pub fn user_agent(&self) -> Option<&str> {
        match self {
            Self::WebSocket(codec) => codec.user_agent(),
            Self::Prefixed(_) => None,
        }
    }

    /// What a client may do that had to show a secret.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        match self {
            Self::WebSocket(codec) => codec.grant(),
            Self::Prefixed(_) => None,
        }
    }

    /// Changes what a client may do.
    pub fn set_grant(&mut self, grant: Option<Arc<Grant>>) {
        match self {
            Self::WebSocket(codec) => codec.set_grant(grant),
            Self::Prefixed(_) => {}
        }
    }

    /// Whether the handshake is done and no close was sent or received.
    pub fn is_open(&self) -> bool {
        match self {
            Self::WebSocket(codec) => codec.is_open(),
            Self::Prefixed(_) => true,
        }
    }

    /// Owes the peer a message of its own.
    pub fn send(&mut self, message: Message<'_>, outbox: &mut Outbox) {
        match self {
            Self::WebSocket(codec) => codec.send(message, outbox),
            Self::Prefixed(_) => {
                let frame = Wire::Prefixed.frame(message);
                outbox.push(frame.header());
                outbox.push(frame.payload());
            }
        }
    }

    /// Owes the peer a ping. A wire without pings, or a connection that is not open, owes nothing.
    pub fn ping(&mut self, outbox: &mut Outbox) {
        match self {
            Self::WebSocket(codec) => codec.ping(outbox),
            Self::Prefixed(_) => {}
        }
    }

    /// Says goodbye. A wire without a goodbye says nothing.
    pub fn close(&mut self, code: u16, reason: &str, outbox: &mut Outbox) {
        match self {
            Self::WebSocket(codec) => codec.close(code, reason, outbox),
            Self::Prefixed(_) => {}
        }
    }
}
