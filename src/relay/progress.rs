//! How far one connection to a source has come with its script.

use std::fmt;
use std::time::{Duration, Instant};

use super::script::{Script, Step, Wait};
use super::settings::SourceSettings;
use crate::codec::Message;

/// How far a connection has come with what shall be said.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) script: Script,
    pub(super) stage: Progress,
    /// The steps that are left, and the number of the one that was taken last, counted from 1.
    pub(super) steps: std::vec::IntoIter<Step>,
    pub(super) step: usize,
    pub(super) sent_messages: u64,
    pub(super) opened_at: Instant,
    /// When the last message came that was no ping: none that `reply_to` answers.
    pub(super) last_message: Instant,
    pub(super) next_beat: Option<Instant>,
    /// Since when the source is not read, if it is not.
    pub(super) held_since: Option<Instant>,
    pub(super) is_failed_reply_told: bool,
    /// Its age was noticed already, and it goes on until another takes its place.
    pub(super) is_aged: bool,
    /// The entry in the timers that counts.
    pub(super) look_at: Option<Instant>,
}

/// What comes next. `Debug` does not show what was heard.
pub(super) enum Progress {
    /// The handshake.
    Opening,
    /// What the source says before a program is asked.
    Listening { until: Instant, heard: Vec<u8> },
    /// What the program says, which gets what was heard.
    Prompted { until: Instant, heard: Vec<u8> },
    /// An answer of the source.
    Waiting { until: Instant, wait: Wait, has_sent: bool },
    /// Nothing: all is said.
    Ready,
}

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Wait,
    Idle,
    Age,
    Beat,
}

impl Session {
    pub(super) fn new(script: Script, now: Instant) -> Self {
        Self {
            script,
            stage: Progress::Opening,
            steps: Vec::new().into_iter(),
            step: 0,
            sent_messages: 0,
            opened_at: now,
            last_message: now,
            next_beat: None,
            held_since: None,
            is_failed_reply_told: false,
            is_aged: false,
            look_at: None,
        }
    }

    /// All is said that comes before clients' messages.
    pub(super) fn become_ready(&mut self, now: Instant) {
        self.stage = Progress::Ready;
        self.next_beat = self.script.heartbeat.as_ref().map(|beat| now + beat.every);
    }

    /// Whether clients' messages may be sent.
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.stage, Progress::Ready)
    }

    /// The next deadline. What the source should say has none while it is not read.
    pub(super) fn deadline(&self, settings: &SourceSettings) -> Option<(Instant, Due)> {
        let is_read = self.held_since.is_none();
        let wait = self.stage.until().filter(|_| is_read);
        let idle = settings.idle_timeout.filter(|_| is_read).map(|time| self.last_message + time);
        let may_retire = is_read && self.is_ready() && !self.is_aged;
        let age = settings.max_age.filter(|_| may_retire).map(|time| self.opened_at + time);
        let deadlines =
            [(wait, Due::Wait), (idle, Due::Idle), (age, Due::Age), (self.next_beat, Due::Beat)];
        let set = deadlines.into_iter().filter_map(|(at, due)| Some((at?, due)));
        set.min_by_key(|(at, _)| *at)
    }

    /// The first reply that is for a message.
    pub(super) fn reply_to(&self, message: Message<'_>) -> Option<usize> {
        self.script.replies.iter().position(|reply| reply.pattern.matches(message.payload))
    }

    /// Gives the source the time back for which it was not read.
    pub(super) fn put_off(&mut self, time: Duration) {
        self.last_message += time;
        match &mut self.stage {
            Progress::Listening { until, .. }
            | Progress::Prompted { until, .. }
            | Progress::Waiting { until, .. } => *until += time,
            Progress::Opening | Progress::Ready => {}
        }
    }

    /// What was waited for in vain.
    pub(super) fn lack(&self) -> String {
        match &self.stage {
            Progress::Listening { .. } => {
                let seconds = self.script.prompt.as_ref().map_or(0.0, |p| p.timeout.as_secs_f64());
                format!("nothing for on_connect_command within {seconds} s")
            }
            Progress::Prompted { .. } => "no answer of on_connect_command in time".to_owned(),
            Progress::Waiting { wait, has_sent: true, .. } => {
                let seconds = wait.timeout.as_secs_f64();
                format!("no answer to message {} of on_connect within {seconds} s", self.step)
            }
            Progress::Waiting { wait, has_sent: false, .. } => {
                let seconds = wait.timeout.as_secs_f64();
                format!(
                    "nothing that item {} of on_connect waits for within {seconds} s",
                    self.step
                )
            }
            Progress::Opening | Progress::Ready => String::new(),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Opening => "Opening",
            Self::Listening { .. } => "Listening",
            Self::Prompted { .. } => "Prompted",
            Self::Waiting { .. } => "Waiting",
            Self::Ready => "Ready",
        })
    }
}

impl Progress {
    /// Until when it must have come.
    fn until(&self) -> Option<Instant> {
        match self {
            Self::Listening { until, .. }
            | Self::Prompted { until, .. }
            | Self::Waiting { until, .. } => Some(*until),
            Self::Opening | Self::Ready => None,
        }
    }
}
