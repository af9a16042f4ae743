//! A connection in memory that tells of readiness as an edge-triggered poller does: once for each
//! change, and never again while nothing changes.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;

use veylor::net::stream::Socket;

/// The relay's end of a connection; it closes when the relay lets it go.
#[derive(Debug)]
pub struct Pipe(Far);

/// The other end, which the world holds.
#[derive(Clone, Debug)]
pub struct Far(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    to_relay: VecDeque<u8>,
    from_relay: VecDeque<u8>,
    /// Bytes that may lie unread between the relay and its peer.
    capacity: usize,
    /// Bytes that the relay may write at once.
    step: usize,
    /// The relay was refused a write.
    is_refused: bool,
    /// The relay has to be told of something to read, or of room to write.
    news: News,
    /// The relay writes no more, or has let go.
    is_finished: bool,
    /// The peer writes no more.
    is_ended: bool,
    is_reset: bool,
}

/// What a poller would report.
#[derive(Clone, Copy, Debug, Default)]
pub struct News {
    /// There is something to read.
    pub readable: bool,
    /// There is room to write again.
    pub writable: bool,
}

impl Pipe {
    /// Both ends of a new connection.
    pub fn pair() -> (Self, Far) {
        let state = State {
            to_relay: VecDeque::new(),
            from_relay: VecDeque::new(),
            capacity: usize::MAX,
            step: usize::MAX,
            is_refused: false,
            news: News { readable: false, writable: true },
            is_finished: false,
            is_ended: false,
            is_reset: false,
        };
        let far = Far(Rc::new(RefCell::new(state)));
        (Self(far.clone()), far)
    }
}

impl Far {
    /// Sends bytes to the relay.
    pub fn say(&self, bytes: &[u8]) {
        let mut state = self.state();
        if !state.is_ended && !bytes.is_empty() {
            state.to_relay.extend(bytes);
            state.news.readable = true;
        }
    }

    /// Says that nothing more will be sent.
    pub fn end(&self) {
        let mut state = self.state();
        state.is_ended = true;
        state.news.readable = true;
    }

    /// Breaks the connection for both ends.
    pub fn reset(&self) {
        let mut state = self.state();
        state.is_reset = true;
        state.news = News { readable: true, writable: true };
    }

    /// Changes how many bytes the relay may write before the peer must read.
    pub fn set_capacity(&self, bytes: usize) {
        let mut state = self.state();
        state.capacity = bytes;
        state.make_room();
    }

    /// Changes how many bytes the relay may write at once.
    pub fn set_step(&self, bytes: usize) {
        self.state().step = bytes.max(1);
    }

    /// Takes what the relay has sent.
    pub fn take(&self) -> Vec<u8> {
        let mut state = self.state();
        let taken = state.from_relay.drain(..).collect();
        state.make_room();
        taken
    }

    /// Takes what a poller would report.
    pub fn take_news(&self) -> News {
        std::mem::take(&mut self.state().news)
    }

    /// Whether the relay writes no more.
    pub fn is_finished(&self) -> bool {
        let state = self.state();
        state.is_finished || state.is_reset
    }

    fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }
}

impl State {
    fn make_room(&mut self) {
        if self.is_refused && self.from_relay.len() < self.capacity {
            self.is_refused = false;
            self.news.writable = true;
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        if state.is_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if state.to_relay.is_empty() && !state.is_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.to_relay.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        assert!(!state.is_finished, "a write after the end");
        if state.is_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = state.capacity.saturating_sub(state.from_relay.len());
        if room == 0 {
            state.is_refused = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(room).min(state.step);
        state.from_relay.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Pipe {
    fn finish(&mut self) -> io::Result<()> {
        self.0.state().is_finished = true;
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.0.state().is_finished = true;
    }
}
