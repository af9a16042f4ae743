//! Looking at messages as they pass: `veylor tap` and what is behind it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tungstenite::Message;

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, WAIT, ended, feed, veylor};

/// A relay with a door, its source and a client.
struct Tapped {
    folder: Folder,
    _service: Service,
    config: String,
    program: Program,
    source: Peer,
    client: Peer,
}

impl Tapped {
    fn new() -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let door = folder.join("admin.sock");
        let config = feed(&service.url(), &port, "")
            + &format!("admin: {{unix_socket_path: \"{}\"}}\n{QUICK}", door.display());
        let program = Program::run(&folder, &config);
        let mut source = service.accept();
        let mut client = Peer::connect(&port);
        greet(&mut source, &mut [&mut client]);
        Self { folder, _service: service, config, program, source, client }
    }

    fn door(&self) -> PathBuf {
        self.folder.join("admin.sock")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = veylor(&self.folder);
        command.arg("tap").args(arguments).arg("--socket").arg(self.door());
        command
    }

    /// Starts `veylor tap` and waits until messages are shown to it.
    fn tap(&self, arguments: &[&str]) -> Program {
        let tap = Program::start(&mut self.command(arguments));
        self.program.wait_for("admin: somebody is shown what ");
        tap
    }
}

#[test]
fn messages_are_printed_as_they_are() {
    let mut world = Tapped::new();
    let mut tap = world.tap(&["feed", "--count", "3"]);
    world.source.send("one");
    tap.wait_for_output("one\n");
    world.client.send("not from the source");
    assert_eq!(world.source.text(), "not from the source");
    world.source.send(Message::binary(&b"\x00two"[..]));
    world.source.send("three\nlines");
    world.source.send("four");
    assert_eq!(tap.exit_code(WAIT), 0);
    assert_eq!((tap.stdout(), tap.stderr()), ("one\n\0two\nthree\nlines\n".into(), String::new()));
}

#[test]
fn json_has_time_kind_size_and_payload_both_ways() {
    let mut world = Tapped::new();
    let mut tap = world.tap(&["feed", "--forwarded", "--json", "-n", "2"]);
    world.client.send("{\"op\":\"ping\"}");
    world.client.send(Message::binary(vec![0xff, 0x00]));
    assert_eq!(tap.exit_code(WAIT), 0);
    let lines: Vec<Value> =
        tap.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(fields("kind"), ["text", "binary"]);
    assert_eq!(fields("size"), [13, 2]);
    assert_eq!(
        (&lines[0]["text"], &lines[1]["base64"]),
        (&"{\"op\":\"ping\"}".into(), &"/wA=".into())
    );
    assert!(fields("time").iter().all(|time| time.as_f64().unwrap() > 1.7e9));
}

#[test]
fn reader_that_has_read_enough_ends_it_well() {
    let mut world = Tapped::new();
    let pipe = world.command(&["feed"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut tap = pipe.unwrap();
    world.program.wait_for("admin: somebody is shown what ");
    drop(tap.stdout.take());
    while tap.try_wait().unwrap().is_none() {
        world.source.send("tick");
        assert_eq!(world.client.text(), "tick");
    }
    let done = tap.wait_with_output().unwrap();
    assert_eq!((done.status.code(), done.stderr), (Some(0), Vec::new()));
}

#[test]
fn reader_that_stalls_misses_messages_is_told_so_and_costs_nobody_else() {
    const COUNT: u64 = 12_000;
    let mut world = Tapped::new();
    let mut stream = UnixStream::connect(world.door()).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(b"GET /api/sources/feed/received HTTP/1.1\r\n\r\n").unwrap();
    world.program.wait_for("admin: somebody is shown what ");
    let message = "x".repeat(1000);
    for _ in 0..COUNT / 100 {
        (0..100).for_each(|_| world.source.send(&*message));
        (0..100).for_each(|_| assert_eq!(world.client.text(), message));
    }

    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "HTTP/1.1 200 OK");
    let events = lines.skip_while(|line| !line.starts_with('{'));
    let (mut shown, mut missed) = (0, 0);
    for event in events.map(|line| serde_json::from_str::<Value>(&line).unwrap()) {
        match event["event"].as_str().unwrap() {
            "missed" => missed += event["messages"].as_u64().unwrap(),
            _ if event["text"] == "the last" => break,
            _ => shown += 1,
        }
        // By now it has read what was kept for it, and there is room.
        if shown == 100 {
            world.source.send("the last");
        }
    }
    assert!(missed > 1000, "{missed} of {COUNT} missed");
    assert_eq!(shown + missed, COUNT);
}

#[test]
fn tap_of_a_source_that_goes_or_is_not_there_says_so() {
    let world = Tapped::new();
    let (code, _, said) = ended(&mut world.command(&["fed"]));
    assert!(code == 1 && said.contains("says 404: there is no source fed"), "{said}");

    let mut tap = world.tap(&["feed"]);
    world.folder.write("config.yaml", &world.config.replace("name: feed", "name: other"));
    world.program.signal(Signal::HUP);
    assert_eq!(tap.exit_code(WAIT), 1);
    assert!(tap.stderr().contains("has ended, or has no source feed any more"), "{}", tap.stderr());

    let (code, _, said) = ended(veylor(&world.folder).args(["tap", "feed", "--socket", "no.sock"]));
    assert!(code == 1 && said.contains("no relay answers at no.sock"), "{said}");
}

#[test]
fn messages_are_not_shown_over_tcp() {
    let world = Tapped::new();
    let port = Port::free();
    let both = world.config.replace("admin: {", &format!("admin: {{listen: '127.0.0.1:{port}', "));
    world.folder.write("config.yaml", &both);
    world.program.signal(Signal::HUP);
    world.program.wait_for("opened for operators");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port.number)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(b"GET /api/sources/feed/received HTTP/1.1\r\n\r\n").unwrap();
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status).unwrap();
    assert_eq!(status, "HTTP/1.1 403 Forbidden\r\n");
}
