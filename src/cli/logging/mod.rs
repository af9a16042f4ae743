//! One line an event, on stderr; a line that repeats is counted instead. Each line also goes to
//! those who watch the relay.

mod output;

use std::fmt;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::Failure;
use crate::config::settings::Log as LogSettings;
use crate::observe::snapshot::LogLine;

/// A line that goes on repeating is shown with its count once this long has passed.
const REPORT_EVERY: Duration = Duration::from_secs(10);
/// Lines that wait for the loop to pass them on; more are not passed on.
const MAX_WAITING_LINES: usize = 1000;
const TIME_FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Starts logging as the settings ask, or more of it if `verbose`. Hands out the lines for the
/// loop.
pub(super) fn start(settings: &LogSettings, verbose: bool) -> Result<Receiver<LogLine>, Failure> {
    let inner = output::open(settings).map_err(|error| {
        let file = settings.file.as_deref().unwrap_or_else(|| "stderr".as_ref());
        Failure::System(format!("cannot log to {}", file.display()), error)
    })?;
    Ok(start_with(inner, level(settings, verbose)))
}

/// Starts logging for those who watch alone, unless the settings name a file: the terminal shows
/// something else.
#[cfg(feature = "tui")]
pub(super) fn start_silently(
    settings: &LogSettings,
    verbose: bool,
) -> Result<Receiver<LogLine>, Failure> {
    match settings.file {
        Some(_) => start(settings, verbose),
        None => Ok(start_with(Box::new(Nowhere), level(settings, verbose))),
    }
}

fn level(settings: &LogSettings, verbose: bool) -> LevelFilter {
    if verbose { settings.level.max(LevelFilter::Debug) } else { settings.level }
}

fn start_with(inner: Box<dyn Log>, level: LevelFilter) -> Receiver<LogLine> {
    let (watchers, lines) = mpsc::sync_channel(MAX_WAITING_LINES);
    let logger = Collapsing { inner, level, watchers, last: Mutex::default() };
    // It fails only if there is a logger already, which then is the one to use.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(level);
    }
    lines
}

/// The time of a line.
fn now() -> String {
    OffsetDateTime::now_utc().format(TIME_FORMAT).unwrap_or_default()
}

#[cfg(feature = "tui")]
struct Nowhere;

#[cfg(feature = "tui")]
impl Log for Nowhere {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn log(&self, _: &Record<'_>) {}

    fn flush(&self) {}
}

/// Passes lines on, but counts those that only repeat the last.
struct Collapsing<L> {
    inner: L,
    level: LevelFilter,
    watchers: SyncSender<LogLine>,
    last: Mutex<Option<Last>>,
}

/// The last line and how often it came again since it was shown.
struct Last {
    level: Level,
    text: String,
    repeats: u64,
    shown_at: Instant,
}

impl<L: Log> Collapsing<L> {
    fn show(&self, level: Level, text: fmt::Arguments<'_>) {
        let target = "veylor";
        self.inner.log(&Record::builder().level(level).target(target).args(text).build());
        let (time, level) = (now(), level.as_str().to_ascii_lowercase());
        // Who watches misses a line rather than that the relay waits for the loop.
        let _ = self.watchers.try_send(LogLine { level, time, text: text.to_string() });
    }

    fn show_repeats(&self, last: &mut Last) {
        if last.repeats > 0 {
            self.show(last.level, format_args!("{} (again, {} times)", last.text, last.repeats));
            last.repeats = 0;
        }
    }
}

impl<L: Log> Log for Collapsing<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level && metadata.target().starts_with("veylor")
    }

    #[expect(clippy::disallowed_methods, reason = "the log's own sense of time steers nothing")]
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let now = Instant::now();
        let mut guard = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = guard.as_mut() {
            if last.level == record.level() && last.text == text {
                last.repeats += 1;
                if now.duration_since(last.shown_at) >= REPORT_EVERY {
                    last.shown_at = now;
                    self.show_repeats(last);
                }
                return;
            }
            self.show_repeats(last);
        }
        self.show(record.level(), format_args!("{text}"));
        *guard = Some(Last { level: record.level(), text, repeats: 0, shown_at: now });
    }

    fn flush(&self) {
        let mut guard = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = guard.as_mut() {
            self.show_repeats(last);
        }
        self.inner.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<String>>);

    impl Log for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    #[test]
    fn repeats_are_counted_and_other_lines_pass() {
        let (watchers, watched) = mpsc::sync_channel(10);
        let level = LevelFilter::Info;
        let logger =
            Collapsing { inner: Lines::default(), level, watchers, last: Mutex::default() };
        for text in ["a", "b", "b", "b", "c"] {
            let args = format_args!("{text}");
            logger.log(&Record::builder().target("veylor::test").args(args).build());
        }
        logger.log(&Record::builder().target("other").args(format_args!("noise")).build());
        let lines = logger.inner.0.lock().unwrap().clone();
        assert_eq!(lines, ["a", "b", "b (again, 2 times)", "c"]);
        let watched: Vec<_> = watched.try_iter().map(|line| line.text).collect();
        assert_eq!(watched, lines);
    }
}
