//! Sources come, go, move and change their secrets.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use data_encoding::BASE64;
use mio::{Events, Poll};
use tungstenite::Message;
use veylor::net::dial::{Dialer, Way};
use veylor::reactor::target::Target;

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, Stopwatch, WAIT, ended, feed, veylor};

#[test]
fn clients_wait_for_a_source_that_comes_later() {
    let (folder, service_port, port) = (Folder::new(), Port::free(), Port::free());
    let config = feed(&service_port.url(), &port, "") + QUICK;
    let program = Program::run(&folder, &config);
    let mut client = Peer::connect(&port);
    program.wait_for("source feed: cannot connect");
    client.send("too early");
    program.wait_for("messages of clients are dropped until it is back");
    let mut source = Service::on(&service_port).accept();
    greet(&mut source, &mut [&mut client]);
    program.wait_for("1 messages of clients were dropped while it was down");
    client.send("in time");
    assert_eq!(source.text(), "in time");
}

#[test]
fn clients_stay_when_the_source_is_lost() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = feed(&service.url(), &port, "") + QUICK;
    let program = Program::run(&folder, &config);
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    for round in 0..3 {
        greet(&mut source, &mut [&mut client]);
        client.send(format!("round {round}"));
        assert_eq!(source.text(), format!("round {round}"));
        match round {
            0 => source.reset(),
            1 => drop(source),
            _ => source.socket.close(None).unwrap(),
        }
        source = service.accept();
    }
    greet(&mut source, &mut [&mut client]);
    program.wait_for("source feed: lost (reset by peer), redial in");
    program.wait_for("source feed: lost (closed without a goodbye), redial in");
    program.wait_for("source feed: lost (closed by the source)");
}

#[test]
fn clients_are_closed_with_the_source_where_asked_for() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = feed(&service.url(), &port, "on_source_loss: close") + QUICK;
    let _program = Program::run(&folder, &config);
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
    source.send("the last word");
    drop(source);
    assert_eq!(client.text(), "the last word");
    assert_eq!(client.close_code(), 1012);
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
}

#[test]
fn secrets_are_read_again_at_each_dial() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let (token, key) = (folder.write("token", "first\n"), folder.write("key", "k1"));
    let url = format!("{}/stream?key=${{file:{}}}", service.url(), key.display());
    let more = format!(
        "headers: {{Authorization: \"Bearer ${{file:{}}}\", X-Desk: \"${{env:VEYLOR_TEST_DESK}}\", \
         X-Lane: \"${{env:VEYLOR_TEST_NONE:-slow}}\"}}",
        token.display()
    );
    folder.write("config.yaml", &(feed(&url, &port, &more) + QUICK));
    let program = Program::listening(veylor(&folder).env("VEYLOR_TEST_DESK", "seven"));
    let source = service.accept();
    assert_eq!(source.header("Authorization"), Some("Bearer first"));
    assert_eq!(source.header("X-Desk"), Some("seven"));
    assert_eq!(source.header("X-Lane"), Some("slow"));
    assert_eq!(source.target, "/stream?key=k1");

    folder.write("token", "second");
    folder.write("key", "k2\n");
    drop(source);
    let source = service.accept();
    assert_eq!(source.header("Authorization"), Some("Bearer second"));
    assert_eq!(source.target, "/stream?key=k2");

    std::fs::remove_file(&token).unwrap();
    drop(source);
    program.wait_for("cannot connect (header Authorization: cannot read ${file:");
    folder.write("token", "third");
    assert_eq!(service.accept().header("Authorization"), Some("Bearer third"));
}

#[test]
fn handshake_carries_what_was_configured() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let url = service.url().replace("ws://", "ws://desk%40seven:open%3Asesame@");
    let more = "headers: {X-Client-Id: 42, Origin: https://desk.example}\nsubprotocols: [v1.json]";
    let _program = Program::run(&folder, &feed(&(url + "/a/b?c=d&e"), &port, more));
    let source = Peer::accept(service.accept_stream(), Some("v1.json"));
    let basic = format!("Basic {}", BASE64.encode(b"desk@seven:open:sesame"));
    assert_eq!(source.header("Authorization"), Some(basic.as_str()));
    assert_eq!(source.header("X-Client-Id"), Some("42"));
    assert_eq!(source.header("Origin"), Some("https://desk.example"));
    assert_eq!(source.header("Sec-WebSocket-Protocol"), Some("v1.json"));
    assert_eq!(source.header("Host"), Some(service.address().to_string().as_str()));
    assert_eq!(source.target, "/a/b?c=d&e");
}

#[test]
fn source_at_any_address_of_a_name_is_reached() {
    let addresses = addresses_of("localhost");
    assert!(!addresses.is_empty());
    for address in addresses {
        let (folder, port) = (Folder::new(), Port::free());
        let service = Service::at(SocketAddr::new(address, 0));
        let url = format!("ws://localhost:{}", service.address().port());
        let _program = Program::run(&folder, &(feed(&url, &port, "") + QUICK));
        let mut client = Peer::connect(&port);
        greet(&mut service.accept(), &mut [&mut client]);
    }
}

/// The addresses of a name that services can be at on this machine.
#[expect(clippy::disallowed_methods, reason = "a test may wait for a name")]
fn addresses_of(name: &str) -> Vec<IpAddr> {
    let addresses = (name, 0).to_socket_addrs().unwrap();
    let is_here = |address: &SocketAddr| std::net::TcpListener::bind(address).is_ok();
    addresses.filter(is_here).map(|address| address.ip()).collect()
}

#[test]
fn address_that_refuses_or_is_silent_does_not_keep_from_the_next() {
    let (dead, service) = (Port::free(), Service::new());
    let dead = SocketAddr::from(([127, 0, 0, 1], dead.number));
    // Its queue is full of connections that nobody accepts: it does not answer.
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let silent_address = silent.local_addr().unwrap().as_socket().unwrap();
    let _filling: Vec<_> =
        (0..3).map(|_| mio::net::TcpStream::connect(silent_address).unwrap()).collect();
    assert_eq!(dialled(vec![dead, service.address()]), service.address());
    assert_eq!(dialled(vec![silent_address, dead, service.address()]), service.address());
}

/// The address that a dial of several leads to.
fn dialled(addresses: Vec<SocketAddr>) -> SocketAddr {
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(8);
    let mut dialer = Dialer::new();
    let watch = Stopwatch::start();
    dialer.start((), addresses, Way::default(), watch.now());
    loop {
        assert!(watch.elapsed() < WAIT, "nothing was reached");
        assert!(dialer.poll(poll.registry(), watch.now()).is_none(), "the dial has failed");
        poll.poll(&mut events, Some(Duration::from_millis(10))).unwrap();
        for event in &events {
            let Target::Dial(key) = Target::of(event.token()) else { continue };
            if let Some(((), _, address)) = dialer.ready(key, watch.now()) {
                return address;
            }
        }
    }
}

#[test]
fn program_ends_when_all_attempts_are_spent() {
    let (folder, dead, port) = (Folder::new(), Port::free(), Port::free());
    let config = feed(&dead.url(), &port, "")
        + "performance: {reconnect_delay: 20ms, reconnect_max_attempts: 3}\n";
    folder.write("config.yaml", &config);
    let (code, _, stderr) = ended(&mut veylor(&folder));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("connection refused), given up after 3 attempts"), "{stderr}");
    assert!(stderr.contains("veylor: ended, every source has given up"), "{stderr}");
    assert_eq!(stderr.matches("redial in").count(), 2, "{stderr}");
}

#[test]
fn refusal_of_a_source_is_told_in_its_own_words() {
    use std::io::{Read, Write};
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &(feed(&service.url(), &port, "") + QUICK));
    let mut stream = service.accept_stream();
    let mut request = [0; 1024];
    assert!(stream.read(&mut request).unwrap() > 0);
    stream.write_all(b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n").unwrap();
    program.wait_for("cannot open (answered HTTP 429 Slow down), redial in");
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
    source.send(Message::binary(vec![1]));
    assert_eq!(client.receive(), Message::binary(vec![1]));
}
