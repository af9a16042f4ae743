//! What the operator asks for by signals.

use std::fs;
use std::io;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::Letter;
use crate::reactor::mailbox::Post;

/// A wish of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP: somebody asks for a reload, or the terminal has gone.
    HangUp,
    /// SIGHUP of a process that was told to ignore it when it started, as `nohup` does.
    Reload,
}

/// Signals that are caught from now on and wait to be told of.
#[derive(Debug)]
pub struct Caught {
    signals: Signals,
    outlives_its_terminal: bool,
}

impl Caught {
    /// Catches the operator's signals: none ends the process any more before its sockets are
    /// removed.
    pub fn new() -> io::Result<Self> {
        let outlives_its_terminal = is_ignored(SIGHUP);
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT, SIGHUP])?, outlives_its_terminal })
    }

    /// Sends a letter for each, also for those that have come already.
    pub fn tell(mut self, post: Post<Letter>) -> io::Result<()> {
        let forward = move || {
            for signal in self.signals.forever() {
                let wish = match signal {
                    SIGHUP if self.outlives_its_terminal => Signal::Reload,
                    SIGHUP => Signal::HangUp,
                    _ => Signal::Stop,
                };
                post.send(Letter::Signal(wish));
            }
        };
        thread::Builder::new().name("veylor-signals".to_owned()).spawn(forward).map(drop)
    }
}

/// Whether a signal has no effect on this process, as far as the system tells: proc(5), `SigIgn`.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
