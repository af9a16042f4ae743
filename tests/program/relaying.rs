//! Messages pass, both ways, whatever carries them.

use std::io::{Read, Write};

use tungstenite::Message;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, QUICK, feed};

/// Messages of every kind, the largest that a client may send by default among them.
pub(crate) fn assorted() -> Vec<Message> {
    let bytes: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
    vec![
        Message::text("grüße"),
        Message::binary(vec![0, 255, 128]),
        Message::text(""),
        Message::binary(bytes),
        Message::text("x".repeat(1 << 20)),
        Message::text("last"),
    ]
}

/// What a source and a WebSocket client say to one another arrives as it was said.
pub(crate) fn check_both_ways<S: Read + Write, C: Read + Write>(
    source: &mut Peer<S>,
    client: &mut Peer<C>,
) {
    source.send("greeting");
    assert_eq!(client.text(), "greeting");
    for message in assorted() {
        source.send(message.clone());
        assert_eq!(client.receive(), message);
        client.send(message.clone());
        assert_eq!(source.receive(), message);
    }
    source.say(b"\x01\x03one\x89\x00\x00\x04 two\x80\x06 three");
    assert_eq!(client.text(), "one two three");
    client.say(b"\x02\x83\0\0\0\0one\x80\x84\0\0\0\0 two");
    assert_eq!(source.receive(), Message::binary(b"one two".as_slice()));
}

#[test]
fn websocket_clients_and_the_source_hear_one_another() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let _program = Program::run(&folder, &feed(&service.url(), &port, ""));
    let mut source = service.accept();
    let (mut one, mut two) = (Peer::connect(&port), Peer::connect(&port));
    // Who does not read while the others do is cut off, so it reads beside them.
    let beside = std::thread::spawn(move || {
        assert_eq!(two.text(), "greeting");
        for message in assorted() {
            assert_eq!(two.receive(), message);
        }
        assert_eq!(two.text(), "one two three");
    });
    check_both_ways(&mut source, &mut one);
    beside.join().unwrap();
}

#[test]
fn unix_clients_and_the_source_hear_one_another() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let path = folder.join("feed.sock");
    let more = format!("unix_socket_path: {}", path.display());
    let _program = Program::run(&folder, &feed(&service.url(), &port, &more));
    let mut source = service.accept();
    let mut unix = UnixPeer::connect(&path);
    let mut websocket = Peer::connect(&port);
    greet(&mut source, &mut [&mut websocket]);
    assert_eq!(unix.receive(), b"greeting");
    for message in assorted() {
        source.send(message.clone());
        assert_eq!(unix.receive(), message.clone().into_data());
        if !message.is_empty() {
            unix.send(message.clone().into_data());
            let is_text = std::str::from_utf8(&message.clone().into_data()).is_ok();
            let heard = source.receive();
            assert_eq!((heard.is_text(), heard.into_data()), (is_text, message.into_data()));
        }
    }
}

#[test]
fn each_source_has_its_own_clients() {
    let (folder, services) = (Folder::new(), [Service::new(), Service::new()]);
    let ports = [Port::free(), Port::free()];
    let source = |n: usize| {
        format!(
            "  - {{name: s{n}, url: \"{}\", websocket_host: 127.0.0.1, websocket_port: {}, \
             unix_socket_path: {}}}\n",
            services[n].url(),
            ports[n],
            folder.join(&format!("{n}.sock")).display()
        )
    };
    let _program = Program::run(&folder, &format!("sources:\n{}{}", source(0), source(1)));
    let mut sources = [services[0].accept(), services[1].accept()];
    let mut clients = [Peer::connect(&ports[0]), Peer::connect(&ports[1])];
    for n in [0, 1] {
        greet(&mut sources[n], &mut [&mut clients[n]]);
        sources[n].send(format!("from {n}"));
        clients[n].send(format!("to {n}"));
    }
    for n in [0, 1] {
        assert_eq!(clients[n].text(), format!("from {n}"));
        assert_eq!(sources[n].text(), format!("to {n}"));
        let mut unix = UnixPeer::connect(&folder.join(&format!("{n}.sock")));
        unix.send(format!("unix to {n}"));
        assert_eq!(sources[n].text(), format!("unix to {n}"));
        sources[n].send(format!("unix from {n}"));
        assert_eq!(unix.receive(), format!("unix from {n}").into_bytes());
    }
}

#[test]
fn rebroadcast_is_fed_by_all_sources_and_feeds_all() {
    let (folder, services, port) = (Folder::new(), [Service::new(), Service::new()], Port::free());
    let path = folder.join("all.sock");
    let config = format!(
        "sources:\n  - {{name: a, url: \"{}\"}}\n  - {{name: b, url: \"{}\"}}\n\
         rebroadcast:\n  websocket: {{enabled: true, host: 127.0.0.1, port: {port}}}\n  \
         unix_socket: {{enabled: true, path: {}}}\n{QUICK}",
        services[0].url(),
        services[1].url(),
        path.display()
    );
    let program = Program::run(&folder, &config);
    let mut sources = services.each_ref().map(Service::accept);
    program.wait_for("source a: connected");
    program.wait_for("source b: connected");
    let (mut client, mut unix) = (Peer::connect(&port), UnixPeer::connect(&path));
    program.wait_for_times("client ", 2);
    for (n, source) in sources.iter_mut().enumerate() {
        source.send(format!("from {n}"));
        assert_eq!(client.text(), format!("from {n}"));
        assert_eq!(unix.receive(), format!("from {n}").into_bytes());
    }
    client.send("to all");
    unix.send("unix to all");
    for source in &mut sources {
        let mut heard = [source.text(), source.text()];
        heard.sort();
        assert_eq!(heard, ["to all", "unix to all"]);
    }
}

#[test]
fn client_that_asks_for_the_source_s_subprotocol_gets_it() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let _program =
        Program::run(&folder, &feed(&service.url(), &port, "subprotocols: [v2.json, v1.json]"));
    let mut source = Peer::accept(service.accept_stream(), Some("v1.json"));
    assert_eq!(source.header("Sec-WebSocket-Protocol"), Some("v2.json, v1.json"));
    let asked = [("sec-websocket-protocol", "v1.json")];
    let mut client = Peer::connect_with(&port, &asked).unwrap();
    assert_eq!(client.header("Sec-WebSocket-Protocol"), Some("v1.json"));
    greet(&mut source, &mut [&mut client]);
}

#[test]
fn read_only_channel_forwards_nothing() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &feed(&service.url(), &port, "read_only: true"));
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
    client.send("refused");
    program.wait_for("which are dropped: the channel is read_only");
    client.socket.get_mut().flush().unwrap();
    source.socket.get_ref().set_nonblocking(true).unwrap();
    assert!(source.try_receive().is_err(), "something was forwarded");
}
