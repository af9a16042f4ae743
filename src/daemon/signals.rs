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

/// Sends a letter for each signal from now on.
pub fn watch(post: Post<Letter>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let forward = move || {
        for signal in signals.forever() {
            post.send(Letter::Signal(if signal == SIGHUP { Signal::Reload } else { Signal::Stop }));
        }
    };
    thread::Builder::new().name("veylor-signals".to_owned()).spawn(forward).map(drop)
}
