//! What still works inside the sandbox, and what does not.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::Signal;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, QUICK, WAIT, ended, feed, veylor};

/// Whether the program and this kernel can confine anybody. Says so if they cannot.
#[expect(clippy::print_stderr, reason = "a test that is skipped shall say so")]
fn has_landlock() -> bool {
    let has = kernel_has_landlock();
    if !has {
        eprintln!("SKIPPED: this kernel has no Landlock, or this veylor was built without");
    }
    has
}

#[cfg(feature = "sandbox")]
fn kernel_has_landlock() -> bool {
    let status = landlock::RestrictSelf::default().no_new_privs(false).apply().unwrap();
    matches!(status.landlock, landlock::LandlockStatus::Available { .. })
}

#[cfg(not(feature = "sandbox"))]
fn kernel_has_landlock() -> bool {
    false
}

/// A relay with a source that wants a token, and folders for its sockets and its log. No service
/// manager has named others.
struct Confined {
    folder: Folder,
    service: Service,
    port: Port,
    program: Program,
}

impl Confined {
    /// `more` is further keys. What the source is connected to comes with it.
    fn new(more: &str) -> (Self, Peer) {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        for name in ["run", "log", "elsewhere"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        folder.write("token", "first");
        folder.write("config.yaml", &(config(&folder, &service, &port, "token") + more));
        let program = Program::start(&mut command(&folder));
        let source = service.accept();
        (Self { folder, service, port, program }, source)
    }

    /// The configuration with a token in this file.
    fn config(&self, token: &str) -> String {
        config(&self.folder, &self.service, &self.port, token)
    }

    /// Has a configuration read. The exit code and what was said.
    fn reload(&self, config: &str) -> (i32, String) {
        self.folder.write("config.yaml", config);
        let mut reload = command(&self.folder);
        let (code, changes, problems) =
            ended(reload.args(["reload", "--socket", "run/admin.sock"]));
        (code, changes + &problems)
    }

    #[track_caller]
    fn refused(&self, config: &str, path: &str) -> String {
        let (code, said) = self.reload(config);
        let outside = format!("{path} is outside the sandbox, which was made for the paths known");
        assert!(code == 1 && said.contains("nothing is changed"), "{said}");
        assert!(said.contains(&outside), "no {outside:?} in:\n{said}");
        said
    }
}

fn command(folder: &Folder) -> Command {
    let mut command = veylor(folder);
    command.arg("-v").env_remove("RUNTIME_DIRECTORY").env_remove("LOGS_DIRECTORY");
    command.env_remove("STATE_DIRECTORY");
    command
}

fn config(folder: &Folder, service: &Service, port: &Port, token: &str) -> String {
    let url = service.url().replace("127.0.0.1", "localhost");
    let token = folder.join(token);
    let more = format!(
        "headers: {{X-Token: \"${{file:{}}}\"}}\nunix_socket_path: run/feed.sock",
        token.display()
    );
    feed(&url, port, &more) + "admin: {unix_socket_path: run/admin.sock}\n" + QUICK
}

/// Whether each thread of a program can gain new privileges.
fn no_new_privileges(program: &Program) -> Vec<bool> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
    let status = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")).unwrap());
    status.map(|status| status.contains("NoNewPrivs:\t1")).collect()
}

#[test]
fn relay_does_all_its_work_inside() {
    let (mut confined, mut source) = Confined::new("log: {file: log/veylor.log}\n");
    let logs = confined.folder.join("log");
    let log = |name: &str| fs::read_to_string(logs.join(name)).unwrap();
    assert_eq!(source.header("x-token"), Some("first"));
    let mut client = Peer::connect(&confined.port);
    greet(&mut source, &mut [&mut client]);

    // A socket beside the others, and a log that has been moved away.
    fs::rename(logs.join("veylor.log"), logs.join("old.log")).unwrap();
    let all = confined.config("token")
        + "log: {file: log/veylor.log}\n\
               rebroadcast: {unix_socket: {path: run/all.sock}}\n";
    let (code, said) = confined.reload(&all);
    assert!(code == 0 && said.contains("run/all.sock: opened"), "{said}");
    assert!(log("veylor.log").contains("run/all.sock: opened"));
    assert!(log("old.log").contains("sandbox: "), "{}", log("old.log"));
    let mut unix = UnixPeer::connect(&confined.folder.join("run/all.sock"));
    unix.send("hello");
    assert_eq!(source.text(), "hello");
    source.send("to both");
    assert_eq!(unix.receive(), b"to both");
    assert_eq!(client.text(), "to both");

    // The name of the source is resolved again, and its token read again.
    confined.folder.write("token", "second");
    source.reset();
    let mut source = confined.service.accept();
    assert_eq!(source.header("x-token"), Some("second"));
    greet(&mut source, &mut [&mut client]);

    // The socket goes with a reload, the others at the end.
    let (code, said) = confined.reload(&(confined.config("token") + "log: {level: debug}\n"));
    assert!(code == 0 && said.contains("run/all.sock: closed"), "{said}");
    assert!(!confined.folder.join("run/all.sock").exists());
    confined.program.signal(Signal::TERM);
    drop((source, client));
    assert_eq!(confined.program.exit_code(WAIT), 0);
    assert_eq!(fs::read_dir(confined.folder.join("run")).unwrap().count(), 0);
}

#[cfg(feature = "recording")]
#[test]
fn recording_is_rotated_inside_and_not_made_elsewhere() {
    if !has_landlock() {
        return;
    }
    let (confined, mut source) = Confined::new("");
    let feed = confined.config("token");
    let recorded = |path: &str| {
        let record = format!("    record: {{path: {path}, rotate: {{size: 4KiB}}}}\nadmin:");
        feed.replacen("admin:", &record, 1)
    };
    confined.refused(&recorded("elsewhere/feed.vrec"), "elsewhere/feed.vrec");

    confined.program.signal(Signal::TERM);
    let mut program = confined.program;
    drop(source);
    assert_eq!(program.exit_code(WAIT), 0);
    confined.folder.write("config.yaml", &recorded("elsewhere/feed.vrec"));
    let mut program = Program::start(&mut command(&confined.folder));
    source = confined.service.accept();
    let mut client = Peer::connect(&confined.port);
    greet(&mut source, &mut [&mut client]);
    for _ in 0..20 {
        source.send("x".repeat(500));
        client.text();
    }
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(WAIT), 0);
    program.wait_for("21 messages recorded in elsewhere/feed.vrec");
    assert!(confined.folder.join("elsewhere/feed.2.vrec").exists());
}

#[test]
fn line_of_the_log_says_what_is_given_up_and_every_thread_does() {
    let (confined, _source) = Confined::new("");
    confined.program.wait_for("; no new privileges");
    let threads = no_new_privileges(&confined.program);
    assert!(threads.len() > 1 && threads.iter().all(|is_without| *is_without), "{threads:?}");
    if has_landlock() {
        confined.program.wait_for("[INFO] sandbox: Landlock (ABI ");
        confined.program.wait_for("folders, writes in 1; no new privileges");
    }
}

#[test]
fn figures_of_the_process_are_known_inside() {
    let (confined, _source) = Confined::new("");
    confined.program.wait_for("; no new privileges");
    let mut door = UnixStream::connect(confined.folder.join("run/admin.sock")).unwrap();
    door.set_read_timeout(Some(WAIT)).unwrap();
    door.write_all(b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    door.read_to_string(&mut page).unwrap();
    for name in ["process_resident_memory_bytes", "process_open_fds"] {
        let line = page.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        assert!(line.trim().parse::<f64>().unwrap() > 0.0, "{name}{line}");
    }
    assert!(page.contains("\nprocess_cpu_seconds_total "), "{page}");
    if has_landlock() {
        let said = confined.program.stderr();
        let line = said.lines().find(|line| line.contains("sandbox: reads in ")).unwrap();
        assert!(line.contains(&format!("/proc/{},", confined.program.id())), "{line}");
        assert!(!line.contains("/proc,") && !line.contains("/run,"), "{line}");
    }
}

#[test]
fn whole_home_that_can_be_read_is_warned_of() {
    if !has_landlock() {
        return;
    }
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("config.yaml", &feed(&service.url(), &port, ""));
    let home = folder.join("");
    let program = Program::start(command(&folder).env("HOME", &home));
    let home = home.canonicalize().unwrap();
    let words = format!("[WARN] sandbox: all that is in {} can be read, since", home.display());
    program.wait_for(&words);
}

#[test]
fn reload_that_wants_something_outside_changes_nothing_and_names_the_sandbox() {
    if !has_landlock() {
        return;
    }
    let (confined, mut source) = Confined::new("");
    let (stranger, good) = (Folder::new(), confined.config("token"));

    let said = confined.refused(&good.replace("run/feed", "elsewhere/feed"), "elsewhere/feed.sock");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(!confined.folder.join("elsewhere/feed.sock").exists());
    confined
        .refused(&(good.clone() + "log: {file: elsewhere/veylor.log}\n"), "elsewhere/veylor.log");
    assert!(!confined.folder.join("elsewhere/veylor.log").exists());

    // The kernel refuses this, and we say why.
    let secret = stranger.write("token", "strange");
    let path = secret.display().to_string();
    let said = confined
        .refused(&good.replace(&confined.folder.join("token").display().to_string(), &path), &path);
    assert!(said.contains("cannot read ${file:"), "{said}");
    assert!(said.contains("Permission denied"), "{said}");

    // What is not there at all is not the sandbox's fault.
    let (code, said) = confined.reload(&confined.config("no-token"));
    assert!(code == 1 && said.contains("No such file") && !said.contains("sandbox"), "{said}");
    let (code, said) = confined.reload(&good);
    assert_eq!((code, said.as_str()), (0, "nothing has changed\n"));
    greet(&mut source, &mut [&mut Peer::connect(&confined.port)]);
}

#[test]
fn secret_that_leads_outside_is_told_at_the_dial() {
    if !has_landlock() {
        return;
    }
    let (confined, source) = Confined::new("");
    let stranger = Folder::new();
    stranger.write("token", "strange");
    let token = confined.folder.join("token");
    fs::remove_file(&token).unwrap();
    symlink(stranger.join("token"), &token).unwrap();
    drop(source);
    confined.program.wait_for(&format!("{} is outside the sandbox", token.display()));
    confined.program.wait_for("Permission denied (os error 13)");

    fs::remove_file(&token).unwrap();
    confined.folder.write("token", "second");
    assert_eq!(confined.service.accept().header("x-token"), Some("second"));
}

#[test]
fn sandbox_can_be_left_off() {
    let (confined, _source) = Confined::new("sandbox: false\n");
    confined.program.wait_for("[INFO] sandbox: off, as the configuration says");
    assert_eq!(no_new_privileges(&confined.program).contains(&true), has_no_new_privileges());
    let moved = confined.config("token").replace("run/feed", "elsewhere/feed");
    let (code, said) = confined.reload(&(moved.clone() + "sandbox: false\n"));
    assert!(code == 0 && said.contains("elsewhere/feed.sock: opened"), "{said}");
    let (code, said) = confined.reload(&moved);
    assert_eq!((code, said.as_str()), (0, "sandbox has changed, it counts from the next start\n"));
}

/// Whether this process has been confined by somebody else.
fn has_no_new_privileges() -> bool {
    fs::read_to_string("/proc/self/status").unwrap().contains("NoNewPrivs:\t1")
}
