//! The standard error, which this process shares with others.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// Where the standard error can be opened once more.
const PATH: &str = "/proc/self/fd/2";

/// The standard error, opened once for the life of the process.
#[derive(Clone, Debug)]
pub(super) enum Stderr {
    /// A pipe or a terminal, with a description of its own: no write waits, and whoever else has
    /// the pipe or the terminal, such as a shell, waits as ever.
    Own(Arc<File>),
    /// As it was inherited. A write may wait.
    Inherited,
}

impl Stderr {
    /// Opens it. To be done before the sandbox is entered, where only `/dev/tty` can be opened.
    pub(super) fn new() -> Self {
        opened_anew().map_or(Self::Inherited, |file| Self::Own(Arc::new(file)))
    }
}

/// What can be opened anew and gains by it: a regular file waits for its disk whatever is asked, and
/// would be written to from its start; a socket cannot be opened. A terminal shall not become the
/// controlling one, whose hang-up is a signal.
fn opened_anew() -> Option<File> {
    let found = fstat(io::stderr()).ok()?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Fifo | FileType::CharacterDevice => {
            let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            open(PATH, flags, Mode::empty()).ok().map(File::from)
        }
        FileType::RegularFile
        | FileType::Directory
        | FileType::Symlink
        | FileType::Socket
        | FileType::BlockDevice
        | FileType::Unknown => None,
    }
}
