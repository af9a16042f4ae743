//! Bytes that were read and not yet understood.

use std::io::{self, Read};
use std::ops::Range;

/// A connection that has nothing unread owns no more than this many bytes of buffer.
const KEPT_BYTES: usize = 64 * 1024;
/// The least room offered to a read.
const LEAST_READ_BYTES: usize = 4 * 1024;

/// A window of unread bytes in a buffer that is filled at its end and consumed at its front.
///
/// The buffer is initialised once and then reused, so a read costs no zeroing and no allocation.
#[derive(Debug, Default)]
pub struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of the message at the front, as far as its decoder knows.
    expected: usize,
}

impl Inbox {
    /// An empty inbox that offers `capacity` bytes to its first read.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { buffer: vec![0; capacity], start: 0, end: 0, expected: 0 }
    }

    /// Reads once. `Ok(0)` is the end of the stream.
    ///
    /// The buffer grows when a single message fills it; what bounds it is the decoder, which
    /// refuses a message that is too large as soon as its header is there.
    pub fn fill(&mut self, stream: &mut impl Read) -> io::Result<usize> {
        self.make_room();
        let count = stream.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Appends bytes that are already at hand.
    pub fn push(&mut self, bytes: &[u8]) {
        while self.buffer.len() - self.end < bytes.len() {
            if self.start > 0 {
                self.move_to_front();
            } else {
                self.grow();
            }
        }
        self.buffer[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// Learns how many bytes the message at the front will have, so that the buffer grows with what
    /// arrives but not far beyond.
    pub fn expect(&mut self, count: usize) {
        self.expected = count;
    }

    /// The unread bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The unread bytes, to be unmasked or joined in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// Consumes the first `count` bytes and hands them over.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn take(&mut self, count: usize) -> &mut [u8] {
        assert!(count <= self.len(), "more bytes taken than there are");
        let taken = self.start..self.start + count;
        self.start += count;
        if self.start == self.end {
            // The taken bytes stay where they are until the next read.
            (self.start, self.end) = (0, 0);
        }
        &mut self.buffer[taken]
    }

    /// Cuts bytes out of the middle.
    ///
    /// # Panics
    ///
    /// If the range is not within the unread bytes.
    pub fn remove(&mut self, range: Range<usize>) {
        assert!(range.end <= self.len(), "more bytes removed than there are");
        self.buffer.copy_within(self.start + range.end..self.end, self.start + range.start);
        self.end -= range.len();
    }

    /// How many bytes are unread.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether all was consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Moves the unread bytes into an inbox of their own, so that this buffer can serve others.
    ///
    /// Few bytes are copied; many take the buffer along.
    #[must_use = "the rest is lost with it"]
    pub fn split_off(&mut self) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        if self.len() > KEPT_BYTES / 2 {
            return std::mem::take(self);
        }
        let mut rest = Self::default();
        rest.push(self.bytes());
        (self.start, self.end) = (0, 0);
        rest
    }

    /// Sees to it that the next read is offered at least `count` bytes of an empty buffer.
    pub fn reserve(&mut self, count: usize) {
        if self.is_empty() && self.buffer.len() < count {
            self.buffer.resize(count, 0);
        }
    }

    /// Gives the buffer back if nothing is unread.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn make_room(&mut self) {
        if self.is_empty() && self.buffer.len() > KEPT_BYTES {
            self.buffer.truncate(KEPT_BYTES);
            self.buffer.shrink_to_fit();
        }
        if self.buffer.len() - self.end < LEAST_READ_BYTES && self.start > 0 {
            self.move_to_front();
        }
        if self.buffer.len() - self.end < LEAST_READ_BYTES {
            self.grow();
        }
    }

    fn move_to_front(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.len());
    }

    fn grow(&mut self) {
        let doubled = (self.buffer.len() * 2).max(2 * LEAST_READ_BYTES);
        let enough = self.expected.max(self.buffer.len()) + LEAST_READ_BYTES;
        let capacity = doubled.min(enough);
        self.buffer.reserve_exact(capacity - self.buffer.len());
        self.buffer.resize(capacity, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_however_they_are_cut() {
        let sent: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for step in [1, 7, 4096, 70_000] {
            let mut inbox = Inbox::with_capacity(64);
            let mut stream = sent.as_slice();
            let mut received = Vec::new();
            while received.len() < sent.len() {
                inbox.fill(&mut stream).unwrap();
                while inbox.len() >= step || (stream.is_empty() && !inbox.is_empty()) {
                    received.extend_from_slice(inbox.take(step.min(inbox.len())));
                }
            }
            assert_eq!(received, sent);
        }
    }

    #[test]
    fn rest_moves_to_an_inbox_of_its_own() {
        let mut shared = Inbox::with_capacity(KEPT_BYTES);
        shared.push(b"whole|part");
        shared.take(6);

        let mut rest = shared.split_off();
        assert_eq!(rest.bytes(), b"part");
        assert!(shared.is_empty());
        rest.push(b"ner");
        assert_eq!(rest.take(7), b"partner");
    }

    #[test]
    fn buffer_grows_with_what_arrives_and_not_far_beyond_what_is_expected() {
        let mut inbox = Inbox::default();
        inbox.expect(1_000_000);
        inbox.fill(&mut [0; 100].as_slice()).unwrap();
        assert!(inbox.buffer.capacity() <= 2 * LEAST_READ_BYTES);
        while inbox.len() < 1_000_000 {
            inbox.fill(&mut [0; 4096].as_slice()).unwrap();
        }
        assert!(inbox.buffer.capacity() <= 1_000_000 + 2 * LEAST_READ_BYTES);
    }

    #[test]
    fn buffer_of_a_large_message_is_given_back() {
        let mut inbox = Inbox::default();
        inbox.push(&vec![7; 1 << 20]);
        inbox.take(1 << 20);
        inbox.fill(&mut [1, 2, 3].as_slice()).unwrap();
        assert!(inbox.buffer.capacity() <= KEPT_BYTES);
        assert_eq!(inbox.bytes(), [1, 2, 3]);
    }
}
