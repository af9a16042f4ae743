//! WebSocket (RFC 6455), as server towards clients and as client towards sources.
//!
//! Opcodes, close codes and handshake keys are tungstenite's; headers and buffers are ours, so that
//! an idle connection owns none and a message is never copied on its way into a backlog.

mod client;
mod decoder;
pub(super) mod frame;
mod mask;
mod server;

use std::borrow::Cow;
use std::sync::Arc;

pub use client::Request;
use client::Verified;
pub use server::{Asked, Closed, Policy};
use tungstenite::protocol::frame::coding::Control;

use self::decoder::{Decoder, Incoming};
use self::mask::Masks;
use super::auth::Grant;
use super::entrance::Entrance;
use super::{CloseReason, Error, Event, Message, Wire};
use crate::net::secrets::Secrets;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// We answer the handshake; the peer masks.
    Server,
    /// We began the handshake; we mask.
    Client,
}

/// One WebSocket connection.
#[derive(Debug)]
pub struct Codec {
    phase: Phase,
    decoder: Decoder,
    user_agent: Option<Box<str>>,
    /// What a source has chosen.
    subprotocol: Option<Box<str>>,
    grant: Option<Arc<Grant>>,
    /// How the client wants its messages.
    wire: Wire,
    /// A server has none.
    own: Option<Box<Own>>,
}

/// What only the client's side has.
#[derive(Debug, Default)]
struct Own {
    /// Keys for what we send.
    masks: Masks,
    /// What the source may repeat in its close, and the log may not.
    secrets: Secrets,
}

#[derive(Debug)]
enum Phase {
    /// A client's request has not come whole, or was not answered.
    Accepting,
    /// A source's response has not come whole.
    Dialing(Box<client::Expected>),
    /// Messages go both ways.
    Open,
    /// Messages go to the client, as the body of an answer that has no end.
    Streaming,
    /// We said goodbye and wait for the peer to do the same.
    CloseSent,
    /// All is said.
    Ended,
}

impl Codec {
    /// The server's side: waits for the request of a client whose messages have at most
    /// `max_message_size` bytes.
    pub fn accept(max_message_size: usize) -> Self {
        Self {
            phase: Phase::Accepting,
            decoder: Decoder::new(Side::Server, max_message_size),
            user_agent: None,
            subprotocol: None,
            grant: None,
            wire: Wire::WebSocket,
            own: None,
        }
    }

    /// The client's side: owes the request and waits for the response.
    pub fn dial(request: &Request, max_message_size: usize, outbox: &mut Outbox) -> Self {
        Self {
            phase: Phase::Dialing(Box::new(request.begin(outbox))),
            decoder: Decoder::new(Side::Client, max_message_size),
            user_agent: None,
            subprotocol: None,
            grant: None,
            wire: Wire::WebSocket,
            own: Some(Box::default()),
        }
    }

    pub(super) fn set_max_message_size(&mut self, max_message_size: usize) {
        self.decoder.set_max_message_size(max_message_size);
    }

    pub(super) fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.as_deref()
    }

    pub(super) fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    pub(super) fn grant(&self) -> Option<&Arc<Grant>> {
        self.grant.as_ref()
    }

    pub(super) fn set_grant(&mut self, grant: Option<Arc<Grant>>) {
        self.grant = grant;
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire
    }

    /// Understands where the head of a request leads, and owes a refusal if that is nowhere.
    pub(super) fn asked(
        &mut self,
        head: &[u8],
        is_shared: bool,
        outbox: &mut Outbox,
    ) -> Result<Asked, Error> {
        server::asked(head, is_shared).map_err(|refusal| self.refuse(refusal, outbox))
    }

    /// Answers the head of a request, and is open if that is a yes.
    pub(super) fn answer(
        &mut self,
        head: &[u8],
        entrance: &Entrance,
        policy: &Policy,
        closed: Option<Closed>,
        outbox: &mut Outbox,
    ) -> Result<(), Error> {
        let agreed = server::answer(head, entrance, policy, closed, outbox);
        let agreed = agreed.inspect_err(|_| self.phase = Phase::Ended)?;
        self.user_agent = agreed.user_agent;
        self.grant = agreed.grant;
        self.wire = entrance.wire;
        self.phase = if self.has_pings() { Phase::Open } else { Phase::Streaming };
        Ok(())
    }

    /// Owes an answer that says why there will be no messages.
    pub(super) fn refuse(
        &mut self,
        refusal: (u16, Cow<'static, str>),
        outbox: &mut Outbox,
    ) -> Error {
        self.phase = Phase::Ended;
        server::refuse(refusal, outbox)
    }

    /// Owes a page, with which the connection ends.
    pub(super) fn show(&mut self, content_type: &str, body: &str, outbox: &mut Outbox) {
        self.phase = Phase::Ended;
        server::show(content_type, body, outbox);
    }

    pub(super) fn has_pings(&self) -> bool {
        matches!(self.wire, Wire::WebSocket | Wire::Numbered)
    }

    pub(super) fn poll_event<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        outbox: &mut Outbox,
    ) -> Result<Option<Event<'a>>, Error> {
        match &mut self.phase {
            Phase::Accepting => match server::head_bytes(inbox.bytes()) {
                Ok(None) => Ok(None),
                Ok(Some(head_bytes)) => Ok(Some(Event::Request(inbox.take(head_bytes)))),
                Err(refusal) => Err(self.refuse(refusal, outbox)),
            },
            Phase::Dialing(expected) => {
                let verified = expected.verify(inbox);
                let is_opened = verified.map(|verified| match verified {
                    Verified::NotYet => false,
                    Verified::Opened { subprotocol } => {
                        self.subprotocol = subprotocol;
                        if let Some(own) = &mut self.own {
                            own.secrets = std::mem::take(&mut expected.secrets);
                        }
                        true
                    }
                });
                self.opened(is_opened)
            }
            Phase::Open | Phase::CloseSent => self.poll_frames(inbox, outbox),
            Phase::Streaming => {
                // Who gets a stream has nothing to say.
                inbox.take(inbox.len());
                Ok(None)
            }
            Phase::Ended => Ok(None),
        }
    }

    fn opened<'a>(&mut self, handshake: Result<bool, Error>) -> Result<Option<Event<'a>>, Error> {
        match handshake {
            Ok(false) => Ok(None),
            Ok(true) => {
                self.phase = Phase::Open;
                Ok(Some(Event::Opened))
            }
            Err(error) => {
                self.phase = Phase::Ended;
                Err(error)
            }
        }
    }

    fn poll_frames<'a>(
        &mut self,
        inbox: &'a mut Inbox,
        outbox: &mut Outbox,
    ) -> Result<Option<Event<'a>>, Error> {
        match self.decoder.next(inbox) {
            Ok(None) => Ok(None),
            Ok(Some(Incoming::Message(message))) => Ok(Some(Event::Message(message))),
            Ok(Some(Incoming::Ping(payload))) => {
                self.control(Control::Pong, payload, outbox);
                Ok(Some(Event::Ping))
            }
            Ok(Some(Incoming::Pong)) => Ok(Some(Event::Pong)),
            Ok(Some(Incoming::Close(reason))) => {
                // The answer repeats the code (section 5.5.1).
                let (payload, length) = match reason.code {
                    Some(code) => frame::close_payload(code, ""),
                    None => ([0; frame::MAX_CONTROL_BYTES], 0),
                };
                self.control(Control::Close, &payload[..length], outbox);
                self.phase = Phase::Ended;
                let text = match &self.own {
                    Some(own) => own.secrets.hide(&reason.text),
                    None => reason.text,
                };
                Ok(Some(Event::Closed(CloseReason { text, ..reason })))
            }
            Err(error) => {
                self.close(error.close_code(), &error.to_string(), outbox);
                self.phase = Phase::Ended;
                Err(error)
            }
        }
    }

    pub(super) fn send(&mut self, message: Message<'_>, outbox: &mut Outbox) {
        if !self.is_open() {
            return;
        }
        let mask = self.own.as_mut().map(|own| own.masks.next());
        let mut header = [0; frame::MAX_MASKED_HEADER_BYTES];
        let length = frame::write_header(message, mask, &mut header);
        outbox.push(&header[..length]);
        let payload = outbox.push_mut(message.payload);
        if let Some(mask) = mask {
            frame::apply_mask(payload, mask);
        }
    }

    pub(super) fn ping(&mut self, outbox: &mut Outbox) {
        self.control(Control::Ping, &[], outbox);
        // A comment keeps those awake who stand between.
        if matches!(self.phase, Phase::Streaming) && self.wire == Wire::Sse {
            outbox.push(b":\n\n");
        }
    }

    pub(super) fn close(&mut self, code: u16, reason: &str, outbox: &mut Outbox) {
        match self.phase {
            Phase::Open => {
                let (payload, length) = frame::close_payload(code, reason);
                self.control(Control::Close, &payload[..length], outbox);
                self.phase = Phase::CloseSent;
            }
            Phase::Accepting => {
                self.refuse((503, reason.to_owned().into()), outbox);
            }
            Phase::Dialing(_) | Phase::Streaming => self.phase = Phase::Ended,
            Phase::CloseSent | Phase::Ended => {}
        }
    }

    /// Owes a control frame, unless a close frame was sent: nothing follows that.
    fn control(&mut self, control: Control, payload: &[u8], outbox: &mut Outbox) {
        if self.is_open() {
            let mask = self.own.as_mut().map(|own| own.masks.next());
            let (frame, length) = frame::control(control, payload, mask);
            outbox.push(&frame[..length]);
        }
    }
}
