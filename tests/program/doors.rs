//! The operator's Unix door: what it answers, and to whom it goes on talking.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::peer::Service;
use crate::program::{Folder, Port, Program, WAIT, ended, feed, veylor};

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
