//! Bytes owed to one peer alone.

/// An emptied outbox keeps no larger buffer than this.
const KEPT_BYTES: usize = 64 * 1024;

/// A queue of bytes: handshake, pong, close, forwarded messages.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    start: usize,
}

impl Outbox {
    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.buffer.extend_from_slice(bytes);
    }

    /// Lets bytes be appended, and nothing else be done.
    pub fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        self.make_room(1);
        append(&mut self.buffer);
    }

    /// Appends bytes and hands them over to be changed in place.
    pub fn push_mut(&mut self, bytes: &[u8]) -> &mut [u8] {
        self.push(bytes);
        let start = self.buffer.len() - bytes.len();
        &mut self.buffer[start..]
    }

    /// Puts bytes in front of all others.
    pub fn push_front(&mut self, bytes: &[u8]) {
        self.buffer.splice(..self.start, bytes.iter().copied());
        self.start = 0;
    }

    /// The bytes still owed.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Forgets the first `count` bytes: they were sent.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len(), "more bytes sent than were owed");
        self.start += count;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.buffer.clear();
        if self.buffer.capacity() > KEPT_BYTES {
            self.buffer = Vec::new();
        }
    }

    /// How many bytes are owed.
    pub fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// Gives the buffer back if nothing is owed.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Moves what is owed to the front when that spares an allocation.
    fn make_room(&mut self, count: usize) {
        if self.start > 0 && self.buffer.len() + count > self.buffer.capacity() {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_and_partly() {
        let mut outbox = Outbox::default();
        outbox.push(b"abc");
        outbox.consume(2);
        outbox.push(b"def");
        assert_eq!(outbox.bytes(), b"cdef");
        outbox.consume(1);
        outbox.push_front(b"xyz");
        assert_eq!(outbox.bytes(), b"xyzdef");
        outbox.consume(6);
        assert!(outbox.is_empty());
    }

    #[test]
    fn emptied_outbox_gives_a_large_buffer_back() {
        let mut outbox = Outbox::default();
        outbox.push(&vec![0; 1 << 20]);
        outbox.consume(1 << 20);
        assert!(outbox.buffer.capacity() <= KEPT_BYTES);
    }
}
