//! Copies of everything that a source sends, for whoever writes them down.
//!
//! A copy is made as the message passes, as the record that it will be in the file; they are taken
//! in each turn. What the writer has not written yet is bounded: if it is slower than the source,
//! messages are left out until it has caught up, and a record tells how many.

use super::Relay;
use super::settings::SourceId;
use crate::codec::Message;
use crate::codec::recording::{self, Happening};
use crate::net::stream::Socket;

/// Bytes of records that wait to be written, at most; a larger message may wait alone.
pub const MAX_UNWRITTEN_BYTES: usize = 8 * 1024 * 1024;

/// How far a writer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// It writes, and so many bytes wait for it.
    Busy(usize),
    /// It cannot write.
    Stopped,
}

/// What has come of a source since this was last asked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Whole records.
    pub bytes: Vec<u8>,
    /// The messages among them.
    pub messages: u64,
}

/// What becomes of the messages of one source.
#[derive(Debug)]
struct Ledger {
    source: SourceId,
    records: Records,
    writer: Writer,
    /// Messages that were left out since the writer fell behind; `None`: it has not.
    missed: Option<u64>,
    /// Messages that are still wanted; `None`: all.
    wanted: Option<u64>,
}

/// The sources that are recorded.
#[derive(Debug, Default)]
pub(super) struct Ledgers {
    ledgers: Vec<Ledger>,
    /// Microseconds since 1970.
    time: u64,
}

impl Ledgers {
    /// Copies a message if its source is recorded.
    pub(super) fn note(&mut self, source: SourceId, message: Message<'_>) {
        let time = self.time;
        if let Some(ledger) = self.of(source) {
            ledger.note(message, time);
        }
    }

    /// Notes that a connection was opened.
    pub(super) fn note_opening(&mut self, source: SourceId) {
        let time = self.time;
        if let Some(ledger) = self.of(source).filter(|ledger| ledger.missed.is_none()) {
            recording::push(time, Happening::Opened, &mut ledger.records.bytes);
        }
    }

    fn of(&mut self, source: SourceId) -> Option<&mut Ledger> {
        self.ledgers.iter_mut().find(|ledger| ledger.source == source)
    }
}

impl Ledger {
    fn note(&mut self, message: Message<'_>, time: u64) {
        if self.wanted == Some(0) {
            return;
        }
        if self.missed.is_none() && !self.has_room(recording::message_bytes(message)) {
            self.missed = Some(0);
        }
        if let Some(missed) = &mut self.missed {
            *missed += 1;
            return;
        }
        recording::push(time, Happening::Message(message), &mut self.records.bytes);
        self.records.messages += 1;
        if let Some(wanted) = &mut self.wanted {
            *wanted -= 1;
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        let Writer::Busy(unwritten) = self.writer else { return false };
        let waiting = unwritten + self.records.bytes.len();
        waiting == 0 || waiting.saturating_add(bytes) <= MAX_UNWRITTEN_BYTES
    }

    /// Learns how far the writer is. The messages that it has missed, if it has caught up with that.
    fn learn(&mut self, writer: Writer, time: u64) -> Option<u64> {
        self.writer = writer;
        let Writer::Busy(unwritten) = writer else { return None };
        if unwritten > MAX_UNWRITTEN_BYTES / 2 {
            return None;
        }
        let missed = self.missed.take().filter(|missed| *missed > 0)?;
        recording::push(time, Happening::Gap(missed), &mut self.records.bytes);
        Some(missed)
    }
}

impl<S: Socket> Relay<S> {
    /// Copies everything that a source sends from now on, or so many messages of it.
    pub fn record(&mut self, source: SourceId, wanted: Option<u64>) {
        self.stop_recording(source);
        let (records, writer) = (Records::default(), Writer::Busy(0));
        self.ledgers.ledgers.push(Ledger { source, records, writer, missed: None, wanted });
    }

    /// Copies nothing more of a source. The messages that nobody has written or been told of.
    pub fn stop_recording(&mut self, source: SourceId) -> u64 {
        let ledgers = &mut self.ledgers.ledgers;
        let Some(place) = ledgers.iter().position(|ledger| ledger.source == source) else {
            return 0;
        };
        let ledger = ledgers.swap_remove(place);
        ledger.missed.unwrap_or_default() + ledger.records.messages
    }

    /// Learns what time it is, for records: microseconds since 1970.
    pub fn set_record_time(&mut self, time: u64) {
        self.ledgers.time = time;
    }

    /// Learns how far a source's writer is. If it has caught up after it fell behind: the messages
    /// that it has missed, which a record tells.
    pub fn learn_of_writer(&mut self, source: SourceId, writer: Writer) -> Option<u64> {
        let time = self.ledgers.time;
        self.ledgers.of(source)?.learn(writer, time)
    }

    /// What has come of a source since this was last asked.
    pub fn take_records(&mut self, source: SourceId) -> Records {
        let ledger = self.ledgers.of(source);
        ledger.map(|ledger| std::mem::take(&mut ledger.records)).unwrap_or_default()
    }

    /// Whether messages of a source are left out at this moment.
    pub fn is_missing_records(&self, source: SourceId) -> bool {
        let mut ledgers = self.ledgers.ledgers.iter();
        ledgers.any(|ledger| ledger.source == source && ledger.missed.is_some())
    }

    /// Whether a source has sent all the messages that were wanted.
    pub fn has_recorded_all(&self, source: SourceId) -> bool {
        let mut ledgers = self.ledgers.ledgers.iter();
        ledgers.any(|ledger| ledger.source == source && ledger.wanted == Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Kind;
    use crate::codec::recording::{Found, HEAD_BYTES, record};

    fn ledger(wanted: Option<u64>) -> Ledger {
        let records = Records::default();
        Ledger { source: SourceId(0), records, writer: Writer::Busy(0), missed: None, wanted }
    }

    fn binary(payload: &[u8]) -> Message<'_> {
        Message { kind: Kind::Binary, payload }
    }

    /// What stands in a ledger's records, the sizes of messages.
    fn told(ledger: &Ledger) -> Vec<String> {
        let (mut rest, mut told) = (&*ledger.records.bytes, Vec::new());
        while let Ok(Found::Record(found)) = record(rest, usize::MAX) {
            told.push(match found.happening {
                Happening::Message(message) => message.payload.len().to_string(),
                Happening::Opened => "opened".to_owned(),
                Happening::Gap(missed) => format!("gap {missed}"),
            });
            rest = &rest[found.size..];
        }
        told
    }

    #[test]
    fn messages_are_left_out_while_the_writer_is_behind_and_a_record_tells_how_many() {
        let mut ledger = ledger(None);
        let half = vec![0; MAX_UNWRITTEN_BYTES / 2];
        ledger.note(binary(&half), 1);
        ledger.note(binary(&half), 2);
        // It would have room; but there is one gap, not many.
        ledger.note(binary(b"x"), 3);
        assert_eq!(told(&ledger), [half.len().to_string()]);
        ledger.records = Records::default();
        assert_eq!(ledger.learn(Writer::Busy(half.len() + HEAD_BYTES), 4), None);
        ledger.note(binary(b"y"), 5);
        assert_eq!(ledger.learn(Writer::Busy(half.len()), 6), Some(3));
        ledger.note(binary(b"z"), 7);
        assert_eq!(told(&ledger), ["gap 3", "1"]);
        assert_eq!(ledger.learn(Writer::Busy(0), 8), None);
    }

    #[test]
    fn message_above_the_limit_is_copied_when_nothing_waits() {
        let mut ledger = ledger(None);
        let large = vec![0; MAX_UNWRITTEN_BYTES + 1];
        ledger.note(binary(&large), 1);
        ledger.note(binary(b"x"), 2);
        assert_eq!(told(&ledger), [large.len().to_string()]);
        assert_eq!(ledger.missed, Some(1));
    }

    #[test]
    fn nothing_is_copied_for_a_writer_that_cannot_write() {
        let mut ledger = ledger(None);
        assert_eq!(ledger.learn(Writer::Stopped, 1), None);
        ledger.note(binary(b"x"), 2);
        assert!(told(&ledger).is_empty());
        assert_eq!(ledger.learn(Writer::Busy(0), 3), Some(1));
        assert_eq!(told(&ledger), ["gap 1"]);
    }

    #[test]
    fn no_more_are_copied_than_are_wanted() {
        let mut ledger = ledger(Some(2));
        for _ in 0..3 {
            ledger.note(binary(b"x"), 1);
        }
        assert_eq!((ledger.records.messages, ledger.wanted), (2, Some(0)));
        assert_eq!(ledger.missed, None);
    }
}
