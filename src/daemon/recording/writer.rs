//! The thread that writes one recording.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::super::clock;
use super::file::RecordingFile;
use super::{LETTER_BYTES, Meter, RETRY, Task};
use crate::codec::recording::{Happening, messages_in, push};
use crate::config::plan::rounded_size;
use crate::relay::record::Records;

/// Records are gathered for so long at most before they are written.
const GATHER: Duration = Duration::from_secs(1);
/// Bytes of records that are written at once.
const GATHERED_BYTES: usize = 256 * 1024;

/// What the loop tells the thread.
#[derive(Debug)]
pub(super) enum Letter {
    /// What has come.
    Records(Records),
    /// The same file is to be written in another way.
    Task(Task),
}

/// A recording, and what is not written of it yet.
#[derive(Debug)]
pub(super) struct Writer {
    task: Task,
    meter: Arc<Meter>,
    /// Kept also while it cannot be written.
    file: Option<RecordingFile>,
    /// When it is tried again, if it cannot be opened or written.
    retry_at: Option<Instant>,
    gathered: Records,
    /// When that is written at the latest.
    write_at: Instant,
    /// Whether the last attempt to open or write it has failed.
    is_failing: bool,
    /// What has gone wrong the last time, and was told.
    failure: Option<String>,
}

impl Writer {
    /// A recording whose file is not open yet.
    pub(super) fn new(task: Task, meter: Arc<Meter>) -> Self {
        let now = clock::now();
        Self {
            task,
            meter,
            file: None,
            retry_at: Some(now),
            gathered: Records::default(),
            write_at: now,
            is_failing: false,
            failure: None,
        }
    }

    /// Writes until nobody sends letters any more. Blocks: runs on a thread of its own.
    pub(super) fn run(mut self, letters: &Receiver<Letter>) {
        self.open_again(clock::now());
        loop {
            match self.receive(letters) {
                Ok(Letter::Records(records)) => self.gather(records),
                Ok(Letter::Task(task)) => self.adopt(task),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let now = clock::now();
            self.open_again(now);
            if self.gathered.bytes.len() >= GATHERED_BYTES || self.write_at <= now {
                self.write(now);
            }
        }
        self.end();
    }

    fn receive(&self, letters: &Receiver<Letter>) -> Result<Letter, RecvTimeoutError> {
        let wake_at = match self.retry_at {
            None if self.gathered.bytes.is_empty() => {
                return letters.recv().map_err(|_| RecvTimeoutError::Disconnected);
            }
            None => self.write_at,
            Some(retry_at) => retry_at,
        };
        letters.recv_timeout(wake_at.saturating_duration_since(clock::now()))
    }

    fn adopt(&mut self, task: Task) {
        if let Some(file) = &mut self.file {
            file.adopt(task.record.clone());
        }
        self.task = task;
    }

    fn open_again(&mut self, now: Instant) {
        if self.retry_at.is_none_or(|retry_at| retry_at > now) {
            return;
        }
        if let Err(error) = self.take_up() {
            return self.stop(&error.to_string(), now);
        }
        self.retry_at = None;
        if !self.is_failing {
            log::info!("source {}: recorded in {}", self.task.name, self.path());
        }
        self.meter.is_stopped.store(false, Ordering::Release);
    }

    /// Goes on with the file as it was left, or opens it, which takes a look at all that is in it.
    fn take_up(&mut self) -> io::Result<()> {
        if !self.file.as_mut().is_some_and(RecordingFile::take_up) {
            // Its lock is given back before it is asked for again.
            self.file = None;
            self.file = Some(RecordingFile::open(&self.task)?);
        }
        Ok(())
    }

    fn gather(&mut self, records: Records) {
        self.meter.unwritten_bytes.fetch_sub(LETTER_BYTES, Ordering::AcqRel);
        if self.retry_at.is_some() {
            self.throw_away(&records.bytes);
            return;
        }
        if self.gathered.bytes.is_empty() {
            self.gathered = records;
            self.write_at = clock::now() + GATHER;
            return;
        }
        self.gathered.bytes.extend_from_slice(&records.bytes);
        self.gathered.messages += records.messages;
        self.gathered.missed += records.missed;
    }

    fn write(&mut self, now: Instant) {
        let records = std::mem::take(&mut self.gathered);
        let file = self.file.as_mut().filter(|_| self.retry_at.is_none());
        let Some(file) = file else { return self.throw_away(&records.bytes) };
        if records.bytes.is_empty() {
            return;
        }
        match file.append(&records.bytes) {
            Ok(()) => {
                self.account(records.bytes.len(), records.messages);
                self.tell_of_gap(records.missed);
            }
            Err((unwritten, error)) => {
                let (written, lost) = records.bytes.split_at(records.bytes.len() - unwritten);
                self.account(written.len(), messages_in(written).0);
                self.stop(&error.to_string(), now);
                self.throw_away(lost);
            }
        }
    }

    fn account(&self, bytes: usize, messages: u64) {
        let meter = &self.meter;
        meter.unwritten_bytes.fetch_sub(bytes, Ordering::AcqRel);
        meter.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        meter.messages.fetch_add(messages, Ordering::Relaxed);
    }

    /// Says what is missing in the file, and that it can be written again, if it could not.
    fn tell_of_gap(&mut self, missed: u64) {
        let (name, path) = (&self.task.name, self.task.record.path.display());
        if std::mem::take(&mut self.is_failing) {
            log::warn!("source {name}: recorded in {path} again, {missed} messages are missing");
        } else if missed > 0 {
            log::warn!(
                "source {name}: {missed} messages were not recorded, the disk is too slow for them"
            );
        }
    }

    /// Counts what is not written: messages, and those that were missing before.
    fn throw_away(&self, records: &[u8]) {
        let (messages, missing) = messages_in(records);
        let meter = &self.meter;
        meter.lost_messages.fetch_add(messages, Ordering::Relaxed);
        meter.untold_messages.fetch_add(messages + missing, Ordering::AcqRel);
        meter.unwritten_bytes.fetch_sub(records.len(), Ordering::AcqRel);
    }

    /// Writes nothing for a while.
    fn stop(&mut self, why: &str, now: Instant) {
        self.meter.is_stopped.store(true, Ordering::Release);
        self.retry_at = Some(now + RETRY);
        if !self.is_failing || self.failure.as_deref() != Some(why) {
            let seconds = RETRY.as_secs();
            log::error!(
                "source {}: cannot record in {} ({why}), tried again every {seconds} s",
                self.task.name,
                self.path()
            );
        }
        self.is_failing = true;
        self.failure = Some(why.to_owned());
    }

    fn end(&mut self) {
        self.write(clock::now());
        self.note_last_gap();
        self.tell_of_end();
    }

    /// Tells in the file what the relay cannot tell there any more, if there is room for that.
    fn note_last_gap(&mut self) {
        let missed = self.meter.untold_messages.swap(0, Ordering::AcqRel);
        let Some(file) = self.file.as_mut().filter(|_| missed > 0) else { return };
        let mut gap = Vec::new();
        push(clock::unix_micros(), Happening::Gap(missed), &mut gap);
        if file.take_up() && file.append(&gap).is_ok() {
            self.meter.bytes.fetch_add(gap.len() as u64, Ordering::Relaxed);
        }
    }

    fn tell_of_end(&self) {
        let (tally, unrecorded) = (self.meter.tally(), self.meter.unrecorded_messages());
        let plural = if tally.messages == 1 { "" } else { "s" };
        let (name, messages, path) = (&self.task.name, tally.messages, self.path());
        let size = rounded_size(tally.bytes);
        let recorded = format!("{messages} message{plural} recorded in {path} ({size})");
        if unrecorded == 0 {
            log::info!("source {name}: {recorded}");
            return;
        }
        let were = if unrecorded == 1 { "was" } else { "were" };
        let why = self.failure.as_deref().unwrap_or("the disk is too slow for them");
        log::warn!("source {name}: {recorded}, {unrecorded} {were} not: {why}");
    }

    fn path(&self) -> String {
        self.task.record.path.display().to_string()
    }
}
