//! How the program starts, and why it does not.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, WAIT, ended, feed, veylor};

/// A configuration with a Unix socket at `feed.sock`, and what comes of it within a while.
fn start(folder: &Folder, port: &Port) -> (i32, String) {
    let more = format!("unix_socket_path: {}", folder.join("feed.sock").display());
    folder.write("config.yaml", &feed("ws://127.0.0.1:1", port, &more));
    let (code, _, stderr) = ended(&mut veylor(folder));
    (code, stderr)
}

#[test]
fn unix_socket_has_the_mode_that_was_asked_for() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let path = folder.join("feed.sock");
    let mode = |more: &str| {
        let more = format!("unix_socket_path: {}\n{more}", path.display());
        let _program = Program::run(&folder, &feed(&service.url(), &port, &more));
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(""), 0o660);
    // The first was killed and has left its socket: it is dead, and replaced.
    assert_eq!(mode("unix_socket_mode: \"0600\""), 0o600);
    assert_eq!(mode("unix_socket_mode: \"0666\""), 0o666);
}

#[test]
fn dead_socket_is_replaced_and_removed_at_the_end() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let path = folder.join("feed.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let more = format!("unix_socket_path: {}", path.display());
    let mut program = Program::run(&folder, &feed(&service.url(), &port, &more));
    let mut source = service.accept();
    let (mut unix, mut client) = (UnixPeer::connect(&path), Peer::connect(&port));
    program.wait_for_times("connected", 3);
    greet(&mut source, &mut [&mut client]);
    assert_eq!(unix.receive(), b"greeting");
    program.signal(Signal::TERM);
    drop(source);
    assert_eq!(program.exit_code(WAIT), 0);
    assert!(!path.exists());
}

#[test]
fn live_socket_is_not_taken_away() {
    let (folder, port) = (Folder::new(), Port::free());
    let path = folder.join("feed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let (code, stderr) = start(&folder, &port);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("feed.sock: another process listens there"), "{stderr}");
    // The program has knocked, and a client still gets through.
    listener.accept().unwrap();
    let _client = UnixPeer::connect(&path);
    listener.accept().unwrap();
}

#[test]
fn file_that_is_no_socket_is_not_touched() {
    let (folder, port) = (Folder::new(), Port::free());
    let path = folder.write("feed.sock", "precious");
    let (code, stderr) = start(&folder, &port);
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("feed.sock: there is a file that is not a socket"), "{stderr}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(folder.write("target", "precious"), &path).unwrap();
    assert_eq!(start(&folder, &port).0, 3);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn missing_folder_is_named() {
    let (folder, port) = (Folder::new(), Port::free());
    let more = format!("unix_socket_path: {}", folder.join("no/feed.sock").display());
    folder.write("config.yaml", &feed("ws://127.0.0.1:1", &port, &more));
    let (code, _, stderr) = ended(&mut veylor(&folder));
    assert_eq!(code, 3, "{stderr}");
    assert!(stderr.contains("no/feed.sock: ") && stderr.contains("does the folder exist?"));
}

#[test]
fn port_in_use_is_told() {
    let (folder, port) = (Folder::new(), Port::free());
    let _listener = TcpListener::bind(("127.0.0.1", port.number)).unwrap();
    let (code, stderr) = start(&folder, &port);
    assert_eq!(code, 3, "{stderr}");
    let expected = format!("veylor: cannot listen at 127.0.0.1:{port}: ");
    assert!(stderr.contains(&expected) && stderr.contains("is another veylor running?"));
    assert!(!folder.join("feed.sock").exists(), "the socket of an endpoint opened before stays");
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once() {
    let folder = Folder::new();
    let config = "sources:\n  - {name: a, url: \"http://x\", websocket_port: 70000}\n  \
                  - {name: a, websocket_prot: 1}\nperformance: {coalesce: 1s}\n";
    folder.write("config.yaml", config);
    for arguments in [&[][..], &["check"], &["-c", "config.yaml"]] {
        let (code, _, stderr) = ended(veylor(&folder).args(arguments));
        assert_eq!(code, 2, "{stderr}");
        for problem in [
            "config.yaml:2:15: sources[0].url: scheme \"http\" is not ws or wss",
            "sources[0].websocket_port: expected a port",
            "sources[1].url: is missing",
            "sources[1].name: ",
            "did you mean websocket_port?",
            "performance.coalesce: expected a duration",
        ] {
            assert!(stderr.contains(problem), "no {problem:?} in:\n{stderr}");
        }
    }
}

#[test]
fn missing_configuration_says_how_to_make_one() {
    let folder = Folder::new();
    let (code, _, stderr) = ended(&mut veylor(&folder));
    assert_eq!(code, 2);
    assert!(stderr.starts_with("there is no config.yaml: copy config.yaml.example"), "{stderr}");
    assert!(stderr.contains("veylor demo") && stderr.contains("veylor relay URL"), "{stderr}");
    let (code, _, stderr) = ended(veylor(&folder).args(["-c", "other.yaml"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("there is no other.yaml"), "{stderr}");
}

#[test]
fn wrong_command_line_is_a_usage_error() {
    let folder = Folder::new();
    for arguments in [&["--nonsense"][..], &["relay"], &["relay", "ws://x", "--ws", "nonsense"]] {
        let (code, _, stderr) = ended(veylor(&folder).args(arguments));
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
    }
    let (code, stdout, _) = ended(veylor(&folder).arg("--help"));
    assert_eq!(code, 0);
    assert!(stdout.contains("Exit codes: 0 ended as asked"), "{stdout}");
    let (code, stdout, _) = ended(veylor(&folder).arg("--version"));
    assert_eq!((code, stdout), (0, format!("veylor {}\n", env!("CARGO_PKG_VERSION"))));
}
