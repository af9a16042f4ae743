//! The terminal: taken over, drawn on, and given back whatever happens.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Stdout, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::layout::{Position, Rect, Size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::key::{Decoder, Key};
use super::theme::Look;
use super::{Action, Mode, Ui};
use crate::observe::snapshot::Event;

/// Between two pictures, at least; between two looks at the events, at most.
const FRAME: Duration = Duration::from_millis(100);
/// A snapshot comes every second; when none has come for this long, the operator is told.
const SILENCE: Duration = Duration::from_secs(3);
/// Events that are taken in before the keys are looked at again.
const EVENTS_PER_TURN: usize = 10_000;
/// A picture of a large screen goes out in one write.
const SCREEN_BYTES: usize = 64 * 1024;

/// Shows the events on the terminal until the operator quits or the events end, and says what the
/// operator asks for.
///
/// The terminal is given back when this returns, and when any thread panics. It fails if there is no
/// terminal, or not any more.
pub fn run(events: Receiver<Event>, actions: impl FnMut(Action), mode: Mode) -> io::Result<End> {
    show(events, actions, mode, &AtomicBool::new(false))
}

/// Does what [`run`] does, and ends also at SIGHUP, SIGINT and SIGTERM: for a process that has
/// nothing else to do.
pub fn run_until_signal(
    events: Receiver<Event>,
    actions: impl FnMut(Action),
    mode: Mode,
) -> io::Result<End> {
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))?;
    }
    show(events, actions, mode, &is_over)
}

fn show(
    events: Receiver<Event>,
    mut actions: impl FnMut(Action),
    mode: Mode,
    is_over: &AtomicBool,
) -> io::Result<End> {
    let mut session = Session::begin(events, mode)?;
    while !is_over.load(Ordering::SeqCst) {
        for key in session.wait()? {
            if key == Key::Repaint {
                session.screen.wipe()?;
            }
            let action = session.ui.key(key);
            session.has_changed = true;
            if let Some(action) = action {
                actions(action);
            }
            if action == Some(Action::Quit) {
                return Ok(End::Asked);
            }
        }
        if session.take_in() == Stream::Ended {
            return Ok(End::OfEvents);
        }
        session.draw()?;
    }
    Ok(End::Asked)
}

/// Why the UI has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The operator wanted it, or a signal.
    Asked,
    /// No more events come.
    OfEvents,
}

/// The UI at a terminal.
struct Session {
    ui: Ui,
    events: Receiver<Event>,
    keyboard: File,
    decoder: Decoder,
    screen: Screen,
    /// Whether the picture is not that of the state.
    has_changed: bool,
    size: Size,
    drawn_at: Option<Instant>,
    heard_at: Instant,
}

/// Whether events may come.
#[derive(PartialEq, Eq)]
enum Stream {
    Open,
    Ended,
}

impl Session {
    fn begin(events: Receiver<Event>, mode: Mode) -> io::Result<Self> {
        Ok(Self {
            ui: Ui::new(mode, look()),
            events,
            keyboard: keyboard()?,
            decoder: Decoder::default(),
            screen: Screen::take()?,
            has_changed: true,
            size: Size::default(),
            drawn_at: None,
            heard_at: clock(),
        })
    }

    /// Waits until a key comes or it is time to look at the events.
    fn wait(&mut self) -> io::Result<Vec<Key>> {
        let since = self.drawn_at.map_or(FRAME, |drawn_at| clock().duration_since(drawn_at));
        let until_frame = FRAME.saturating_sub(since);
        // The rest of a key's bytes gets its time, also on a line that is slow.
        let is_patient = self.decoder.is_waiting() || !self.has_changed;
        let timeout = if is_patient { FRAME } else { until_frame };
        if !is_readable(&self.keyboard, timeout)? {
            return Ok(self.decoder.settle().into_iter().collect());
        }
        let mut bytes = [0; 1024];
        match self.keyboard.read(&mut bytes) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the terminal is gone")),
            Ok(length) => Ok(self.decoder.keys(&bytes[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Takes in the events that have come.
    fn take_in(&mut self) -> Stream {
        for _ in 0..EVENTS_PER_TURN {
            match self.events.try_recv() {
                Ok(event) => {
                    if matches!(event, Event::Snapshot(_)) {
                        self.heard_at = clock();
                    }
                    self.ui.update(event);
                    self.has_changed = true;
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Stream::Ended,
            }
        }
        let silence = clock().duration_since(self.heard_at);
        let worth_a_word = (silence >= SILENCE).then_some(silence.as_secs());
        self.has_changed |= self.ui.set_silence(worth_a_word);
        Stream::Open
    }

    /// Draws, if something has changed and the last picture is not too young.
    fn draw(&mut self) -> io::Result<()> {
        let size = self.screen.terminal.size()?;
        self.has_changed |= size != self.size;
        let now = clock();
        let is_time = self.drawn_at.is_none_or(|drawn_at| now.duration_since(drawn_at) >= FRAME);
        if !(self.has_changed && is_time) {
            return Ok(());
        }
        self.screen.draw(&self.ui)?;
        (self.has_changed, self.size, self.drawn_at) = (false, size, Some(now));
        Ok(())
    }
}

/// A terminal in raw mode, on its other screen. Dropping it gives it back.
struct Screen {
    /// Its own end would show the cursor once more, and panic where nobody hears that it cannot.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<Stdout>>>>,
    /// Whether it is to be given back. A panic in any thread does so, before its message.
    is_taken: Arc<AtomicBool>,
}

impl Screen {
    fn take() -> io::Result<Self> {
        if !io::stdout().is_terminal() {
            return Err(io::Error::other("standard output is no terminal"));
        }
        let is_taken = Arc::new(AtomicBool::new(true));
        give_back_on_panic(Arc::clone(&is_taken));
        let output = BufWriter::with_capacity(SCREEN_BYTES, io::stdout());
        let terminal = ManuallyDrop::new(Terminal::new(CrosstermBackend::new(output))?);
        let screen = Self { terminal, is_taken };
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    fn draw(&mut self, ui: &Ui) -> io::Result<()> {
        if !self.is_taken.load(Ordering::SeqCst) {
            return Err(io::Error::other("a thread has panicked"));
        }
        self.terminal.draw(|frame| ui.render(frame)).map(drop)
    }

    /// Forgets the picture, so that the next is drawn whole.
    fn wipe(&mut self) -> io::Result<()> {
        // `Terminal::clear` would ask the terminal for its cursor, and take its answer from our keys.
        let size = self.terminal.size()?;
        self.terminal.resize(Rect::from((Position::ORIGIN, size)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.is_taken);
    }
}

fn give_back(is_taken: &AtomicBool) {
    if is_taken.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        let _ = io::stdout().flush();
    }
}

fn give_back_on_panic(is_taken: Arc<AtomicBool>) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        give_back(&is_taken);
        previous(panic);
    }));
}

/// Where keys come from, also if standard input is something else.
fn keyboard() -> io::Result<File> {
    if io::stdin().is_terminal() {
        return io::stdin().as_fd().try_clone_to_owned().map(File::from);
    }
    File::open("/dev/tty")
}

fn is_readable(file: &File, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        // The window has been resized, perhaps.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// See <https://no-color.org>.
fn look() -> Look {
    let is_set = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_set { Look::Plain } else { Look::Dark }
}

#[expect(clippy::disallowed_methods, reason = "the UI has a thread and a pace of its own")]
fn clock() -> Instant {
    Instant::now()
}
