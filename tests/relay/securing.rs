//! Handshakes that take much computing: a crowd of them keeps nobody waiting.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use veylor::codec::Gate;
use veylor::net::stream::Socket;
use veylor::relay::settings::{ChannelId, ChannelSettings};
use veylor::relay::{MAX_SECURED_PER_TURN, Peer, Relay};

use crate::world::{HANDSHAKE, channel};

/// A client whose next words take much computing, until they are read.
#[derive(Debug)]
struct Newcomer {
    is_read: bool,
    /// So often it says first that much came which held nothing.
    interruptions: usize,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    /// Costly reads of this turn.
    costly: AtomicUsize,
    answered: AtomicUsize,
}

impl Read for Newcomer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.interruptions > 0 {
            self.interruptions -= 1;
            self.tally.costly.fetch_add(1, Ordering::Relaxed);
            return Err(io::ErrorKind::Interrupted.into());
        }
        if std::mem::replace(&mut self.is_read, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.tally.costly.fetch_add(1, Ordering::Relaxed);
        HANDSHAKE.as_bytes().read(buffer)
    }
}

impl Write for Newcomer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tally.answered.fetch_add(1, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Newcomer {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_securing(&self) -> bool {
        !self.is_read
    }
}

#[test]
fn few_costly_handshakes_are_read_in_one_turn_and_all_in_the_end() {
    crowd_comes_in(0);
}

#[test]
fn stream_that_brings_nothing_but_work_is_read_once_a_turn() {
    crowd_comes_in(5);
}

#[expect(clippy::disallowed_methods, reason = "an instant to count from")]
fn crowd_comes_in(interruptions: usize) {
    const CROWD: usize = 10 * MAX_SECURED_PER_TURN;
    let now = Instant::now();
    let channel = ChannelSettings { sources: Vec::new(), ..channel() };
    let mut relay: Relay<Newcomer> = Relay::new(vec![channel], Vec::new(), 7);
    let tally = Arc::new(Tally::default());
    let newcomer = || Newcomer { is_read: false, interruptions, tally: Arc::clone(&tally) };
    let open = |_| relay.open_client(newcomer(), ChannelId(0), Gate::Web, Peer::Unix(None), now);
    let keys: Vec<_> = (0..CROWD).filter_map(open).collect();
    let mut turns = 0;
    while relay.wake_at(now).is_some_and(|at| at <= now) {
        turns += 1;
        relay.read_ready(now);
        // The poller tells of them again and again; it is of no use to them.
        for key in &keys {
            relay.read(*key, now);
        }
        relay.expire(now);
        relay.flush(now);
        assert!(tally.costly.swap(0, Ordering::Relaxed) <= MAX_SECURED_PER_TURN);
        assert!(turns < CROWD * (2 + interruptions), "it does not come to an end");
    }
    assert_eq!(tally.answered.load(Ordering::Relaxed), CROWD);
    assert!(turns >= CROWD / MAX_SECURED_PER_TURN);
}
