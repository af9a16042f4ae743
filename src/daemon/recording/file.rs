//! The file of a recording: taken up where it ends, and put aside when it is full.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::Task;
use super::ending::end_of;
use super::reader::ReadError;
use crate::codec::recording::{BEGINNING, Found, record, whole_records};
use crate::config::recording::Record;

/// Who may read a new file: its own user, since feeds may be private.
const FILE_MODE: u32 = 0o600;
/// A lock that somebody else has is asked for so often, with a pause before each further time.
const LOCK_ATTEMPTS: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// A file that records are appended to. It ends with a whole record, also after a write that has
/// failed.
#[derive(Debug)]
pub(super) struct RecordingFile {
    settings: Record,
    file: File,
    /// Its bytes that are whole records.
    size: u64,
}

impl RecordingFile {
    /// Takes a file up, or makes it. What was done to its end is logged.
    ///
    /// A torn record at the end is cut off; a recording that is corrupt is put aside. A file that is
    /// no recording, or to which somebody else records, is not touched. Blocks.
    pub(super) fn open(task: &Task) -> io::Result<Self> {
        let Task { name, record: settings, .. } = task;
        let path = &settings.path;
        let file = locked(path)?;
        match end_of(&file, task.max_message_size) {
            Ok(None) => Self { settings: settings.clone(), file, size: 0 }.begun(),
            Ok(Some(size)) => {
                let torn = file.metadata()?.len() - size;
                if torn > 0 {
                    file.set_len(size)?;
                    let path = path.display();
                    log::warn!("source {name}: a torn record of {torn} bytes was cut off {path}");
                }
                (&file).seek(SeekFrom::Start(size))?;
                Ok(Self { settings: settings.clone(), file, size })
            }
            Err(ReadError::Corrupt(offset @ 1.., flaw)) => {
                let path = path.display();
                log::warn!("source {name}: {path} is put aside, at byte {offset}: {flaw}");
                let mut corrupt = Self { settings: settings.clone(), file, size: offset };
                corrupt.rotate()?;
                Ok(corrupt)
            }
            Err(ReadError::System(error)) => Err(error),
            Err(error @ ReadError::Corrupt(0, _)) => {
                Err(io::Error::other(format!("the file {error}, it is left alone")))
            }
        }
    }

    /// Appends whole records, in another file where this one is full. After an error it ends with
    /// a whole record still; how many bytes were not written is told.
    pub(super) fn append(&mut self, records: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut rest = records;
        while !rest.is_empty() {
            let count = self.fitting(rest);
            if count == 0 {
                self.rotate().map_err(|error| (rest.len(), error))?;
                continue;
            }
            if let Err(error) = self.file.write_all(&rest[..count]) {
                let written = self.cut_back(&rest[..count]);
                return Err((rest.len() - written, error));
            }
            self.size += count as u64;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// The bytes of the first records that this file has room for; the first of all has it always.
    fn fitting(&self, records: &[u8]) -> usize {
        if self.settings.rotate_bytes == 0 {
            return records.len();
        }
        let room = self.settings.rotate_bytes.saturating_sub(self.size);
        let fitting = whole_records(records, usize::try_from(room).unwrap_or(usize::MAX));
        if fitting == 0 && self.size <= BEGINNING.len() as u64 {
            return first_record(records);
        }
        fitting
    }

    /// Cuts a record off that was written in part. The bytes that were written whole.
    fn cut_back(&mut self, records: &[u8]) -> usize {
        let length = self.file.metadata().map_or(self.size, |metadata| metadata.len());
        let written = usize::try_from(length.saturating_sub(self.size)).unwrap_or(0);
        let whole = whole_records(records, written);
        self.size += whole as u64;
        // Where that fails, it is done when the file is opened again.
        let _ = self.file.set_len(self.size);
        whole
    }

    /// Goes on after a write that has failed. `false`: it must be opened again, since it is torn, or
    /// another file has its place.
    pub(super) fn take_up(&mut self) -> bool {
        let (own, found) = (self.file.metadata(), fs::metadata(&self.settings.path));
        let (Ok(own), Ok(found)) = (own, found) else { return false };
        let is_same = (own.dev(), own.ino()) == (found.dev(), found.ino());
        let is_whole = own.len() == self.size;
        is_same && is_whole && self.file.seek(SeekFrom::Start(self.size)).is_ok()
    }

    /// Puts this file aside and begins another.
    fn rotate(&mut self) -> io::Result<()> {
        let Record { path, kept_files, .. } = &self.settings;
        let mut older = (1..=*kept_files).map(|number| self.settings.aside(number));
        if let Some(taken) = older.find(|file| is_recorded_in(file)) {
            let taken = taken.display();
            return Err(io::Error::other(format!("another veylor records in {taken}, rename one")));
        }
        for number in (1..*kept_files).rev() {
            rename(&self.settings.aside(number), &self.settings.aside(number + 1))?;
        }
        rename(path, &self.settings.aside(1))?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        let file = options.open(path)?;
        lock(&file)?;
        *self = Self { settings: self.settings.clone(), file, size: 0 }.begun()?;
        Ok(())
    }

    /// Writes the beginning of a new file.
    fn begun(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&BEGINNING)?;
        self.size = BEGINNING.len() as u64;
        Ok(self)
    }

    /// Takes other settings for the same path.
    pub(super) fn adopt(&mut self, settings: Record) {
        self.settings = settings;
    }
}

/// A file that may not be there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Whether somebody records in a file, who knows nothing of those whose older files have such names.
fn is_recorded_in(path: &Path) -> bool {
    // Opening a pipe would wait for somebody.
    let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
    let file = is_file.then(|| File::open(path).ok()).flatten();
    file.is_some_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Opens a file that no other process of ours writes to.
fn locked(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    lock(&file)?;
    Ok(file)
}

/// Who recorded there before a reload may be about to finish.
fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => pause(LOCK_PAUSE),
            Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
                return Err(error);
            }
            // Where there are no locks, nobody is kept away.
            Err(TryLockError::Error(_)) | Ok(()) => return Ok(()),
        }
    }
    Err(io::Error::other("another veylor records there"))
}

#[expect(clippy::disallowed_methods, reason = "the thread of a recording keeps nobody waiting")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn first_record(records: &[u8]) -> usize {
    match record(records, usize::MAX) {
        Ok(Found::Record(record)) => record.size,
        Ok(Found::Part(_)) | Err(_) => records.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::recording::{Happening, push};
    use crate::codec::{Kind, Message};

    fn message(payload: &[u8]) -> Vec<u8> {
        let mut records = Vec::new();
        let message = Message { kind: Kind::Binary, payload };
        push(1, Happening::Message(message), &mut records);
        records
    }

    fn opened(path: &Path) -> RecordingFile {
        opened_with(Record::endless(path.to_owned()))
    }

    fn opened_with(record: Record) -> RecordingFile {
        let task = Task { name: "feed".to_owned(), record, max_message_size: 100 };
        RecordingFile::open(&task).unwrap()
    }

    #[test]
    fn file_is_taken_up_only_as_it_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.vrec");
        let mut file = opened(&path);
        file.append(&message(b"one")).unwrap();
        assert!(file.take_up());
        file.append(&message(b"two")).unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            [&BEGINNING[..], &message(b"one"), &message(b"two")].concat()
        );

        // A tail that could not be cut off.
        (&file.file).write_all(b"torn").unwrap();
        assert!(!file.take_up());
        drop(file);
        let mut file = opened(&path);
        assert!(file.take_up());
        // Somebody makes room.
        fs::remove_file(&path).unwrap();
        assert!(!file.take_up());
        drop(file);
        drop(opened(&path));
        assert_eq!(fs::read(&path).unwrap(), BEGINNING);
    }

    #[test]
    fn file_in_which_another_records_is_not_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let (path, older) = (folder.path().join("x.vrec"), folder.path().join("x.1.vrec"));
        let mut file = opened_with(Record { rotate_bytes: 100, ..Record::endless(path) });
        let mut other = opened(&older);
        file.append(&message(&[1; 80])).unwrap();
        let (unwritten, error) = file.append(&message(&[2; 80])).unwrap_err();
        assert_eq!(unwritten, 93);
        assert!(error.to_string().starts_with("another veylor records in "), "{error}");
        assert!(other.take_up() && file.take_up(), "both are where they were");
        drop(other);
        file.append(&message(&[2; 80])).unwrap();
        assert_eq!(fs::read(&older).unwrap(), [&BEGINNING[..], &message(&[1; 80])].concat());
    }
}
