//! Playing a recording: a thread reads the file and sends its records through a socket pair, whose
//! other end is the connection of a source. When the relay does not read that, the thread waits; when
//! the relay closes it, the thread ends.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::recording::reader::{ReadError, Reader};
use crate::codec::recording::{Happening, push_end};
use crate::config::recording::{Replay, Speed};
use crate::config::settings::Source;
use crate::relay::settings::SourceSettings;

/// A longer step between two records is the system's clock that was set, and is not waited for.
const MAX_STEP: Duration = Duration::from_hours(24);
/// The longest wait for a record that is played slowly.
const MAX_WAIT: Duration = Duration::from_hours(24 * 365);
/// A recording that is looped begins anew no more often than this, unless it is played at `max`.
const LEAST_PASS: Duration = Duration::from_millis(100);

/// A recording that is ready to be played.
#[derive(Debug)]
pub struct Recording {
    replay: Replay,
    name: String,
    /// `None`: there is nothing in it.
    reader: Option<Reader<File>>,
    max_message_size: usize,
}

/// The thread's part.
struct Player {
    recording: Recording,
    socket: UnixStream,
    clock: Clock,
}

/// When a record is due.
struct Clock {
    speed: Speed,
    /// When the last one was due.
    due: Instant,
    /// Its time, in microseconds since 1970.
    time: Option<u64>,
}

/// Why playing ends.
enum End {
    /// The relay wants no more.
    Unwanted,
    /// The file cannot be read further.
    Unreadable(ReadError),
}

/// What to do with the record that comes next.
enum Step {
    /// Send it when this time has passed, and everything before it now.
    Wait(Duration),
    /// Send it with those before it.
    Send(usize),
    /// Leave it out.
    LeaveOut(usize),
    /// Nothing is known of it yet.
    Read,
}

/// Tries whether a source can be played, if it is a recording, before anything depends on it. Blocks.
pub fn try_out(source: &Source) -> Result<(), String> {
    let Some(replay) = source.replay else { return Ok(()) };
    let path = source.recording().map_err(|error| error.to_string())?;
    let SourceSettings { name, max_message_size, .. } = &source.relay;
    Recording::open(&path, replay, name, *max_message_size).map(drop)
}

impl Recording {
    /// Opens a file and looks at its beginning. Blocks.
    pub(super) fn open(
        path: &Path,
        replay: Replay,
        name: &str,
        max_message_size: usize,
    ) -> Result<Self, String> {
        let shown = path.display();
        let refused = |error| format!("cannot open {shown}: {error}");
        // Opening a pipe would wait for somebody who writes to it.
        if !fs::metadata(path).map_err(refused)?.is_file() {
            return Err(format!("{shown} is no regular file"));
        }
        let file = File::open(path).map_err(refused)?;
        let reader = Reader::begin(file, max_message_size);
        let reader = reader.map_err(|error| format!("{shown}: {error}"))?;
        Ok(Self { replay, name: name.to_owned(), reader, max_message_size })
    }

    /// Clients that are waited for before it begins.
    pub(super) fn audience(&self) -> usize {
        self.replay.wait_for_clients
    }

    /// Plays it in a thread of its own. The relay's end of the connection.
    pub(super) fn play(self) -> io::Result<mio::net::UnixStream> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        let clock = Clock { speed: self.replay.speed, due: now(), time: None };
        let player = Player { recording: self, socket: far, clock };
        thread::Builder::new().name("veylor-replay".to_owned()).spawn(move || player.run())?;
        Ok(mio::net::UnixStream::from_std(near))
    }
}

impl Player {
    fn run(mut self) {
        let why = match self.play() {
            Err(End::Unwanted) => return,
            Ok(()) => String::new(),
            Err(End::Unreadable(error)) => error.to_string(),
        };
        let mut end = Vec::new();
        push_end(&why, &mut end);
        // Nobody wants to know it if the relay has gone.
        let _ = self.socket.write_all(&end);
    }

    fn play(&mut self) -> Result<(), End> {
        while let Some(mut reader) = self.recording.reader.take() {
            let begun = self.clock.due;
            let has_messages = self.play_once(&mut reader)?;
            if !self.recording.replay.is_looped {
                return Ok(());
            }
            if !has_messages {
                let name = &self.recording.name;
                log::warn!("source {name}: the recording has no messages, it is not played again");
                return Ok(());
            }
            self.recording.reader = self.begun_again(reader.into_file())?;
            self.clock.begin_again(begun);
        }
        Ok(())
    }

    fn begun_again(&self, mut file: File) -> Result<Option<Reader<File>>, End> {
        let system = |error| End::Unreadable(ReadError::System(error));
        file.seek(SeekFrom::Start(0)).map_err(system)?;
        Reader::begin(file, self.recording.max_message_size).map_err(End::Unreadable)
    }

    /// Sends everything up to the end. Says whether there was a message.
    fn play_once(&mut self, reader: &mut Reader<File>) -> Result<bool, End> {
        let (mut pending, mut has_messages) = (0, false);
        loop {
            match self.step(reader, pending) {
                Ok(Step::Send(bytes)) => {
                    has_messages = true;
                    pending += bytes;
                }
                Ok(Step::Wait(wait)) => {
                    self.send(reader, &mut pending)?;
                    self.wait(wait)?;
                }
                Ok(Step::LeaveOut(bytes)) => {
                    self.send(reader, &mut pending)?;
                    reader.skip(bytes);
                }
                Err(flaw) => {
                    // What is before it counts.
                    self.send(reader, &mut pending)?;
                    return Err(flaw);
                }
                Ok(Step::Read) => {
                    self.send(reader, &mut pending)?;
                    if !reader.fill().map_err(End::Unreadable)? {
                        self.tell_of_torn(reader);
                        return Ok(has_messages);
                    }
                }
            }
        }
    }

    fn step(&mut self, reader: &mut Reader<File>, at: usize) -> Result<Step, End> {
        let Some(record) = reader.record(at).map_err(End::Unreadable)? else {
            return Ok(Step::Read);
        };
        if let Some(wait) = self.clock.wait(record.time) {
            return Ok(Step::Wait(wait));
        }
        Ok(match record.happening {
            Happening::Message(_) => Step::Send(record.size),
            Happening::Opened => Step::LeaveOut(record.size),
            Happening::Gap(missed) => {
                let name = &self.recording.name;
                log::warn!("source {name}: {missed} messages are missing here in the recording");
                Step::LeaveOut(record.size)
            }
        })
    }

    /// Sends the first bytes that the reader has, as slowly as the relay takes them.
    fn send(&mut self, reader: &mut Reader<File>, bytes: &mut usize) -> Result<(), End> {
        let count = std::mem::take(bytes);
        self.socket.write_all(&reader.bytes()[..count]).map_err(|_| End::Unwanted)?;
        reader.skip(count);
        Ok(())
    }

    /// Waits for a time, or for the relay's end.
    fn wait(&self, wait: Duration) -> Result<(), End> {
        let timeout = Timespec::try_from(wait).ok();
        match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], timeout.as_ref()) {
            // The relay says nothing here: there is something to read when it has closed.
            Ok(1..) => Err(End::Unwanted),
            Ok(0) | Err(_) => Ok(()),
        }
    }

    fn tell_of_torn(&self, reader: &Reader<File>) {
        let (name, torn) = (&self.recording.name, reader.bytes().len());
        if torn > 0 {
            let offset = reader.offset();
            log::warn!(
                "source {name}: the recording ends in a torn record at byte {offset}, its {torn} \
                 bytes are left out"
            );
        }
    }
}

impl Clock {
    /// The first record of the next pass is due at once, or when this pass has lasted long enough.
    fn begin_again(&mut self, begun: Instant) {
        self.time = None;
        self.due = self.due.max(begun + LEAST_PASS);
    }

    /// How long it is until a record of this time is due; `None`: it is.
    fn wait(&mut self, time: u64) -> Option<Duration> {
        let Speed::Times(times) = self.speed else { return None };
        let before = self.time.replace(time).unwrap_or(time);
        // A clock that was set back costs no wait.
        let step = Duration::from_micros(time.saturating_sub(before));
        if step > Duration::ZERO && step <= MAX_STEP {
            let wait = Duration::try_from_secs_f64(step.as_secs_f64() / times);
            self.due += wait.unwrap_or(MAX_WAIT).min(MAX_WAIT);
        }
        let wait = self.due.saturating_duration_since(now());
        (!wait.is_zero()).then_some(wait)
    }
}

#[expect(clippy::disallowed_methods, reason = "this thread has no loop that reads the clock")]
fn now() -> Instant {
    Instant::now()
}
