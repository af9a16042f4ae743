//! How the program ends when it is asked to.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, Stopwatch, WAIT, feed};

/// The promise is 2 s; a busy machine may take a little longer to notice.
const END: Duration = Duration::from_millis(2500);

/// Writes until nothing is taken any more for a while.
fn stuff(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = loop {
        if let Err(error) = stream.write_all(bytes) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
}

/// A relay whose source and clients have all stopped reading, with all buffers full.
struct Stalled {
    program: Program,
    _source: Peer,
    _clients: Vec<Peer>,
    folder: Folder,
}

impl Stalled {
    fn new() -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let more = format!("unix_socket_path: {}", folder.join("feed.sock").display());
        let config = feed(&service.url(), &port, &more) + "performance: {max_pause: 10m}\n";
        let program = Program::run(&folder, &config);
        let mut source = service.accept();
        let mut clients = vec![Peer::connect(&port), Peer::connect(&port)];
        greet(&mut source, &mut clients.iter_mut().collect::<Vec<_>>());
        let payload = [0; 1000];
        // A binary message of 1000 bytes as a source sends it, and as a client does.
        let broadcast = [b"\x82\x7e\x03\xe8".as_slice(), &payload].concat().repeat(64);
        let forward = [b"\x82\xfe\x03\xe8\0\0\0\0".as_slice(), &payload].concat().repeat(64);
        stuff(source.socket.get_mut(), &broadcast);
        stuff(clients[0].socket.get_mut(), &forward);
        Self { program, _source: source, _clients: clients, folder }
    }
}

#[test]
fn everyone_is_told_and_the_program_ends_well() {
    for signal in [Signal::TERM, Signal::INT] {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let path = folder.join("feed.sock");
        let more = format!("unix_socket_path: {}", path.display());
        let mut program = Program::run(&folder, &feed(&service.url(), &port, &more));
        let mut source = service.accept();
        let (mut client, mut unix) = (Peer::connect(&port), UnixPeer::connect(&path));
        program.wait_for_times("connected", 3);
        source.send("the last word");
        assert_eq!(client.text(), "the last word");
        program.signal(signal);
        assert_eq!(client.close_code(), 1001);
        assert!(client.try_receive().is_err());
        assert_eq!(source.close_code(), 1001);
        assert_eq!(unix.receive(), b"the last word");
        assert!(unix.try_receive().is_err());
        drop(source);
        assert_eq!(program.exit_code(END), 0);
        assert!(!path.exists());
    }
}

#[test]
fn stalled_peers_do_not_keep_the_program_from_its_end() {
    let mut stalled = Stalled::new();
    let watch = Stopwatch::start();
    stalled.program.signal(Signal::TERM);
    assert_eq!(stalled.program.exit_code(WAIT), 0);
    assert!(watch.elapsed() < END, "it took {:?}", watch.elapsed());
    assert!(!stalled.folder.join("feed.sock").exists());
}

#[test]
fn second_signal_ends_at_once() {
    let mut stalled = Stalled::new();
    stalled.program.signal(Signal::TERM);
    stalled.program.wait_for("asked to stop, saying goodbye to everyone");
    let watch = Stopwatch::start();
    stalled.program.signal(Signal::TERM);
    assert_eq!(stalled.program.exit_code(WAIT), 0);
    assert!(watch.elapsed() < Duration::from_millis(700), "it took {:?}", watch.elapsed());
    assert!(stalled.program.stderr().contains("asked to stop again, ending at once"));
}

#[test]
fn program_without_peers_ends_at_once() {
    let (folder, dead, port) = (Folder::new(), Port::free(), Port::free());
    let mut program = Program::run(&folder, &feed(&dead.url(), &port, ""));
    program.wait_for("cannot connect");
    let watch = Stopwatch::start();
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(WAIT), 0);
    assert!(watch.elapsed() < Duration::from_millis(700), "it took {:?}", watch.elapsed());
    let _listener = Service::on(&port);
}
