//! Writing down what sources send: a thread for each that is recorded.
//!
//! The relay makes the records ([`crate::relay::record`]), the loop hands them over in each turn,
//! and the thread writes them. What waits is counted in bytes and bounded, so that a slow disk costs
//! records and never the relay. A thread that cannot write says so once, throws away what comes, and
//! tries again every `RETRY`.

mod ending;
mod file;
pub(super) mod reader;
mod writer;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGXFSZ;

use self::writer::{Letter, Writer};
use super::clock;
use crate::config::recording::Record;
use crate::config::settings::Source;
use crate::net::stream::Stream;
use crate::relay;
use crate::relay::Relay;
use crate::relay::record::Records;
use crate::relay::settings::SourceId;

/// A thread that could not write tries it again so much later.
const RETRY: Duration = Duration::from_secs(5);
/// What a letter to a thread takes besides its records, for many small ones may wait.
const LETTER_BYTES: usize = 128;
/// At the end, what is left is written within this time, or lost: a disk may hang.
const END_WAIT: Duration = Duration::from_secs(1);

/// All recordings that are made.
#[derive(Debug)]
pub(super) struct Recorders {
    running: Vec<Recorder>,
    /// Each thread has the other end, and so all have ended when that is gone.
    ends: Option<Sender<()>>,
    ended: Receiver<()>,
}

/// What is recorded, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Task {
    /// The source's, for the log.
    name: String,
    record: Record,
    /// Bytes of a message at most.
    max_message_size: usize,
}

/// One of them.
#[derive(Debug)]
struct Recorder {
    source: SourceId,
    task: Task,
    letters: Sender<Letter>,
    meter: Arc<Meter>,
}

/// What a thread and the loop know of each other.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes that were handed over and not written yet, and [`LETTER_BYTES`] for each letter.
    unwritten_bytes: AtomicUsize,
    is_stopped: AtomicBool,
    /// Messages that were handed over.
    handed_messages: AtomicU64,
    /// Messages that never were: they were left out. Known at the end.
    left_out_messages: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Messages that were handed over and thrown away.
    lost_messages: AtomicU64,
    /// Those of them, and of gaps, that the relay does not know of yet.
    untold_messages: AtomicU64,
}

/// How a recording goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Messages that are in the file.
    pub(super) messages: u64,
    /// Bytes of records that are in the file.
    pub(super) bytes: u64,
    /// Messages that the thread had to throw away.
    pub(super) lost_messages: u64,
}

impl Recorders {
    /// Records nothing yet.
    pub(super) fn new() -> Self {
        let (ends, ended) = mpsc::channel();
        Self { running: Vec::new(), ends: Some(ends), ended }
    }

    /// Records the source of each place that is to be recorded; goes on with those that are.
    pub(super) fn reload<'a>(
        &mut self,
        sources: impl Iterator<Item = (SourceId, Option<&'a Source>)>,
        relay: &mut Relay<Stream>,
    ) {
        let wanted: Vec<_> =
            sources.filter_map(|(id, source)| Some((id, Task::of(source?)?))).collect();
        let stays = |recorder: &Recorder| {
            wanted.iter().any(|(id, task)| {
                *id == recorder.source && task.record.path == recorder.task.record.path
            })
        };
        let (staying, leaving) = self.running.drain(..).partition(stays);
        self.running = staying;
        for recorder in leaving {
            recorder.end(relay);
        }
        for (source, task) in wanted {
            match self.running.iter_mut().find(|recorder| recorder.source == source) {
                Some(recorder) => recorder.adopt(task),
                None => self.begin(source, task, relay),
            }
        }
    }

    fn begin(&mut self, source: SourceId, task: Task, relay: &mut Relay<Stream>) {
        let Some(ends) = self.ends.clone() else { return };
        outlive_file_limits();
        let (letters, received) = mpsc::channel();
        let meter = Arc::<Meter>::default();
        let writer = Writer::new(task.clone(), Arc::clone(&meter));
        let run = move || {
            writer.run(&received);
            drop(ends);
        };
        match thread::Builder::new().name("veylor-record".to_owned()).spawn(run) {
            Ok(_) => {
                relay.record(source, task.record.messages);
                self.running.push(Recorder { source, task, letters, meter });
            }
            Err(error) => {
                log::error!("source {}: is not recorded, no thread for it: {error}", task.name);
            }
        }
    }

    /// Tells the relay what time it is, before anything is read.
    pub(super) fn begin_turn(&self, relay: &mut Relay<Stream>) {
        if !self.running.is_empty() {
            relay.set_record_time(clock::unix_micros());
        }
    }

    /// Hands over what has come. Says whether all is there that was wanted.
    pub(super) fn end_turn(&self, relay: &mut Relay<Stream>) -> bool {
        let mut has_all = !self.running.is_empty();
        for recorder in &self.running {
            recorder.learn(relay);
            recorder.hand_over(relay.take_records(recorder.source));
            has_all &= relay.has_recorded_all(recorder.source);
        }
        has_all
    }

    /// How the recording of a source goes, if it is recorded.
    pub(super) fn tally(&self, source: SourceId) -> Option<Tally> {
        let recorder = self.running.iter().find(|recorder| recorder.source == source)?;
        Some(recorder.meter.tally())
    }

    /// Writes what is left, and waits for it. How many messages of the sources that were recorded
    /// until then are in no file.
    pub(super) fn end(&mut self, relay: &mut Relay<Stream>) -> u64 {
        let running = self.running.drain(..);
        let meters: Vec<_> = running.map(|recorder| recorder.end(relay)).collect();
        self.ends = None;
        if self.ended.recv_timeout(END_WAIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            log::error!("the end of a recording was not written within {END_WAIT:?}, it is lost");
        }
        meters.iter().map(|meter| meter.unrecorded_messages()).sum()
    }
}

impl Task {
    fn of(source: &Source) -> Option<Self> {
        let (name, record) = (source.relay.name.clone(), source.record.clone()?);
        Some(Self { name, record, max_message_size: source.relay.max_message_size })
    }
}

impl Recorder {
    fn adopt(&mut self, task: Task) {
        if self.task != task {
            self.task = task.clone();
            let _ = self.letters.send(Letter::Task(task));
        }
    }

    /// Tells the relay how far the thread is.
    fn learn(&self, relay: &mut Relay<Stream>) {
        let meter = &self.meter;
        if meter.is_stopped.load(Ordering::Acquire) {
            return relay.learn_of_writer(self.source, relay::record::Writer::Stopped, 0);
        }
        let unwritten = meter.unwritten_bytes.load(Ordering::Acquire);
        let lost = meter.untold_messages.swap(0, Ordering::AcqRel);
        relay.learn_of_writer(self.source, relay::record::Writer::Busy(unwritten), lost);
    }

    fn hand_over(&self, records: Records) {
        if !records.bytes.is_empty() {
            let bytes = records.bytes.len() + LETTER_BYTES;
            self.meter.unwritten_bytes.fetch_add(bytes, Ordering::AcqRel);
            self.meter.handed_messages.fetch_add(records.messages, Ordering::Relaxed);
            // A thread that has ended has told why.
            let _ = self.letters.send(Letter::Records(records));
        }
    }

    /// The thread ends when it has written all.
    fn end(self, relay: &mut Relay<Stream>) -> Arc<Meter> {
        self.learn(relay);
        self.meter.left_out_messages.store(relay.left_out(self.source), Ordering::Relaxed);
        self.hand_over(relay.end_records(self.source));
        self.meter
    }
}

impl Meter {
    fn tally(&self) -> Tally {
        Tally {
            messages: self.messages.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            lost_messages: self.lost_messages.load(Ordering::Relaxed),
        }
    }

    /// Messages that came and are not in the file, at the end.
    fn unrecorded_messages(&self) -> u64 {
        let handed = self.handed_messages.load(Ordering::Relaxed);
        let unwritten = handed.saturating_sub(self.messages.load(Ordering::Relaxed));
        self.left_out_messages.load(Ordering::Relaxed) + unwritten
    }
}

/// A file at its limit (setrlimit(2), `RLIMIT_FSIZE`) is an error of the write, and not the end of the
/// process.
fn outlive_file_limits() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let is_told = Arc::new(AtomicBool::new(false));
        if let Err(error) = signal_hook::flag::register(SIGXFSZ, is_told) {
            log::debug!("a file at its limit ends the relay: {error}");
        }
    });
}

/// Tries whether a source can be recorded, if it is to be, before anything depends on it.
pub fn try_out(source: &Source) -> io::Result<()> {
    Task::of(source).map_or(Ok(()), |task| file::RecordingFile::open(&task).map(drop))
}
