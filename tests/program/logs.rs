//! Where the program logs, what, and how that changes while it runs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, WAIT, ended, feed, veylor};

/// A relay with a door, and without `-v`.
struct Logged {
    folder: Folder,
    _service: Service,
    port: Port,
    sources: String,
    program: Program,
}

impl Logged {
    fn new() -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let admin = format!("admin: {{unix_socket_path: \"{}\"}}\n", socket(&folder).display());
        let sources = feed(&service.url(), &port, "") + &admin;
        folder.write("config.yaml", &sources);
        let program = Program::listening(&mut veylor(&folder));
        Self { folder, _service: service, port, sources, program }
    }

    /// Reloads with this `log:`. The exit code and what was said of it.
    fn reload(&self, log: &str) -> (i32, String) {
        self.folder.write("config.yaml", &format!("{}log: {{{log}}}\n", self.sources));
        let mut reload = veylor(&self.folder);
        let (code, changes, problems) =
            ended(reload.args(["reload", "--socket"]).arg(socket(&self.folder)));
        (code, changes + &problems)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap()
    }
}

fn socket(folder: &Folder) -> std::path::PathBuf {
    folder.join("admin.sock")
}

#[test]
fn file_is_opened_anew_at_a_reload() {
    let logged = Logged::new();
    let to_file = format!("file: \"{}\"", logged.folder.join("veylor.log").display());
    assert_eq!(logged.reload(&to_file), (0, "log: file has changed\n".to_owned()));
    assert!(logged.read("veylor.log").contains("reload: log: file has changed"));
    assert!(!logged.program.stderr().contains("reload: "));

    fs::rename(logged.folder.join("veylor.log"), logged.folder.join("old.log")).unwrap();
    assert_eq!(logged.reload(&to_file), (0, "nothing has changed\n".to_owned()));
    assert!(logged.read("veylor.log").contains("reload: nothing has changed"));
    assert!(!logged.read("old.log").contains("reload: nothing has changed"));

    assert_eq!(logged.reload("format: json"), (0, "log: format, file have changed\n".to_owned()));
    logged.program.wait_for("\"message\":\"reload: log: format, file have changed\"");
}

#[test]
fn file_that_cannot_be_opened_changes_nothing() {
    let logged = Logged::new();
    let nowhere = logged.folder.join("no/such.log");
    let (code, said) = logged.reload(&format!("level: error, file: \"{}\"", nowhere.display()));
    let why = format!("nothing is changed\ncannot log to {}: No such file", nowhere.display());
    assert!(code == 1 && said.contains(&why), "{said}");
    drop(Peer::connect(&logged.port));
    logged.program.wait_for("client feed#");
}

#[test]
fn level_counts_from_the_reload_on() {
    let logged = Logged::new();
    drop(Peer::connect(&logged.port));
    logged.program.wait_for_times("client feed#", 2);
    assert_eq!(logged.reload("level: error"), (0, "log: level has changed\n".to_owned()));
    drop(Peer::connect(&logged.port));
    let (_, said) = logged.reload("level: error, format: xml");
    assert!(said.contains("log.format"), "{said}");
    logged.program.wait_for("reload: nothing is changed");
    assert_eq!(logged.program.stderr().matches("client feed#").count(), 2);
    assert!(!logged.program.stderr().contains("log: level has changed"));
}

/// A relay whose log nobody reads. It ends with the test, however that ends.
struct Unread {
    child: Child,
    source: Peer,
    port: Port,
    service: Service,
    folder: Folder,
}

impl Unread {
    /// Logs to `stderr`, and has its source; `more` is further keys.
    fn new(stderr: impl Into<Stdio>, more: &str) -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        folder.write("config.yaml", &Self::config(&folder, &service, &port, more));
        let child = veylor(&folder).arg("-v").stderr(stderr).spawn().unwrap();
        let source = service.accept();
        Self { child, source, port, service, folder }
    }

    fn config(folder: &Folder, service: &Service, port: &Port, more: &str) -> String {
        let admin = format!("admin: {{unix_socket_path: \"{}\"}}\n", socket(folder).display());
        feed(&service.url(), port, "") + &admin + more
    }

    /// Has the relay say more than any pipe or terminal keeps, while its clients are served.
    fn flood(&mut self) {
        let mut client = Peer::connect(&self.port);
        greet(&mut self.source, &mut [&mut client]);
        // Each says more than 100 bytes in the log, and there is room for some 64 KiB.
        for n in 0..1000 {
            Peer::connect(&self.port).reset();
            if n % 100 == 0 {
                greet(&mut self.source, &mut [&mut client]);
            }
        }
        greet(&mut self.source, &mut [&mut client]);
    }

    /// Has more said, and reads what there is of it, until some words have come. All that was read.
    #[track_caller]
    fn read_until(&self, words: &str, reader: &mut File) -> String {
        let (mut said, mut bytes) = (String::new(), [0; 4096]);
        for _ in 0..1000 {
            Peer::connect(&self.port).reset();
            while has_more(&*reader, Duration::ZERO) {
                let count = reader.read(&mut bytes).unwrap();
                assert!(count > 0, "ended after:\n{said}");
                said.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
            if said.contains(words) {
                return said;
            }
        }
        panic!("no {words:?} in:\n{said}");
    }

    /// Ends as it is asked to, whoever reads.
    fn end(mut self) {
        let process = Pid::from_child(&self.child);
        let ended = pidfd_open(process, PidfdFlags::empty()).unwrap();
        kill_process(process, Signal::TERM).unwrap();
        assert!(has_more(&ended, WAIT), "still running after {WAIT:?}");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_more(reader: impl AsFd, within: Duration) -> bool {
    let within = Timespec::try_from(within).unwrap();
    poll(&mut [PollFd::new(&reader, PollFlags::IN)], Some(&within)).unwrap() > 0
}

/// A terminal, whose screen shows nothing before it is read.
struct Terminal {
    screen: File,
    line: OwnedFd,
}

impl Terminal {
    fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let screen = openpt(flags).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let line = ioctl_tiocgptpeer(&screen, flags).unwrap();
        Self { screen: screen.into(), line }
    }

    /// For a program: as a shell gives its own to it.
    fn shared(&self) -> OwnedFd {
        self.line.try_clone().unwrap()
    }

    fn path(&self) -> String {
        ptsname(&self.screen, Vec::new()).unwrap().into_string().unwrap()
    }
}

#[test]
fn log_that_nobody_reads_does_not_stop_the_relay() {
    let (reader, writer) = io::pipe().unwrap();
    let mut unread = Unread::new(writer, "");
    unread.flood();

    // Who reads again is told what is missing, after all that was there.
    let lost = " lines of the log could not be written";
    let said = unread.read_until(lost, &mut File::from(OwnedFd::from(reader)));
    assert!(said.find(lost).unwrap() > 3000, "{said}");
    unread.end();
}

#[test]
fn terminal_that_nobody_reads_does_not_stop_the_relay() {
    let mut terminal = Terminal::new();
    let mut unread = Unread::new(terminal.shared(), "");
    unread.flood();
    // The shell's own way to the terminal still waits.
    assert!(!fcntl_getfl(&terminal.line).unwrap().contains(OFlags::NONBLOCK));
    unread.read_until(" lines of the log could not be written", &mut terminal.screen);
    unread.flood();
    unread.end();
}

#[test]
fn terminal_that_nobody_reads_does_not_stop_the_relay_after_a_reload() {
    let mut terminal = Terminal::new();
    let mut unread = Unread::new(terminal.shared(), "");
    let Unread { folder, service, port, .. } = &unread;
    let json = Unread::config(folder, service, port, "log: {format: json}\n");
    folder.write("config.yaml", &json);
    let mut reload = veylor(folder);
    let (code, said, problems) = ended(reload.args(["reload", "--socket"]).arg(socket(folder)));
    assert_eq!((code, said.as_str()), (0, "log: format has changed\n"), "{problems}");
    unread.flood();
    unread.read_until("\"message\":\"reload: log: format has changed\"", &mut terminal.screen);
    unread.end();
}

#[test]
fn terminal_that_is_named_and_that_nobody_reads_does_not_stop_the_relay() {
    let terminal = Terminal::new();
    let log = format!("log: {{file: \"{}\"}}\n", terminal.path());
    let mut unread = Unread::new(Stdio::null(), &log);
    unread.flood();
    unread.end();
}
