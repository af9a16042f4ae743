//! Where a recording ends that is to be written on: behind its last whole record.
//!
//! A power cut leaves a part of one record there. If a length in the middle is damaged, whole records may
//! look like that part; these are not to be cut off.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::str;

use super::reader::{READ_BYTES, ReadError, begins};
use crate::codec::recording::{BEGINNING, Flaw, HEAD_BYTES, announced};

/// The bytes of a file up to the end of its last whole record; `None`: it has not even a beginning.
/// What is behind them is a part of a record whose message has at most `max_message_size` bytes,
/// anything else is an error.
///
/// The file is at its beginning. Takes little memory besides such a part.
pub(super) fn end_of(file: &File, max_message_size: usize) -> Result<Option<u64>, ReadError> {
    let length = file.metadata().map_err(ReadError::System)?.len();
    let mut scan = Scan { input: BufReader::with_capacity(READ_BYTES, file), chunk: Vec::new() };
    if !begins(&mut scan.input)? {
        return Ok(None);
    }
    let mut offset = BEGINNING.len() as u64;
    loop {
        let left = length.saturating_sub(offset);
        let size = scan.record(left, max_message_size).map_err(|failure| match failure {
            Failure::System(error) => ReadError::System(error),
            Failure::Corrupt(flaw) => ReadError::Corrupt(offset, flaw),
        })?;
        match size {
            Some(size) => offset += size,
            None => return Ok(Some(offset)),
        }
    }
}

/// A file that is read once.
struct Scan<'a> {
    input: BufReader<&'a File>,
    chunk: Vec<u8>,
}

enum Failure {
    System(io::Error),
    Corrupt(Flaw),
}

impl Scan<'_> {
    /// Reads over a record, of which the file has `left` bytes or fewer. Its size; `None`: it is torn.
    fn record(&mut self, left: u64, max_message_size: usize) -> Result<Option<u64>, Failure> {
        if left < HEAD_BYTES as u64 {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        self.input.read_exact(&mut head).map_err(Failure::System)?;
        let record = announced(&head).map_err(Failure::Corrupt)?;
        let left = left - HEAD_BYTES as u64;
        if record.payload_bytes > left {
            let is_torn = left <= max_message_size as u64 && !self.has_whole_record(left)?;
            let damage = Flaw::Beyond { size: record.payload_bytes, left };
            return if is_torn { Ok(None) } else { Err(Failure::Corrupt(damage)) };
        }
        if record.is_text {
            self.pass_text(record.payload_bytes)?;
        } else {
            let bytes = i64::try_from(record.payload_bytes).unwrap_or(i64::MAX);
            self.input.seek_relative(bytes).map_err(Failure::System)?;
        }
        Ok(Some(HEAD_BYTES as u64 + record.payload_bytes))
    }

    /// Reads over a text, in pieces.
    fn pass_text(&mut self, mut bytes: u64) -> Result<(), Failure> {
        self.chunk.clear();
        while bytes > 0 {
            // A character that was cut by the end of a piece stands in front of the next one.
            let begun = self.chunk.len();
            let count = usize::try_from(bytes).unwrap_or(usize::MAX).min(READ_BYTES);
            self.chunk.resize(begun + count, 0);
            self.input.read_exact(&mut self.chunk[begun..]).map_err(Failure::System)?;
            bytes -= count as u64;
            match str::from_utf8(&self.chunk) {
                Ok(_) => self.chunk.clear(),
                Err(error) if error.error_len().is_none() && bytes > 0 => {
                    self.chunk.drain(..error.valid_up_to());
                }
                Err(_) => return Err(Failure::Corrupt(Flaw::NotUtf8)),
            }
        }
        Ok(())
    }

    /// Whether there are whole records among the bytes that are left.
    fn has_whole_record(&mut self, left: u64) -> Result<bool, Failure> {
        let mut bytes = Vec::with_capacity(usize::try_from(left).unwrap_or(0));
        (&mut self.input).take(left).read_to_end(&mut bytes).map_err(Failure::System)?;
        Ok((0..bytes.len()).any(|at| is_record(&bytes[at..])))
    }
}

/// Whether bytes begin with a whole record, behind which another one or the end is.
fn is_record(bytes: &[u8]) -> bool {
    let Some(size) = likely_size(bytes) else { return false };
    match bytes.get(size..) {
        Some(rest) => rest.len() < HEAD_BYTES || likely_size(rest).is_some(),
        None => false,
    }
}

/// The size of a record that may be the relay's: its time is before 2112.
fn likely_size(bytes: &[u8]) -> Option<usize> {
    const END_OF_TIME: u64 = 1 << 52;
    let record = announced(bytes.first_chunk()?).ok()?;
    let size = usize::try_from(record.payload_bytes).ok()?.checked_add(HEAD_BYTES)?;
    (record.time < END_OF_TIME).then_some(size)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::codec::recording::{Happening, push};
    use crate::codec::{Kind, Message};

    const TIME: u64 = 1_700_000_000_000_000;

    fn with_texts(texts: &[&str]) -> Vec<u8> {
        let mut file = BEGINNING.to_vec();
        for text in texts {
            let message = Message { kind: Kind::Text, payload: text.as_bytes() };
            push(TIME, Happening::Message(message), &mut file);
        }
        file
    }

    fn end(bytes: &[u8], max_message_size: usize) -> Result<Option<u64>, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        end_of(&file, max_message_size).map_err(|error| error.to_string())
    }

    #[test]
    fn torn_record_is_left_out_wherever_it_is_cut() {
        let file = with_texts(&["first", "second"]);
        for cut in 1..19 {
            assert_eq!(end(&file[..file.len() - cut], 100), Ok(Some(26)), "{cut}");
        }
        assert_eq!(end(&file, 100), Ok(Some(file.len() as u64)));
        assert_eq!(end(&file[..8], 100), Ok(Some(8)));
        assert_eq!(end(&file[..7], 100), Ok(None));
    }

    #[test]
    fn damaged_length_is_no_torn_record() {
        let mut file = with_texts(&["first", "second", "third", "fourth"]);
        // The lowest byte but one of the second length.
        file[26 + 11] = 1;
        let told = "at byte 26: a payload of 262 bytes has only 43 up to the end, and they are no \
                    torn record";
        assert_eq!(end(&file, 1000), Err(told.to_owned()));
        // The same with a torn record at the end.
        assert!(end(&file[..file.len() - 1], 1000).is_err());
        // What is left may hold nothing that is known, and be longer than any message.
        let mut file = with_texts(&["first", &"x".repeat(500)]);
        file.truncate(400);
        assert_eq!(end(&file, 500), Ok(Some(26)));
        assert!(end(&file, 300).is_err());
    }

    #[test]
    fn large_texts_are_checked_in_pieces() {
        let text = "é".repeat(READ_BYTES);
        // A character is cut by the end of a piece, or is not.
        for text in [text.clone(), format!("x{text}")] {
            let mut file = with_texts(&[&text, "end"]);
            assert_eq!(end(&file, 10), Ok(Some(file.len() as u64)), "whatever the limit is");
            file[8 + HEAD_BYTES + text.len() - 1] = b'x';
            assert_eq!(end(&file, 10), Err("at byte 8: a text is not valid UTF-8".to_owned()));
        }
    }
}
