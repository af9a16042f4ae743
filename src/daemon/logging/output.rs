//! Where lines of the log go, and how they look there.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fmt};

use anstyle::{AnsiColor, Style};
use log::Level;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};

use super::stderr::Stderr;
use crate::config::settings::{Log as LogSettings, LogFormat};

/// Bytes that a pipe takes whole when it takes any (`PIPE_BUF`, pipe(7)).
const PIPE_BYTES: usize = 4096;

/// Where lines go.
pub(in crate::daemon) struct Output {
    form: Form,
    sink: Box<dyn Write + Send>,
    /// The last line was written in part: the next must not be taken for its end.
    is_cut: bool,
    /// Lines that could not be written, since one could.
    lost_lines: u64,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `{"level":"info","message":…,"time":…}`
    Json,
    /// `2026-01-31T12:34:56.789Z [INFO] …`
    Text { has_time: bool, has_color: bool },
}

impl Output {
    /// What these settings ask for; fails if their file cannot be opened.
    pub(super) fn open(settings: &LogSettings, stderr: &Stderr) -> io::Result<Self> {
        let form = match (settings.format, &settings.file) {
            (LogFormat::Json, _) => Form::Json,
            (LogFormat::Text, None) => Form::on_stderr(),
            (LogFormat::Text, Some(_)) => Form::Text { has_time: true, has_color: false },
        };
        let patience = Patience::new();
        let sink: Box<dyn Write + Send> = match (&settings.file, stderr) {
            (Some(path), _) => Box::new(LogFile::open(path)?),
            (None, Stderr::Own(file)) => Box::new(Patient { to: Arc::clone(file), patience }),
            (None, Stderr::Inherited) => Box::new(Patient { to: io::stderr(), patience }),
        };
        Ok(Self::new(form, sink))
    }

    /// For those who watch alone.
    pub(super) fn nowhere() -> Self {
        Self::new(Form::Json, Box::new(io::sink()))
    }

    fn new(form: Form, sink: Box<dyn Write + Send>) -> Self {
        Self { form, sink, is_cut: false, lost_lines: 0 }
    }

    /// Writes a line, all of it at once.
    pub(super) fn show(&mut self, level: Level, time: &str, text: &str) {
        let mut lines = String::new();
        if self.is_cut {
            lines.push('\n');
        }
        if self.lost_lines > 0 {
            let lost = format!("{} lines of the log could not be written", self.lost_lines);
            lines += &(self.form.line(Level::Warn, time, &lost) + "\n");
        }
        lines += &(self.form.line(level, time, text) + "\n");
        // A full disk, or a reader that has stopped, costs lines of the log, never the relay.
        match self.write(lines.as_bytes()) {
            Ok(()) => self.lost_lines = 0,
            Err(_) => self.lost_lines += 1,
        }
    }

    fn write(&mut self, mut line: &[u8]) -> io::Result<()> {
        while !line.is_empty() {
            match self.sink.write(line) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => line = &line[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            self.is_cut = !line.is_empty();
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) {
        let _ = self.sink.flush();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("form", &self.form).finish_non_exhaustive()
    }
}

impl Form {
    /// Text in colour to a terminal, without times to the journal, which has its own.
    fn on_stderr() -> Self {
        let is_journal = env::var_os("JOURNAL_STREAM").is_some();
        Self::Text { has_time: !is_journal, has_color: stderr_has_color() }
    }

    fn line(self, level: Level, time: &str, text: &str) -> String {
        match self {
            Self::Json => serde_json::json!({
                "time": time,
                "level": level.as_str().to_ascii_lowercase(),
                "message": text,
            })
            .to_string(),
            Self::Text { has_time, has_color } => {
                let (time, space) = if has_time { (time, " ") } else { ("", "") };
                let style = if has_color { style(level) } else { Style::new() };
                format!("{time}{space}{style}[{level}]{style:#} {text}")
            }
        }
    }
}

/// Whether stderr is a terminal with colours, and they are welcome (<https://no-color.org>).
fn stderr_has_color() -> bool {
    let is_dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stderr().is_terminal() && !is_dumb && env::var_os("NO_COLOR").is_none()
}

/// How a level stands out.
fn style(level: Level) -> Style {
    let color = match level {
        Level::Error => AnsiColor::Red,
        Level::Warn => AnsiColor::Yellow,
        Level::Info => AnsiColor::Blue,
        Level::Debug => AnsiColor::Cyan,
        Level::Trace => AnsiColor::White,
    };
    color.on_default()
}

/// How long a line may wait. Somewhere may be a pipe, a socket or a terminal that nobody reads, and
/// a write that waits there stops the relay; who only is a little late shall still get every line.
#[derive(Debug)]
struct Patience {
    left: Duration,
}

impl Patience {
    const WHOLE: Duration = Duration::from_millis(100);
    /// It is tried so often, where it cannot be known when it is of use.
    const STEP: Duration = Duration::from_millis(5);

    fn new() -> Self {
        Self { left: Self::WHOLE }
    }

    /// Writes as much as is taken soon. Each wait halves the next, up to a write without one.
    fn write(&mut self, mut to: impl Write + AsFd, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIPE_BYTES)];
        let steps = self.left.as_millis() / Self::STEP.as_millis();
        // A terminal may claim room and take nothing, and would claim it again at once.
        let mut has_lied = false;
        for step in 0..=steps {
            let wait = if step == 0 { Duration::ZERO } else { Self::STEP };
            if has_lied {
                pause(wait);
            } else if !has_room(&to, wait) {
                continue;
            }
            match to.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => has_lied = true,
                Err(error) => return Err(error),
                Ok(count) => {
                    self.learn(step > 0, count < bytes.len());
                    return Ok(count);
                }
            }
        }
        self.left = Duration::ZERO;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// What took only a part is full again, so it has not caught up.
    fn learn(&mut self, has_waited: bool, is_part: bool) {
        if has_waited {
            self.left /= 2;
        } else if !is_part {
            self.left = Self::WHOLE;
        }
    }
}

/// Whether something says that it can be written to, within a while. Where that cannot be asked, the
/// write itself shall tell.
fn has_room(to: impl AsFd, within: Duration) -> bool {
    let within = Timespec::try_from(within).unwrap_or_default();
    let ready = poll(&mut [PollFd::new(&to, PollFlags::OUT)], Some(&within));
    !matches!(ready, Ok(0) | Err(Errno::INTR))
}

fn pause(time: Duration) {
    let _ = poll(&mut [], Some(&Timespec::try_from(time).unwrap_or_default()));
}

/// Somewhere that is waited for no longer than patience lasts.
#[derive(Debug)]
struct Patient<T> {
    to: T,
    patience: Patience,
}

impl<T: Write + AsFd> Write for Patient<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.patience.write(&mut self.to, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file that lines are appended to. When it was moved or removed it is made anew, so that it may
/// be rotated at any time.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
    patience: Patience,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        // It may be a pipe or a terminal. A regular file waits for its disk nevertheless.
        let _ = ioctl_fionbio(&file, true);
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { path: path.to_owned(), file, identity, patience: Patience::new() })
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
        self.patience.write(&self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::BorrowedFd;
    use std::sync::Mutex;

    use super::*;

    const TIME: &str = "2026-01-31T12:34:56.789Z";

    fn text(has_time: bool, has_color: bool) -> String {
        Form::Text { has_time, has_color }.line(Level::Warn, TIME, "lost")
    }

    #[test]
    fn text_has_level_and_message() {
        assert_eq!(text(false, false), "[WARN] lost");
        assert_eq!(text(true, false), "2026-01-31T12:34:56.789Z [WARN] lost");
        assert_eq!(text(false, true), "\u{1b}[33m[WARN]\u{1b}[0m lost");
    }

    #[test]
    fn file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("veylor.log");
        for format in [LogFormat::Text, LogFormat::Json] {
            let settings =
                LogSettings { format, file: Some(path.clone()), ..LogSettings::default() };
            let mut output = Output::open(&settings, &Stderr::Inherited).unwrap();
            output.show(Level::Warn, TIME, "before");
            fs::rename(&path, folder.path().join("old.log")).unwrap();
            output.show(Level::Warn, TIME, "after \"it\"");
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

    /// What was written, and room for so much more.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            written.extend_from_slice(&bytes[..count]);
            *room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_that_a_full_disk_has_cut_does_not_spoil_the_next() {
        let disk = Disk::default();
        let form = Form::Text { has_time: false, has_color: false };
        let mut output = Output::new(form, Box::new(disk.clone()));
        for (room, text) in
            [(20, "whole"), (0, "lost"), (2, "cut"), (100, "after"), (0, "lost"), (9, "end")]
        {
            disk.0.lock().unwrap().1 = room;
            output.show(Level::Warn, TIME, text);
        }
        let written = String::from_utf8(disk.0.lock().unwrap().0.clone()).unwrap();
        let lost = "[WARN] 2 lines of the log could not be written";
        assert_eq!(written, format!("[WARN] whole\n[W\n{lost}\n[WARN] after\n[WARN] 1 "));
    }

    #[test]
    fn who_reads_nothing_is_waited_for_once_and_again_when_it_has_read() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut patience = Patience::new();
        let mut taken = 0;
        while let Ok(count) = patience.write(&writer, &[b'x'; 2 * PIPE_BYTES]) {
            assert!(count <= PIPE_BYTES, "a write of {count} bytes may wait");
            taken += count;
        }
        assert_eq!(patience.left, Duration::ZERO);
        assert!(patience.write(&writer, b"x").is_err());
        reader.read_exact(&mut vec![0; taken]).unwrap();
        assert_eq!(patience.write(&writer, b"x").unwrap(), 1);
        assert_eq!(patience.left, Patience::WHOLE);
    }

    /// What claims room that it does not have, as a terminal may.
    struct Liar {
        null: File,
        asked: u32,
    }

    impl AsFd for Liar {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.null.as_fd()
        }
    }

    impl Write for Liar {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.asked += 1;
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_claims_room_and_takes_nothing_is_waited_for_once() {
        let mut liar = Liar { null: File::create("/dev/null").unwrap(), asked: 0 };
        let mut patience = Patience::new();
        assert!(has_room(&liar, Duration::ZERO));
        for asked in [21, 22, 23] {
            let refused = patience.write(&mut liar, b"x").unwrap_err();
            assert_eq!((refused.kind(), liar.asked), (io::ErrorKind::WouldBlock, asked));
        }
    }

    #[test]
    fn file_in_a_folder_that_is_not_there_is_an_error() {
        let file = Some(PathBuf::from("/nonexistent/veylor.log"));
        let settings = LogSettings { file, ..LogSettings::default() };
        assert!(Output::open(&settings, &Stderr::Inherited).is_err());
    }
}
