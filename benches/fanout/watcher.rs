//! Those who look on while a relay works, and the pseudo terminals they draw on.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::failure::Failure;

/// Who looks on at Veylor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Watcher {
    /// `veylor top`, by the relay's admin socket.
    Top(Size),
    /// The relay's own UI.
    Tui(Size),
}

/// The columns and rows of a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub(crate) u16, pub(crate) u16);

/// A terminal that takes whatever is drawn, and shows it to nobody.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// The end of the program that draws; the far end is drained until all copies of it are closed.
    program_end: OwnedFd,
    drawn_bytes: Arc<AtomicU64>,
}

impl Terminal {
    /// A terminal at which a program that is about to start reads and draws.
    pub(crate) fn before(command: &mut Command, size: Size) -> Result<Self, Failure> {
        let terminal = Self::open(size)?;
        let end =
            || terminal.program_end.try_clone().map_err(Failure::during("sharing a terminal"));
        command.stdin(end()?).stdout(end()?);
        Ok(terminal)
    }

    fn open(Size(columns, rows): Size) -> Result<Self, Failure> {
        let far_end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .map_err(Failure::during("opening a pseudo terminal"))?;
        grantpt(&far_end)
            .and_then(|()| unlockpt(&far_end))
            .map_err(Failure::during("unlocking a pseudo terminal"))?;
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&far_end, size).map_err(Failure::during("sizing a pseudo terminal"))?;
        let name =
            ptsname(&far_end, Vec::new()).map_err(Failure::during("naming a pseudo terminal"))?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let program_end = open(name, flags, Mode::empty())
            .map_err(Failure::during("opening a pseudo terminal's other end"))?;
        let drawn_bytes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&drawn_bytes);
        thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || drain(File::from(far_end), &counter))
            .map_err(Failure::during("starting to drain a terminal"))?;
        Ok(Self { program_end, drawn_bytes })
    }

    /// All that was drawn so far.
    pub(crate) fn drawn_bytes(&self) -> u64 {
        self.drawn_bytes.load(Ordering::Relaxed)
    }
}

/// Reads until the program's end is closed everywhere.
fn drain(mut far_end: File, bytes: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = far_end.read(&mut buffer) {
        bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}
