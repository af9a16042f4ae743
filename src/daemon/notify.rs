//! What the service manager is told: `sd_notify(3)`, one datagram a word.
//!
//! The watchdog is fed by the loop alone, so that a loop that hangs is restarted.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::relay::stats::Census;

/// The status line changes no more often.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// Words that a busy service manager has not taken yet; more are not kept.
const MAX_OWED: usize = 16;

/// The way to the service manager. Without one, nothing here does anything.
#[derive(Debug, Default)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    owed: VecDeque<String>,
    watchdog: Option<Watchdog>,
    status: Option<Census>,
    /// The status is not looked at before.
    look_at: Option<Instant>,
    /// There was a turn after the last look.
    may_have_changed: bool,
}

/// Who restarts us if we do not feed it in time.
#[derive(Debug)]
struct Watchdog {
    /// Half of what it has patience for.
    interval: Duration,
    /// `None` is at once.
    feed_at: Option<Instant>,
}

impl Notify {
    /// What `NOTIFY_SOCKET` and `WATCHDOG_USEC` name.
    pub(super) fn from_env() -> Self {
        let Some(address) = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
        else {
            return Self::default();
        };
        let variable = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
        let is_ours = variable("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let patience = variable("WATCHDOG_USEC").filter(|usec| is_ours && *usec > 0);
        Self::to(&address, patience.map(Duration::from_micros)).unwrap_or_else(|error| {
            log::warn!("the service manager cannot be told anything ({error}), see NOTIFY_SOCKET");
            Self::default()
        })
    }

    fn to(address: &OsStr, patience: Option<Duration>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        match address.as_bytes().strip_prefix(b"@") {
            Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            None => socket.connect(address)?,
        }
        let watchdog = patience.map(|patience| Watchdog { interval: patience / 2, feed_at: None });
        Ok(Self { socket: Some(socket), watchdog, ..Self::default() })
    }

    /// Clients can connect, or a reload has ended.
    pub(super) fn ready(&mut self) {
        self.say("READY=1".to_owned());
    }

    /// A reload has begun; [`Self::ready`] must follow, however it ends.
    pub(super) fn reloading(&mut self) {
        // The manager compares it with the time at which it asked.
        let time = clock_gettime(ClockId::Monotonic);
        let micros = time.tv_sec * 1_000_000 + time.tv_nsec / 1000;
        self.say(format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The end has begun.
    pub(super) fn stopping(&mut self) {
        self.say("STOPPING=1".to_owned());
    }

    /// Does what is due in this turn: feeds the watchdog, tells a status that has changed.
    pub(super) fn turn(&mut self, now: Instant, census: impl FnOnce() -> Census) {
        if self.socket.is_none() {
            return;
        }
        if let Some(watchdog) = &mut self.watchdog
            && watchdog.feed_at.is_none_or(|at| at <= now)
        {
            watchdog.feed_at = Some(now + watchdog.interval);
            self.say("WATCHDOG=1".to_owned());
        }
        self.may_have_changed = self.look_at.is_some_and(|at| now < at);
        if !self.may_have_changed {
            self.look_at = Some(now + STATUS_EVERY);
            self.tell(census());
        }
        self.flush();
    }

    /// When the next turn must come at the latest.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let has_more = self.may_have_changed || !self.owed.is_empty();
        let look = self.look_at.filter(|_| has_more);
        let feed = self.watchdog.as_ref().and_then(|watchdog| watchdog.feed_at);
        look.into_iter().chain(feed).min()
    }

    fn tell(&mut self, census: Census) {
        if self.status != Some(census) {
            self.status = Some(census);
            let mut line = "STATUS=".to_owned();
            let _ = write!(line, "{census}");
            self.say(line);
        }
    }

    fn say(&mut self, words: String) {
        if self.socket.is_some() && self.owed.len() < MAX_OWED {
            self.owed.push_back(words);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(socket) = &self.socket else { return };
        while let Some(words) = self.owed.front() {
            match socket.send(words.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => log::debug!("the service manager was not told {words:?} ({error})"),
                Ok(_) => {}
            }
            self.owed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn pair(patience: Option<Duration>) -> (Notify, UnixDatagram) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        (Notify::to(path.as_os_str(), patience).unwrap(), manager)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 256];
        std::iter::from_fn(|| manager.recv(&mut bytes).ok().map(|n| bytes[..n].to_vec()))
            .map(|words| String::from_utf8(words).unwrap())
            .collect()
    }

    fn census(clients: usize) -> Census {
        Census { open_sources: 1, sources: 2, clients }
    }

    #[expect(clippy::disallowed_methods, reason = "a beginning for the time that tests move")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn status_is_told_when_it_changes_and_not_too_often() {
        let ((mut notify, manager), start) = (pair(None), start());
        notify.turn(start, || census(1));
        assert_eq!(heard(&manager), ["STATUS=1 of 2 sources up, 1 client"]);
        assert_eq!(notify.wake_at(), None, "nothing can have changed");

        notify.turn(start + STATUS_EVERY / 2, || census(2));
        assert_eq!(heard(&manager), [""; 0]);
        assert_eq!(notify.wake_at(), Some(start + STATUS_EVERY));
        notify.turn(start + STATUS_EVERY, || census(2));
        assert_eq!(heard(&manager), ["STATUS=1 of 2 sources up, 2 clients"]);
        notify.turn(start + STATUS_EVERY * 3, || census(2));
        assert_eq!(heard(&manager), [""; 0]);
        assert_eq!(notify.wake_at(), None);
    }

    #[test]
    fn watchdog_is_fed_at_half_of_its_patience() {
        let ((mut notify, manager), start) = (pair(Some(PATIENCE)), start());
        notify.turn(start, || census(0));
        assert_eq!(heard(&manager)[0], "WATCHDOG=1");
        assert_eq!(notify.wake_at(), Some(start + PATIENCE / 2));
        notify.turn(start + PATIENCE / 3, || census(0));
        assert_eq!(heard(&manager), [""; 0]);
        notify.turn(start + PATIENCE / 2, || census(0));
        assert_eq!(heard(&manager), ["WATCHDOG=1"]);
    }

    #[test]
    fn words_that_are_not_taken_are_said_later() {
        let ((mut notify, manager), start) = (pair(None), start());
        while notify.owed.is_empty() {
            notify.ready();
        }
        notify.stopping();
        notify.turn(start, || census(0));
        notify.turn(start, || census(0));
        assert_eq!(notify.wake_at(), Some(start + STATUS_EVERY));
        heard(&manager);
        notify.turn(start, || census(0));
        let rest = heard(&manager);
        assert_eq!(rest[..2], ["READY=1", "STOPPING=1"], "{rest:?}");
    }

    #[test]
    fn without_a_manager_nothing_wakes_the_loop() {
        let mut notify = Notify::default();
        notify.ready();
        notify.turn(start(), || unreachable!("nobody asks"));
        assert_eq!((notify.wake_at(), notify.owed.len()), (None, 0));
    }
}
