//! The operator's Unix door: what it answers, and to whom it goes on talking.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use rustix::process::Signal;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::peer::{Peer, Service};
use crate::program::{Folder, Port, Program, Stopwatch, WAIT, ended, feed, veylor};

fn with_door(folder: &Folder, sources: &str) -> (PathBuf, String) {
    let path = folder.join("admin.sock");
    let config = format!("{sources}admin: {{unix_socket_path: \"{}\"}}\n", path.display());
    (path, config)
}

/// All that is answered to these bytes, after which the asker says no more.
fn answered(path: &PathBuf, asked: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(asked.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_has_said_everything_still_hears_every_answer() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let (path, config) = with_door(&folder, &feed(&service.url(), &port, ""));
    let _program = Program::run(&folder, &config);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");

    assert!(answered(&path, &request("/healthz")).starts_with("HTTP/1.1 200 "));
    assert!(answered(&path, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let both = answered(&path, &(request("/healthz") + &request("/nowhere")));
    assert!(both.starts_with("HTTP/1.1 200 ") && both.contains("HTTP/1.1 404 "), "{both}");
}

#[test]
fn source_is_sent_to_whatever_its_name() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let sources = feed(&service.url(), &port, "").replace("name: feed", "name: \"a/b c?%41ü\"");
    let (path, config) = with_door(&folder, &sources);
    let program = Program::run(&folder, &config);
    let mut source = service.accept();
    program.wait_for("connected");

    let mut send = veylor(&folder);
    let (code, _, said) =
        ended(send.arg("send").args(["a/b c?%41ü", "hello", "--socket"]).arg(&path));
    assert_eq!(code, 0, "{said}");
    assert_eq!(source.text(), "hello");
}

#[test]
fn doors_open_and_close_at_a_reload() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let sources = feed(&service.url(), &port, "");
    let (path, config) = with_door(&folder, &sources);
    let program = Program::run(&folder, &sources);
    assert!(!path.exists());

    let tcp = Port::free();
    let reload = |config: &str, words: &str| {
        folder.write("config.yaml", config);
        program.signal(Signal::HUP);
        program.wait_for(words);
    };
    reload(&config, &format!("unix:{}: opened for operators", path.display()));
    assert!(answered(&path, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    let listen = format!("admin: {{listen: \"127.0.0.1:{tcp}\"}}\n");
    reload(&(sources + &listen), &format!("http://127.0.0.1:{tcp}: opened for operators"));
    program.wait_for(&format!("unix:{}: closed", path.display()));
    assert!(!path.exists());
    std::net::TcpStream::connect(("127.0.0.1", tcp.number)).unwrap();
}

#[test]
fn reload_is_answered_with_what_came_of_it() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let (path, config) = with_door(&folder, &feed(&service.url(), &port, ""));
    let _program = Program::run(&folder, &config);
    let reload = || ended(veylor(&folder).args(["reload", "--socket"]).arg(&path));
    assert_eq!(reload(), (0, "nothing has changed\n".to_owned(), String::new()));

    folder.write("config.yaml", &(config.clone() + "performance: {coalesce: 1ms}\n"));
    assert_eq!(reload(), (0, "coalesce has changed\n".to_owned(), String::new()));

    folder.write("config.yaml", &config.replace("ws://", "http://"));
    let (code, said, problems) = reload();
    assert_eq!((code, said.as_str()), (1, ""));
    let why = "says 422: nothing is changed\nconfig.yaml:3:5: sources[0].url: scheme \"http\" is";
    assert!(problems.contains(why), "{problems}");

    // What is asked after it on the same connection waits for its answer.
    folder.write("config.yaml", &config);
    let request = |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n\r\n");
    let both = answered(&path, &(request("POST /api/reload") + &request("GET /healthz")));
    let (first, second) = both.split_once("coalesce has changed\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 200 ") && second.starts_with("HTTP/1.1 200 "), "{both}");
}

#[test]
fn file_that_is_gone_is_told_to_whoever_asked_for_the_reload() {
    let (folder, service) = (Folder::new(), Service::new());
    let (path, config) = with_door(&folder, &feed(&service.url(), &Port::free(), ""));
    let program = Program::run(&folder, &config);
    std::fs::remove_file(folder.join("config.yaml")).unwrap();
    let (code, _, problems) = ended(veylor(&folder).args(["reload", "--socket"]).arg(&path));
    assert_eq!(code, 1);
    assert!(problems.contains("nothing is changed\nthere is no config.yaml"), "{problems}");
    program.wait_for("reload: nothing is changed: there is no config.yaml");
}

#[test]
fn large_message_is_sent_whole() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let (path, config) = with_door(&folder, &feed(&service.url(), &port, ""));
    let program = Program::run(&folder, &config);
    let mut source = service.accept();
    program.wait_for("connected");
    let message = "x".repeat(1 << 20);
    let head = "POST /api/sources/feed/send HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n";
    let answer = answered(&path, &(head.to_owned() + &message));
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    assert!(source.text() == message);
}

#[test]
fn silent_door_is_not_waited_for_without_an_end() {
    let folder = Folder::new();
    let _silent = UnixListener::bind(folder.join("admin.sock")).unwrap();
    let long = folder.write("long", &"x".repeat(1 << 20));
    let commands: &[_] = if cfg!(feature = "tui") { &["top", "status"] } else { &["status"] };
    let ask =
        |command: &&str| Program::start(veylor(&folder).args([*command, "--socket", "admin.sock"]));
    let mut send = veylor(&folder);
    send.args(["send", "feed", "--socket", "admin.sock"]);
    let sending = Program::start_with(&mut send, File::open(long).unwrap().into());
    let asking: Vec<_> = commands.iter().map(ask).chain([sending]).collect();
    asking.into_iter().for_each(gives_up);
}

#[test]
fn full_door_is_not_waited_for_without_an_end() {
    let folder = Folder::new();
    let address = SockAddr::unix(folder.join("admin.sock")).unwrap();
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let stopped = socket();
    stopped.bind(&address).unwrap();
    stopped.listen(1).unwrap();
    let knocks = || {
        let visitor = socket();
        visitor.set_nonblocking(true).unwrap();
        visitor.connect(&address).ok().map(|()| visitor)
    };
    let _waiting: Vec<_> = std::iter::from_fn(knocks).collect();
    gives_up(Program::start(veylor(&folder).args(["status", "--socket", "admin.sock"])));
}

/// The command ends, and says that the relay hangs.
#[track_caller]
fn gives_up(mut command: Program) {
    assert_eq!(command.exit_code(WAIT), 1);
    let said = command.stderr();
    assert!(
        said.starts_with("veylor: the relay at admin.sock does not answer in time; "),
        "{said}"
    );
}

#[test]
fn watcher_whose_socket_was_full_misses_nothing() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let (path, config) = with_door(&folder, &feed(&service.url(), &port, ""));
    let program = Program::run(&folder, &config);
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\n\r\n").unwrap();
    let watch = Stopwatch::start();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    // A snapshot comes every second, for ever.
    let mut lines = lines.take_while(|_| watch.elapsed() < WAIT);
    lines.find(|line| line.contains("\"event\":\"snapshot\"")).unwrap();

    // The system holds some hundred lines of this size for a reader that pauses.
    let come_and_go = |times| (0..times).for_each(|_| drop(Peer::connect(&port)));
    come_and_go(500);
    program.wait_for_times(": gone (", 500);
    let mut is_told = |words: &str| lines.by_ref().any(|line| line.contains(words));
    for _ in 0..500 {
        assert!(is_told(": gone ("));
    }
    come_and_go(1);
    assert!(is_told(": gone ("), "it watches on");
}

#[test]
fn strangers_who_take_all_places_leave_one_for_the_operator() {
    let (folder, service, port, tcp) = (Folder::new(), Service::new(), Port::free(), Port::free());
    let (path, config) = with_door(&folder, &feed(&service.url(), &port, ""));
    let listen = format!("admin: {{listen: '127.0.0.1:{tcp}', ");
    let program = Program::run(&folder, &config.replace("admin: {", &listen));
    let strangers: Vec<_> =
        (0..60).map(|_| std::net::TcpStream::connect(("127.0.0.1", tcp.number)).unwrap()).collect();
    program.wait_for("admin: all places for visitors are taken, one is sent away");
    let mut refused = strangers.last().unwrap();
    refused.set_read_timeout(Some(WAIT)).unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answered(&path, "GET /healthz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

#[test]
fn watcher_goes_when_a_password_is_asked_for_that_it_did_not_show() {
    let (folder, service, port, tcp) = (Folder::new(), Service::new(), Port::free(), Port::free());
    let sources = feed(&service.url(), &port, "");
    let open = format!("{sources}admin: {{listen: '127.0.0.1:{tcp}'}}\n");
    let program = Program::run(&folder, &open);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", tcp.number)).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(b"GET /api/events HTTP/1.1\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.find(|line| line.contains("\"event\":\"snapshot\"")).unwrap();

    folder.write("config.yaml", &open.replace("'}", "', auth: {tokens: [x]}}"));
    program.signal(Signal::HUP);
    program.wait_for("reload: admin: auth has changed");
    let watch = Stopwatch::start();
    assert!(lines.all(|_| watch.elapsed() < WAIT), "it watches on");
}
