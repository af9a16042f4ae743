//! Programs that run, and how the loop ends them.
//!
//! A thread that runs a program has a [`Tether`], the loop its other end: a socket pair. When the
//! loop closes its writing side, the thread kills the program; when the thread closes its end, the
//! program is gone.

use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::clock;
use crate::reactor::table::Key;
use crate::relay::settings::SourceId;

/// Programs of one source at most: those that were killed and have not gone are counted.
const MAX_PROGRAMS: usize = 4;
/// Killed programs are waited for no longer at the end of the relay.
const STOP_WAIT: Duration = Duration::from_millis(500);

/// The programs that run. None of them outlives it.
#[derive(Debug, Default)]
pub(super) struct Programs {
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    source: SourceId,
    /// The connection that it runs for; `None`: a dial.
    key: Option<Key>,
    leash: UnixStream,
    is_stopped: bool,
}

/// The end of the thread that runs a program. To be dropped when the program is gone.
#[derive(Debug)]
pub(super) struct Tether(UnixStream);

impl Programs {
    /// Counts a program of a source in that is to be run for a connection, or for a dial. Or says
    /// why it cannot, in words that follow its name.
    pub(super) fn start(&mut self, source: SourceId, key: Option<Key>) -> Result<Tether, String> {
        self.forget_ended();
        if self.running.iter().filter(|running| running.source == source).count() >= MAX_PROGRAMS {
            return Err(format!("was killed {MAX_PROGRAMS} times and still runs"));
        }
        let (leash, tether) = pair().map_err(|error| format!("cannot be run: {error}"))?;
        self.running.push(Running { source, key, leash, is_stopped: false });
        Ok(tether)
    }

    /// Forgets programs that have ended.
    pub(super) fn forget_ended(&mut self) {
        self.running.retain_mut(|running| !running.has_ended());
    }

    /// Kills programs of connections that do not wait for them.
    pub(super) fn keep_awaited(&mut self, is_awaited: impl Fn(Key) -> bool) {
        for running in &mut self.running {
            if running.key.is_some_and(|key| !running.is_stopped && !is_awaited(key)) {
                running.stop();
            }
        }
    }

    /// Kills the program of a source's dial.
    pub(super) fn stop_dial(&mut self, source: SourceId) {
        let of_dial = |running: &&mut Running| running.source == source && running.key.is_none();
        self.running.iter_mut().filter(of_dial).for_each(Running::stop);
    }

    /// Kills all.
    pub(super) fn stop_all(&mut self) {
        self.running.iter_mut().for_each(Running::stop);
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.stop_all();
        let until = clock::now() + STOP_WAIT;
        for Running { leash, .. } in &mut self.running {
            let left = until.saturating_duration_since(clock::now());
            let waits =
                leash.set_nonblocking(false).and_then(|()| leash.set_read_timeout(Some(left)));
            // No time is left, or the thread is waited for.
            let _ = waits.and_then(|()| leash.read(&mut [0]));
        }
    }
}

impl Running {
    fn stop(&mut self) {
        self.is_stopped = true;
        // The thread may have closed its end, which is as good.
        let _ = self.leash.shutdown(Shutdown::Write);
    }

    /// The thread says nothing here: what can be read is its end.
    fn has_ended(&mut self) -> bool {
        self.leash.read(&mut [0]).is_ok()
    }
}

impl AsFd for Tether {
    /// Readable when the program is to be killed.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn pair() -> io::Result<(UnixStream, Tether)> {
    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    Ok((near, Tether(far)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceId = SourceId(0);

    fn is_cut(tether: &Tether) -> bool {
        tether.0.set_nonblocking(true).unwrap();
        (&tether.0).read(&mut [0]).is_ok()
    }

    #[test]
    fn program_is_told_to_end_with_what_it_runs_for() {
        let mut programs = Programs::default();
        let of_dial = programs.start(A, None).unwrap();
        let other = programs.start(SourceId(1), None).unwrap();
        programs.keep_awaited(|_| false);
        assert!(!is_cut(&of_dial));
        programs.stop_dial(A);
        assert!(is_cut(&of_dial) && !is_cut(&other));
        programs.stop_all();
        assert!(is_cut(&other));
    }

    #[test]
    fn programs_that_do_not_end_are_no_crowd() {
        let mut programs = Programs::default();
        let mut tethers: Vec<_> =
            (0..MAX_PROGRAMS).map(|_| programs.start(A, None).unwrap()).collect();
        programs.stop_dial(A);
        assert_eq!(programs.start(A, None).unwrap_err(), "was killed 4 times and still runs");
        tethers.pop();
        programs.start(A, None).unwrap();
    }

    #[test]
    fn end_waits_for_programs_and_not_for_ever() {
        let mut programs = Programs::default();
        let tether = programs.start(A, None).unwrap();
        let begun = clock::now();
        drop(programs);
        assert!(clock::now().saturating_duration_since(begun) >= STOP_WAIT);
        let mut programs = Programs::default();
        drop(programs.start(A, None).unwrap());
        drop((tether, programs));
        assert!(clock::now().saturating_duration_since(begun) < 2 * STOP_WAIT);
    }
}
