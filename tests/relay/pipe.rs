//! A connection in memory: two queues of bytes with a capacity, like sockets' buffers.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};

use veylor::net::stream::Socket;

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    incoming: Arc<Mutex<Queue>>,
    outgoing: Arc<Mutex<Queue>>,
}

#[derive(Debug)]
struct Queue {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// At most so many bytes move in one call.
    step: usize,
    is_closed: bool,
    is_reset: bool,
    /// Bytes ever written.
    written: usize,
    /// A write was refused, and its end has not been told that there is room again.
    has_refused: bool,
}

impl Pipe {
    /// Both ends of a new connection.
    pub(crate) fn pair() -> (Self, Self) {
        let queue = || Arc::new(Mutex::new(Queue::new()));
        let (a, b) = (queue(), queue());
        (Self { incoming: a.clone(), outgoing: b.clone() }, Self { incoming: b, outgoing: a })
    }

    /// Changes how many bytes may lie between the other end's writes and this end's reads.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.incoming().capacity = capacity;
    }

    /// Changes how many bytes the other end may write at once.
    pub(crate) fn set_step(&self, step: usize) {
        self.incoming().step = step;
    }

    /// Breaks the connection for both ends.
    pub(crate) fn reset(&self) {
        self.incoming().is_reset = true;
        self.outgoing().is_reset = true;
    }

    /// What has ever arrived: a change of it is what makes a poller say that this end is readable.
    pub(crate) fn arrived(&self) -> (usize, bool) {
        let queue = self.incoming();
        (queue.written, queue.is_closed || queue.is_reset)
    }

    /// Whether this end can be written to again after a refusal. Says so once, as a poller does.
    pub(crate) fn take_writable_edge(&self) -> bool {
        let mut queue = self.outgoing();
        let has_room = queue.bytes.len() < queue.capacity || queue.is_closed || queue.is_reset;
        let is_edge = queue.has_refused && has_room;
        queue.has_refused &= !is_edge;
        is_edge
    }

    /// Ends the reading side: what the other end writes from now on fails.
    pub(crate) fn close_reading(&self) {
        self.incoming().is_closed = true;
    }

    /// Whether a write would take bytes or fail.
    pub(crate) fn is_writable(&self) -> bool {
        let queue = self.outgoing();
        queue.bytes.len() < queue.capacity || queue.is_closed || queue.is_reset
    }

    /// Takes everything that has arrived.
    pub(crate) fn take_all(&self) -> Vec<u8> {
        self.incoming().bytes.drain(..).collect()
    }

    /// Whether the other end writes no more.
    pub(crate) fn is_finished(&self) -> bool {
        let queue = self.incoming();
        queue.is_closed || queue.is_reset
    }

    /// Bytes ever written, in both directions.
    pub(crate) fn written(&self) -> usize {
        self.incoming().written + self.outgoing().written
    }

    fn incoming(&self) -> MutexGuard<'_, Queue> {
        self.incoming.lock().unwrap()
    }

    fn outgoing(&self) -> MutexGuard<'_, Queue> {
        self.outgoing.lock().unwrap()
    }
}

impl Queue {
    fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            capacity: 256 * 1024,
            step: usize::MAX,
            is_closed: false,
            is_reset: false,
            written: 0,
            has_refused: false,
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut queue = self.incoming();
        if queue.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if queue.bytes.is_empty() && !queue.is_closed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        queue.bytes.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut queue = self.outgoing();
        if queue.is_reset || queue.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = queue.capacity.saturating_sub(queue.bytes.len());
        if room == 0 {
            queue.has_refused = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(room).min(queue.step);
        queue.bytes.extend(&bytes[..count]);
        queue.written += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Pipe {
    fn finish(&mut self) -> io::Result<()> {
        self.outgoing().is_closed = true;
        Ok(())
    }
}

/// The relay's end, which closes when the relay lets it go.
#[derive(Debug)]
pub(crate) struct RelayEnd(pub(crate) Pipe);

impl Read for RelayEnd {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for RelayEnd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for RelayEnd {
    fn finish(&mut self) -> io::Result<()> {
        self.0.finish()
    }
}

impl Drop for RelayEnd {
    fn drop(&mut self) {
        self.0.outgoing().is_closed = true;
        self.0.incoming().is_closed = true;
    }
}
