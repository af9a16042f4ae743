//! A backlog keeps, hands out and counts exactly what a plain list of frames does.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use veylor::codec::{Kind, Message, Wire};
use veylor::relay::backlog::{Backlog, Cursor};

#[derive(Arbitrary, Debug)]
struct Story {
    max_messages: u8,
    max_bytes: u32,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Push { wire: bool, length: u32, times: u8 },
    Evict(u32),
    Wait(u8),
    Look(u32),
}

/// Every frame ever pushed; those from `first` on are kept.
struct Model {
    max_messages: usize,
    max_bytes: usize,
    frames: Vec<Kept>,
    first: usize,
}

struct Kept {
    start: usize,
    bytes: Vec<u8>,
    at: Instant,
}

fuzz_target!(|story: Story| tell(&story));

#[expect(clippy::disallowed_methods, reason = "an instant to count from")]
fn tell(story: &Story) {
    let (max_messages, max_bytes) = (usize::from(story.max_messages), story.max_bytes as usize);
    let max_bytes = max_bytes % 300_000;
    let mut backlog = Backlog::new(max_messages, max_bytes);
    let max_messages = max_messages.max(1);
    let mut model = Model { max_messages, max_bytes, frames: Vec::new(), first: 0 };
    let mut now = Instant::now();
    let mut pushed = 0;
    for step in story.steps.iter().take(100) {
        match step {
            Step::Push { wire, length, times } => {
                for _ in 0..1 + times % 20 {
                    let length = *length as usize % 100_000;
                    pushed += length;
                    if pushed > 2_000_000 {
                        return;
                    }
                    let wire = if *wire { Wire::WebSocket } else { Wire::Prefixed };
                    model.push(&mut backlog, wire, length, now);
                }
            }
            Step::Evict(at) => model.evict(&mut backlog, *at as usize),
            Step::Wait(seconds) => now += Duration::from_secs(u64::from(*seconds)),
            Step::Look(at) => model.look(&backlog, *at as usize, now),
        }
        model.look(&backlog, pushed, now);
    }
}

impl Model {
    fn push(&mut self, backlog: &mut Backlog, wire: Wire, length: usize, now: Instant) {
        let payload = vec![u8::try_from(self.frames.len() % 251).unwrap(); length];
        let frame = wire.frame(Message { kind: Kind::Binary, payload: &payload }).unwrap();
        let start =
            self.start_with(self.max_messages - 1, self.max_bytes.saturating_sub(frame.len()));
        assert_eq!(backlog.start_after(frame.len()), cursor(self.position(start)));
        let bytes = [frame.header(), frame.payload()].concat();
        backlog.push(frame, 0, now);
        self.first = start;
        self.frames.push(Kept { start: self.end(), bytes, at: now });
    }

    fn evict(&mut self, backlog: &mut Backlog, at: usize) {
        let upto = self.pick(at);
        backlog.evict(cursor(upto));
        while self.first < self.frames.len() && self.position(self.first + 1) <= upto {
            self.first += 1;
        }
    }

    /// Holds all that a backlog answers against the list.
    fn look(&self, backlog: &Backlog, at: usize, now: Instant) {
        assert_eq!(backlog.start(), cursor(self.position(self.first)));
        assert_eq!(backlog.end(), cursor(self.end()));
        let recent = self.start_with(self.max_messages / 2, self.max_bytes / 2);
        assert_eq!(backlog.start_of_recent_half(), cursor(self.position(recent)));

        let position = self.pick(at);
        let kept = self.frames[self.first..].iter().flat_map(|frame| &frame.bytes);
        let expected = kept.skip(position - self.position(self.first));
        let slices: Vec<_> = backlog.slices(cursor(position)).collect();
        assert!(expected.eq(slices.iter().copied().flatten()), "other bytes");

        let behind = self.frames.iter().position(|frame| position < frame.end());
        let behind = behind.unwrap_or(self.frames.len());
        assert_eq!(backlog.count_before(cursor(position)), behind as u64);
        let lag = backlog.lag(cursor(position), now);
        assert_eq!(lag.messages, (self.frames.len() - behind) as u64);
        assert_eq!(lag.bytes, (self.end() - position) as u64);
        let since = self.frames.get(behind).map_or(now, |frame| frame.at);
        assert_eq!(lag.age, now - since);

        let rest = match self.frames.get(behind) {
            Some(frame) if frame.start < position => &frame.bytes[position - frame.start..],
            Some(_) | None => &[],
        };
        assert_eq!(backlog.rest_of_frame(cursor(position)), rest);
    }

    /// The first frame behind which there are at most so many messages and bytes.
    fn start_with(&self, messages: usize, bytes: usize) -> usize {
        let fits = |first: &usize| {
            let kept = self.frames.len() - first;
            kept <= messages && self.end() - self.position(*first) <= bytes
        };
        (self.first..=self.frames.len()).find(fits).expect("nothing always fits")
    }

    /// Where a frame begins; the end for the one behind the last.
    fn position(&self, index: usize) -> usize {
        self.frames.get(index).map_or_else(|| self.end(), |frame| frame.start)
    }

    fn end(&self) -> usize {
        self.frames.last().map_or(0, Kept::end)
    }

    /// Any position that a cursor may have.
    fn pick(&self, at: usize) -> usize {
        let start = self.position(self.first);
        start + at % (self.end() - start + 1)
    }
}

impl Kept {
    fn end(&self) -> usize {
        self.start + self.bytes.len()
    }
}

fn cursor(position: usize) -> Cursor {
    Cursor::default().advanced(position)
}
