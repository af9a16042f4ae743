//! Recordings: what a source has sent, with the times at which it came. The form of a `.vrec` file.
//!
//! ```text
//! file:   | "VEYLREC" | version: 1 byte, 1 | record | record | …
//! record: | time: 8 bytes | kind: 1 byte | length: 4 bytes | payload |
//! ```
//!
//! Numbers are big-endian. Times are microseconds since 1970 by the system's clock, which may have
//! been set meanwhile. Kinds are letters: `t` a text and `b` a binary message, `o` a connection was
//! opened (no payload), `g` messages are missing here (the payload is their number, 8 bytes).
//!
//! A file that ends within a record was cut off, by a power cut perhaps: what is before it counts.
//!
//! A recording that is played comes to the relay through a socket pair in the same records, without
//! the file's beginning, from a thread that has checked them. One more kind is said there alone: `e`,
//! the end, with a reason as payload if it came too early.

use std::fmt;
use std::str;

use super::{CloseReason, Error, Event, Kind, Message};
use crate::reactor::inbox::Inbox;

/// What a file begins with: a name, and the version of the form.
pub const BEGINNING: [u8; 8] = *b"VEYLREC\x01";
/// Bytes in front of a payload.
pub const HEAD_BYTES: usize = 13;

const TEXT: u8 = b't';
const BINARY: u8 = b'b';
const OPENED: u8 = b'o';
const GAP: u8 = b'g';
const END: u8 = b'e';

/// Bytes of the payload that is a number.
const NUMBER_BYTES: usize = 8;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening<'a> {
    /// The source sent a message.
    Message(Message<'a>),
    /// A connection to the source was opened.
    Opened,
    /// So many messages came and were not recorded.
    Gap(u64),
}

/// A record, as it stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When, in microseconds since 1970.
    pub time: u64,
    /// What.
    pub happening: Happening<'a>,
    /// Its bytes, head and payload.
    pub size: usize,
}

/// What is found at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// The bytes do not suffice; the record has so many, as far as is known.
    Part(usize),
}

/// What the head of a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// When, in microseconds since 1970.
    pub time: u64,
    /// Whether its payload is a text, which is valid UTF-8.
    pub is_text: bool,
    /// Bytes behind the head.
    pub payload_bytes: u64,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The bytes are no recording's beginning.
    Beginning,
    /// The recording is of a version that is not known here.
    Version(u8),
    /// There is no such kind of record.
    Kind(u8),
    /// A record of this kind cannot have so many bytes.
    Length(u32),
    /// A text is not valid UTF-8.
    NotUtf8,
    /// The file has fewer bytes than the payload, and more or others than a torn one leaves.
    Beyond {
        /// Bytes of the payload.
        size: u64,
        /// Bytes up to the end of the file.
        left: u64,
    },
    /// A message is above the limit.
    TooLarge {
        /// Its bytes.
        size: u32,
        /// Bytes allowed.
        limit: usize,
    },
}

/// The head of a record.
#[derive(Clone, Copy, Debug)]
struct Head {
    time: u64,
    kind: u8,
    length: u32,
}

/// Looks at what a file begins with.
pub fn check_beginning(bytes: &[u8]) -> Result<(), Flaw> {
    let known = BEGINNING.len() - 1;
    match bytes.split_first_chunk::<{ BEGINNING.len() }>() {
        Some((found, _)) if *found == BEGINNING => Ok(()),
        Some((found, _)) if found[..known] == BEGINNING[..known] => {
            Err(Flaw::Version(found[known]))
        }
        Some(_) | None => Err(Flaw::Beginning),
    }
}

/// Reads the record at the front of `bytes`. Its message has at most `limit` bytes.
pub fn record(bytes: &[u8], limit: usize) -> Result<Found<'_>, Flaw> {
    let Some((head, rest)) = Head::split(bytes) else { return Ok(Found::Part(HEAD_BYTES)) };
    head.check(limit)?;
    let size = head.record_bytes();
    let Some(payload) = rest.get(..head.payload_bytes()) else { return Ok(Found::Part(size)) };
    let happening = match head.kind {
        TEXT => {
            str::from_utf8(payload).map_err(|_| Flaw::NotUtf8)?;
            Happening::Message(Message { kind: Kind::Text, payload })
        }
        BINARY => Happening::Message(Message { kind: Kind::Binary, payload }),
        OPENED => Happening::Opened,
        _ => Happening::Gap(number(payload)),
    };
    Ok(Found::Record(Record { time: head.time, happening, size }))
}

/// Reads the head of a record.
pub fn announced(head: &[u8; HEAD_BYTES]) -> Result<Announced, Flaw> {
    let head = Head::of(head);
    head.check(usize::MAX)?;
    let payload_bytes = u64::from(head.length);
    Ok(Announced { time: head.time, is_text: head.kind == TEXT, payload_bytes })
}

/// The bytes of the records at the front of `records`, which are whole, as far as they have at most
/// `most` bytes.
pub fn whole_records(records: &[u8], most: usize) -> usize {
    let mut bytes = 0;
    while let Some((head, _)) = Head::split(&records[bytes..]) {
        let end = bytes.saturating_add(head.record_bytes());
        if end > most.min(records.len()) {
            break;
        }
        bytes = end;
    }
    bytes
}

/// The messages of whole records, and those that gaps among them stand for.
pub fn messages_in(mut records: &[u8]) -> (u64, u64) {
    let (mut messages, mut missing) = (0, 0);
    while let Some((head, rest)) = Head::split(records) {
        match head.kind {
            TEXT | BINARY => messages += 1,
            GAP => missing = u64::saturating_add(missing, number(rest)),
            _ => {}
        }
        records = records.get(head.record_bytes()..).unwrap_or_default();
    }
    (messages, missing)
}

/// Bytes of the record of a message.
pub fn message_bytes(message: Message<'_>) -> usize {
    HEAD_BYTES + message.payload.len()
}

/// Appends a record.
pub fn push(time: u64, happening: Happening<'_>, records: &mut Vec<u8>) {
    match happening {
        Happening::Message(Message { kind: Kind::Text, payload }) => {
            push_raw(time, TEXT, payload, records);
        }
        Happening::Message(Message { kind: Kind::Binary, payload }) => {
            push_raw(time, BINARY, payload, records);
        }
        Happening::Opened => push_raw(time, OPENED, &[], records),
        Happening::Gap(messages) => push_raw(time, GAP, &messages.to_be_bytes(), records),
    }
}

/// Appends the end of what is played. `why` is empty if it is the recording's own.
pub fn push_end(why: &str, records: &mut Vec<u8>) {
    push_raw(0, END, why.as_bytes(), records);
}

fn push_raw(time: u64, kind: u8, payload: &[u8], records: &mut Vec<u8>) {
    // `max_message_size` is far below 4 GiB: the configuration sees to it.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    records.extend_from_slice(&time.to_be_bytes());
    records.push(kind);
    records.extend_from_slice(&length.to_be_bytes());
    records.extend_from_slice(payload);
}

fn number(payload: &[u8]) -> u64 {
    payload.first_chunk::<NUMBER_BYTES>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl Head {
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (head, rest) = bytes.split_first_chunk()?;
        Some((Self::of(head), rest))
    }

    fn of(head: &[u8; HEAD_BYTES]) -> Self {
        let [time @ .., kind, a, b, c, d] = *head;
        let (time, length) = (u64::from_be_bytes(time), u32::from_be_bytes([a, b, c, d]));
        Self { time, kind, length }
    }

    fn payload_bytes(self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    fn record_bytes(self) -> usize {
        HEAD_BYTES.saturating_add(self.payload_bytes())
    }

    fn check(self, limit: usize) -> Result<(), Flaw> {
        let is_right = match self.kind {
            TEXT | BINARY if self.payload_bytes() > limit => {
                return Err(Flaw::TooLarge { size: self.length, limit });
            }
            TEXT | BINARY => true,
            OPENED => self.length == 0,
            GAP => self.payload_bytes() == NUMBER_BYTES,
            kind => return Err(Flaw::Kind(kind)),
        };
        if is_right { Ok(()) } else { Err(Flaw::Length(self.length)) }
    }
}

/// The connection of a source that is a recording. Its other end is a thread of ours, which sends
/// whole messages, texts in valid UTF-8, and takes nothing.
#[derive(Debug, Default)]
pub struct Codec {
    is_opened: bool,
    is_ended: bool,
}

impl Codec {
    /// See [`super::Codec::poll_event`].
    pub(super) fn poll_event<'a>(
        &mut self,
        inbox: &'a mut Inbox,
    ) -> Result<Option<Event<'a>>, Error> {
        if !self.is_opened {
            self.is_opened = true;
            return Ok(Some(Event::Opened));
        }
        let Some((head, _)) = Head::split(inbox.bytes()) else { return Ok(None) };
        let size = head.record_bytes();
        if inbox.len() < size {
            inbox.expect(size);
            return Ok(None);
        }
        let payload = &inbox.take(size)[HEAD_BYTES..];
        match head.kind {
            TEXT => Ok(Some(Event::Message(Message { kind: Kind::Text, payload }))),
            BINARY => Ok(Some(Event::Message(Message { kind: Kind::Binary, payload }))),
            END => {
                self.is_ended = true;
                let text = String::from_utf8_lossy(payload).into_owned();
                Ok(Some(Event::Closed(CloseReason { code: None, text })))
            }
            _ => Err(Error::Protocol("no record that can be played")),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_opened && !self.is_ended
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("is no recording of Veylor"),
            Self::Version(version) => {
                write!(f, "is a recording of version {version}, and only 1 is known: update veylor")
            }
            Self::Kind(kind) => write!(f, "there is no kind of record {kind:#04x}"),
            Self::Length(length) => write!(f, "a record of this kind has no {length} bytes"),
            Self::NotUtf8 => f.write_str("a text is not valid UTF-8"),
            Self::Beyond { size, left } => write!(
                f,
                "a payload of {size} bytes has only {left} up to the end, and they are no torn \
                 record"
            ),
            Self::TooLarge { size, limit } => {
                write!(f, "a message of {size} bytes is above the limit of {limit}")
            }
        }
    }
}

impl std::error::Error for Flaw {}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &str) -> Happening<'_> {
        Happening::Message(Message { kind: Kind::Text, payload: payload.as_bytes() })
    }

    fn binary(payload: &[u8]) -> Happening<'_> {
        Happening::Message(Message { kind: Kind::Binary, payload })
    }

    fn recorded(happenings: &[Happening<'_>]) -> Vec<u8> {
        let mut records = Vec::new();
        for (time, happening) in (1_000..).zip(happenings) {
            push(time, *happening, &mut records);
        }
        records
    }

    #[test]
    fn record_looks_as_the_manual_says() {
        let bytes = [0, 0, 0, 0, 0, 0, 3, 0xe8, b't', 0, 0, 0, 2, b'h', b'i'];
        assert_eq!(recorded(&[text("hi")]), bytes);
        let gap = [0, 0, 0, 0, 0, 0, 3, 0xe8, b'g', 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(recorded(&[Happening::Gap(256)]), gap);
    }

    #[test]
    fn records_come_out_as_they_went_in() {
        let happenings =
            [Happening::Opened, text("héllo"), binary(b"\xff\x00"), Happening::Gap(7), text("")];
        let records = recorded(&happenings);
        let mut rest = &*records;
        for (time, happening) in (1_000..).zip(happenings) {
            let found = record(rest, 6).unwrap();
            let Found::Record(Record { size, .. }) = found else { panic!("{found:?}") };
            assert_eq!(found, Found::Record(Record { time, happening, size }));
            rest = &rest[size..];
        }
        assert_eq!(record(rest, 6), Ok(Found::Part(HEAD_BYTES)));
    }

    #[test]
    fn part_of_a_record_is_no_record_wherever_it_is_cut() {
        let records = recorded(&[text("hello")]);
        for end in 0..records.len() {
            let needed = if end < HEAD_BYTES { HEAD_BYTES } else { records.len() };
            assert_eq!(record(&records[..end], 5), Ok(Found::Part(needed)));
        }
    }

    #[test]
    fn records_are_counted_whole() {
        let records = recorded(&[text("four"), text("five!"), Happening::Opened]);
        let ends = [17, 35, 48];
        for most in 0..60 {
            let expected = ends.iter().rev().find(|end| **end <= most).copied().unwrap_or(0);
            assert_eq!(whole_records(&records, most), expected);
        }
        assert_eq!(whole_records(&records[..40], 60), 35);
        let records = recorded(&[text("one"), Happening::Gap(7), binary(b"2")]);
        assert_eq!(messages_in(&records), (2, 7));
    }

    #[test]
    fn flaws_are_found_before_the_payload_is_waited_for() {
        let head = |kind: u8, length: u32| {
            let length = length.to_be_bytes();
            [&[0; 8][..], &[kind], &length].concat()
        };
        let flaw = |kind, length| record(&head(kind, length), 100).unwrap_err();
        assert_eq!(flaw(b'x', 1), Flaw::Kind(b'x'));
        assert_eq!(flaw(END, 0), Flaw::Kind(END));
        assert_eq!(flaw(OPENED, 1), Flaw::Length(1));
        assert_eq!(flaw(GAP, 9), Flaw::Length(9));
        assert_eq!(flaw(TEXT, 101), Flaw::TooLarge { size: 101, limit: 100 });
        assert_eq!(flaw(BINARY, u32::MAX), Flaw::TooLarge { size: u32::MAX, limit: 100 });
        let wrong = [head(TEXT, 1), vec![0xff]].concat();
        assert_eq!(record(&wrong, 100), Err(Flaw::NotUtf8));
    }

    #[test]
    fn beginning_tells_what_it_is() {
        assert_eq!(check_beginning(b"VEYLREC\x01and more"), Ok(()));
        assert_eq!(check_beginning(b"VEYLREC\x02"), Err(Flaw::Version(2)));
        assert_eq!(check_beginning(b"PRECIOUS"), Err(Flaw::Beginning));
        assert_eq!(check_beginning(b"VEYL"), Err(Flaw::Beginning));
    }

    #[test]
    fn what_is_played_opens_speaks_and_ends() {
        let (mut codec, mut inbox) = (Codec::default(), Inbox::default());
        assert_eq!(codec.poll_event(&mut inbox), Ok(Some(Event::Opened)));
        let mut records = recorded(&[text("hi"), binary(b"\xff")]);
        push_end("too early", &mut records);
        let mut seen = Vec::new();
        for byte in records {
            inbox.push(&[byte]);
            match codec.poll_event(&mut inbox).unwrap() {
                Some(Event::Message(Message { kind, payload })) => {
                    seen.push((kind, payload.to_vec()));
                }
                Some(Event::Closed(reason)) => assert_eq!(reason.text, "too early"),
                event => assert_eq!(event, None),
            }
        }
        assert_eq!(seen, [(Kind::Text, b"hi".to_vec()), (Kind::Binary, vec![0xff])]);
        assert!(!codec.is_open());
    }
}
