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
    /// The messages that a gap among them stands for.
    pub missed: u64,
}

/// What becomes of the messages of one source.
#[derive(Debug)]
struct Ledger {
    source: SourceId,
    records: Records,
    writer: Writer,
    /// Messages that were left out since the writer fell behind; `None`: it has not.
    missed: Option<u64>,
    /// Messages that were ever left out.
    left_out: u64,
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

    /// Whether a source is recorded at this moment.
    pub(super) fn has(&self, source: SourceId) -> bool {
        let is_written =
            |ledger: &Ledger| ledger.writer != Writer::Stopped && ledger.wanted != Some(0);
        self.ledgers.iter().any(|ledger| ledger.source == source && is_written(ledger))
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
            self.left_out += 1;
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

    /// Learns how far the writer is, and how many messages it had to throw away.
    fn learn(&mut self, writer: Writer, lost: u64, time: u64) {
        self.writer = writer;
        if lost > 0 {
            *self.missed.get_or_insert(0) += lost;
        }
        match writer {
            Writer::Busy(unwritten) if unwritten <= MAX_UNWRITTEN_BYTES / 2 => self.catch_up(time),
            Writer::Busy(_) | Writer::Stopped => {}
        }
    }

    /// Tells in a record what was left out, and leaves out no more.
    fn catch_up(&mut self, time: u64) {
        let missed = self.missed.take().unwrap_or_default();
        if missed > 0 {
            recording::push(time, Happening::Gap(missed), &mut self.records.bytes);
            self.records.missed += missed;
        }
    }
}

impl<S: Socket> Relay<S> {
    /// Copies everything that a source sends from now on, or so many messages of it.
    pub fn record(&mut self, source: SourceId, wanted: Option<u64>) {
        self.end_records(source);
        let (records, writer) = (Records::default(), Writer::Busy(0));
        let ledger = Ledger { source, records, writer, missed: None, left_out: 0, wanted };
        self.ledgers.ledgers.push(ledger);
    }

    /// Copies nothing more of a source. What has come since it was last asked.
    pub fn end_records(&mut self, source: SourceId) -> Records {
        let Ledgers { ledgers, time } = &mut self.ledgers;
        let Some(place) = ledgers.iter().position(|ledger| ledger.source == source) else {
            return Records::default();
        };
        let mut ledger = ledgers.swap_remove(place);
        ledger.catch_up(*time);
        ledger.records
    }

    /// Learns what time it is, for records: microseconds since 1970.
    pub fn set_record_time(&mut self, time: u64) {
        self.ledgers.time = time;
    }

    /// Learns how far a source's writer is, and how many messages it had to throw away since this was
    /// last told.
    pub fn learn_of_writer(&mut self, source: SourceId, writer: Writer, lost: u64) {
        let time = self.ledgers.time;
        if let Some(ledger) = self.ledgers.of(source) {
            ledger.learn(writer, lost, time);
        }
    }

    /// What has come of a source since this was last asked.
    pub fn take_records(&mut self, source: SourceId) -> Records {
        let ledger = self.ledgers.of(source);
        ledger.map(|ledger| std::mem::take(&mut ledger.records)).unwrap_or_default()
    }

    /// Messages of a source that were never copied, since its writer was behind or could not write.
    pub fn left_out(&self, source: SourceId) -> u64 {
        let ledger = self.ledgers.ledgers.iter().find(|ledger| ledger.source == source);
        ledger.map_or(0, |ledger| ledger.left_out)
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
        let (source, writer) = (SourceId(0), Writer::Busy(0));
        Ledger { source, records, writer, missed: None, left_out: 0, wanted }
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
    fn what_cannot_be_written_or_is_not_wanted_is_not_recorded() {
        let is_recorded = |ledger| {
            let ledgers = Ledgers { ledgers: vec![ledger], time: 0 };
            assert!(!ledgers.has(SourceId(1)));
            ledgers.has(SourceId(0))
        };
        assert!(is_recorded(ledger(None)) && is_recorded(ledger(Some(1))));
        assert!(!is_recorded(ledger(Some(0))));
        assert!(!is_recorded(Ledger { writer: Writer::Stopped, ..ledger(None) }));
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
        ledger.learn(Writer::Busy(half.len() + HEAD_BYTES), 0, 4);
        assert_eq!(told(&ledger), [""; 0]);
        ledger.note(binary(b"y"), 5);
        ledger.learn(Writer::Busy(half.len()), 0, 6);
        ledger.note(binary(b"z"), 7);
        assert_eq!(told(&ledger), ["gap 3", "1"]);
        ledger.learn(Writer::Busy(0), 0, 8);
        assert_eq!((told(&ledger).len(), ledger.records.missed), (2, 3));
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
        ledger.learn(Writer::Stopped, 0, 1);
        ledger.note(binary(b"x"), 2);
        assert!(told(&ledger).is_empty());
        // What waited when it stopped is missing as well.
        ledger.learn(Writer::Busy(0), 4, 3);
        assert_eq!(told(&ledger), ["gap 5"]);
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
