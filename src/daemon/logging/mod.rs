//! One line an event, on stderr; a line that repeats is counted instead. Each line also goes to
//! those who watch the relay.

mod output;
mod stderr;

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};

pub(super) use self::output::Output;
use self::stderr::Stderr;
use super::Error;
use crate::config::settings::Log as LogSettings;
use crate::observe::snapshot::LogLine;

/// A line that goes on repeating is shown with its count once this long has passed.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Lines that wait for the loop to pass them on; more are not passed on.
const MAX_WAITING_LINES: usize = 1000;

/// The log of this process, while it runs.
#[derive(Debug)]
pub struct Logging {
    logger: Arc<Collapsing>,
    lines: Receiver<LogLine>,
    opener: Opener,
}

/// Opens what settings name.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    manner: Manner,
    stderr: Stderr,
}

/// What the command line says of the log, whatever the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// Says at least what is of use to find faults.
    pub is_verbose: bool,
    /// Says nothing on stderr: the terminal shows something else.
    pub is_silent: bool,
}

impl Logging {
    /// Starts logging. Fails if the file of the settings cannot be opened.
    pub fn start(settings: &LogSettings, manner: Manner) -> Result<Self, Error> {
        let opener = Opener { manner, stderr: Stderr::new() };
        let output = opener.open(settings)?;
        let (watchers, lines) = mpsc::sync_channel(MAX_WAITING_LINES);
        let logger = Arc::new(Collapsing::new(output, watchers));
        // It fails only if there is a logger already, which then is the one to use.
        let _ = log::set_boxed_logger(Box::new(Arc::clone(&logger)));
        log::set_max_level(manner.level(settings));
        Ok(Self { logger, lines, opener })
    }

    /// The next line that was logged and not yet handed out.
    pub(super) fn next_line(&self) -> Option<LogLine> {
        self.lines.try_recv().ok()
    }

    /// To be used off the loop.
    pub(super) fn opener(&self) -> Opener {
        self.opener.clone()
    }

    /// Goes on as other settings ask, whose output is open.
    pub(super) fn change(&self, settings: &LogSettings, output: Output) {
        self.logger.change(output);
        log::set_max_level(self.opener.manner.level(settings));
    }
}

impl Opener {
    /// Opens a file anew. Blocks.
    pub(super) fn open(&self, settings: &LogSettings) -> Result<Output, Error> {
        if self.manner.is_silent && settings.file.is_none() {
            return Ok(Output::nowhere());
        }
        Output::open(settings, &self.stderr).map_err(|error| {
            let file = settings.file.as_deref().unwrap_or_else(|| "stderr".as_ref());
            Error::Log(file.to_owned(), error)
        })
    }
}

impl Manner {
    fn level(self, settings: &LogSettings) -> LevelFilter {
        if self.is_verbose { settings.level.max(LevelFilter::Debug) } else { settings.level }
    }
}

/// Passes lines on, but counts those that only repeat the last.
#[derive(Debug)]
struct Collapsing {
    watchers: SyncSender<LogLine>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    output: Output,
    last: Option<Last>,
}

/// The last line and how often it came again since it was shown.
#[derive(Debug)]
struct Last {
    level: Level,
    text: String,
    repeats: u64,
    shown_at: Instant,
}

impl Collapsing {
    fn new(output: Output, watchers: SyncSender<LogLine>) -> Self {
        Self { watchers, state: Mutex::new(State { output, last: None }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, output: Output) {
        self.flush();
        self.state().output = output;
    }

    fn show(&self, output: &mut Output, level: Level, text: String) {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        output.show(level, &time, &text);
        let level = level.as_str().to_ascii_lowercase();
        // Who watches misses a line rather than that the relay waits for the loop.
        let _ = self.watchers.try_send(LogLine { level, time, text });
    }

    fn show_repeats(&self, state: &mut State) {
        let State { output, last: Some(last) } = state else { return };
        if last.repeats > 0 {
            let again = format!("{} (again, {} times)", last.text, last.repeats);
            self.show(output, last.level, again);
            last.repeats = 0;
        }
    }
}

impl Log for Collapsing {
    /// The level is what the macros ask for before they come here.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("veylor")
    }

    #[expect(clippy::disallowed_methods, reason = "the log's own sense of time steers nothing")]
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let now = Instant::now();
        let mut state = self.state();
        if let Some(last) = &mut state.last
            && last.level == record.level()
            && last.text == text
        {
            last.repeats += 1;
            if now.duration_since(last.shown_at) >= REPORT_EVERY {
                last.shown_at = now;
                self.show_repeats(&mut state);
            }
            return;
        }
        self.show_repeats(&mut state);
        self.show(&mut state.output, record.level(), text.clone());
        state.last = Some(Last { level: record.level(), text, repeats: 0, shown_at: now });
    }

    fn flush(&self) {
        let mut state = self.state();
        self.show_repeats(&mut state);
        state.output.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_other_lines_pass() {
        let (watchers, watched) = mpsc::sync_channel(10);
        let logger = Collapsing::new(Output::nowhere(), watchers);
        for text in ["a", "b", "b", "b", "c"] {
            let args = format_args!("{text}");
            logger.log(&Record::builder().target("veylor::test").args(args).build());
        }
        logger.log(&Record::builder().target("other").args(format_args!("noise")).build());
        let watched: Vec<_> = watched.try_iter().map(|line| line.text).collect();
        assert_eq!(watched, ["a", "b", "b (again, 2 times)", "c"]);
    }
}
