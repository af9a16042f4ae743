//! Reading a recording, a piece at a time.

use std::fmt;
use std::io::{self, Read};

use crate::codec::recording::{BEGINNING, Flaw, Found, Record, check_beginning, record};

/// Bytes that are read at once; the buffer grows for a larger message.
pub(super) const READ_BYTES: usize = 256 * 1024;

/// A recording that is read from its beginning.
#[derive(Debug)]
pub(in crate::daemon) struct Reader<R> {
    file: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the file in front of `start`.
    offset: u64,
    /// Bytes of the largest message.
    limit: usize,
    /// Bytes that the record in part at the end has, as far as is known.
    needed: usize,
}

/// Why a recording is read no further.
#[derive(Debug)]
pub(in crate::daemon) enum ReadError {
    /// The system refuses.
    System(io::Error),
    /// The bytes at this offset are wrong.
    Corrupt(u64, Flaw),
}

impl<R: Read> Reader<R> {
    /// A reader behind the beginning of a file, which it checks. `None`: the file is empty, or ends
    /// before its beginning does.
    pub(in crate::daemon) fn begin(mut file: R, limit: usize) -> Result<Option<Self>, ReadError> {
        if !begins(&mut file)? {
            return Ok(None);
        }
        let (buffer, offset) = (vec![0; READ_BYTES], BEGINNING.len() as u64);
        Ok(Some(Self { file, buffer, start: 0, end: 0, offset, limit, needed: 0 }))
    }

    /// The record `at` bytes behind the place of now, if it is there whole.
    pub(in crate::daemon) fn record(&mut self, at: usize) -> Result<Option<Record<'_>>, ReadError> {
        let bytes = &self.buffer[self.start + at..self.end];
        match record(bytes, self.limit) {
            Ok(Found::Record(record)) => Ok(Some(record)),
            Ok(Found::Part(size)) => {
                self.needed = size;
                Ok(None)
            }
            Err(flaw) => Err(ReadError::Corrupt(self.offset + at as u64, flaw)),
        }
    }

    /// The bytes from the place of now on.
    pub(in crate::daemon) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Goes on by so many bytes.
    pub(in crate::daemon) fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    /// Where in the file it is.
    pub(in crate::daemon) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads more. `false`: the file has ended.
    pub(in crate::daemon) fn fill(&mut self) -> Result<bool, ReadError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        // A record is believed as it comes: a file of some bytes costs no memory for many.
        let room = self.needed.min(2 * self.end).max(self.end + 1).max(READ_BYTES);
        self.buffer.resize(room, 0);
        loop {
            match self.file.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ReadError::System(error)),
            }
        }
    }

    /// The file that is read.
    pub(in crate::daemon) fn into_file(self) -> R {
        self.file
    }
}

/// Reads and checks the beginning of a file. `false`: the file ends before its beginning does.
pub(super) fn begins(file: &mut impl Read) -> Result<bool, ReadError> {
    let mut beginning = Vec::with_capacity(BEGINNING.len());
    let size = BEGINNING.len() as u64;
    file.take(size).read_to_end(&mut beginning).map_err(ReadError::System)?;
    if beginning.len() < BEGINNING.len() && BEGINNING.starts_with(&beginning) {
        return Ok(false);
    }
    check_beginning(&beginning).map_err(|flaw| ReadError::Corrupt(0, flaw))?;
    Ok(true)
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Corrupt(0, flaw) => flaw.fmt(f),
            Self::Corrupt(offset, flaw @ Flaw::TooLarge { .. }) => {
                write!(f, "at byte {offset}: {flaw}, see max_message_size")
            }
            Self::Corrupt(offset, flaw) => write!(f, "at byte {offset}: {flaw}"),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::recording::{Happening, push};
    use crate::codec::{Kind, Message};

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = buffer.len().min(7);
            self.0.read(&mut buffer[..count])
        }
    }

    fn file(sizes: &[usize]) -> Vec<u8> {
        let mut file = BEGINNING.to_vec();
        for size in sizes {
            let payload = vec![7; *size];
            let message = Message { kind: Kind::Binary, payload: &payload };
            push(1, Happening::Message(message), &mut file);
        }
        file
    }

    /// The sizes of the messages, and the bytes that are left at the end.
    fn read(file: impl Read, limit: usize) -> Result<(Vec<usize>, usize), ReadError> {
        let mut reader = Reader::begin(file, limit)?.unwrap();
        let mut sizes = Vec::new();
        loop {
            while let Some(Record { happening, size, .. }) = reader.record(0)? {
                if let Happening::Message(message) = happening {
                    sizes.push(message.payload.len());
                }
                reader.skip(size);
            }
            if !reader.fill()? {
                return Ok((sizes, reader.bytes().len()));
            }
        }
    }

    #[test]
    fn records_are_read_however_they_come() {
        let sizes = [0, 5, READ_BYTES, 3, 3 * READ_BYTES, 1];
        let whole = file(&sizes);
        assert_eq!(read(&*whole, 1 << 20).unwrap(), (sizes.to_vec(), 0));
        let small = file(&[0, 5, 70, 3]);
        assert_eq!(read(Slow(&small), 100).unwrap(), (vec![0, 5, 70, 3], 0));
    }

    #[test]
    fn torn_record_is_left_at_the_end() {
        let whole = file(&[5, 9]);
        for cut in 1..22 {
            let torn = &whole[..whole.len() - cut];
            assert_eq!(read(torn, 100).unwrap(), (vec![5], 22 - cut));
        }
    }

    #[test]
    fn corrupt_record_is_told_with_its_offset() {
        let mut corrupt = file(&[5, 9]);
        corrupt[8 + 18 + 8] = b'?';
        let error = read(&*corrupt, 100).unwrap_err().to_string();
        assert_eq!(error, "at byte 26: there is no kind of record 0x3f");
        let error = read(&*file(&[5, 9]), 8).unwrap_err().to_string();
        let expected = "at byte 26: a message of 9 bytes is above the limit of 8, see \
                        max_message_size";
        assert_eq!(error, expected);
    }

    #[test]
    fn other_files_are_not_taken_for_recordings() {
        let error = Reader::begin(&b"precious data"[..], 8).unwrap_err().to_string();
        assert_eq!(error, "is no recording of Veylor");
        assert!(Reader::begin(&b"prec"[..], 8).is_err());
        assert!(Reader::begin(&b""[..], 8).unwrap().is_none());
        assert!(Reader::begin(&BEGINNING[..5], 8).unwrap().is_none());
    }

    #[test]
    fn announced_size_takes_no_memory_before_its_bytes_come() {
        let mut announced = file(&[]);
        announced.extend([0, 0, 0, 0, 0, 0, 0, 1, b'b', 0x3f, 0, 0, 0]);
        let mut reader = Reader::begin(&*announced, 1 << 30).unwrap().unwrap();
        while reader.fill().unwrap() {
            assert!(reader.record(0).unwrap().is_none());
        }
        assert!(reader.buffer.len() <= READ_BYTES);
    }
}
