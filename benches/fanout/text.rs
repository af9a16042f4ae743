//! Messages that are JSON texts, and the streams of them in which clients get no frames.
//!
//! ```text
//! {"s":"4","n":"aaaaaaaaaaaaaabe","t":"aaaadfnmjgehiobc","f":"abcdefg…","e":"aaaaaaaaaaaaaabe"}
//! ```
//!
//! The symbol `s` is the last decimal digit of the number `n`, which `e` repeats; `t` is the mark.
//! Numbers are 16 letters, `a` for 0 to `p` for 15, for thousands of clients can read these fast.

use crate::failure::Failure;
use crate::frame::{Item, Stamp};

/// How many symbols there are; the messages go round them.
pub(crate) const SYMBOLS: u64 = 10;
/// The bytes of a message that must be there for its stamp to be read.
pub(crate) const STAMP_BYTES: usize = MARK_AT + NUMBER_CHARS;

const NUMBER_CHARS: usize = 16;
const SYMBOL_AT: usize = 6;
const NUMBER_AT: usize = 14;
const MARK_AT: usize = 37;
/// The repeated number begins so many bytes before the end.
const TAIL_BYTES: usize = NUMBER_CHARS + 2;
/// The digits of the longest id of an event, and all that stands around it and the payload.
const MAX_EVENT_EXTRA: usize = 20 + b"id: \ndata: \n\n".len();
/// What stands between an event's id and its payload.
const DATA: &[u8] = b"\ndata: ";
const EVENT_END: &[u8] = b"\n\n";
const LINE_END: &[u8] = b"\n";

/// The streams of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Server-sent events.
    Events,
    /// A line of JSON each.
    Lines,
}

/// Finds the messages in a stream, all of which have the same length; anything else is an error.
#[derive(Debug)]
pub(crate) struct Walker {
    stream: Stream,
    payload_bytes: usize,
    /// The beginning of a message that is not complete yet.
    carry: Vec<u8>,
    /// What an event's id is above its message's number.
    id_offset: Option<u64>,
    next: Head,
}

/// What the next event begins with, if its id is one more than the last. To compare with it is
/// cheaper than to read 16 digits, which would cost a client as much as the payload.
#[derive(Debug, Default)]
struct Head {
    id: u64,
    bytes: Vec<u8>,
}

impl Walker {
    pub(crate) fn new(stream: Stream, payload_bytes: usize) -> Self {
        Self { stream, payload_bytes, carry: Vec::new(), id_offset: None, next: Head::default() }
    }

    /// What a message takes on the wire, once the first event has come.
    pub(crate) fn message_bytes(&self) -> usize {
        let (head, end) = match self.stream {
            Stream::Lines => (0, LINE_END),
            Stream::Events => (self.next.bytes.len(), EVENT_END),
        };
        head + self.payload_bytes + end.len()
    }

    /// Calls `see` for every message that `bytes` completes.
    pub(crate) fn walk(
        &mut self,
        mut bytes: &[u8],
        mut see: impl FnMut(Item<'_>),
    ) -> Result<(), Failure> {
        if !self.carry.is_empty() {
            let carried = self.carry.len();
            let room = (self.payload_bytes + MAX_EVENT_EXTRA).saturating_sub(carried);
            let taken = bytes.len().min(room);
            let mut carry = std::mem::take(&mut self.carry);
            carry.extend_from_slice(&bytes[..taken]);
            match self.meet(&carry, &mut see)? {
                // The carried bytes alone were refused, so what was met is longer than they are.
                Some(met) => {
                    bytes = &bytes[met - carried..];
                    carry.clear();
                }
                None if room == 0 => return Err(Failure::new("an event without an end")),
                None => bytes = &bytes[taken..],
            }
            self.carry = carry;
        }
        while !bytes.is_empty() {
            let Some(met) = self.meet(bytes, &mut see)? else {
                self.carry.extend_from_slice(bytes);
                return Ok(());
            };
            bytes = &bytes[met..];
        }
        Ok(())
    }

    /// Sees what `bytes` begin with and says how long it is; `None` if bytes are missing.
    #[inline]
    fn meet(
        &mut self,
        bytes: &[u8],
        see: &mut impl FnMut(Item<'_>),
    ) -> Result<Option<usize>, Failure> {
        let (payload_at, end, id) = match self.stream {
            Stream::Lines => (0, LINE_END, None),
            Stream::Events => match self.next.event(bytes)? {
                Event::Message { payload_at, id } => (payload_at, EVENT_END, Some(id)),
                Event::Other(length) => return Ok(Some(length)),
                Event::Cut => return Ok(None),
            },
        };
        let payload_end = payload_at + self.payload_bytes;
        let Some(found_end) = bytes.get(payload_end..payload_end + end.len()) else {
            return Ok(None);
        };
        let stamp = whole_stamp(&bytes[payload_at..payload_end]).filter(|_| found_end == end);
        let Some(stamp) = stamp else { return Err(Failure::new("a message is damaged")) };
        if let Some(id) = id {
            let offset = id.wrapping_sub(stamp.number);
            if *self.id_offset.get_or_insert(offset) != offset {
                return Err(Failure::new(format!("message {} has the id {id}", stamp.number)));
            }
            self.next.follow(id, &bytes[..payload_at]);
        }
        see(Item::Message(stamp));
        Ok(Some(payload_end + end.len()))
    }
}

impl Head {
    #[inline]
    fn event(&self, bytes: &[u8]) -> Result<Event, Failure> {
        if !self.bytes.is_empty() && bytes.starts_with(&self.bytes) {
            return Ok(Event::Message { payload_at: self.bytes.len(), id: self.id });
        }
        event(bytes)
    }

    /// Becomes the head after this one.
    #[inline]
    fn follow(&mut self, id: u64, head: &[u8]) {
        if self.bytes.is_empty() || self.id != id {
            self.bytes.clear();
            self.bytes.extend_from_slice(head);
        }
        self.id = id.wrapping_add(1);
        for digit in self.bytes[..head.len() - DATA.len()].iter_mut().rev() {
            *digit = if *digit == b'9' { b'0' } else { *digit + 1 };
            if *digit != b'0' {
                return;
            }
        }
    }
}

/// What a stream of events goes on with.
enum Event {
    Message {
        payload_at: usize,
        id: u64,
    },
    /// A comment, or how long to wait before coming back, of so many bytes.
    Other(usize),
    /// Bytes are missing.
    Cut,
}

#[inline]
fn event(bytes: &[u8]) -> Result<Event, Failure> {
    const NUMBERED: &[u8] = b"id: ";
    let Some(rest) = bytes.strip_prefix(NUMBERED) else {
        return match bytes.windows(2).position(|two| two == b"\n\n") {
            _ if NUMBERED.starts_with(bytes) => Ok(Event::Cut),
            _ if !bytes.starts_with(b":") && !bytes.starts_with(b"r") => {
                Err(Failure::new("an event was not sent"))
            }
            Some(at) => Ok(Event::Other(at + 2)),
            None => Ok(Event::Cut),
        };
    };
    let mut id: u64 = 0;
    let mut digits = 0;
    while let Some(digit @ b'0'..=b'9') = rest.get(digits) {
        id = id.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        digits += 1;
    }
    match rest.get(digits..digits + DATA.len()) {
        Some(DATA) => Ok(Event::Message { payload_at: NUMBERED.len() + digits + DATA.len(), id }),
        Some(_) => Err(Failure::new("an event without data")),
        None => Ok(Event::Cut),
    }
}

/// A message without its stamp. The smallest has 96 bytes.
pub(crate) fn blank(payload_bytes: usize) -> Vec<u8> {
    let zero = "a".repeat(NUMBER_CHARS);
    let head = format!("{{\"s\":\"0\",\"n\":\"{zero}\",\"t\":\"{zero}\",\"f\":\"");
    let tail = format!("\",\"e\":\"{zero}\"}}");
    let filler = payload_bytes.saturating_sub(head.len() + tail.len());
    let mut payload = head.into_bytes();
    payload.extend((0..filler).map(|at| b'a' + u8::try_from(at % 26).unwrap_or(0)));
    payload.extend_from_slice(tail.as_bytes());
    payload
}

/// Writes a stamp into a message that [`blank`] made.
pub(crate) fn stamp(payload: &mut [u8], stamp: Stamp) {
    let number = letters(stamp.number);
    let tail_at = payload.len() - TAIL_BYTES;
    payload[SYMBOL_AT] = symbol(stamp.number);
    payload[NUMBER_AT..NUMBER_AT + NUMBER_CHARS].copy_from_slice(&number);
    payload[MARK_AT..MARK_AT + NUMBER_CHARS].copy_from_slice(&letters(stamp.mark));
    payload[tail_at..tail_at + NUMBER_CHARS].copy_from_slice(&number);
}

/// The stamp of a message whose first [`STAMP_BYTES`] are there.
#[inline]
pub(crate) fn stamp_of(payload: &[u8]) -> Stamp {
    let at = |from: usize| payload[from..].first_chunk().map_or(0, number);
    Stamp { number: at(NUMBER_AT), mark: at(MARK_AT) }
}

/// The stamp of a message that is all there; `None` if it is damaged.
#[inline]
pub(crate) fn whole_stamp(payload: &[u8]) -> Option<Stamp> {
    let stamp = stamp_of(payload);
    let tail = payload.last_chunk::<TAIL_BYTES>()?;
    let is_whole = payload.starts_with(b"{\"s\":\"")
        && payload[SYMBOL_AT] == symbol(stamp.number)
        && tail[..NUMBER_CHARS] == payload[NUMBER_AT..NUMBER_AT + NUMBER_CHARS]
        && tail.ends_with(b"\"}");
    is_whole.then_some(stamp)
}

fn symbol(number: u64) -> u8 {
    b'0' + u8::try_from(number % SYMBOLS).unwrap_or(0)
}

fn letters(number: u64) -> [u8; NUMBER_CHARS] {
    let mut rest = number;
    let mut letters = [b'a'; NUMBER_CHARS];
    for letter in letters.iter_mut().rev() {
        *letter += u8::try_from(rest % 16).unwrap_or(0);
        rest /= 16;
    }
    letters
}

#[inline]
fn number(letters: &[u8; NUMBER_CHARS]) -> u64 {
    let letters = u128::from_be_bytes(*letters) - u128::from_be_bytes([b'a'; NUMBER_CHARS]);
    half(letters >> 64) << 32 | half(letters)
}

/// The number that the low eight bytes, of four bits each, make up.
#[inline]
fn half(letters: u128) -> u64 {
    let mut sum = u64::try_from(letters & u128::from(u64::MAX)).unwrap_or(0);
    sum = (sum | sum >> 4) & 0x00ff_00ff_00ff_00ff;
    sum = (sum | sum >> 8) & 0x0000_ffff_0000_ffff;
    (sum | sum >> 16) & 0xffff_ffff
}
