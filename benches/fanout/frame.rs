//! Frames, as far as a judge needs them.
//!
//! A message is a stamp (its number and 8 bytes more), a filler, and its number once more as the
//! last 8 bytes. [`Walker`] finds the stamps in a byte stream without copying or keeping the
//! messages, so that counting what thousands of clients receive costs little more than reading it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::failure::Failure;
use crate::meter::now_ns;
use crate::text;

/// The smallest message: the stamp, and the number once more.
pub(crate) const SMALLEST_MESSAGE: usize = STAMP_BYTES + 8;

const STAMP_BYTES: usize = 16;
/// The longest head of a frame (10 bytes and the mask) and the longest payload of a control frame.
const MAX_HEAD_BYTES: usize = 14 + MAX_CONTROL_BYTES;
const MAX_CONTROL_BYTES: usize = 125;

const FIN_TEXT: u8 = 0x81;
const FIN_BINARY: u8 = 0x82;
const FIN_CLOSE: u8 = 0x88;
const FIN_PING: u8 = 0x89;
const FIN_PONG: u8 = 0x8a;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// How messages are told apart on a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// RFC 6455 frames.
    WebSocket,
    /// Four length bytes, then the payload.
    Prefixed,
}

/// What messages are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Binary: a stamp, a filler and the number.
    Bytes,
    /// JSON with the same content (`text.rs`).
    Text,
}

/// What a message says of itself: its first 16 bytes, unless it is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Counts the messages of one sender from 0.
    pub(crate) number: u64,
    /// The send time (broadcast, nanoseconds) or the sending client (forward).
    pub(crate) mark: u64,
}

/// What a walker meets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Message(Stamp),
    Ping(&'a [u8]),
    /// With the code, or 1005 when there is none.
    Close(u16),
}

/// Finds the messages in the bytes of one connection.
///
/// All messages have the same length; anything else is an error.
#[derive(Debug)]
pub(crate) struct Walker {
    wire: Wire,
    form: Form,
    payload_bytes: usize,
    /// The head that every unmasked message has, and the length of its whole frame.
    opening: [u8; 4],
    frame_bytes: usize,
    /// The beginning of a frame whose head or stamp is not complete yet.
    carry: Vec<u8>,
    /// Bytes of the current message that are still to come.
    skip: usize,
}

struct Head {
    opcode: u8,
    mask: Option<[u8; 4]>,
    payload_at: usize,
    payload_bytes: usize,
}

impl Walker {
    /// For messages of `payload_bytes`, which is between 126 and 65,535.
    pub(crate) fn new(wire: Wire, form: Form, payload_bytes: usize) -> Self {
        let opening = opening(wire, form, payload_bytes);
        let frame_bytes = opening.len() + payload_bytes;
        Self { wire, form, payload_bytes, opening, frame_bytes, carry: Vec::new(), skip: 0 }
    }

    /// What a message takes on the wire.
    pub(crate) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Calls `see` for every item that `bytes` completes; a message is one as soon as its stamp is
    /// there.
    pub(crate) fn walk(
        &mut self,
        mut bytes: &[u8],
        mut see: impl FnMut(Item<'_>),
    ) -> Result<(), Failure> {
        self.pass_over(&mut bytes);
        if !self.carry.is_empty() {
            self.finish_carry(&mut bytes, &mut see)?;
        }
        while !bytes.is_empty() {
            while let Some(stamp) = self.whole_message(bytes)? {
                see(Item::Message(stamp));
                bytes = &bytes[self.frame_bytes..];
            }
            let Some(frame_bytes) = self.meet(bytes, &mut see)? else {
                self.carry.extend_from_slice(bytes);
                return Ok(());
            };
            self.skip = frame_bytes;
            self.pass_over(&mut bytes);
        }
        Ok(())
    }

    fn pass_over(&mut self, bytes: &mut &[u8]) {
        let passed = self.skip.min(bytes.len());
        self.skip -= passed;
        *bytes = &bytes[passed..];
    }

    fn finish_carry(
        &mut self,
        bytes: &mut &[u8],
        see: &mut impl FnMut(Item<'_>),
    ) -> Result<(), Failure> {
        let carried = self.carry.len();
        let taken = bytes.len().min(MAX_HEAD_BYTES.saturating_sub(carried));
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(&bytes[..taken]);
        match self.meet(&carry, see)? {
            Some(frame_bytes) => {
                // The carried bytes alone were refused, so the frame is longer than they are.
                self.skip = frame_bytes - carried;
                carry.clear();
                self.pass_over(bytes);
            }
            None => *bytes = &bytes[taken..],
        }
        self.carry = carry;
        Ok(())
    }

    /// The stamp of the unmasked message that `bytes` begin with, if all of it is there.
    #[inline]
    fn whole_message(&self, bytes: &[u8]) -> Result<Option<Stamp>, Failure> {
        let Some((frame, _)) = bytes.split_at_checked(self.frame_bytes) else { return Ok(None) };
        let Some((head, payload)) = frame.split_first_chunk::<4>() else { return Ok(None) };
        if *head != self.opening {
            return Ok(None);
        }
        match whole_stamp(self.form, payload) {
            Some(stamp) => Ok(Some(stamp)),
            None => Err(Failure::new("a message is damaged")),
        }
    }

    /// Sees the item that `bytes` begin with and says how long its frame is; `None` if bytes are
    /// missing.
    fn meet(&self, bytes: &[u8], see: &mut impl FnMut(Item<'_>)) -> Result<Option<usize>, Failure> {
        let Some(head) = head_of(self.wire, bytes) else { return Ok(None) };
        let is_message = head.opcode == self.form.opcode();
        let most = if is_message { self.payload_bytes } else { MAX_CONTROL_BYTES };
        if head.payload_bytes > most || (is_message && head.payload_bytes != most) {
            return Err(Failure::new(format!(
                "a frame {:#04x} of {} bytes was not sent",
                head.opcode, head.payload_bytes
            )));
        }
        let wanted = if is_message { self.form.stamp_bytes() } else { head.payload_bytes };
        let Some(payload) = bytes.get(head.payload_at..head.payload_at + wanted) else {
            return Ok(None);
        };
        let mut plain = [0; MAX_CONTROL_BYTES];
        let plain = &mut plain[..wanted];
        plain.copy_from_slice(payload);
        if let Some(mask) = head.mask {
            apply(mask, plain);
        }
        match head.opcode {
            _ if is_message => see(Item::Message(stamp_of(self.form, plain))),
            FIN_PING => see(Item::Ping(plain)),
            FIN_CLOSE => {
                let code = plain.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                see(Item::Close(code));
            }
            FIN_PONG => {}
            other => return Err(Failure::new(format!("a frame {other:#04x} was not sent"))),
        }
        Ok(Some(head.payload_at + head.payload_bytes))
    }
}

impl Form {
    fn opcode(self) -> u8 {
        match self {
            Self::Bytes => FIN_BINARY,
            Self::Text => FIN_TEXT,
        }
    }

    fn stamp_bytes(self) -> usize {
        match self {
            Self::Bytes => STAMP_BYTES,
            Self::Text => text::STAMP_BYTES,
        }
    }
}

/// The frame of a message of `payload_bytes` for clients, to be stamped.
pub(crate) fn blank(form: Form, payload_bytes: usize) -> Vec<u8> {
    let mut frame = opening(Wire::WebSocket, form, payload_bytes).to_vec();
    match form {
        Form::Bytes => {
            frame.extend((0..payload_bytes).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)));
        }
        Form::Text => frame.extend_from_slice(&text::blank(payload_bytes)),
    }
    frame
}

/// Writes a recording (docs/recording.md) of so many messages that all came at once, and of one that
/// came a day later.
pub(crate) fn record(path: &Path, payload_bytes: usize, messages: u64) -> Result<(), Failure> {
    const DAY: u64 = 24 * 3600 * 1_000_000;
    let failed = || Failure::during("writing a recording");
    let mut file = BufWriter::new(File::create(path).map_err(failed())?);
    file.write_all(b"VEYLREC\x01").map_err(failed())?;
    let mut frame = blank(Form::Bytes, payload_bytes);
    let length = u32::try_from(payload_bytes).unwrap_or(u32::MAX).to_be_bytes();
    for number in 0..=messages {
        stamp(Form::Bytes, &mut frame, Stamp { number, mark: now_ns() });
        let time: u64 = if number < messages { 0 } else { DAY };
        let head = [&time.to_be_bytes()[..], b"b", &length].concat();
        file.write_all(&head).and_then(|()| file.write_all(&frame[4..])).map_err(failed())?;
    }
    file.flush().map_err(failed())
}

/// Writes a stamp into a frame that [`blank`] made.
pub(crate) fn stamp(form: Form, frame: &mut [u8], stamp: Stamp) {
    if form == Form::Text {
        return text::stamp(&mut frame[4..], stamp);
    }
    let number = stamp.number.to_be_bytes();
    let end = frame.len();
    frame[4..12].copy_from_slice(&number);
    frame[12..20].copy_from_slice(&stamp.mark.to_be_bytes());
    frame[end - 8..].copy_from_slice(&number);
}

/// Appends the masked frame of a message, as a client sends it.
pub(crate) fn push_masked(into: &mut Vec<u8>, payload_bytes: usize, mark: Stamp) {
    let mut frame = blank(Form::Bytes, payload_bytes);
    stamp(Form::Bytes, &mut frame, mark);
    into.extend_from_slice(&[frame[0], frame[1] | MASKED, frame[2], frame[3]]);
    into.extend_from_slice(&MASK);
    apply(MASK, &mut frame[4..]);
    into.extend_from_slice(&frame[4..]);
}

/// The pong for a ping, masked as clients must or plain as servers must.
pub(crate) fn pong(payload: &[u8], mask: Mask) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap_or(0);
    match mask {
        Mask::Client => {
            let mut frame = vec![FIN_PONG, length | MASKED];
            frame.extend_from_slice(&MASK);
            frame.extend_from_slice(payload);
            apply(MASK, &mut frame[6..]);
            frame
        }
        Mask::Server => [&[FIN_PONG, length], payload].concat(),
    }
}

/// Who sends a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mask {
    Client,
    Server,
}

fn opening(wire: Wire, form: Form, payload_bytes: usize) -> [u8; 4] {
    let length = u16::try_from(payload_bytes).unwrap_or(u16::MAX).to_be_bytes();
    match wire {
        Wire::WebSocket => [form.opcode(), 126, length[0], length[1]],
        Wire::Prefixed => [0, 0, length[0], length[1]],
    }
}

fn head_of(wire: Wire, bytes: &[u8]) -> Option<Head> {
    if wire == Wire::Prefixed {
        let payload_bytes = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
        // All that comes there are messages, and those of the benchmark are binary.
        return Some(Head { opcode: FIN_BINARY, mask: None, payload_at: 4, payload_bytes });
    }
    let [opcode, length] = *bytes.first_chunk()?;
    let (payload_bytes, begun) = match length & !MASKED {
        126 => (u16::from_be_bytes(*bytes[2..].first_chunk()?) as usize, 4),
        127 => (usize::try_from(u64::from_be_bytes(*bytes[2..].first_chunk()?)).ok()?, 10),
        short => (short as usize, 2),
    };
    if length & MASKED == 0 {
        return Some(Head { opcode, mask: None, payload_at: begun, payload_bytes });
    }
    let mask = *bytes[begun..].first_chunk()?;
    Some(Head { opcode, mask: Some(mask), payload_at: begun + mask.len(), payload_bytes })
}

/// The stamp of a message that is all there; `None` if it is damaged.
#[inline]
fn whole_stamp(form: Form, payload: &[u8]) -> Option<Stamp> {
    if form == Form::Text {
        return text::whole_stamp(payload);
    }
    let stamp = stamp_of(form, payload);
    let tail = payload.last_chunk().map(|tail| u64::from_be_bytes(*tail));
    (tail == Some(stamp.number)).then_some(stamp)
}

#[inline]
fn stamp_of(form: Form, payload: &[u8]) -> Stamp {
    if form == Form::Text {
        return text::stamp_of(payload);
    }
    let at = |from: usize| {
        payload[from..].first_chunk().map_or(0, |bytes: &[u8; 8]| u64::from_be_bytes(*bytes))
    };
    Stamp { number: at(0), mark: at(8) }
}

fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    for (byte, key) in bytes.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
