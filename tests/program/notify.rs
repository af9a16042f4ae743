//! What the program tells a service manager, and the sockets it takes over from one.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, WAIT, feed, veylor};

/// A service manager's end.
struct Manager(UnixDatagram);

impl Manager {
    fn new(folder: &Folder) -> Self {
        Self::of(UnixDatagram::bind(folder.join("notify")).unwrap())
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_read_timeout(Some(WAIT)).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 256];
        let count = self.0.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[track_caller]
    fn hear_until(&self, words: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while !heard.last().is_some_and(|last: &String| last.starts_with(words)) {
            heard.push(self.hear());
        }
        heard
    }
}

/// The program as one to which descriptor 3 is passed: what is its standard input at first.
fn with_passed(folder: &Folder, listener: impl Into<OwnedFd>) -> Program {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" -v";
    let mut command = Command::new("sh");
    let program = veylor(folder);
    command.current_dir(folder.path()).arg("-c").arg(script).arg(program.get_program());
    let program = Program::start_with(&mut command, Stdio::from(listener.into()));
    program.wait_for("listening at");
    program
}

#[test]
fn service_manager_is_told_of_each_step() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let manager = Manager::new(&folder);
    folder.write("config.yaml", &feed(&service.url(), &port, ""));
    let mut program = Program::start(veylor(&folder).env("NOTIFY_SOCKET", folder.join("notify")));
    assert_eq!(manager.hear(), "READY=1");
    let mut client = Peer::connect(&port);
    let mut source = service.accept();
    greet(&mut source, &mut [&mut client]);
    manager.hear_until("STATUS=1 of 1 sources up, 1 client");

    program.signal(Signal::HUP);
    let reloading = manager.hear_until("RELOADING=1").pop().unwrap();
    let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0);
    manager.hear_until("READY=1");

    program.signal(Signal::TERM);
    manager.hear_until("STOPPING=1");
    drop((source, client));
    assert_eq!(program.exit_code(WAIT), 0);
}

#[test]
fn watchdog_of_a_quiet_program_is_fed() {
    let (folder, port) = (Folder::new(), Port::free());
    folder.write("config.yaml", &feed("ws://127.0.0.1:1", &port, ""));
    let name = folder.path().as_os_str().as_encoded_bytes();
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let manager = Manager::of(UnixDatagram::bind_addr(&address).unwrap());
    let mut command = veylor(&folder);
    command.env("NOTIFY_SOCKET", format!("@{}", folder.path().display()));
    let _program = Program::start(command.env("WATCHDOG_USEC", "200000"));
    for _ in 0..4 {
        manager.hear_until("WATCHDOG=1");
    }
}

#[test]
fn manager_that_cannot_be_reached_stops_nothing() {
    let (folder, port) = (Folder::new(), Port::free());
    folder.write("config.yaml", &feed("ws://127.0.0.1:1", &port, ""));
    let mut command = veylor(&folder);
    let program = Program::listening(command.env("NOTIFY_SOCKET", folder.join("nowhere")));
    assert!(program.stderr().contains("see NOTIFY_SOCKET"), "{}", program.stderr());
}

#[test]
fn passed_port_is_used() {
    let (folder, service) = (Folder::new(), Service::new());
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let ours = listener.try_clone().unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = feed(&service.url(), &Port::free(), "");
    let (before, _) = config.split_once("websocket_port").unwrap();
    let config = format!("{before}websocket_port: {port}\n    websocket_host: 127.0.0.1\n");
    folder.write("config.yaml", &config);
    let program = with_passed(&folder, listener);
    let (mut client, _) = tungstenite::connect(format!("ws://127.0.0.1:{port}")).unwrap();
    service.accept().send("greeting");
    assert_eq!(client.read().unwrap().to_string(), "greeting");

    // The socket is its owner's: it outlives the program.
    program.signal(Signal::KILL);
    drop(program);
    assert_eq!(ours.local_addr().unwrap().port(), port);
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn passed_socket_file_is_used_and_left_to_its_owner() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let path = folder.join("feed.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let more = format!("unix_socket_path: {}", path.display());
    folder.write("config.yaml", &feed(&service.url(), &port, &more));
    let mut program = with_passed(&folder, listener);
    let (mut source, mut unix) = (service.accept(), UnixPeer::connect(&path));
    let mut client = Peer::connect(&port);
    program.wait_for_times(": connected", 3);
    greet(&mut source, &mut [&mut client]);
    assert_eq!(unix.receive(), b"greeting");
    program.signal(Signal::TERM);
    drop((source, client));
    assert_eq!(program.exit_code(WAIT), 0);
    assert!(fs::symlink_metadata(&path).is_ok(), "the file is not ours to remove");
}

#[test]
fn passed_socket_without_an_endpoint_is_told() {
    let (folder, port) = (Folder::new(), Port::free());
    let other = UnixListener::bind(folder.join("other.sock")).unwrap();
    folder.write("config.yaml", &feed("ws://127.0.0.1:1", &port, ""));
    let program = with_passed(&folder, other);
    let expected = "other.sock: was passed to us, but no endpoint has this address";
    assert!(program.stderr().contains(expected), "{}", program.stderr());
}
