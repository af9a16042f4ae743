//! What the operator asks for by signals.

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
    /// SIGHUP.
    Reload,
}

/// Signals that are caught from now on and wait to be told of.
#[derive(Debug)]
pub struct Caught {
    signals: Signals,
}

impl Caught {
    /// Catches the operator's signals: none ends the process any more before its sockets are
    /// removed.
    pub fn new() -> io::Result<Self> {
        Ok(Self { signals: Signals::new([SIGTERM, SIGINT, SIGHUP])? })
    }

    /// Sends a letter for each, also for those that have come already.
    pub fn tell(mut self, post: Post<Letter>) -> io::Result<()> {
        let forward = move || {
            for signal in self.signals.forever() {
                let wish = if signal == SIGHUP { Signal::Reload } else { Signal::Stop };
                post.send(Letter::Signal(wish));
            }
        };
        thread::Builder::new().name("veylor-signals".to_owned()).spawn(forward).map(drop)
    }
}
