//! Waiting for sockets and for time.

use std::io;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Registry};

use super::target::Target;

/// Readiness events taken from the kernel in one turn, at most.
const EVENTS_PER_TURN: usize = 1024;

/// How much longer than asked the kernel may let this thread sleep.
const TIMER_SLACK_NANOSECONDS: NonZeroU64 = NonZeroU64::MIN;

/// What a socket is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Bytes, a connection or an end of stream can be read.
    pub readable: bool,
    /// Bytes can be written, or a connection attempt has ended.
    pub writable: bool,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Something was ready before the wait began: the turns follow one another.
    Busy,
    /// The loop had time to wait.
    Idle,
}

/// One `mio::Poll` and the events of the current turn.
#[derive(Debug)]
pub struct Poller {
    poll: Poll,
    events: Events,
}

impl Poller {
    /// A poller without sockets, for the thread that makes it.
    pub fn new() -> io::Result<Self> {
        // By default the kernel lets a thread oversleep by 50 µs, a quarter of what it lingers.
        // Where it refuses, messages gather a little longer.
        let _ = rustix::thread::set_current_timer_slack(Some(TIMER_SLACK_NANOSECONDS));
        Ok(Self { poll: Poll::new()?, events: Events::with_capacity(EVENTS_PER_TURN) })
    }

    /// Where sockets are registered.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits until a socket is ready or `wake_at` has come, whichever is first; `None` is for ever.
    ///
    /// The time is rounded up to whole milliseconds, so that a turn that waited for a deadline
    /// finds it due.
    pub fn wait(&mut self, now: Instant, wake_at: Option<Instant>) -> io::Result<Pace> {
        self.poll(Some(Duration::ZERO))?;
        if !self.events.is_empty() {
            return Ok(Pace::Busy);
        }
        let timeout = wake_at.map(|at| at.saturating_duration_since(now));
        if timeout != Some(Duration::ZERO) {
            self.poll(timeout)?;
        }
        Ok(Pace::Idle)
    }

    /// Lets more data arrive before it is read: one wake-up, one read and one write per client
    /// then carry several messages. See `coalesce` in the configuration.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that lingers, and for long enough \
        to be worth it only when turns follow one another anyway"
    )]
    pub fn linger(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// What the last wait found ready.
    pub fn ready(&self) -> impl Iterator<Item = (Target, Readiness)> + '_ {
        self.events.iter().map(|event| (Target::of(event.token()), readiness(event)))
    }

    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }
}

fn readiness(event: &Event) -> Readiness {
    // An error or a hang-up shows itself to whoever reads or writes next.
    let ended = event.is_error() || event.is_read_closed() || event.is_write_closed();
    Readiness { readable: event.is_readable() || ended, writable: event.is_writable() || ended }
}
