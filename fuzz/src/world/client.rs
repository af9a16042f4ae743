//! A client: what it does, what it hears, and what it must have heard.

use veylor::codec::Wire;

use super::source::Source;
use super::story::Deed;
use super::{MAX_CLIENT_MESSAGE, feeds};
use crate::frames;
use crate::peer::REQUEST;
use crate::pipe::Far;

/// A numbered message: its source and its number.
type Numbered = (usize, usize);

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) channel: usize,
    wire: Wire,
    far: Far,
    heard: Vec<u8>,
    phase: Phase,
    messages: Vec<Numbered>,
    /// It always reads and never says anything wrong.
    is_faithful: bool,
    is_reading: bool,
    /// How many messages of each source had been received when it came.
    joined_at: [usize; 2],
    /// How many there were when it was closed.
    closed_at: Option<[usize; 2]>,
    sent: usize,
}

/// How the relay's end may show.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// It may have come.
    pub(super) may_come: bool,
    /// It came at once.
    pub(super) is_aborted: bool,
    /// It was due while nobody was awake: what a source held then is lost.
    pub(super) is_overslept: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The response has not come whole.
    Opening,
    /// Frames come.
    Open,
    /// It was answered something else.
    Refused,
    /// It was said goodbye to.
    Closed(Option<u16>),
}

impl Client {
    pub(super) fn new(
        number: usize,
        channel: usize,
        wire: Wire,
        far: Far,
        joined_at: [usize; 2],
    ) -> Self {
        Self {
            number,
            channel,
            wire,
            far,
            heard: Vec::new(),
            phase: if wire == Wire::Prefixed { Phase::Open } else { Phase::Opening },
            messages: Vec::new(),
            is_faithful: wire == Wire::Prefixed,
            is_reading: true,
            joined_at,
            closed_at: None,
            sent: 0,
        }
    }

    pub(super) fn shake_hands(&mut self) {
        if self.wire == Wire::WebSocket {
            self.far.say(REQUEST.as_bytes());
            self.is_faithful = true;
        }
    }

    pub(super) fn act(&mut self, deed: &Deed) {
        match deed {
            Deed::Send { length } => {
                self.send(usize::from(*length) % MAX_CLIENT_MESSAGE);
                return;
            }
            Deed::Resume => {
                self.resume();
                return;
            }
            Deed::Say(bytes) => self.far.say(bytes),
            Deed::Close => self.goodbye(&1000_u16.to_be_bytes()),
            Deed::End => self.far.end(),
            Deed::Reset => self.far.reset(),
            Deed::Stall { bytes } => self.stall(usize::from(*bytes)),
            Deed::Dribble { bytes } => self.far.set_step(usize::from(*bytes)),
        }
        self.is_faithful = false;
    }

    fn send(&mut self, length: usize) {
        let text = format!("client {}:{}:", self.number, self.sent);
        let text = format!("{text:x<length$}");
        self.sent += 1;
        self.far.say(&match self.wire {
            Wire::WebSocket => frames::write(1, true, Some([7, 0, 1, 9]), text.as_bytes()),
            _ => {
                let length = u32::try_from(text.len()).expect("a short text");
                [&length.to_be_bytes(), text.as_bytes()].concat()
            }
        });
    }

    fn stall(&mut self, bytes: usize) {
        self.is_reading = false;
        self.far.set_capacity(bytes);
    }

    pub(super) fn stall_if_unfaithful(&mut self) {
        if !self.is_faithful {
            self.stall(0);
        }
    }

    pub(super) fn resume(&mut self) {
        self.is_reading = true;
        self.far.set_capacity(usize::MAX);
    }

    fn goodbye(&mut self, payload: &[u8]) {
        if self.wire == Wire::WebSocket {
            self.far.say(&frames::write(8, true, Some([0; 4]), payload));
        }
    }

    /// Hears what has come. Says whether there was anything.
    pub(super) fn listen(&mut self, received: [usize; 2]) -> bool {
        if !self.is_reading {
            return false;
        }
        let bytes = self.far.take();
        self.heard.extend(&bytes);
        self.understand();
        let is_over = matches!(self.phase, Phase::Closed(_)) || self.far.is_finished();
        if is_over && self.closed_at.is_none() {
            self.closed_at = Some(received);
            if self.is_faithful {
                self.goodbye(&[]);
                self.far.end();
            }
        }
        !bytes.is_empty()
    }

    fn understand(&mut self) {
        if self.phase == Phase::Opening
            && let Some(end) = self.heard.windows(4).position(|end| end == b"\r\n\r\n")
        {
            let head = String::from_utf8(self.heard.drain(..end + 4).collect());
            let head = head.expect("a head is text");
            assert!(head.starts_with("HTTP/1.1 "), "not a response: {head}");
            let is_open = head.starts_with("HTTP/1.1 101 ");
            self.phase = if is_open { Phase::Open } else { Phase::Refused };
        }
        match self.phase {
            Phase::Opening => {}
            Phase::Refused => self.heard.clear(),
            Phase::Closed(_) => assert!(self.heard.is_empty(), "words after the goodbye"),
            Phase::Open if self.wire == Wire::Prefixed => self.unpack(),
            Phase::Open => {
                while self.phase == Phase::Open
                    && let Some((frame, length)) = frames::parse(&self.heard)
                {
                    self.heard.drain(..length);
                    self.take_frame(&frame);
                }
            }
        }
    }

    fn take_frame(&mut self, frame: &frames::Frame) {
        assert!(!frame.was_masked && frame.is_final, "a frame that we do not send");
        match frame.opcode {
            1 | 2 => self.note(&frame.payload, Some(frame.opcode == 1)),
            8 => {
                let code = frame.payload.first_chunk::<2>().map(|code| u16::from_be_bytes(*code));
                self.phase = Phase::Closed(code);
            }
            9 => self.far.say(&frames::write(10, true, Some([0; 4]), &frame.payload)),
            10 => assert!(!self.is_faithful, "a pong without a ping"),
            other => panic!("opcode {other}"),
        }
    }

    fn unpack(&mut self) {
        while let Some((prefix, rest)) = self.heard.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            assert!(length <= 20_000, "a length that nobody sent: {length}");
            let Some(payload) = rest.get(..length) else { return };
            let payload = payload.to_vec();
            self.heard.drain(..4 + length);
            self.note(&payload, None);
        }
    }

    fn note(&mut self, payload: &[u8], is_text: Option<bool>) {
        let Some((source, number)) = Source::number_of(payload) else { return };
        let kind_fits = is_text.is_none_or(|is_text| is_text == Source::is_text(number));
        assert!(kind_fits, "text became binary, or binary text");
        self.messages.push((source, number));
    }

    /// How many messages it has sent that must arrive.
    pub(super) fn sent(&self) -> usize {
        let is_heard = self.is_faithful && self.phase == Phase::Open && self.closed_at.is_none();
        if is_heard { self.sent } else { 0 }
    }

    /// What it got is in order; all of it, if it always read.
    pub(super) fn check(&self, sources: &[Source; 2], received: [usize; 2], end: End) {
        for (n, source) in sources.iter().enumerate() {
            let of_source = self.messages.iter().filter(|(source, _)| *source == n);
            let numbers: Vec<usize> = of_source.map(|(_, number)| *number).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b), "{}: order {numbers:?}", self.number);
            assert!(numbers.is_empty() || feeds(self.channel).contains(&n), "another channel's");
            let was_served =
                self.is_faithful && matches!(self.phase, Phase::Open | Phase::Closed(_));
            if was_served && !end.is_aborted && feeds(self.channel).contains(&n) {
                let until = self.closed_at.unwrap_or(received)[n];
                let is_held = end.is_overslept && numbers.last() < source.log()[..until].last();
                self.check_whole(n, &numbers, source, until - usize::from(is_held));
            }
        }
        if self.is_faithful && !end.is_aborted && self.closed_at.is_some() {
            self.check_goodbye(end.may_come);
        }
    }

    fn check_whole(&self, n: usize, numbers: &[usize], source: &Source, until: usize) {
        let log = source.log();
        let joined_at = self.joined_at[n];
        // The last message from before may have been held back, and then comes after all.
        let held = usize::from(numbers.len() > until.saturating_sub(joined_at));
        let first = joined_at.checked_sub(held).expect("more messages than there were");
        assert_eq!(
            numbers,
            &log[first..until.max(first)],
            "client {} of source {n}, from {joined_at} to {until}",
            self.number
        );
    }

    fn check_goodbye(&self, may_end: bool) {
        assert!(may_end || self.phase == Phase::Refused, "a client that reads was cut off");
        match self.phase {
            Phase::Closed(code) => {
                assert!(matches!(code, Some(1001 | 1012)), "a goodbye of {code:?}");
            }
            Phase::Open => {
                assert_eq!(self.wire, Wire::Prefixed, "cut off without a goodbye");
                assert!(self.heard.is_empty(), "cut off in the middle of a message");
            }
            Phase::Refused | Phase::Opening => {}
        }
    }
}
