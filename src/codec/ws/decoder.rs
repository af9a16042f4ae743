//! Frames to messages, in place.
//!
//! A message in one frame is handed over where it lies. The fragments of a message are moved
//! together at the front of the inbox as they come:
//!
//! ```text
//! | joined payloads | spent headers and control frames | next frame ...
//! 0                 joined                             joined + spent
//! ```

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::Side;
use super::frame::{Header, MAX_CONTROL_BYTES, apply_mask, parse_close};
use crate::codec::{CloseReason, Error, Kind, Message};
use crate::reactor::inbox::Inbox;

/// Spent bytes between fragments that are worth moving the rest of the inbox for.
const SPENT_BYTES: usize = 4 * 1024;

/// What the frames said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    Message(Message<'a>),
    Ping(&'a [u8]),
    Pong,
    Close(CloseReason),
}

/// Joins frames to messages and refuses what RFC 6455 does not allow.
#[derive(Debug)]
pub(super) struct Decoder {
    side: Side,
    max_message_size: usize,
    fragments: Option<Fragments>,
}

/// A message whose last fragment has not come.
#[derive(Clone, Copy, Debug)]
struct Fragments {
    kind: Kind,
    /// Payload bytes at the front of the inbox.
    joined: usize,
    /// Bytes behind them that are of no more use.
    spent: usize,
    /// How many of the joined bytes are known to be UTF-8.
    checked: usize,
}

impl Decoder {
    pub(super) fn new(side: Side, max_message_size: usize) -> Self {
        Self { side, max_message_size, fragments: None }
    }

    pub(super) fn set_max_message_size(&mut self, max_message_size: usize) {
        self.max_message_size = max_message_size;
    }

    /// The next message or control frame, `None` if it is not all there.
    pub(super) fn next<'a>(&mut self, inbox: &'a mut Inbox) -> Result<Option<Incoming<'a>>, Error> {
        loop {
            if let Some(fragments) = &mut self.fragments {
                fragments.compact(inbox);
            }
            let at = self.fragments.map_or(0, |fragments| fragments.joined + fragments.spent);
            let unread = &mut inbox.bytes_mut()[at..];
            let Some(header) = Header::parse(unread)? else { return Ok(None) };
            self.check(&header)?;
            let payload_bytes = usize::try_from(header.payload_bytes).expect("checked above");
            let frame_bytes = header.bytes + payload_bytes;
            let Some(frame) = unread.get_mut(..frame_bytes) else {
                inbox.expect(at + frame_bytes);
                return Ok(None);
            };
            if let Some(mask) = header.mask {
                apply_mask(&mut frame[header.bytes..], mask);
            }
            match header.opcode {
                OpCode::Control(control) => {
                    return self.control(control, at + header.bytes, payload_bytes, inbox);
                }
                OpCode::Data(data) => {
                    if let Some(message) = self.data(data, &header, payload_bytes, inbox)? {
                        let message = whole(message, inbox)?;
                        return Ok(Some(Incoming::Message(message)));
                    }
                }
            }
        }
    }

    /// What can be known of a frame before its payload has come.
    fn check(&self, header: &Header) -> Result<(), Error> {
        match (self.side, header.mask) {
            (Side::Server, None) => return Err(Error::Protocol("a client's frame is not masked")),
            (Side::Client, Some(_)) => return Err(Error::Protocol("a server's frame is masked")),
            (Side::Server, Some(_)) | (Side::Client, None) => {}
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final => {
                Err(Error::Protocol("a control frame is fragmented"))
            }
            OpCode::Control(_) if header.payload_bytes > MAX_CONTROL_BYTES as u64 => {
                Err(Error::Protocol("a control frame is too long"))
            }
            OpCode::Control(_) => Ok(()),
            OpCode::Data(data) => self.check_data(data, header.payload_bytes),
        }
    }

    fn check_data(&self, data: Data, payload_bytes: u64) -> Result<(), Error> {
        match (data, self.fragments) {
            (Data::Continue, None) => return Err(Error::Protocol("nothing to continue")),
            (Data::Text | Data::Binary, Some(_)) => {
                return Err(Error::Protocol("a message begins inside another"));
            }
            (Data::Reserved(_), _) => return Err(Error::Protocol("unknown opcode")),
            (Data::Continue, Some(_)) | (Data::Text | Data::Binary, None) => {}
        }
        let joined = self.fragments.map_or(0, |fragments| fragments.joined as u64);
        let size = joined.saturating_add(payload_bytes);
        if size > self.max_message_size as u64 {
            return Err(Error::TooLarge { size, limit: self.max_message_size });
        }
        Ok(())
    }

    fn control<'a>(
        &mut self,
        control: Control,
        payload_at: usize,
        payload_bytes: usize,
        inbox: &'a mut Inbox,
    ) -> Result<Option<Incoming<'a>>, Error> {
        let end = payload_at + payload_bytes;
        let payload = match &mut self.fragments {
            None => &inbox.take(end)[payload_at..],
            Some(fragments) => {
                // Its bytes stay between the fragments until they are in the way.
                fragments.spent = end - fragments.joined;
                &inbox.bytes()[payload_at..end]
            }
        };
        match control {
            Control::Ping => Ok(Some(Incoming::Ping(payload))),
            Control::Pong => Ok(Some(Incoming::Pong)),
            Control::Close => Ok(Some(Incoming::Close(parse_close(payload)?))),
            Control::Reserved(_) => Err(Error::Protocol("unknown opcode")),
        }
    }

    /// Takes a data frame in. Says where the message lies if this was its last.
    fn data(
        &mut self,
        data: Data,
        header: &Header,
        payload_bytes: usize,
        inbox: &mut Inbox,
    ) -> Result<Option<Whole>, Error> {
        let kind = if data == Data::Text { Kind::Text } else { Kind::Binary };
        let begun = self.fragments.take();
        if begun.is_none() && header.is_final {
            let end = header.bytes + payload_bytes;
            return Ok(Some(Whole { kind, start: header.bytes, end, taken: end, checked: 0 }));
        }
        let mut fragments = begun.unwrap_or(Fragments { kind, joined: 0, spent: 0, checked: 0 });
        fragments.join(header.bytes, payload_bytes, inbox)?;
        if !header.is_final {
            self.fragments = Some(fragments);
            return Ok(None);
        }
        let Fragments { kind, joined, spent, checked } = fragments;
        Ok(Some(Whole { kind, start: 0, end: joined, taken: joined + spent, checked }))
    }
}

impl Fragments {
    /// Moves the payload of the next frame behind those that are joined already.
    fn join(
        &mut self,
        header_bytes: usize,
        payload_bytes: usize,
        inbox: &mut Inbox,
    ) -> Result<(), Error> {
        let payload_at = self.joined + self.spent + header_bytes;
        let bytes = inbox.bytes_mut();
        bytes.copy_within(payload_at..payload_at + payload_bytes, self.joined);
        self.joined += payload_bytes;
        self.spent += header_bytes;
        if self.kind == Kind::Text {
            self.checked += valid_prefix(&bytes[self.checked..self.joined])?;
        }
        Ok(())
    }

    /// Closes the gap when it has grown, so that fragments without end need no memory without end.
    fn compact(&mut self, inbox: &mut Inbox) {
        if self.spent >= SPENT_BYTES {
            inbox.remove(self.joined..self.joined + self.spent);
            self.spent = 0;
        }
    }
}

/// Where a complete message lies in the inbox.
#[derive(Clone, Copy, Debug)]
struct Whole {
    kind: Kind,
    start: usize,
    end: usize,
    /// Bytes to consume with it.
    taken: usize,
    /// How many of its bytes are known to be UTF-8.
    checked: usize,
}

fn whole(message: Whole, inbox: &mut Inbox) -> Result<Message<'_>, Error> {
    let Whole { kind, start, end, taken, checked } = message;
    let payload = &inbox.take(taken)[start..end];
    if kind == Kind::Text && std::str::from_utf8(&payload[checked..]).is_err() {
        return Err(Error::NotUtf8);
    }
    Ok(Message { kind, payload })
}

/// The length of the valid text at the front; a character cut by the end may still become valid.
fn valid_prefix(bytes: &[u8]) -> Result<usize, Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.len()),
        Err(error) if error.error_len().is_none() => Ok(error.valid_up_to()),
        Err(_) => Err(Error::NotUtf8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIN: u8 = 0x80;
    const TEXT: u8 = 1;
    const BINARY: u8 = 2;
    const CONTINUE: u8 = 0;
    const CLOSE: u8 = 8;
    const PING: u8 = 9;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(u8::try_from(short).unwrap()),
            long => {
                bytes.push(126);
                bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    /// Decodes as a client, byte by byte and all at once; both must agree.
    fn decode(bytes: &[u8]) -> Result<Vec<String>, Error> {
        let at_once = decode_in_steps(bytes, bytes.len().max(1));
        assert_eq!(decode_in_steps(bytes, 1), at_once);
        at_once
    }

    fn decode_in_steps(bytes: &[u8], step: usize) -> Result<Vec<String>, Error> {
        let mut decoder = Decoder::new(Side::Client, 10_000);
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for chunk in bytes.chunks(step) {
            inbox.push(chunk);
            while let Some(incoming) = decoder.next(&mut inbox)? {
                seen.push(match incoming {
                    Incoming::Message(message) => {
                        format!("{:?} {}", message.kind, String::from_utf8_lossy(message.payload))
                    }
                    control @ (Incoming::Ping(_) | Incoming::Pong | Incoming::Close(_)) => {
                        format!("{control:?}")
                    }
                });
            }
        }
        Ok(seen)
    }

    #[test]
    fn fragments_are_joined_around_control_frames() {
        let bytes = [
            frame(TEXT, b"one "),
            frame(FIN | PING, b"?"),
            frame(CONTINUE, b""),
            frame(CONTINUE, b"two "),
            frame(FIN | CONTINUE, b"three"),
            frame(FIN | BINARY, b"four"),
        ];
        let seen = decode(&bytes.concat()).unwrap();
        assert_eq!(seen, ["Ping([63])", "Text one two three", "Binary four"]);
    }

    #[test]
    fn character_may_be_cut_by_a_fragment_but_not_broken() {
        let snow = "☃".as_bytes();
        let whole = [frame(TEXT, &snow[..1]), frame(FIN | CONTINUE, &snow[1..])].concat();
        assert_eq!(decode(&whole).unwrap(), ["Text ☃"]);
        let broken = [frame(TEXT, &snow[..1]), frame(CONTINUE, b"x")].concat();
        assert_eq!(decode(&broken), Err(Error::NotUtf8));
        let unfinished = [frame(TEXT, &snow[..1]), frame(FIN | CONTINUE, b"")].concat();
        assert_eq!(decode(&unfinished), Err(Error::NotUtf8));
    }

    #[test]
    fn what_the_rfc_forbids_is_refused() {
        let refused = |bytes: &[u8]| matches!(decode(bytes), Err(Error::Protocol(_)));
        assert!(refused(&frame(FIN | 0x40 | TEXT, b"x")), "reserved bit");
        assert!(refused(&frame(FIN | 3, b"x")), "reserved data opcode");
        assert!(refused(&frame(FIN | 0xb, b"x")), "reserved control opcode");
        assert!(refused(&frame(PING, b"x")), "fragmented control frame");
        assert!(refused(&frame(FIN | PING, &[0; 126])), "long control frame");
        assert!(refused(&frame(FIN | CONTINUE, b"x")), "continuation of nothing");
        let nested = [frame(TEXT, b"x"), frame(FIN | TEXT, b"y")].concat();
        assert!(refused(&nested), "message inside a message");
        assert!(refused(&[FIN | TEXT, 0x80, 1, 2, 3, 4]), "masked by a server");
        assert!(refused(&frame(FIN | CLOSE, &[3])), "close of one byte");
        assert!(refused(&[FIN | TEXT, 126, 0, 1, b'x']), "length in too many bytes");
        let huge = [FIN | BINARY, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        assert!(refused(&huge), "length with its highest bit set");
    }

    #[test]
    fn unmasked_client_is_refused_and_a_masked_one_is_understood() {
        let mut decoder = Decoder::new(Side::Server, 100);
        let mut inbox = Inbox::default();
        inbox.push(&[FIN | TEXT, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]);
        inbox.push(&frame(FIN | TEXT, b"hi"));
        let message = Message { kind: Kind::Text, payload: b"hi" };
        assert_eq!(decoder.next(&mut inbox), Ok(Some(Incoming::Message(message))));
        assert!(matches!(decoder.next(&mut inbox), Err(Error::Protocol(_))));
    }

    #[test]
    fn large_message_is_refused_by_its_header_alone() {
        let announced = [FIN | BINARY, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        assert!(matches!(decode(&announced), Err(Error::TooLarge { limit: 10_000, .. })));
        let in_parts = [frame(BINARY, &[0; 9_999]), frame(FIN | CONTINUE, &[0; 2])].concat();
        assert_eq!(decode(&in_parts), Err(Error::TooLarge { size: 10_001, limit: 10_000 }));
    }

    #[test]
    fn endless_fragments_and_pings_need_no_endless_memory() {
        let mut decoder = Decoder::new(Side::Client, 10_000);
        let mut inbox = Inbox::default();
        inbox.push(&frame(BINARY, b"begin"));
        for _ in 0..100_000 {
            inbox.push(&frame(CONTINUE, b""));
            inbox.push(&frame(FIN | PING, b"12345678"));
            while decoder.next(&mut inbox).unwrap().is_some() {}
            assert!(inbox.len() < 2 * SPENT_BYTES);
        }
        inbox.push(&frame(FIN | CONTINUE, b" end"));
        let message = Message { kind: Kind::Binary, payload: b"begin end" };
        assert_eq!(decoder.next(&mut inbox), Ok(Some(Incoming::Message(message))));
    }
}
