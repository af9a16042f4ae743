//! Recordings: made, and played.

use std::fs::{self, TryLockError};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use tungstenite::{Error, Message};
use veylor::codec::recording::{BEGINNING, Found, Happening, check_beginning, push, record};
use veylor::codec::{self, Kind};

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, QUICK, Stopwatch, WAIT, ended, feed, veylor};

/// What a file has: messages as the wire has them, and what else is told.
#[derive(Debug, Default)]
struct Contents {
    messages: Vec<Message>,
    openings: u64,
    missing: u64,
}

fn contents(path: &Path) -> Contents {
    let file = fs::read(path).unwrap();
    check_beginning(&file).unwrap();
    let mut rest = &file[BEGINNING.len()..];
    let mut contents = Contents::default();
    while let Found::Record(found) = record(rest, usize::MAX).unwrap() {
        match found.happening {
            Happening::Message(codec::Message { kind: Kind::Text, payload }) => {
                contents
                    .messages
                    .push(Message::text(String::from_utf8_lossy(payload).into_owned()));
            }
            Happening::Message(codec::Message { kind: Kind::Binary, payload }) => {
                contents.messages.push(Message::binary(payload.to_vec()));
            }
            Happening::Opened => contents.openings += 1,
            Happening::Gap(messages) => contents.missing += messages,
        }
        rest = &rest[found.size..];
    }
    assert!(rest.is_empty(), "{} bytes of a torn record", rest.len());
    contents
}

/// Writes a recording of texts, each so many milliseconds after the first.
fn recording(folder: &Folder, name: &str, texts: &[(u64, &str)]) {
    let mut file = BEGINNING.to_vec();
    for (milliseconds, text) in texts {
        let message = codec::Message { kind: Kind::Text, payload: text.as_bytes() };
        let time = 1_700_000_000_000_000 + milliseconds * 1000;
        push(time, Happening::Message(message), &mut file);
    }
    fs::write(folder.join(name), file).unwrap();
}

/// Texts, binary messages, empty ones and a large one.
fn assorted() -> Vec<Message> {
    let mut messages = vec![
        Message::text("héllo"),
        Message::binary(vec![0xff, 0x00]),
        Message::text(""),
        Message::binary(vec![]),
        Message::text("x".repeat(300_000)),
    ];
    messages.extend((0..500).map(|n| Message::text(format!("message {n}"))));
    messages
}

fn replay(folder: &Folder, file: &str, port: &Port, more: &[&str]) -> Program {
    let mut command = veylor(folder);
    command.args(["replay", file, "--ws", &port.number.to_string()]).args(more);
    Program::listening(&mut command)
}

/// All that comes before the close, and its code.
fn rest_of(client: &mut Peer) -> (Vec<Message>, u16) {
    let mut messages = Vec::new();
    loop {
        let message = client.receive();
        if let Message::Close(frame) = message {
            return (messages, frame.unwrap().code.into());
        }
        messages.push(message);
    }
}

/// A relay that records its source in `feed.vrec`.
struct Recorded {
    folder: Folder,
    service: Service,
    port: Port,
    program: Program,
    source: Peer,
    client: Peer,
}

impl Recorded {
    fn new(rotate: &str) -> Self {
        Self::started(Folder::new(), rotate, veylor)
    }

    fn started(folder: Folder, rotate: &str, command: impl Fn(&Folder) -> Command) -> Self {
        let (service, port) = (Service::new(), Port::free());
        let path = folder.join("feed.vrec");
        let record = format!("record: {{path: \"{}\"{rotate}}}", path.display());
        folder.write("config.yaml", &(feed(&service.url(), &port, &record) + QUICK));
        let program = Program::listening(&mut command(&folder));
        let mut source = service.accept();
        let mut client = Peer::connect(&port);
        greet(&mut source, &mut [&mut client]);
        Self { folder, service, port, program, source, client }
    }

    /// The source sends messages, and the client gets them.
    #[track_caller]
    fn passes(&mut self, messages: &[Message]) {
        for message in messages {
            self.source.send(message.clone());
            assert_eq!(self.client.receive(), *message);
        }
    }

    #[track_caller]
    fn stop(&mut self) {
        self.program.signal(Signal::TERM);
        assert_eq!(self.program.exit_code(WAIT), 0);
    }

    fn contents(&self) -> Contents {
        contents(&self.folder.join("feed.vrec"))
    }
}

#[test]
fn recording_is_played_as_it_came() {
    let mut world = Recorded::new("");
    world.passes(&assorted());
    world.stop();
    world.program.wait_for("506 messages recorded in ");
    let recorded = world.contents();
    assert_eq!((recorded.openings, recorded.missing), (1, 0));
    assert_eq!(recorded.messages[0], Message::text("greeting"));
    assert_eq!(recorded.messages[1..], assorted());

    let mut player = replay(&world.folder, "feed.vrec", &world.port, &["--speed", "max"]);
    player.wait_for("source feed: waits for a client");
    let mut client = Peer::connect(&world.port);
    let (received, code) = rest_of(&mut client);
    assert_eq!(received, recorded.messages);
    assert_eq!((code, player.exit_code(WAIT)), (1001, 0));
    player.wait_for("source feed: the recording has ended");
}

#[test]
fn record_is_written_within_a_second_or_so_and_not_at_the_end_alone() {
    let mut world = Recorded::new("");
    world.passes(&[Message::text("early")]);
    let (watch, path) = (Stopwatch::start(), world.folder.join("feed.vrec"));
    while !fs::read(&path).unwrap().ends_with(b"early") {
        assert!(watch.elapsed() < WAIT, "nothing is written");
        std::thread::yield_now();
    }
}

#[test]
fn recording_goes_on_where_it_ended_and_a_torn_record_is_cut_off() {
    let mut first = Recorded::new("");
    first.passes(&[Message::text("before")]);
    first.stop();
    let path = first.folder.join("feed.vrec");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole[..], &whole[8..whole.len() - 1]].concat()).unwrap();
    let Recorded { folder, .. } = first;
    let mut second = Recorded::started(folder, "", veylor);
    second.passes(&[Message::text("after")]);
    second.stop();
    second.program.wait_for("source feed: a torn record of 18 bytes was cut off ");
    let texts: Vec<_> = second.contents().messages.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["greeting", "before", "greeting", "greeting", "after"]);
    assert_eq!(second.contents().openings, 3);
}

#[test]
fn full_recordings_are_put_aside_and_the_oldest_goes() {
    let mut world = Recorded::new(", rotate: {size: 4KiB, keep: 2}");
    let sent: Vec<_> = (0..100).map(|n| Message::text(format!("{n:0500}"))).collect();
    world.passes(&sent);
    world.stop();
    let names = ["feed.2.vrec", "feed.1.vrec", "feed.vrec"];
    let kept = names.map(|name| contents(&world.folder.join(name)).messages);
    for name in names {
        assert!(fs::metadata(world.folder.join(name)).unwrap().len() <= 4096);
    }
    assert!(!world.folder.join("feed.3.vrec").exists());
    assert_eq!([kept[0].len(), kept[1].len()], [7, 7]);
    assert!(sent.ends_with(&kept.concat()), "they are the last ones, in order");
}

#[test]
fn recording_that_is_corrupt_is_put_aside_and_not_written_on() {
    let folder = Folder::new();
    recording(&folder, "feed.vrec", &[(0, "one"), (1, "two")]);
    let mut corrupt = fs::read(folder.join("feed.vrec")).unwrap();
    corrupt[8 + 16 + 8] = b'?';
    fs::write(folder.join("feed.vrec"), &corrupt).unwrap();
    let mut world = Recorded::started(folder, "", veylor);
    world.stop();
    world.program.wait_for("is put aside, at byte 24: there is no kind of record 0x3f");
    assert_eq!(fs::read(world.folder.join("feed.1.vrec")).unwrap(), corrupt);
    assert_eq!(world.contents().messages, [Message::text("greeting")]);
}

#[test]
fn recording_with_a_damaged_length_is_put_aside_and_not_cut_off() {
    let folder = Folder::new();
    recording(&folder, "feed.vrec", &[(0, "one"), (1, "two"), (2, "three"), (3, "four")]);
    let mut damaged = fs::read(folder.join("feed.vrec")).unwrap();
    damaged[8 + 16 + 10] = 1;
    fs::write(folder.join("feed.vrec"), &damaged).unwrap();
    let mut world = Recorded::started(folder, "", veylor);
    world.stop();
    world.program.wait_for("is put aside, at byte 24: a payload of 65539 bytes has only 38 ");
    assert_eq!(fs::read(world.folder.join("feed.1.vrec")).unwrap(), damaged);
    assert_eq!(world.contents().messages, [Message::text("greeting")]);
}

#[test]
fn file_that_cannot_be_written_stops_the_recording_and_never_the_relay() {
    let folder = Folder::new();
    folder.write("feed.vrec", "no recording");
    let mut world = Recorded::started(folder, "", veylor);
    world.program.wait_for("source feed: cannot record in ");
    world.passes(&assorted());
    // Its place is free when it is tried again.
    fs::remove_file(world.folder.join("feed.vrec")).unwrap();
    world.program.wait_for("messages are missing");
    world.stop();
    let said = world.program.stderr();
    assert_eq!(said.matches("cannot record in ").count(), 1, "{said}");
    let contents = world.contents();
    assert_eq!((contents.messages.len(), contents.missing), (0, 506));
}

/// A program whose files are full soon. A limit of the process stands in for the disk's: 16 blocks of
/// 512 bytes.
fn limited(folder: &Folder) -> Command {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_veylor");
    command.args(["-c", &format!("ulimit -S -f 16; exec '{program}' \"$@\""), "sh"]);
    command.current_dir(folder.path());
    command
}

/// More messages than such a file has room for.
fn too_many() -> Vec<Message> {
    (0..100).map(|n| Message::text(format!("{n:0500}"))).collect()
}

#[test]
fn full_disk_stops_the_recording_and_never_the_relay() {
    let mut world = Recorded::started(Folder::new(), "", limited);
    let many = too_many();
    world.passes(&many);
    world.program.wait_for("source feed: cannot record in ");
    world.passes(&[Message::text("not written")]);
    // The file is kept, and stays this program's.
    let file = fs::File::open(world.folder.join("feed.vrec")).unwrap();
    assert!(matches!(file.try_lock(), Err(TryLockError::WouldBlock)));
    let process = Pid::from_raw(world.program.id().cast_signed()).unwrap();
    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(process), Resource::Fsize, unlimited).unwrap();
    while !world.program.stderr().contains(" again, ") {
        world.passes(&[Message::text("written again?")]);
    }
    world.stop();
    let said = world.program.stderr();
    assert_eq!(said.matches("cannot record in ").count(), 1, "{said}");
    let contents = world.contents();
    let of_many = |message: &&Message| many.contains(message);
    let written = contents.messages.iter().filter(of_many).count();
    assert!((1..16).contains(&written), "{written}");
    assert!(contents.missing > 100 - written as u64, "{}", contents.missing);
}

#[test]
fn messages_that_a_full_disk_cost_are_told_at_the_end() {
    let (folder, service) = (Folder::new(), Service::new());
    let mut program = Program::start(limited(&folder).args(["record", &service.url(), "x.vrec"]));
    let mut source = service.accept();
    for message in too_many() {
        source.send(message);
    }
    program.wait_for("cannot record in x.vrec (File too large");
    source.send("not written");
    source.send(Message::Ping(vec![1].into()));
    while !matches!(source.socket.read().unwrap(), Message::Pong(_)) {}
    program.signal(Signal::INT);
    assert_eq!(program.exit_code(WAIT), 1);
    let contents = contents(&folder.join("x.vrec"));
    let (written, missing) = (contents.messages.len(), contents.missing);
    assert_eq!(written as u64 + missing, 101, "there is room for the record of a gap");
    program.wait_for(&format!("{written} messages recorded in x.vrec ("));
    program.wait_for(&format!(", {missing} were not: File too large"));
    program.wait_for(&format!("veylor: {missing} messages were not recorded"));
}

#[test]
fn messages_that_a_full_disk_cost_are_told_when_a_reload_ends_the_recording() {
    let mut world = Recorded::started(Folder::new(), "", limited);
    world.passes(&too_many());
    world.program.wait_for("source feed: cannot record in ");
    world.passes(&[Message::text("not written")]);
    let url = world.service.url();
    world.folder.write("config.yaml", &(feed(&url, &world.port, "") + QUICK));
    world.program.signal(Signal::HUP);
    world.program.wait_for(" were not: File too large");
    world.stop();
    let contents = world.contents();
    assert!(contents.missing > 0);
    assert_eq!(contents.messages.len() as u64 + contents.missing, 102);
}

#[test]
fn file_that_is_no_recording_is_left_alone() {
    let folder = Folder::new();
    folder.write("precious.txt", "precious data");
    let service = Service::new();
    let url = service.url();
    let (code, _, said) = ended(veylor(&folder).args(["record", &url, "precious.txt"]));
    let expected = "veylor: cannot record in precious.txt: the file is no recording of Veylor, it \
                    is left alone";
    assert!(code == 1 && said.contains(expected), "{said}");
    assert_eq!(fs::read_to_string(folder.join("precious.txt")).unwrap(), "precious data");
}

#[test]
fn two_programs_do_not_record_in_one_file() {
    let mut world = Recorded::new("");
    let arguments = ["record", "ws://127.0.0.1:1", "feed.vrec"];
    let (code, _, said) = ended(veylor(&world.folder).args(arguments));
    assert!(code == 1 && said.contains("another veylor records there"), "{said}");
    world.stop();
}

#[test]
fn service_is_recorded_without_a_configuration() {
    let (folder, service) = (Folder::new(), Service::new());
    let mut command = veylor(&folder);
    command.args(["record", &service.url(), "x.vrec", "--header", "X-Key: secret: 5"]);
    let mut program = Program::start(&mut command);
    let mut source = service.accept();
    assert_eq!(source.header("x-key"), Some("secret: 5"));
    let sent = assorted();
    for message in &sent {
        source.send(message.clone());
    }
    // Its pong comes when all before it was read.
    source.send(Message::Ping(vec![1].into()));
    while !matches!(source.socket.read().unwrap(), Message::Pong(_)) {}
    program.signal(Signal::INT);
    assert_eq!(program.exit_code(WAIT), 0);
    program.wait_for("505 messages recorded in x.vrec (");
    assert!(!program.stderr().contains("listening"), "{}", program.stderr());
    assert_eq!(contents(&folder.join("x.vrec")).messages, sent);
}

#[test]
fn no_more_messages_are_recorded_than_were_asked_for() {
    let (folder, service) = (Folder::new(), Service::new());
    let mut command = veylor(&folder);
    command.args(["record", &service.url(), "x.vrec", "-n", "3", "--rotate-size", "1MiB"]);
    let mut program = Program::start(&mut command);
    let mut source = service.accept();
    for n in 0..10 {
        source.send(n.to_string());
    }
    assert_eq!(program.exit_code(WAIT), 0);
    program.wait_for("3 messages recorded");
    let expected = ["0", "1", "2"].map(Message::text);
    assert_eq!(contents(&folder.join("x.vrec")).messages, expected);
}

#[test]
fn recording_is_played_in_its_own_time_or_faster() {
    let (folder, port) = (Folder::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "a"), (400, "b"), (800, "c")]);
    for (speed, least, most) in [("1", 700, 10_000), ("8", 70, 700)] {
        let mut program = replay(&folder, "x.vrec", &port, &["--speed", speed]);
        let mut client = Peer::connect(&port);
        assert_eq!(client.text(), "a");
        let watch = Stopwatch::start();
        assert_eq!([client.text(), client.text()], ["b", "c"]);
        let elapsed = watch.elapsed();
        let bounds = Duration::from_millis(least)..Duration::from_millis(most);
        assert!(bounds.contains(&elapsed), "{elapsed:?} at speed {speed}");
        assert_eq!((client.close_code(), program.exit_code(WAIT)), (1001, 0));
    }
}

#[test]
fn looped_recording_begins_anew_until_it_is_told_to_stop() {
    let (folder, port) = (Folder::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "a"), (1, "b")]);
    for speed in ["max", "1"] {
        let mut program = replay(&folder, "x.vrec", &port, &["--loop", "--speed", speed]);
        let mut client = Peer::connect(&port);
        for _ in 0..4 {
            assert_eq!([client.text(), client.text()], ["a", "b"]);
        }
        program.signal(Signal::TERM);
        assert_eq!(rest_of(&mut client).1, 1001);
        assert_eq!(program.exit_code(Duration::from_secs(3)), 0);
    }
}

#[test]
fn relay_stops_at_once_while_a_recording_waits_for_its_next_message() {
    let (folder, port) = (Folder::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "a"), (3_600_000, "b")]);
    let mut program = replay(&folder, "x.vrec", &port, &[]);
    let mut client = Peer::connect(&port);
    assert_eq!(client.text(), "a");
    program.signal(Signal::TERM);
    assert_eq!(client.close_code(), 1001);
    assert_eq!(program.exit_code(Duration::from_secs(3)), 0);
}

#[test]
fn clock_that_was_set_is_not_waited_for() {
    let (folder, port) = (Folder::new(), Port::free());
    let year = 365 * 24 * 3_600_000;
    recording(&folder, "x.vrec", &[(year, "a"), (0, "b"), (year, "c")]);
    let mut program = replay(&folder, "x.vrec", &port, &[]);
    let mut client = Peer::connect(&port);
    assert_eq!([client.text(), client.text(), client.text()], ["a", "b", "c"]);
    assert_eq!((client.close_code(), program.exit_code(WAIT)), (1001, 0));
}

#[test]
fn torn_recording_is_played_to_where_it_was_torn() {
    let (folder, port) = (Folder::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "one"), (0, "two")]);
    let whole = fs::read(folder.join("x.vrec")).unwrap();
    fs::write(folder.join("x.vrec"), &whole[..whole.len() - 1]).unwrap();
    let mut program = replay(&folder, "x.vrec", &port, &[]);
    let mut client = Peer::connect(&port);
    assert_eq!(rest_of(&mut client), (vec![Message::text("one")], 1001));
    assert_eq!(program.exit_code(WAIT), 0);
    program.wait_for("the recording ends in a torn record at byte 24, its 15 bytes are left out");
}

#[test]
fn what_cannot_be_played_at_all_ends_replay() {
    let folder = Folder::new();
    folder.write("notes.txt", "precious data");
    folder.write("newer.vrec", "VEYLREC\x02");
    fs::create_dir(folder.join("folder")).unwrap();
    for (file, expected) in [
        ("missing.vrec", "cannot open missing.vrec: No such file or directory"),
        ("folder", "folder is no regular file"),
        ("notes.txt", "notes.txt: is no recording of Veylor"),
        ("newer.vrec", "newer.vrec: is a recording of version 2"),
    ] {
        let port = Port::free().number.to_string();
        let (code, _, said) = ended(veylor(&folder).args(["replay", file, "--ws", &port]));
        assert!(code == 1 && said.starts_with(&format!("veylor: {expected}")), "{said}");
    }
}

#[test]
fn corrupt_recording_is_an_error_that_names_the_place() {
    let (folder, port) = (Folder::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "one"), (0, "two")]);
    let mut corrupt = fs::read(folder.join("x.vrec")).unwrap();
    corrupt[8 + 16 + 8] = b'?';
    fs::write(folder.join("x.vrec"), corrupt).unwrap();
    let mut program = replay(&folder, "x.vrec", &port, &[]);
    let mut client = Peer::connect(&port);
    assert_eq!(rest_of(&mut client), (vec![Message::text("one")], 1001));
    assert_eq!(program.exit_code(WAIT), 1);
    program.wait_for("source x: cannot be played on (at byte 24: there is no kind of record 0x3f)");
}

#[test]
fn slow_client_gets_all_of_a_recording_played_at_once() {
    let (folder, socket) = (Folder::new(), "replay.sock");
    let text = "x".repeat(10_000);
    let texts: Vec<_> = (0..2000).map(|n| (n, &*text)).collect();
    recording(&folder, "x.vrec", &texts);
    let mut command = veylor(&folder);
    command.args(["replay", "x.vrec", "--speed", "max", "--unix", socket]);
    let mut program = Program::listening(&mut command);
    let mut client = UnixPeer::connect(&folder.join(socket));
    program.wait_for("source x: connected (recording)");
    // 20 MB are more than what relay and system keep: the recording waits for this client.
    assert!(!program.stderr().contains("the recording has ended"));
    for n in 0..2000 {
        assert_eq!(client.receive().len(), 10_000, "message {n}");
    }
    assert_eq!(program.exit_code(WAIT), 0);
}

#[test]
fn messages_to_a_recording_are_dropped_and_told_once() {
    let (folder, port) = (Folder::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "a"), (3_600_000, "b")]);
    let program = replay(&folder, "x.vrec", &port, &[]);
    let mut client = Peer::connect(&port);
    assert_eq!(client.text(), "a");
    client.send("one");
    client.send("two");
    // The answer comes when what was sent before is read.
    client.send(Message::Ping(vec![1].into()));
    while !matches!(client.socket.read().unwrap(), Message::Pong(_)) {}
    program.signal(Signal::TERM);
    program.wait_for("1 messages and 1 bytes received, 2 of clients dropped in all");
    let said = program.stderr();
    let line = "source x: is a recording, messages of clients to it are dropped";
    assert_eq!(said.matches(line).count(), 1, "{said}");
}

#[test]
fn recording_beside_a_service_ends_alone() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    recording(&folder, "x.vrec", &[(0, "recorded")]);
    let config = format!(
        "sources:\n  - {{url: \"{}\"}}\n  - {{url: file:x.vrec, speed: max, wait_for_clients: 1}}\n\
         rebroadcast: {{websocket: {{host: 127.0.0.1, port: {port}}}}}\n{QUICK}",
        service.url()
    );
    let mut program = Program::run(&folder, &config);
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    assert_eq!(client.text(), "recorded");
    program.wait_for("source x: the recording has ended");
    source.send("live");
    assert_eq!(client.text(), "live");
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(WAIT), 0);
}

#[test]
fn recording_that_is_not_there_is_looked_for_again() {
    let (folder, port) = (Folder::new(), Port::free());
    let mut program = Program::run(&folder, &(feed("file:x.vrec", &port, "") + QUICK));
    program.wait_for("source feed: cannot connect (cannot open x.vrec: ");
    let mut client = Peer::connect(&port);
    recording(&folder, "draft", &[(0, "a")]);
    fs::rename(folder.join("draft"), folder.join("x.vrec")).unwrap();
    assert_eq!(client.text(), "a");
    assert_eq!((client.close_code(), program.exit_code(WAIT)), (1001, 0));
}

#[test]
fn what_is_no_file_is_not_played() {
    let (folder, port) = (Folder::new(), Port::free());
    let program = Program::run(&folder, &(feed("file:/dev/zero", &port, "") + QUICK));
    program.wait_for("source feed: cannot connect (/dev/zero is no regular file)");
}

#[test]
fn reload_begins_and_ends_recordings() {
    let mut world = Recorded::new("");
    let url = world.service.url();
    let config = |more: &str| feed(&url, &world.port, more) + QUICK;
    world.folder.write("config.yaml", &config("record: {path: other.vrec}"));
    world.program.signal(Signal::HUP);
    world.program.wait_for("reload: source feed: record has changed");
    world.program.wait_for("source feed: recorded in other.vrec");
    world.passes(&[Message::text("other")]);
    world.folder.write("config.yaml", &(feed(&url, &world.port, "") + QUICK));
    world.program.signal(Signal::HUP);
    world.program.wait_for("1 message recorded in other.vrec");
    world.passes(&[Message::text("nowhere")]);
    world.stop();
    assert_eq!(world.contents().messages, [Message::text("greeting")]);
    let other = contents(&world.folder.join("other.vrec")).messages;
    assert_eq!(other, [Message::text("other")]);
    assert!(matches!(world.client.try_receive(), Ok(Message::Close(_)) | Err(Error::Io(_))));
}

#[test]
fn status_tells_what_is_recorded() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let door = folder.join("admin.sock");
    let config = feed(&service.url(), &port, "record: {path: x.vrec}")
        + &format!("admin: {{unix_socket_path: \"{}\"}}\n{QUICK}", door.display());
    let program = Program::run(&folder, &config);
    let mut source = service.accept();
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
    let watch = Stopwatch::start();
    loop {
        let mut status = veylor(&folder);
        let (_, said, _) = ended(status.args(["status", "--json", "--socket"]).arg(&door));
        let status: serde_json::Value = serde_json::from_str(&said).unwrap();
        let recording = &status["sources"][0]["recording"];
        assert_eq!(recording["missed_messages"], 0, "{status}");
        if recording["messages"] == 1 {
            assert_eq!(recording["bytes"], 13 + 13 + 8);
            break;
        }
        assert!(watch.elapsed() < WAIT, "{status}");
    }
    drop(program);
}

#[test]
fn check_tells_what_is_wrong_with_the_paths_of_recordings() {
    let folder = Folder::new();
    let check = |one: &str, other: &str| {
        let config = format!(
            "sources:\n  - {{url: 'ws://one', record: {one}}}\n  \
             - {{url: 'ws://other', record: {other}}}\n"
        );
        folder.write("config.yaml", &config);
        ended(veylor(&folder).arg("check"))
    };
    let (code, _, said) = check("{path: x.vrec, rotate: {keep: 2}}", "{path: x.1.vrec}");
    let expected = "sources[1].record.path: x.1.vrec is a name that sources[0].record.path needs";
    assert!(code == 2 && said.contains(expected), "{said}");
    let (code, _, said) = check("{path: .}", "{path: x.vrec}");
    assert!(code == 2 && said.contains("sources[0].record.path: is a folder"), "{said}");
    let (code, plan, _) = check("{path: x.vrec}", "{path: not/here/y.vrec}");
    assert!(code == 0 && plan.ends_with("warning: there is no folder not/here\n"), "{plan}");
    assert!(!folder.join("x.vrec").exists(), "a check writes nothing");
}
