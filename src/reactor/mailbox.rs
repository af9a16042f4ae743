//! The way from other threads into the loop.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use mio::{Registry, Waker};

use super::target::Target;

/// The loop's end: letters that other threads sent.
#[derive(Debug)]
pub struct Mailbox<T> {
    letters: Receiver<T>,
    post: Post<T>,
}

/// A thread's end: sends a letter and wakes the loop.
#[derive(Debug)]
pub struct Post<T> {
    letters: Sender<T>,
    waker: Arc<Waker>,
}

impl<T> Mailbox<T> {
    /// A mailbox whose letters wake the poller of `registry` with [`Target::Mailbox`].
    pub fn new(registry: &Registry) -> io::Result<Self> {
        let waker = Arc::new(Waker::new(registry, Target::Mailbox.token())?);
        let (sender, receiver) = mpsc::channel();
        Ok(Self { letters: receiver, post: Post { letters: sender, waker } })
    }

    /// An end for another thread.
    pub fn post(&self) -> Post<T> {
        self.post.clone()
    }

    /// The next letter; never waits.
    pub fn next(&self) -> Option<T> {
        self.letters.try_recv().ok()
    }
}

impl<T> Post<T> {
    /// Sends a letter. A loop that has ended gets none, and nobody minds.
    pub fn send(&self, letter: T) {
        if self.letters.send(letter).is_ok() {
            // A failed wake can only delay the letter until the loop's next turn.
            let _ = self.waker.wake();
        }
    }
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        Self { letters: self.letters.clone(), waker: Arc::clone(&self.waker) }
    }
}
