//! The commands besides the main one.

#[cfg(feature = "manual")]
use std::process::Command;

use rustix::process::Signal;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, WAIT, ended, feed, veylor};

#[test]
fn demo_invites_and_keeps_its_promise() {
    let folder = Folder::new();
    let mut program = Program::start(veylor(&folder).args(["demo", "--port", "0"]));
    let invitation = program.wait_for_output("Ctrl-C ends it.");
    let url = invitation.lines().map(str::trim).find(|line| line.starts_with("ws://")).unwrap();
    let unix = invitation.lines().map(str::trim).find(|line| line.starts_with('/')).unwrap();

    let (mut client, _) = tungstenite::client(
        url,
        std::net::TcpStream::connect(url.trim_start_matches("ws://")).unwrap(),
    )
    .unwrap();
    client.get_ref().set_read_timeout(Some(WAIT)).unwrap();
    let mut unix = UnixPeer::connect(unix.as_ref());
    let tick = client.read().unwrap().to_string();
    assert!(tick.starts_with("{\"tick\":") && tick.contains("\"price\":"), "{tick}");
    assert!(unix.receive().starts_with(b"{\"tick\":"));
    client.send("hello, feed".into()).unwrap();
    while client.read().unwrap().to_string() != "hello, feed" {}
    while unix.receive() != b"hello, feed" {}

    program.signal(Signal::INT);
    assert_eq!(program.exit_code(WAIT), 0);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn relay_needs_no_file() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let path = folder.join("feed.sock");
    let mut command = veylor(&folder);
    command.arg("relay").arg(service.url() + "/x?y").args(["--ws", &format!("127.0.0.1:{port}")]);
    let program = Program::listening(command.arg("--unix").arg(&path));
    let mut source = service.accept();
    assert_eq!(source.target, "/x?y");
    let (mut client, mut unix) = (Peer::connect(&port), UnixPeer::connect(&path));
    program.wait_for_times(": connected", 3);
    greet(&mut source, &mut [&mut client]);
    assert_eq!(unix.receive(), b"greeting");
    client.send("from WebSocket");
    assert_eq!(source.text(), "from WebSocket");
    unix.send("from Unix");
    assert_eq!(source.text(), "from Unix");
}

#[test]
fn check_prints_the_plan() {
    let (folder, port) = (Folder::new(), Port::free());
    let more = format!("unix_socket_path: {}", folder.join("feed.sock").display());
    let config = feed("ws://example.com/stream", &port, &more);
    let path = folder.write("other.yaml", &config.replace("127.0.0.1", "0.0.0.0"));
    let (code, plan, stderr) = ended(veylor(&folder).arg("check").arg("-c").arg(&path));
    assert_eq!((code, stderr.as_str()), (0, ""));
    for line in [
        "source feed: ws://example.com/stream".to_owned(),
        "channel feed, fed by feed".to_owned(),
        format!("ws://0.0.0.0:{port}, at most 1024 clients"),
        "feed.sock, mode 0660, at most 1024 clients".to_owned(),
        "in all".to_owned(),
    ] {
        assert!(plan.contains(&line), "no {line:?} in:\n{plan}");
    }
    assert!(!folder.join("feed.sock").exists(), "a check opens nothing");
}

#[test]
fn default_host_of_a_port_is_warned_of() {
    let (folder, port) = (Folder::new(), Port::free());
    let config = feed("ws://example.com", &port, "").replace("websocket_host: 127.0.0.1", "");
    folder.write("config.yaml", &config);
    let (code, plan, _) = ended(veylor(&folder).arg("check"));
    assert_eq!(code, 0);
    assert!(plan.contains("warning: ") && plan.contains("0.0.0.0"), "{plan}");
}

#[cfg(feature = "manual")]
#[test]
fn completions_are_what_the_shell_understands() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, stderr) = ended(veylor(&folder).args(["completions", shell]));
        assert_eq!((code, stderr.as_str()), (0, ""));
        assert!(script.contains("relay") && script.contains("verbose"), "{script}");
        if shell == "bash" {
            let path = folder.write("veylor.bash", &script);
            let (code, _, stderr) = ended(Command::new("bash").arg("-n").arg(path));
            assert_eq!((code, stderr.as_str()), (0, ""));
        }
    }
}

#[cfg(feature = "manual")]
#[test]
fn manual_has_a_page_for_the_program_and_for_each_command() {
    let folder = Folder::new();
    let page = |command: &[&str]| ended(veylor(&folder).arg("man").args(command));
    let (code, program, _) = page(&[]);
    assert_eq!(code, 0);
    assert!(program.contains(".TH veylor 1") && program.contains("veylor\\-relay(1)"), "{program}");
    let (code, relay, _) = page(&["relay"]);
    assert_eq!(code, 0);
    assert!(relay.contains(".TH veylor-relay 1") && relay.contains("\\-\\-unix"), "{relay}");
    let (code, _, stderr) = page(&["nonsense"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("there is no command \"nonsense\""), "{stderr}");
}
