//! Peers that break off in every state, bytes that come one by one, floods and crowds. After each
//! the relay owns no more than before, and a client that stayed has missed nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use std::{iter, thread};

use rustix::process::Signal;
use socket2::SockRef;
use tungstenite::Message;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use crate::health::{Health, with_door};
use crate::peer::{Peer, Service, connect, greet};
use crate::program::{Folder, Port, Program, QUICK, WAIT, feed};
use crate::proxy::Trickle;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// Ten bytes of a text frame that has more.
const HALF_A_FRAME: &[u8] = b"\x81\x7e\x04\x00half";

/// Ends a connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Reads a head, up to its empty line.
fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The response that agrees to a request.
fn agreement(request: &str) -> String {
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
}

#[test]
fn source_that_resets_in_any_state_is_dialled_again_and_clients_stay() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = with_door(&folder, &(feed(&service.url(), &port, "") + QUICK));
    let program = Program::run(&folder, &config);
    let mut client = Peer::connect(&port);
    greet(&mut service.accept(), &mut [&mut client]);
    let mut health = None;
    for round in 0..4 {
        // Connected, and nothing said.
        reset(service.accept_stream());
        let mut stream = service.accept_stream();
        head(&mut stream);
        reset(stream);
        // Within the answer.
        let mut stream = service.accept_stream();
        let answer = agreement(&head(&mut stream));
        stream.write_all(&answer.as_bytes()[..40]).unwrap();
        reset(stream);
        // Open, between messages and within one.
        let mut source = service.accept();
        greet(&mut source, &mut [&mut client]);
        source.reset();
        let mut source = service.accept();
        greet(&mut source, &mut [&mut client]);
        source.say(HALF_A_FRAME);
        source.reset();
        // Closing: it says goodbye and does not wait for the answer.
        let mut source = service.accept();
        greet(&mut source, &mut [&mut client]);
        source.say(b"\x88\x02\x03\xe8");
        source.reset();

        let mut source = service.accept();
        greet(&mut source, &mut [&mut client]);
        // The first round fills what is kept for later ones.
        health.get_or_insert_with(|| Health::of(&program, &folder)).check();
        if round < 3 {
            source.reset();
        }
    }
}

#[test]
fn client_that_resets_in_any_state_costs_only_itself() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &with_door(&folder, &feed(&service.url(), &port, "")));
    let (mut source, mut client) = (service.accept(), Peer::connect(&port));
    greet(&mut source, &mut [&mut client]);
    let health = Health::of(&program, &folder);
    for _ in 0..10 {
        reset(connect(&port));
        for part in [40, REQUEST.len()] {
            let mut stream = connect(&port);
            stream.write_all(&REQUEST.as_bytes()[..part]).unwrap();
            reset(stream);
        }
        let mut other = Peer::connect(&port);
        greet(&mut source, &mut [&mut client, &mut other]);
        other.reset();
        let mut other = Peer::connect(&port);
        other.say(&[0x81, 0xfe, 4, 0, 0, 0, 0, 0, b'h']);
        other.reset();
        let mut other = Peer::connect(&port);
        other.say(b"\x88\x82\0\0\0\0\x03\xe8");
        other.reset();
    }
    greet(&mut source, &mut [&mut client]);
    health.check();
}

#[test]
fn peers_that_answer_a_goodbye_with_a_reset_do_not_hold_up_the_end() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let mut program = Program::run(&folder, &feed(&service.url(), &port, ""));
    let mut source = service.accept();
    let mut clients: Vec<_> = (0..10).map(|_| Peer::connect(&port)).collect();
    greet(&mut source, &mut clients.iter_mut().collect::<Vec<_>>());
    program.signal(Signal::TERM);
    for mut client in clients {
        assert_eq!(client.close_code(), 1001);
        client.reset();
    }
    assert_eq!(source.close_code(), 1001);
    source.reset();
    assert_eq!(program.exit_code(WAIT), 0);
}

#[test]
fn bytes_that_come_one_by_one_are_the_same_messages() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let to_source = Trickle::before(service.address());
    let url = format!("ws://{}", to_source.address);
    let program = Program::run(&folder, &with_door(&folder, &feed(&url, &port, "")));
    let mut stream = service.accept_stream();
    let answer = agreement(&head(&mut stream));
    stream.write_all(answer.as_bytes()).unwrap();
    let mut source = Peer::opened(stream, Role::Server);
    let to_relay = Trickle::before(([127, 0, 0, 1], port.number).into());
    let mut stream = TcpStream::connect(to_relay.address).unwrap();
    stream.write_all(REQUEST.as_bytes()).unwrap();
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
    let mut slow = Peer::opened(stream, Role::Client);
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client, &mut slow]);
    let health = Health::of(&program, &folder);

    for length in [0, 1, 125, 126, 127, 4000, 70_000] {
        let text = "ü".repeat(length / 2);
        source.send(text.as_str());
        assert_eq!(client.text(), text);
        assert_eq!(slow.text(), text);
        let bytes = vec![0xff; length];
        slow.send(bytes.clone());
        assert_eq!(source.receive(), Message::binary(bytes));
    }
    health.check();
}

#[test]
fn source_that_floods_at_once_is_relayed_whole() {
    const MESSAGES: usize = 20_000;
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &with_door(&folder, &feed(&service.url(), &port, "")));
    let mut client = Peer::connect(&port);
    let mut stream = service.accept_stream();
    let mut flood = agreement(&head(&mut stream)).into_bytes();
    for n in 0..MESSAGES {
        let text = format!("{n:0>120}");
        flood.extend_from_slice(&[0x81, 120]);
        flood.extend_from_slice(text.as_bytes());
    }
    let health = Health::of(&program, &folder);
    thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&flood).unwrap());
        for n in 0..MESSAGES {
            assert_eq!(client.text().parse::<usize>().unwrap(), n);
        }
    });
    health.check();
}

#[test]
fn ten_thousand_connections_in_haste_leave_nothing() {
    const THREADS: usize = 4;
    const EACH: usize = 2500;
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &with_door(&folder, &feed(&service.url(), &port, "")));
    let (mut source, mut client) = (service.accept(), Peer::connect(&port));
    greet(&mut source, &mut [&mut client]);
    // Buffers that stay are there, once a crowd has come and gone.
    hurry(&port, EACH / 10);
    let health = Health::of(&program, &folder);
    thread::scope(|scope| {
        let crowds: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| hurry(&port, EACH))).collect();
        let mut sent = 0;
        while !crowds.iter().all(thread::ScopedJoinHandle::is_finished) {
            source.send(sent.to_string());
            assert_eq!(client.text(), sent.to_string());
            sent += 1;
        }
        assert!(sent > 10, "only {sent} messages passed");
    });
    health.check();
}

/// Connects and goes, as fast as it can, having said nothing, something or all of a request.
fn hurry(port: &Port, times: usize) {
    let said = [&[][..], &REQUEST.as_bytes()[..30], REQUEST.as_bytes()];
    for (n, said) in iter::repeat_n(said, times / 3 + 1).flatten().enumerate().take(times) {
        let mut stream = connect(port);
        stream.write_all(said).unwrap();
        if n % 2 == 0 {
            reset(stream);
        }
    }
}
