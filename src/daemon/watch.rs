//! Those who watch inside this process, and what the log said last.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};

use crate::observe::snapshot::{Event, LogLine};

/// Lines of the log that somebody who begins to watch is told first.
const RECENT_LINES: usize = 200;
/// Events that a watcher in this process may be behind; it misses what comes then.
const MAX_WAITING_EVENTS: usize = 1000;

/// The log's last lines, and the watchers of this process.
#[derive(Debug, Default)]
pub(super) struct Watch {
    recent: VecDeque<LogLine>,
    watchers: Vec<SyncSender<Event>>,
}

impl Watch {
    /// A watcher of this process; it goes by dropping its end.
    pub(super) fn join(&mut self) -> Receiver<Event> {
        let (sender, receiver) = mpsc::sync_channel(MAX_WAITING_EVENTS);
        self.watchers.push(sender);
        receiver
    }

    pub(super) fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Remembers a line of the log for those who begin to watch.
    pub(super) fn remember(&mut self, line: LogLine) {
        if self.recent.len() == RECENT_LINES {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
    }

    /// What the log said last, oldest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = LogLine> {
        self.recent.iter().cloned()
    }

    /// Tells the watchers of this process.
    pub(super) fn tell(&mut self, event: &Event) {
        let is_there = |watcher: &SyncSender<Event>| match watcher.try_send(event.clone()) {
            Ok(()) | Err(TrySendError::Full(_)) => true,
            Err(TrySendError::Disconnected(_)) => false,
        };
        self.watchers.retain(is_there);
    }
}
