//! The folders that the process needs, and Landlock's rules for them.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, LandlockStatus, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, make_bitflags, path_beneath_rules,
};

use crate::config;
use crate::config::approach::TokenCommand;
use crate::config::settings::{Settings, Source};
use crate::config::template::credentials_folder;

/// What the C library needs to resolve names of hosts and users: its configuration, the libraries
/// that this names, and what services of the system have written for it, or list of themselves.
const SYSTEM_FOLDERS: [&str; 12] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/nscd",
    "/run/systemd/machines",
    "/run/systemd/resolve",
    "/run/systemd/userdb",
    "/var/lib/sss",
];
/// Where programs are that may be run if a source asks for one, what runs their scripts, and what
/// loads them.
const PROGRAM_FOLDERS: [&str; 9] = [
    "/bin",
    "/sbin",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/run/current-system/sw",
];
/// What `/metrics` tells of the process: a link to its folder, in which its threads are as well.
/// Those of others hold their variables, and so their secrets.
const OWN_PROCESS: &str = "/proc/self";
/// May be links to places that are not among the folders above, and change with the network.
const RESOLVER_FILES: [&str; 3] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"];
/// The terminal, for the UI; and nothing.
const DEVICES: [&str; 2] = ["/dev/tty", "/dev/null"];

/// Folders that systemd has made for sockets and for logs, separated by colons.
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";
const LOGS_DIRECTORY: &str = "LOGS_DIRECTORY";
/// The same for what is kept, recordings among it.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// Links that lead to a file, at most: more are a circle.
const MAX_LINKS: usize = 16;

/// The newest version whose ways to touch files are known here. What later ones bring is allowed.
const KNOWN_ABI: ABI = ABI::V5;
const READING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});
const EXECUTING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
const MAKING_SOCKETS: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeSock | RemoveFile});
const LOGGING: BitFlags<AccessFs> = make_bitflags!(AccessFs::{MakeReg | WriteFile});
const RECORDING: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{MakeReg | ReadFile | WriteFile | RemoveFile | Truncate});
const KEEPING_STATE: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | MakeReg | WriteFile | Truncate | RemoveFile});
const USING_DEVICES: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | WriteFile | IoctlDev});

/// What may be used, with all that is in it.
#[derive(Debug)]
pub(super) struct Folders {
    readable: Vec<Folder>,
    for_sockets: Vec<Folder>,
    for_logs: Vec<Folder>,
    for_state: Vec<Folder>,
    /// Empty unless a source has a program to be run.
    for_programs: Vec<Folder>,
    for_recordings: Vec<Folder>,
    /// The kernel makes a folder of `/proc` anew, as another one, when it has forgotten it for want
    /// of memory. It forgets none that is open.
    _own_process: Option<File>,
}

/// A folder, or a device.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Device and inode: another folder that takes its place is not allowed.
    identity: (u64, u64),
}

impl Folders {
    /// What these settings need that is there.
    pub(super) fn of(settings: &Settings) -> Self {
        let named = settings.file.iter().flat_map(|file| config::files(file));
        let named = named.chain(settings.sources.iter().flat_map(Source::files));
        let sockets = settings.socket_paths().map(|path| folder_of(path).to_owned());
        let log = settings.log.file.clone().into_iter().flat_map(places_of);
        let recordings = settings.recording_paths().cloned().flat_map(places_of);
        Self {
            _own_process: File::open(OWN_PROCESS).ok(),
            readable: existing(
                named.flat_map(places_of).chain(system()).chain(credentials_folder()),
            ),
            for_sockets: existing(sockets.chain(folders_in(RUNTIME_DIRECTORY))),
            for_logs: existing(log.chain(folders_in(LOGS_DIRECTORY))),
            for_state: existing(settings.state_file.iter().map(|file| folder_of(file).to_owned())),
            for_programs: existing(programs(settings)),
            for_recordings: existing(recordings.chain(folders_in(STATE_DIRECTORY))),
        }
    }

    /// Confines this thread and those that it starts. The version of Landlock that does it, if one
    /// does.
    pub(super) fn confine(&self) -> Result<Option<ABI>, RulesetError> {
        let paths = |folders: &[Folder]| -> Vec<PathBuf> {
            folders.iter().map(|folder| folder.path.clone()).collect()
        };
        let status = Ruleset::default()
            .handle_access(AccessFs::from_all(KNOWN_ABI))?
            .create()?
            .add_rules(path_beneath_rules(paths(&self.readable), READING))?
            .add_rules(path_beneath_rules(paths(&self.for_sockets), MAKING_SOCKETS))?
            .add_rules(path_beneath_rules(paths(&self.for_logs), LOGGING))?
            .add_rules(path_beneath_rules(paths(&self.for_state), KEEPING_STATE))?
            .add_rules(path_beneath_rules(paths(&self.for_programs), EXECUTING))?
            .add_rules(path_beneath_rules(paths(&self.for_recordings), RECORDING))?
            .add_rules(path_beneath_rules(DEVICES, USING_DEVICES))?
            .restrict_self()?;
        Ok(match status.landlock {
            LandlockStatus::Available { effective_abi, .. }
                if status.ruleset != RulesetStatus::NotEnforced =>
            {
                Some(effective_abi)
            }
            LandlockStatus::Available { .. }
            | LandlockStatus::NotEnabled
            | LandlockStatus::NotImplemented => None,
        })
    }

    /// How many are read, how many are written to, and of how many programs are run.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let written = [&self.for_sockets, &self.for_logs, &self.for_state, &self.for_recordings];
        let written = written.iter().map(|folders| folders.len()).sum();
        (self.readable.len(), written, self.for_programs.len())
    }

    /// A folder that is read and holds much more than what the relay needs: `/`, or this home.
    pub(super) fn too_wide(&self, home: Option<&Path>) -> Option<&Path> {
        let home = home.and_then(|home| fs::canonicalize(home).ok());
        let read = self.readable.iter().chain(&self.for_programs);
        let mut paths = read.map(|folder| folder.path.as_path());
        paths.find(|path| *path == Path::new("/") || Some(*path) == home.as_deref())
    }

    /// Whether a file is there and cannot be read.
    pub(super) fn hide(&self, file: &Path) -> bool {
        fs::canonicalize(file).is_ok_and(|found| !contain(&self.readable, &found))
    }

    /// Whether a socket cannot be made, in a folder that is there.
    pub(super) fn refuse_socket(&self, path: &Path) -> bool {
        let folder = fs::canonicalize(folder_of(path));
        folder.is_ok_and(|folder| !contain(&self.for_sockets, &folder))
    }

    /// Whether a recording cannot be written or made, in a folder that is there.
    pub(super) fn refuse_recording(&self, file: &Path) -> bool {
        let folder = fs::canonicalize(folder_of(file));
        folder.is_ok_and(|folder| !contain(&self.for_recordings, &folder))
    }

    /// Whether a log cannot be written to or made, in a folder that is there.
    pub(super) fn refuse_log(&self, file: &Path) -> bool {
        let Some(target) = links(file.to_owned()).last() else { return false };
        // A pipe without a name, such as /dev/stderr may be: it is nowhere.
        if file.exists() && !target.exists() {
            return false;
        }
        let found = fs::canonicalize(&target).or_else(|_| fs::canonicalize(folder_of(&target)));
        found.is_ok_and(|found| !contain(&self.for_logs, &found))
    }
}

/// Where programs are run from; nowhere, if no source has any.
fn programs(settings: &Settings) -> impl Iterator<Item = PathBuf> {
    let of_session = |source: &Source| Some(source.session.command.clone()?.program);
    let of = |source: &Source| [source.approach.token.clone(), of_session(source)];
    let commands: Vec<_> = settings.sources.iter().flat_map(of).flatten().collect();
    let own: Vec<_> = commands.iter().flat_map(TokenCommand::folders).collect();
    let system = PROGRAM_FOLDERS.into_iter().map(PathBuf::from);
    system.filter(move |_| !commands.is_empty()).chain(own)
}

/// What is read whatever the configuration says.
fn system() -> impl Iterator<Item = PathBuf> {
    let resolver = RESOLVER_FILES.into_iter().flat_map(|file| places_of(file.into()));
    let resolver = resolver.filter_map(|folder| nearest(&folder));
    SYSTEM_FOLDERS.into_iter().chain([OWN_PROCESS]).map(PathBuf::from).chain(resolver)
}

/// A folder, or the one in which it will be made: of what a link leads to, there may be nothing
/// before there is a network. Never that of all files.
fn nearest(folder: &Path) -> Option<PathBuf> {
    let found = fs::canonicalize(folder).or_else(|_| fs::canonicalize(folder_of(folder)));
    found.ok().filter(|found| found != Path::new("/"))
}

/// The folders in which a file may be replaced: its own, and those of the files that it links to.
/// A device is its own place.
fn places_of(file: PathBuf) -> impl Iterator<Item = PathBuf> {
    links(file).map(|path| {
        let metadata = fs::symlink_metadata(&path);
        let is_device = metadata.is_ok_and(|metadata| metadata.file_type().is_char_device());
        if is_device { path } else { folder_of(&path).to_owned() }
    })
}

/// A path and what it links to, whether that exists or not.
fn links(file: PathBuf) -> impl Iterator<Item = PathBuf> {
    let next = |path: &PathBuf| {
        let target = fs::read_link(path).ok()?;
        Some(folder_of(path).join(target))
    };
    std::iter::successors(Some(file), next).take(MAX_LINKS)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// The folders that a variable of the service manager names.
fn folders_in(variable: &str) -> impl Iterator<Item = PathBuf> {
    let folders = std::env::var_os(variable).unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&folders).collect();
    folders.into_iter().filter(|folder| folder.is_absolute())
}

/// What exists and is not inside another, without the folder of all devices.
fn existing(paths: impl Iterator<Item = PathBuf>) -> Vec<Folder> {
    let folder = |path: PathBuf| {
        let path = fs::canonicalize(path).ok()?;
        Some(Folder { identity: identity(&path).ok()?, path })
    };
    let mut folders: Vec<_> = paths.filter_map(folder).collect();
    folders.retain(|folder| folder.path != Path::new("/dev"));
    folders.sort_by(|one, other| one.path.cmp(&other.path));
    folders.dedup_by(|inner, outer| inner.path.starts_with(&outer.path));
    folders
}

/// Whether a path without links is one of the folders, or in one.
fn contain(folders: &[Folder], path: &Path) -> bool {
    let mut found = path.ancestors().filter_map(|ancestor| identity(ancestor).ok());
    found.any(|identity| folders.iter().any(|folder| folder.identity == identity))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl fmt::Display for Folders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |folders: &[Folder]| {
            let paths: Vec<_> = folders.iter().map(|f| f.path.display().to_string()).collect();
            if paths.is_empty() { "none".to_owned() } else { paths.join(", ") }
        };
        let (readable, sockets) = (list(&self.readable), list(&self.for_sockets));
        let (logs, state) = (list(&self.for_logs), list(&self.for_state));
        let (programs, recordings) = (list(&self.for_programs), list(&self.for_recordings));
        write!(
            f,
            "reads in {readable}; makes sockets in {sockets}; logs in {logs}; keeps state in \
             {state}; records in {recordings}; runs programs of {programs}"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::observe::process::process;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    fn paths(folders: &[Folder]) -> Vec<&Path> {
        folders.iter().map(|folder| folder.path.as_path()).collect()
    }

    #[test]
    fn file_is_looked_for_where_each_of_its_links_leads() {
        let (_kept, root) = folder();
        for folder in ["a", "b", "c"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        symlink("../b/two", root.join("a/one")).unwrap();
        symlink(root.join("c/three"), root.join("b/two")).unwrap();
        let places = existing(places_of(root.join("a/one")));
        assert_eq!(paths(&places), [root.join("a"), root.join("b"), root.join("c")]);
        symlink("circle", root.join("circle")).unwrap();
        assert_eq!(paths(&existing(places_of(root.join("circle")))), [&root]);
        assert_eq!(folder_of(Path::new("config.yaml")), Path::new("."));
    }

    #[test]
    fn folders_inside_others_and_that_of_all_devices_are_left_out() {
        let (_kept, root) = folder();
        fs::create_dir(root.join("inner")).unwrap();
        let all = [root.join("inner"), root.clone(), root.join("absent"), PathBuf::from("/dev")];
        assert_eq!(paths(&existing(all.into_iter())), [&root]);
        let null = existing(places_of(PathBuf::from("/dev/null")));
        assert_eq!(paths(&null), [Path::new("/dev/null")]);
    }

    #[test]
    fn folder_that_has_taken_the_place_of_another_is_not_the_same() {
        let (_kept, root) = folder();
        let run = root.join("run");
        fs::create_dir(&run).unwrap();
        let folders = Folders {
            _own_process: None,
            readable: Vec::new(),
            for_sockets: existing([run.clone()].into_iter()),
            for_logs: existing([run.clone()].into_iter()),
            for_state: Vec::new(),
            for_programs: Vec::new(),
            for_recordings: Vec::new(),
        };
        assert!(!folders.refuse_socket(&run.join("a.sock")) && !folders.refuse_log(&run.join("a")));
        assert!(folders.refuse_socket(&root.join("a.sock")) && folders.refuse_log(&root.join("a")));
        assert!(!folders.refuse_socket(&root.join("absent/a.sock")), "the system has better words");
        fs::rename(&run, root.join("old")).unwrap();
        fs::create_dir(&run).unwrap();
        assert!(folders.refuse_socket(&run.join("a.sock")) && folders.refuse_log(&run.join("a")));
    }
    #[test]
    fn folder_that_is_not_there_yet_is_looked_for_in_the_one_above() {
        let (_kept, root) = folder();
        assert_eq!(nearest(&root), Some(root.clone()));
        assert_eq!(nearest(&root.join("absent")), Some(root.clone()));
        assert_eq!(nearest(&root.join("absent/absent")), None);
        assert_eq!(nearest(Path::new("/etc/../absent")), None);
    }

    #[test]
    fn all_files_or_a_whole_home_are_too_much_to_read() {
        let (_kept, root) = folder();
        let reading = |path: &Path| Folders {
            _own_process: None,
            readable: existing([path.to_owned()].into_iter()),
            for_sockets: Vec::new(),
            for_logs: Vec::new(),
            for_state: Vec::new(),
            for_programs: Vec::new(),
            for_recordings: Vec::new(),
        };
        assert_eq!(reading(Path::new("/")).too_wide(None), Some(Path::new("/")));
        assert_eq!(reading(&root).too_wide(Some(&root)), Some(&*root));
        assert_eq!(reading(&root).too_wide(Some(Path::new("/absent"))), None);
        assert_eq!(reading(&root).too_wide(root.parent()), None);
    }

    #[test]
    fn of_all_processes_only_this_one_is_seen() {
        let folders = Folders {
            _own_process: File::open(OWN_PROCESS).ok(),
            readable: existing(system()),
            for_sockets: Vec::new(),
            for_logs: Vec::new(),
            for_state: Vec::new(),
            for_programs: Vec::new(),
            for_recordings: Vec::new(),
        };
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero();
        let other = format!("/proc/{parent}/environ");
        assert!(File::open(&other).is_ok(), "a test's parent is of the same user");
        // Only this thread is confined.
        let confined = std::thread::spawn(move || {
            if folders.confine().unwrap().is_none() {
                return;
            }
            assert_eq!(File::open(&other).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            assert!(fs::read_dir("/proc").is_err() && fs::read_dir("/run").is_err());
            assert!(fs::read("/proc/thread-self/stat").is_ok());
            let process = process();
            assert!(process.resident_bytes > 0 && process.descriptors > 0, "{process:?}");
        });
        confined.join().unwrap();
    }
}
