//! One line an event, on stderr; a line that repeats is counted instead.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ColorChoice, ConfigBuilder, TermLogger, TerminalMode};
use time::macros::format_description;

/// A repeated line is shown with its count at least this often.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Starts logging: info and worse, or debug if `verbose`.
pub(super) fn start(verbose: bool) {
    let level = if verbose { LevelFilter::Debug } else { LevelFilter::Info };
    let config = ConfigBuilder::new()
        .set_time_format_custom(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z"
        ))
        .set_time_level(LevelFilter::Error)
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .add_filter_allow_str("veylor")
        .build();
    let is_terminal = io::stderr().is_terminal();
    let color = if is_terminal { ColorChoice::Auto } else { ColorChoice::Never };
    let terminal = TermLogger::new(level, config, TerminalMode::Stderr, color);
    let collapsing = Collapsing { inner: terminal, last: Mutex::default() };
    // It fails only if there is a logger already, which then is the one to use.
    if log::set_boxed_logger(Box::new(collapsing)).is_ok() {
        log::set_max_level(level);
    }
}

/// Passes lines on, but counts those that only repeat the last.
struct Collapsing<L> {
    inner: L,
    last: Mutex<Option<Last>>,
}

/// The last line and how often it came again since it was shown.
struct Last {
    level: log::Level,
    text: String,
    repeats: u64,
    shown_at: Instant,
}

impl<L: Log> Collapsing<L> {
    fn show(&self, level: log::Level, text: std::fmt::Arguments<'_>) {
        let target = "veylor";
        self.inner.log(&Record::builder().level(level).target(target).args(text).build());
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
        self.inner.enabled(metadata)
    }

    #[expect(clippy::disallowed_methods, reason = "the log's own sense of time steers nothing")]
    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) || !record.target().starts_with("veylor") {
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
        let logger = Collapsing { inner: Lines::default(), last: Mutex::default() };
        for text in ["a", "b", "b", "b", "c"] {
            let args = format_args!("{text}");
            logger.log(&Record::builder().target("veylor::test").args(args).build());
        }
        logger.log(&Record::builder().target("other").args(format_args!("noise")).build());
        let lines = logger.inner.0.lock().unwrap().clone();
        assert_eq!(lines, ["a", "b", "b (again, 2 times)", "c"]);
    }
}
