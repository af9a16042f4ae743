//! The recent frames of one channel in one wire, stored once for all its clients.
//!
//! A frame lies whole in one segment; positions count every byte ever pushed, so they only grow:
//!
//! ```text
//!        start                 cursor                      end
//! evicted | frame | frame | frame | fra·me | frame | frame |
//!         └──── segment ────┘└───────── segment ───────────┘
//! ```
//!
//! A client is a [`Cursor`]: nothing is stored, counted or copied for it here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::Frame;

/// Bytes of a segment; a larger frame has one of its own.
pub const SEGMENT_BYTES: usize = 64 * 1024;
/// Spent segments kept for reuse.
pub const SPARE_SEGMENTS: usize = 4;

/// A client's position: the number of bytes pushed before what it gets next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

/// What lies between a cursor and the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Messages not yet taken whole.
    pub messages: u64,
    /// Bytes not yet taken.
    pub bytes: u64,
    /// How long the oldest of them has been here.
    pub age: Duration,
}

/// Recent frames, oldest first.
#[derive(Debug)]
pub struct Backlog {
    segments: VecDeque<Segment>,
    spare: Vec<Vec<u8>>,
    marks: VecDeque<Mark>,
    /// Frames that were evicted.
    evicted: u64,
    /// The number of the last of them.
    last_evicted: Option<u64>,
    start: u64,
    end: u64,
    max_messages: usize,
    max_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    bytes: Vec<u8>,
}

/// Where a frame ends, its message's number in the channel, and when it came.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: u64,
    number: u64,
    at: Instant,
}

impl Cursor {
    /// The cursor `count` bytes further on.
    #[must_use]
    pub fn advanced(self, count: usize) -> Self {
        Self(self.0 + count as u64)
    }
}

impl Backlog {
    /// An empty backlog for at most `max_messages` frames of `max_bytes` in all, but always for
    /// one.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            spare: Vec::new(),
            marks: VecDeque::new(),
            evicted: 0,
            last_evicted: None,
            start: 0,
            end: 0,
            max_messages: max_messages.max(1),
            max_bytes: max_bytes as u64,
        }
    }

    /// Changes the limits. What is held stays: the next frame makes room, or waits for it.
    pub fn set_limits(&mut self, max_messages: usize, max_bytes: usize) {
        self.max_messages = max_messages.max(1);
        self.max_bytes = max_bytes as u64;
    }

    /// Appends a frame, evicting the oldest if there is no room. See [`Self::start_after`].
    pub fn push(&mut self, frame: Frame<'_>, number: u64, now: Instant) {
        self.evict(self.start_after(frame.len()));
        self.append(frame, number, now);
    }

    /// Appends a frame and evicts nothing, whatever the limits: for the last word of a source, and
    /// for what a history keeps.
    pub fn append(&mut self, frame: Frame<'_>, number: u64, now: Instant) {
        let segment = self.segment_for(frame.len());
        segment.extend_from_slice(frame.header());
        segment.extend_from_slice(frame.payload());
        self.end += frame.len() as u64;
        self.marks.push_back(Mark { end: self.end, number, at: now });
    }

    /// Forgets the frames in front of `upto`: everybody has them.
    pub fn evict(&mut self, upto: Cursor) {
        while let Some(mark) = self.marks.front()
            && mark.end <= upto.0
        {
            self.start = mark.end;
            self.last_evicted = Some(mark.number);
            self.marks.pop_front();
            self.evicted += 1;
        }
        while let Some(segment) = self.segments.front()
            && segment.end() <= self.start
        {
            self.retire_front();
        }
    }

    /// Where the backlog would start after a frame of `frame_bytes` was pushed.
    pub fn start_after(&self, frame_bytes: usize) -> Cursor {
        let max_bytes = self.max_bytes.saturating_sub(frame_bytes as u64);
        self.start_with(self.max_messages - 1, max_bytes)
    }

    /// Where the backlog would start if it were at most half full.
    pub fn start_of_recent_half(&self) -> Cursor {
        self.start_with(self.max_messages / 2, self.max_bytes / 2)
    }

    fn start_with(&self, messages: usize, bytes: u64) -> Cursor {
        let too_many = self.marks.len().saturating_sub(messages);
        let too_old = if self.end - self.start <= bytes {
            0
        } else {
            1 + self.marks.partition_point(|mark| self.end - mark.end > bytes)
        };
        Cursor(self.frame_start(too_many.max(too_old)))
    }

    /// The position of the oldest frame.
    pub fn start(&self) -> Cursor {
        Cursor(self.start)
    }

    /// The position behind the newest frame.
    pub fn end(&self) -> Cursor {
        Cursor(self.end)
    }

    /// The bytes from a cursor to the end, a slice a segment.
    pub fn slices(&self, from: Cursor) -> impl Iterator<Item = &[u8]> {
        let first = self.segments.partition_point(|segment| segment.end() <= from.0);
        self.segments.iter().skip(first).map(move |segment| {
            let skipped = from.0.saturating_sub(segment.start);
            &segment.bytes[usize::try_from(skipped).expect("within a segment")..]
        })
    }

    /// What a cursor inside a frame lacks of it; empty between frames.
    pub fn rest_of_frame(&self, at: Cursor) -> &[u8] {
        let index = self.frame_at(at);
        if self.frame_start(index) == at.0 || at == self.end() {
            return &[];
        }
        let count = usize::try_from(self.marks[index].end - at.0).expect("within a segment");
        self.slices(at).next().map_or(&[], |slice| &slice[..count])
    }

    /// How many frames were pushed before the one at a cursor, or before the one that it is in.
    pub fn count_before(&self, at: Cursor) -> u64 {
        self.evicted + self.frame_at(at) as u64
    }

    /// The number of the message at a cursor, or of the one that it is in; `None` at the end.
    pub fn number_at(&self, at: Cursor) -> Option<u64> {
        self.marks.get(self.frame_at(at)).map(|mark| mark.number)
    }

    /// The number of the newest message that was ever here.
    pub fn newest_number(&self) -> Option<u64> {
        self.marks.back().map(|mark| mark.number).or(self.last_evicted)
    }

    /// The number of the last message that is here no longer.
    pub fn last_evicted(&self) -> Option<u64> {
        self.last_evicted
    }

    /// The position of the first message with this number or a later one.
    pub fn from_number(&self, number: u64) -> Cursor {
        Cursor(self.frame_start(self.marks.partition_point(|mark| mark.number < number)))
    }

    /// The position of the last `count` messages.
    pub fn from_last(&self, count: usize) -> Cursor {
        Cursor(self.frame_start(self.marks.len().saturating_sub(count)))
    }

    /// The frames, oldest first, with their messages' numbers and when they came.
    pub fn frames(&self) -> impl Iterator<Item = (&[u8], u64, Instant)> {
        let mut start = self.start;
        self.marks.iter().filter_map(move |mark| {
            let at = self.segments.partition_point(|segment| segment.end() <= start);
            let segment = self.segments.get(at)?;
            let [from, to] =
                [start, mark.end].map(|position| usize::try_from(position - segment.start).ok());
            start = mark.end;
            Some((segment.bytes.get(from?..to?)?, mark.number, mark.at))
        })
    }

    /// How far a cursor is behind.
    pub fn lag(&self, at: Cursor, now: Instant) -> Lag {
        let index = self.frame_at(at);
        Lag {
            messages: (self.marks.len() - index) as u64,
            bytes: self.end - at.0,
            age: self
                .marks
                .get(index)
                .map_or(Duration::ZERO, |mark| now.saturating_duration_since(mark.at)),
        }
    }

    /// The index of the frame that begins at or contains a position.
    fn frame_at(&self, at: Cursor) -> usize {
        debug_assert!(self.start <= at.0 && at.0 <= self.end, "a cursor is within the backlog");
        if at == self.end() {
            return self.marks.len();
        }
        self.marks.partition_point(|mark| mark.end <= at.0)
    }

    fn frame_start(&self, index: usize) -> u64 {
        match index.checked_sub(1) {
            None => self.start,
            Some(before) => self.marks[before].end,
        }
    }

    /// The buffer of a segment that has room for a frame.
    fn segment_for(&mut self, frame_bytes: usize) -> &mut Vec<u8> {
        let has_room = self
            .segments
            .back()
            .is_some_and(|last| last.bytes.len() + frame_bytes <= last.bytes.capacity());
        if !has_room {
            let spare = if frame_bytes <= SEGMENT_BYTES { self.spare.pop() } else { None };
            let new = || Vec::with_capacity(frame_bytes.max(SEGMENT_BYTES));
            let bytes = spare.unwrap_or_else(new);
            self.segments.push_back(Segment { start: self.end, bytes });
        }
        &mut self.segments.back_mut().expect("one was just pushed").bytes
    }

    fn retire_front(&mut self) {
        let Some(Segment { mut bytes, .. }) = self.segments.pop_front() else { return };
        bytes.clear();
        if bytes.capacity() == SEGMENT_BYTES && self.spare.len() < SPARE_SEGMENTS {
            self.spare.push(bytes);
        }
    }
}

impl Segment {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Kind, Message, Wire};

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    fn push(backlog: &mut Backlog, payload: &[u8]) {
        let message = Message { kind: Kind::Binary, payload };
        let number = backlog.newest_number().map_or(0, |newest| newest + 1);
        backlog.push(Wire::Prefixed.frame(message).unwrap(), number, now());
    }

    fn bytes(backlog: &Backlog, from: Cursor) -> Vec<u8> {
        backlog.slices(from).collect::<Vec<_>>().concat()
    }

    #[test]
    fn oldest_message_gives_way_to_the_fourth_of_three() {
        let mut backlog = Backlog::new(3, 1000);
        for payload in [b"a", b"b", b"c"] {
            push(&mut backlog, payload);
        }
        assert_eq!(backlog.start_after(5), Cursor(5));
        push(&mut backlog, b"d");
        assert_eq!(backlog.start(), Cursor(5));
        assert_eq!(bytes(&backlog, backlog.start()), *b"\0\0\0\x01b\0\0\0\x01c\0\0\0\x01d");
        assert_eq!(backlog.count_before(backlog.start()), 1);
    }

    #[test]
    fn lower_limits_evict_nothing_before_the_next_message() {
        let mut backlog = Backlog::new(3, 1000);
        for payload in [b"a", b"b", b"c"] {
            push(&mut backlog, payload);
        }
        let message = Message { kind: Kind::Binary, payload: b"d" };
        backlog.append(Wire::Prefixed.frame(message).unwrap(), 9, now());
        backlog.set_limits(2, 1000);
        assert_eq!(backlog.lag(backlog.start(), now()).messages, 4);
        assert_eq!(backlog.start_after(5), Cursor(15));
        backlog.set_limits(0, 0);
        assert_eq!(backlog.start_after(5), backlog.end());
    }

    #[test]
    fn byte_limit_evicts_whole_frames_and_always_leaves_one() {
        let mut backlog = Backlog::new(1000, 30);
        for _ in 0..3 {
            push(&mut backlog, b"123456"); // 10 bytes each
        }
        assert_eq!(backlog.start_after(10), Cursor(10));
        assert_eq!(backlog.start_after(11), Cursor(20));
        assert_eq!(backlog.start_after(500), Cursor(30));
        push(&mut backlog, &[7; 496]);
        assert_eq!(backlog.lag(backlog.start(), now()).messages, 1);
        assert_eq!(backlog.start_after(4), backlog.end());
    }

    #[test]
    fn lag_counts_messages_and_bytes_from_any_position() {
        let mut backlog = Backlog::new(1000, 1 << 20);
        for _ in 0..5 {
            push(&mut backlog, b"123456");
        }
        let lag = |at| {
            let lag = backlog.lag(Cursor(at), now());
            (lag.messages, lag.bytes)
        };
        assert_eq!(lag(0), (5, 50));
        assert_eq!(lag(10), (4, 40));
        assert_eq!(lag(13), (4, 37));
        assert_eq!(lag(50), (0, 0));
        assert_eq!(backlog.rest_of_frame(Cursor(13)), b"\x06123456");
        assert_eq!(backlog.rest_of_frame(Cursor(10)), b"");
        assert_eq!(backlog.rest_of_frame(Cursor(50)), b"");
    }

    #[test]
    fn frames_survive_segments_and_every_cursor_sees_the_same_bytes() {
        let mut backlog = Backlog::new(10_000, 100 << 20);
        let mut expected = Vec::new();
        for n in 0..200_usize {
            let payload = vec![u8::try_from(n).unwrap(); n * n * 7 % 90_000];
            push(&mut backlog, &payload);
            expected.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
            expected.extend(payload);
        }
        for at in (0..expected.len()).step_by(9973) {
            assert_eq!(bytes(&backlog, Cursor(at as u64)), expected[at..]);
        }
        assert_eq!(bytes(&backlog, backlog.end()), b"");
    }

    #[test]
    fn drained_backlog_reuses_its_segments() {
        let mut backlog = Backlog::new(1000, 1 << 20);
        for _ in 0..1000 {
            for _ in 0..300 {
                push(&mut backlog, &[1; 500]);
            }
            backlog.evict(backlog.end());
            assert!(backlog.segments.len() + backlog.spare.len() <= SPARE_SEGMENTS);
        }
        assert_eq!(backlog.count_before(backlog.end()), 300_000);
    }

    #[test]
    fn recent_half_counts_messages_and_bytes() {
        let mut backlog = Backlog::new(4, 1000);
        assert_eq!(backlog.start_of_recent_half(), backlog.end());
        for _ in 0..4 {
            push(&mut backlog, b"123456");
        }
        assert_eq!(backlog.start_of_recent_half(), Cursor(20));
        let mut backlog = Backlog::new(100, 40);
        for _ in 0..4 {
            push(&mut backlog, b"123456");
        }
        assert_eq!(backlog.start_of_recent_half(), Cursor(20));
    }
}
