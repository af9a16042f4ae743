//! Where the program logs, what, and how that changes while it runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, ended, feed, veylor};

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
struct Unread(Child);

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn log_that_nobody_reads_does_not_stop_the_relay() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("config.yaml", &feed(&service.url(), &port, ""));
    let child = veylor(&folder).arg("-v").stderr(Stdio::piped()).spawn().unwrap();
    let mut unread = Unread(child);
    let (mut source, mut client) = (service.accept(), Peer::connect(&port));
    greet(&mut source, &mut [&mut client]);
    // Each says more than 100 bytes in the log, and a pipe has room for 64 KiB.
    for n in 0..1000 {
        Peer::connect(&port).reset();
        if n % 100 == 0 {
            greet(&mut source, &mut [&mut client]);
        }
    }
    greet(&mut source, &mut [&mut client]);

    // Who reads again is told what is missing.
    let mut lines = BufReader::new(unread.0.stderr.take().unwrap()).lines();
    let first: Vec<_> = lines.by_ref().take(100).map(Result::unwrap).collect();
    assert!(first.iter().all(|line| !line.contains("could not be written")), "{first:?}");
    drop(client);
    let lost = lines.map(Result::unwrap).find(|line| line.contains("could not be written"));
    assert!(lost.unwrap().contains(" lines of the log "), "no word of what was lost");
    kill_process(Pid::from_child(&unread.0), Signal::TERM).unwrap();
    assert!(unread.0.wait().unwrap().success());
}
