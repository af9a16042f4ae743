//! The last messages of a channel, whatever the wire: for those who come late, or come back.

use std::time::Instant;

use super::backlog::Backlog;
use crate::codec::{Frame, Kind, Message};

/// The kinds of messages, by the byte in front of each that is kept.
const KINDS: [Kind; 2] = [Kind::Text, Kind::Binary];

/// The last messages of a channel.
#[derive(Debug)]
pub(super) struct History {
    backlog: Backlog,
    encoded: Vec<u8>,
}

impl History {
    /// Keeps so many messages of so many bytes in all.
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { backlog: Backlog::new(max_messages, max_bytes), encoded: Vec::new() }
    }

    /// Changes how much is kept, from the next message on.
    pub(super) fn set_limits(&mut self, max_messages: usize, max_bytes: usize) {
        self.backlog.set_limits(max_messages, max_bytes);
    }

    /// Keeps a message, and forgets the oldest for which there is no room any more.
    pub(super) fn push(&mut self, message: Message<'_>, number: u64, now: Instant) {
        let kind = KINDS.iter().position(|kind| *kind == message.kind).unwrap_or_default();
        self.encoded.clear();
        self.encoded.push(u8::try_from(kind).unwrap_or_default());
        self.encoded.extend_from_slice(message.payload);
        self.backlog.push(Frame::encoded(&self.encoded), number, now);
    }

    /// The number of the oldest message that is kept.
    pub(super) fn first_number(&self) -> Option<u64> {
        self.backlog.number_at(self.backlog.start())
    }

    /// The messages, oldest first, with their numbers and when they came.
    pub(super) fn messages(&self) -> impl Iterator<Item = (Message<'_>, u64, Instant)> {
        self.backlog.frames().filter_map(|(bytes, number, at)| {
            let (kind, payload) = bytes.split_first()?;
            let kind = *KINDS.get(usize::from(*kind))?;
            Some((Message { kind, payload }, number, at))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn last_messages_are_kept_with_their_kinds_and_numbers() {
        let mut history = History::new(2, 1000);
        assert_eq!(history.first_number(), None);
        let sent = [(Kind::Text, "one"), (Kind::Binary, ""), (Kind::Text, "three")];
        for (number, (kind, text)) in (7..).zip(sent) {
            history.push(Message { kind, payload: text.as_bytes() }, number, Instant::now());
        }
        let kept: Vec<_> = history.messages().map(|(m, n, _)| (m.kind, m.payload, n)).collect();
        assert_eq!(kept, [(Kind::Binary, &b""[..], 8), (Kind::Text, b"three", 9)]);
        assert_eq!(history.first_number(), Some(8));
        history.set_limits(1, 1000);
        history.push(Message { kind: Kind::Text, payload: b"four" }, 10, Instant::now());
        assert_eq!(history.first_number(), Some(10));
    }
}
