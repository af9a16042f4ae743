//! Where lines of the log go, and how they look there.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{
    ColorChoice, Config, ConfigBuilder, LevelPadding, TermLogger, TerminalMode, WriteLogger,
};

use super::{TIME_FORMAT, now};
use crate::config::settings::{Log as LogSettings, LogFormat};

/// Where lines go.
pub(in crate::daemon) struct Output(Box<dyn Log>);

impl Output {
    /// What these settings ask for; fails if their file cannot be opened.
    pub(super) fn open(settings: &LogSettings) -> io::Result<Self> {
        let file = settings.file.as_deref().map(LogFile::open).transpose()?;
        Ok(Self(match (settings.format, file) {
            (LogFormat::Text, None) => stderr(),
            (LogFormat::Text, Some(file)) => {
                WriteLogger::new(LevelFilter::Trace, text(LevelFilter::Error), file)
            }
            (LogFormat::Json, None) => Box::new(Json::new(Box::new(io::stderr()))),
            (LogFormat::Json, Some(file)) => Box::new(Json::new(Box::new(file))),
        }))
    }

    /// For those who watch alone.
    pub(super) fn nowhere() -> Self {
        Self(Box::new(Nowhere))
    }

    #[cfg(test)]
    pub(super) fn to(logger: Box<dyn Log>) -> Self {
        Self(logger)
    }

    pub(super) fn log(&self, record: &Record<'_>) {
        self.0.log(record);
    }

    pub(super) fn flush(&self) {
        self.0.flush();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

struct Nowhere;

impl Log for Nowhere {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        false
    }

    fn log(&self, _: &Record<'_>) {}

    fn flush(&self) {}
}

/// Text on stderr: in colour to a terminal, without times to the journal, which has its own.
fn stderr() -> Box<dyn Log> {
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let config = text(if is_journal { LevelFilter::Off } else { LevelFilter::Error });
    let is_terminal = io::stderr().is_terminal();
    let color = if is_terminal { ColorChoice::Auto } else { ColorChoice::Never };
    TermLogger::new(LevelFilter::Trace, config, TerminalMode::Stderr, color)
}

fn text(times: LevelFilter) -> Config {
    ConfigBuilder::new()
        .set_time_format_custom(TIME_FORMAT)
        .set_time_level(times)
        .set_target_level(LevelFilter::Off)
        .set_thread_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .set_level_padding(LevelPadding::Off)
        .build()
}

/// A file that lines are appended to. When it was moved or removed it is made anew, so that it may
/// be rotated at any time.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), file, identity })
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let found = fs::metadata(&self.path).map(|found| (found.dev(), found.ino()));
        if !found.is_ok_and(|found| found == self.identity)
            && let Ok(anew) = Self::open(&self.path)
        {
            *self = anew;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Lines as JSON objects.
struct Json {
    output: Mutex<Box<dyn Write + Send>>,
}

impl Json {
    fn new(output: Box<dyn Write + Send>) -> Self {
        Self { output: Mutex::new(output) }
    }
}

impl Log for Json {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = serde_json::json!({
            "time": now(),
            "level": record.level().as_str().to_ascii_lowercase(),
            "message": record.args().to_string(),
        });
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk costs lines of the log, never the relay.
        let _ = writeln!(output, "{line}");
    }

    fn flush(&self) {
        let _ = self.output.lock().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(logger: &Output, text: &str) {
        let args = format_args!("{text}");
        logger.log(&Record::builder().level(log::Level::Warn).target("veylor").args(args).build());
        logger.flush();
    }

    #[test]
    fn file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("veylor.log");
        for format in [LogFormat::Text, LogFormat::Json] {
            let settings =
                LogSettings { format, file: Some(path.clone()), ..LogSettings::default() };
            let logger = Output::open(&settings).unwrap();
            say(&logger, "before");
            fs::rename(&path, folder.path().join("old.log")).unwrap();
            say(&logger, "after \"it\"");
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains("after"), "{text}");
            if format == LogFormat::Json {
                let line: serde_json::Value = serde_json::from_str(&text).unwrap();
                assert_eq!(
                    (&line["level"], &line["message"]),
                    (&"warn".into(), &"after \"it\"".into())
                );
            }
        }
    }

    #[test]
    fn file_in_a_folder_that_is_not_there_is_an_error() {
        let file = Some(PathBuf::from("/nonexistent/veylor.log"));
        assert!(Output::open(&LogSettings { file, ..LogSettings::default() }).is_err());
    }
}
