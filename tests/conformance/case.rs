//! A case: what a peer sends, and what must come of it.

use std::time::Duration;

use crate::frame::{BINARY, CLOSE, Frame, PING, PONG, TEXT, text};
use crate::link::{Link, Side};

/// Cases with more bytes than this are not chopped into the smallest pieces.
const SMALL_BYTES: usize = 2048;
/// Cases with more bytes than this are chopped into large pieces only.
const MIDDLE_BYTES: usize = 128 * 1024;

/// What a peer sends, and what must come of it.
pub(crate) struct Case {
    name: String,
    frames: Vec<Frame>,
    messages: Vec<Frame>,
    pongs: Vec<Vec<u8>>,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The connection stays open.
    Open,
    /// The peer is answered a close frame with this code, and the connection ends.
    Closed(Option<u16>),
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Messages that reached the other end.
    delivered: Vec<Frame>,
    /// Messages that came back from there.
    echoed: Vec<Frame>,
    pongs: Vec<Vec<u8>>,
    close: Option<Frame>,
}

/// A case that ends with an open connection, unless told otherwise.
pub(crate) fn case(name: impl Into<String>, frames: impl IntoIterator<Item = Frame>) -> Case {
    Case {
        name: name.into(),
        frames: frames.into_iter().collect(),
        messages: Vec::new(),
        pongs: Vec::new(),
        end: End::Open,
    }
}

impl Case {
    /// These messages, in one frame each, reach the other end and come back.
    pub(crate) fn delivers(mut self, messages: impl IntoIterator<Item = Frame>) -> Self {
        self.messages.extend(messages);
        self
    }

    /// These pongs come back.
    pub(crate) fn pongs<P: AsRef<[u8]>>(mut self, payloads: impl IntoIterator<Item = P>) -> Self {
        self.pongs.extend(payloads.into_iter().map(|payload| payload.as_ref().to_vec()));
        self
    }

    /// The close handshake takes place, with this code.
    pub(crate) fn closes(self, code: impl Into<Option<u16>>) -> Self {
        Self { end: End::Closed(code.into()), ..self }
    }

    /// The relay fails the connection with this code.
    pub(crate) fn fails(self, code: u16) -> Self {
        self.closes(code)
    }

    /// Plays the case to both sides, whole and chopped.
    #[track_caller]
    pub(crate) fn check(&self) {
        for side in Side::BOTH {
            let frames = self.frames.iter().map(|frame| frame.bytes(side.masks()));
            let frames: Vec<_> = frames.collect();
            self.check_pieces(side, "a frame at a time", frames.iter().map(Vec::as_slice));
            let bytes = frames.concat();
            self.check_pieces(side, "whole", [bytes.as_slice()]);
            let chops: &[usize] = if bytes.len() <= SMALL_BYTES {
                &[1, 2, 3, 7]
            } else if bytes.len() <= MIDDLE_BYTES {
                &[997]
            } else {
                &[65_521]
            };
            for chop in chops {
                self.check_pieces(side, &format!("in pieces of {chop}"), bytes.chunks(*chop));
            }
        }
    }

    #[track_caller]
    fn check_pieces<'a>(&self, side: Side, how: &str, pieces: impl IntoIterator<Item = &'a [u8]>) {
        let mut link = Link::open();
        let mut outcome = Outcome::default();
        for piece in pieces {
            link.say(side, piece);
            outcome.listen(&mut link, side);
        }
        let place = format!("{} from the {side:?}, {how}", self.name);
        assert_eq!(outcome.delivered, self.messages, "delivered, {place}");
        assert_eq!(outcome.pongs, self.pongs, "pongs, {place}");
        match self.end {
            End::Open => {
                assert_eq!(outcome.echoed, self.messages, "echoed, {place}");
                assert_eq!(outcome.close, None, "{place}");
                assert!(!link.is_cut_off(side), "cut off, {place}");
                check_open(&mut link, side, &place);
            }
            End::Closed(code) => {
                assert!(self.messages.starts_with(&outcome.echoed), "echoed, {place}");
                let close = outcome.close.unwrap_or_else(|| panic!("no close, {place}"));
                let answered = close.payload.first_chunk::<2>().map(|c| u16::from_be_bytes(*c));
                assert_eq!(answered, code, "close code, {place}");
                link.pass(Duration::from_secs(1));
                assert!(link.is_cut_off(side), "still connected, {place}");
                assert!(!link.is_cut_off(side.other()), "the other end was cut off, {place}");
            }
        }
    }
}

/// Plays many cases.
#[track_caller]
pub(crate) fn check(cases: impl IntoIterator<Item = Case>) {
    cases.into_iter().for_each(|case| case.check());
}

impl Outcome {
    /// Takes in what both ends hear. The other end sends messages back.
    fn listen(&mut self, link: &mut Link, side: Side) {
        let other = side.other();
        while let Some(frame) = link.next_frame(other) {
            assert!([TEXT, BINARY].contains(&frame.opcode), "the other end got {frame:?}");
            link.say(other, &frame.bytes(other.masks()));
            self.delivered.push(frame);
        }
        while let Some(frame) = link.next_frame(side) {
            assert!(self.close.is_none(), "{frame:?} after a close");
            match frame.opcode {
                TEXT | BINARY => self.echoed.push(frame),
                PONG => self.pongs.push(frame.payload),
                CLOSE => self.close = Some(frame),
                PING => panic!("a ping before its time"),
                _ => panic!("unexpected {frame:?}"),
            }
        }
    }
}

/// Messages still pass both ways.
#[track_caller]
fn check_open(link: &mut Link, side: Side, place: &str) {
    let mut outcome = Outcome::default();
    link.say(side, &text("still here").bytes(side.masks()));
    outcome.listen(link, side);
    assert_eq!(outcome.echoed, [text("still here")], "no longer open, {place}");
}
