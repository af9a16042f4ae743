//! Too many, too slow, too strange: each costs only itself.

use std::io::{ErrorKind, Read, Write};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tungstenite::Error;

use crate::health::{Health, with_door};
use crate::peer::{Peer, Service, connect, greet};
use crate::program::{Folder, Port, Program, Stopwatch, WAIT, feed};

#[test]
fn those_who_are_connected_are_served_on_when_descriptors_run_out() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("config.yaml", &with_door(&folder, &feed(&service.url(), &port, "")));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" -v", env!("CARGO_BIN_EXE_veylor")]);
    let program = Program::listening(command.current_dir(folder.path()));
    program.wait_for("only 40 descriptors may be open");
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
    let health = Health::of(&program, &folder);

    let crowd: Vec<_> = (0..60).map(|_| connect(&port)).collect();
    program.wait_for("those who are connected are served on");
    greet(&mut source, &mut [&mut client]);
    client.send("both ways");
    assert_eq!(source.text(), "both ways");

    drop(crowd);
    program.wait_for("accepts again");
    assert_eq!(program.stderr().matches("cannot accept").count(), 1);
    health.check();
    let mut late = Peer::connect(&port);
    greet(&mut source, &mut [&mut client, &mut late]);
}

#[test]
fn plain_browser_gets_a_friendly_page() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let _program = Program::run(&folder, &feed(&service.url(), &port, ""));
    let mut stream = connect(&port);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{page}");
    assert!(page.contains("This is a Veylor endpoint"), "{page}");
}

#[test]
fn page_of_another_origin_is_refused_unless_named() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = "allowed_origins: [\"https://desk.example\"]";
    let _program = Program::run(&folder, &feed(&service.url(), &port, more));
    let status = |origin: &str| match Peer::connect_with(&port, &[("origin", origin)]) {
        Ok(_) => 101,
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(status("https://evil.example"), 403);
    assert_eq!(status("null"), 403);
    assert_eq!(status("https://desk.example"), 101);
    assert_eq!(status(&format!("http://127.0.0.1:{port}")), 101);
}

#[test]
fn endpoint_that_is_full_says_so() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &feed(&service.url(), &port, "max_clients: 1"));
    let first = Peer::connect(&port);
    let Err(Error::Http(response)) = Peer::connect_with(&port, &[]) else { panic!("let in") };
    assert_eq!(response.status().as_u16(), 503);
    program.wait_for("full with 1 clients");
    first.reset();
    program.wait_for("gone (reset by peer)");
    let mut source = service.accept();
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
}

#[test]
fn client_that_stops_reading_costs_the_others_little_and_is_closed() {
    const MESSAGES: usize = 2000;
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = feed(&service.url(), &port, "")
        + "performance: {max_pause: 300ms, max_queue_bytes: 256KiB}\n";
    let program = Program::run(&folder, &config);
    let mut source = service.accept();
    let (mut client, mut stalled) = (Peer::connect(&port), Peer::connect(&port));
    greet(&mut source, &mut [&mut client, &mut stalled]);
    let payload = "x".repeat(16 * 1024);

    let mut longest = Duration::ZERO;
    thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|n| source.send(format!("{n} {payload}"))));
        for n in 0..MESSAGES {
            let watch = Stopwatch::start();
            assert!(client.text().starts_with(&format!("{n} ")), "not message {n}");
            longest = longest.max(watch.elapsed());
        }
    });

    program.wait_for("gone (too slow)");
    // What is above `max_pause` is the machine's.
    assert!(longest < Duration::from_millis(1500), "the others waited {longest:?}");
    let ended = loop {
        match stalled.try_receive() {
            Ok(message) if message.is_close() => break message.to_string(),
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(!ended.is_empty());
    assert_eq!(program.stderr().matches(": gone (").count(), 1);
    greet(&mut source, &mut [&mut client]);
}

#[test]
fn handshake_that_drags_on_is_cut_off() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &feed(&service.url(), &port, ""));
    let mut source = service.accept();
    let mut stream = connect(&port);
    stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let watch = Stopwatch::start();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    // A byte of a header each quarter of a second, until nobody listens any more.
    loop {
        assert!(watch.elapsed() < WAIT, "still connected after {WAIT:?}");
        if stream.write_all(b"x").is_err() {
            break;
        }
        match stream.read(&mut [0; 64]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(_) | Err(_) => break,
        }
    }
    let elapsed = watch.elapsed().as_secs_f64();
    assert!((9.5..12.5).contains(&elapsed), "cut off after {elapsed} s");
    program.wait_for("not opened (no handshake within 10 s)");
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
}
