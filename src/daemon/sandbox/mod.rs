//! What the process gives up once its endpoints are open: new privileges, and by Landlock all files
//! but those that it needs from then on. It may execute nothing, unless a source has programs to be
//! run for it: then those of the system and those in the folders that the commands name. Where the
//! kernel does not offer that, the relay runs without.
//!
//! Landlock confines the thread that asks for it and those that this one starts afterwards. The
//! loop's thread asks before it starts any other, so all are confined: those that read files and
//! resolve names, the one for signals, the terminal UI's.
//!
//! The folders are settled at the start, for what is given up does not come back. So folders are
//! allowed and not files: a file that is replaced, a log that is rotated, a socket that comes with
//! a reload are found there. What a reload wants elsewhere is refused in words that say why.
//! Sockets that exist are connected to and TCP ports are used without limits: where sources and
//! name servers are, a relay cannot know.

#[cfg(feature = "sandbox")]
mod folders;

use std::fmt;
use std::path::PathBuf;

use rustix::thread::set_no_new_privs;

#[cfg(feature = "sandbox")]
use self::folders::Folders;
use crate::config::settings::Settings;

/// Where the process may still go. By default it may go everywhere.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    #[cfg(feature = "sandbox")]
    entered: Option<Folders>,
}

/// What is wanted and lies outside; never empty.
#[derive(Debug)]
pub struct Outside(Vec<PathBuf>);

impl Sandbox {
    /// Enters what these settings allow, and says so in one line of the log.
    pub(super) fn enter(settings: &Settings) -> Self {
        if !settings.sandbox {
            log::info!("sandbox: off, as the configuration says");
            return Self::default();
        }
        let privileges = match set_no_new_privs(true) {
            Ok(()) => "no new privileges".to_owned(),
            Err(error) => format!("new privileges are not ruled out ({error})"),
        };
        Self::by_landlock(settings, &privileges)
    }
}

#[cfg(feature = "sandbox")]
impl Sandbox {
    fn by_landlock(settings: &Settings, privileges: &str) -> Self {
        let folders = Folders::of(settings);
        match folders.confine() {
            Ok(Some(abi)) => {
                let (read, written, executed) = folders.counts();
                let programs = match executed {
                    0 => String::new(),
                    count => format!(", runs programs of {count}"),
                };
                log::info!(
                    "sandbox: Landlock (ABI {abi}): reads in {read} folders, writes in {written}\
                     {programs}; {privileges}"
                );
                log::debug!("sandbox: {folders}");
                warn_of_too_wide(&folders);
                Self { entered: Some(folders) }
            }
            Ok(None) => {
                log::info!(
                    "sandbox: this kernel offers no Landlock, the relay runs without; {privileges}"
                );
                Self::default()
            }
            Err(error) => {
                log::warn!("sandbox: the relay runs without Landlock ({error}); {privileges}");
                Self::default()
            }
        }
    }

    /// Those of the files that are there and cannot be read from inside. Blocks.
    pub(super) fn unreadable<Files: IntoIterator<Item = PathBuf>>(
        &self,
        files: impl FnOnce() -> Files,
    ) -> Option<Outside> {
        let folders = self.entered.as_ref()?;
        Outside::of(files().into_iter().filter(|file| folders.hide(file)))
    }

    /// What may be the matter with a program that has failed, as the end of a sentence.
    pub(super) fn hint_for_programs(&self) -> &'static str {
        if self.entered.is_some() {
            " (programs run inside the sandbox: see `sandbox`; if it was asked for by a reload, \
             restart veylor)"
        } else {
            ""
        }
    }

    /// The sockets of new settings that are not open yet, their log and their recordings, as far as
    /// they cannot be made from inside.
    pub(super) fn unwritable(&self, old: &Settings, new: &Settings) -> Option<Outside> {
        let folders = self.entered.as_ref()?;
        let is_open = |path: &PathBuf| old.socket_paths().any(|open| open == path);
        let sockets = new.socket_paths().filter(|path| !is_open(path));
        let sockets = sockets.filter(|path| folders.refuse_socket(path));
        let log = new.log.file.iter().filter(|file| folders.refuse_log(file));
        let recordings = new.recording_paths().filter(|path| folders.refuse_recording(path));
        Outside::of(sockets.chain(log).chain(recordings).cloned())
    }
}

#[cfg(not(feature = "sandbox"))]
#[expect(clippy::unused_self, reason = "a program with Landlock asks its folders")]
impl Sandbox {
    fn by_landlock(_: &Settings, privileges: &str) -> Self {
        log::info!("sandbox: this veylor was built without Landlock; {privileges}");
        Self::default()
    }

    /// Nothing: all that the system allows can be read.
    pub(super) fn unreadable<Files>(&self, _: impl FnOnce() -> Files) -> Option<Outside> {
        None
    }

    /// Nothing: programs can do what the system allows.
    pub(super) fn hint_for_programs(&self) -> &'static str {
        ""
    }

    /// Nothing: all that the system allows can be made.
    pub(super) fn unwritable(&self, _: &Settings, _: &Settings) -> Option<Outside> {
        None
    }
}

#[cfg(feature = "sandbox")]
impl Outside {
    fn of(paths: impl Iterator<Item = PathBuf>) -> Option<Self> {
        let paths: Vec<_> = paths.collect();
        (!paths.is_empty()).then_some(Self(paths))
    }
}

/// Says what to do if the configuration lies where much else does.
#[cfg(feature = "sandbox")]
fn warn_of_too_wide(folders: &Folders) {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(folder) = folders.too_wide(home.as_deref()) {
        log::warn!(
            "sandbox: all that is in {} can be read, since the configuration or a file that it \
             names is there: keep these in a folder of their own, such as /etc/veylor",
            folder.display()
        );
    }
}

/// A line for each path.
impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, path) in self.0.iter().enumerate() {
            let line_break = if number == 0 { "" } else { "\n" };
            write!(
                f,
                "{line_break}{} is outside the sandbox, which was made for the paths known at the \
                 start: restart veylor to take it in",
                path.display()
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Outside {}
