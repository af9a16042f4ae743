//! Copies of messages as they pass, for operators who look on.

use super::Relay;
use super::settings::SourceId;
use crate::codec::{Kind, Message};
use crate::net::stream::Socket;

/// Payload bytes that are copied in one turn; of further messages it is known only that they passed.
pub const MAX_TAPPED_BYTES: usize = 1024 * 1024;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the source.
    Received,
    /// To the source.
    Forwarded,
}

/// A message that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// From it, or to it.
    pub source: SourceId,
    /// Which of the two.
    pub way: Way,
    /// Text or binary.
    pub kind: Kind,
    /// Bytes of its payload.
    pub size: usize,
    /// Its payload, unless [`MAX_TAPPED_BYTES`] were reached.
    pub payload: Option<Vec<u8>>,
}

/// What operators want to see, and what there is of it.
#[derive(Debug, Default)]
pub(super) struct Tap {
    wanted: Vec<(SourceId, Way)>,
    passed: Vec<Tapped>,
    copied_bytes: usize,
}

impl Tap {
    /// Copies a message if somebody wants to see it.
    pub(super) fn note(&mut self, source: SourceId, way: Way, message: Message<'_>) {
        if !self.wanted.contains(&(source, way)) {
            return;
        }
        let Message { kind, payload } = message;
        let size = payload.len();
        let has_room = self.copied_bytes + size <= MAX_TAPPED_BYTES;
        let payload = has_room.then(|| payload.to_vec());
        self.copied_bytes += payload.as_ref().map_or(0, Vec::len);
        self.passed.push(Tapped { source, way, kind, size, payload });
    }
}

impl<S: Socket> Relay<S> {
    /// Copies messages of these sources from now on, and of no others.
    pub fn set_taps(&mut self, wanted: Vec<(SourceId, Way)>) {
        self.tap.wanted = wanted;
    }

    /// The messages that have passed since this was last asked. To be asked in each turn.
    pub fn take_tapped(&mut self) -> Vec<Tapped> {
        self.tap.copied_bytes = 0;
        std::mem::take(&mut self.tap.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(tap: &mut Tap, source: usize, way: Way, payload: &[u8]) {
        tap.note(SourceId(source), way, Message { kind: Kind::Binary, payload });
    }

    #[test]
    fn only_what_is_wanted_is_copied() {
        let mut tap = Tap { wanted: vec![(SourceId(1), Way::Received)], ..Tap::default() };
        passed(&mut tap, 0, Way::Received, b"another's");
        passed(&mut tap, 1, Way::Forwarded, b"another way");
        passed(&mut tap, 1, Way::Received, b"this");
        let [Tapped { payload, size: 4, .. }] = &*tap.passed else { panic!("{:?}", tap.passed) };
        assert_eq!(payload.as_deref(), Some(&b"this"[..]));
    }

    #[test]
    fn payloads_beyond_the_limit_are_left_out_and_their_sizes_are_not() {
        let mut tap = Tap { wanted: vec![(SourceId(0), Way::Received)], ..Tap::default() };
        passed(&mut tap, 0, Way::Received, &vec![0; MAX_TAPPED_BYTES + 1]);
        passed(&mut tap, 0, Way::Received, &vec![0; MAX_TAPPED_BYTES]);
        passed(&mut tap, 0, Way::Received, b"x");
        let copied: Vec<_> = tap.passed.iter().map(|t| (t.size, t.payload.is_some())).collect();
        let expected = [(MAX_TAPPED_BYTES + 1, false), (MAX_TAPPED_BYTES, true), (1, false)];
        assert_eq!(copied, expected);
    }
}
