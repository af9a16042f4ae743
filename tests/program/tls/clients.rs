//! Clients in TLS: let in, kept out, kept through a renewal of the certificate.

use std::net::TcpStream;
use std::thread;

use rustix::process::Signal;
use rustls::{ClientConnection, StreamOwned};
use tungstenite::Message;

use super::authority::{Authority, Client, Identity, VERSIONS, all_of};
use crate::peer::{Peer, Service, connect};
use crate::program::{Folder, Port, Program, QUICK, feed};
use crate::relaying::check_both_ways;

/// A relay whose endpoint has TLS.
struct Secured {
    folder: Folder,
    service: Service,
    port: Port,
    authority: Authority,
    program: Program,
    source: Peer,
}

impl Secured {
    fn new() -> Self {
        Self::with("", "")
    }

    /// `tls` is further keys of `tls`, `more` of the source.
    fn with(tls: &str, more: &str) -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let authority = Authority::new("ours");
        authority.file(&folder, "ca.pem");
        let files = authority.issue(&["localhost"]).files(&folder, "own");
        let config = config(&service, &port, &folder, &format!("{files}, {tls}")) + more;
        let program = Program::run(&folder, &config);
        program.wait_for(&format!("listening at wss://127.0.0.1:{port}"));
        let source = service.accept();
        Self { folder, service, port, authority, program, source }
    }

    fn connect(&self) -> Client {
        self.authority.connect(&self.port)
    }
}

/// `FOLDER` in `tls` is the folder.
fn config(service: &Service, port: &Port, folder: &Folder, tls: &str) -> String {
    let tls = tls.replace("FOLDER", &folder.path().display().to_string());
    feed(&service.url(), port, &format!("tls: {{{tls}}}"))
        + QUICK.trim_end().trim_end_matches('}')
        + ", max_pause: 300ms, max_queue_bytes: 256KiB}\n"
}

#[test]
fn clients_in_both_versions_of_tls_and_the_source_hear_one_another() {
    let mut secured = Secured::new();
    for version in VERSIONS {
        let mut client = secured.authority.connect_with(&secured.port, None, &[version]).unwrap();
        check_both_ways(&mut secured.source, &mut client);
        let large = Message::binary(vec![7; 900_000]);
        secured.source.send(large.clone());
        assert_eq!(client.receive(), large);
        client.send(large.clone());
        assert_eq!(secured.source.receive(), large);
    }
}

#[test]
fn flood_arrives_whole_at_many_clients() {
    const MESSAGES: usize = 5000;
    let mut secured = Secured::new();
    let mut clients: Vec<_> = (0..8).map(|_| secured.connect()).collect();
    let source = &mut secured.source;
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || {
                for n in 0..MESSAGES {
                    assert_eq!(client.text(), format!("{n} {}", "x".repeat(n % 2000)));
                }
            });
        }
        (0..MESSAGES).for_each(|n| source.send(format!("{n} {}", "x".repeat(n % 2000))));
    });
    assert!(!secured.program.stderr().contains("gone ("), "{}", secured.program.stderr());
}

#[test]
fn goodbyes_are_said_in_tls_too() {
    let secured = Secured::new();
    let mut client = secured.connect();
    client.socket.close(None).unwrap();
    assert!(client.try_receive().unwrap().is_close());
    check_end(&mut client);
    let mut client = secured.connect();
    secured.program.signal(Signal::TERM);
    assert_eq!(client.close_code(), 1001);
    check_end(&mut client);
}

/// The relay has said in TLS that nothing follows; a mere end would be an error.
#[track_caller]
fn check_end(client: &mut Client) {
    let stream: &mut StreamOwned<ClientConnection, TcpStream> = client.socket.get_mut();
    assert_eq!(std::io::Read::read(stream, &mut [0; 8]).unwrap(), 0);
}

#[test]
fn client_that_stops_reading_is_told_and_costs_the_others_nothing() {
    const MESSAGES: usize = 2000;
    let mut secured = Secured::new();
    let (mut client, mut stalled) = (secured.connect(), secured.connect());
    let payload = "x".repeat(16 * 1024);
    let source = &mut secured.source;
    thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|n| source.send(format!("{n} {payload}"))));
        for n in 0..MESSAGES {
            assert!(client.text().starts_with(&format!("{n} ")), "not message {n}");
        }
    });
    secured.program.wait_for("gone (too slow)");
    // What it was sent before is all there, in order, and then the reason.
    let mut got = 0;
    let reason = loop {
        let message = stalled.receive();
        if let Message::Close(frame) = message {
            break frame.unwrap();
        }
        let text = message.into_text().unwrap();
        assert!(text.starts_with(&format!("{got} ")), "not message {got}");
        got += 1;
    };
    assert_eq!(u16::from(reason.code), 1013);
    assert!(reason.reason.starts_with("slow consumer: "), "{}", reason.reason);
    check_both_ways(&mut secured.source, &mut client);
}

#[test]
fn with_client_ca_file_only_those_with_a_certificate_come_in() {
    for version in VERSIONS {
        let mut secured = Secured::with("client_ca_file: FOLDER/ca.pem", "");
        let (authority, port) = (&secured.authority, &secured.port);
        let connect = |identity| authority.connect_with(port, identity, &[version]);
        let known = authority.issue(&["client"]);
        let mut client = connect(Some(&known)).unwrap();
        assert!(connect(None).is_err());
        secured.program.wait_for("(showed no certificate, and client_ca_file asks for one)");
        let stranger = Authority::new("theirs").issue(&["client"]);
        assert!(connect(Some(&stranger)).is_err());
        secured.program.wait_for("(its certificate is not from an authority of client_ca_file)");
        let ended = authority.issue_for_years(&["client"], 2020, 2021);
        assert!(connect(Some(&ended)).is_err());
        secured.program.wait_for("not opened (its certificate expired ");
        check_both_ways(&mut secured.source, &mut client);
    }
}

#[test]
fn renewed_certificate_is_for_new_connections_and_old_ones_get_every_message() {
    const MESSAGES: usize = 20_000;
    let mut secured = Secured::new();
    let mut old = secured.connect();
    let source = &mut secured.source;
    let renewed = Authority::new("the next");
    thread::scope(|scope| {
        scope.spawn(|| (0..MESSAGES).for_each(|n| source.send(n.to_string())));
        scope.spawn(|| (0..MESSAGES).for_each(|n| assert_eq!(old.text(), n.to_string())));
        renewed.issue(&["localhost"]).files(&secured.folder, "own");
        secured.program.signal(Signal::HUP);
        secured.program.wait_for("tls has changed: new connections get the new certificate");
        assert!(secured.authority.connect_with(&secured.port, None, &VERSIONS).is_err());
        secured.program.wait_for("does not trust our certificate");
        drop(renewed.connect(&secured.port));
    });
    check_both_ways(&mut secured.source, &mut old);
    secured.program.signal(Signal::HUP);
    secured.program.wait_for("reload: nothing has changed");
    check_both_ways(&mut secured.source, &mut old);
}

#[test]
fn wrong_files_change_nothing() {
    let mut secured = Secured::new();
    let mut client = secured.connect();
    let key = secured.folder.join("own-key.pem");
    let right = std::fs::read_to_string(&key).unwrap();
    let other = Identity::self_signed(&["localhost"]);
    for (content, words) in [
        (Some(other.key_pem.as_str()), "tls.key_file: does not belong to the certificate"),
        (Some("nonsense"), "tls.key_file: has no private key in it"),
        (None, "tls.key_file: cannot be read: No such file"),
    ] {
        match content {
            Some(content) => drop(secured.folder.write("own-key.pem", content)),
            None => std::fs::remove_file(&key).unwrap(),
        }
        secured.program.signal(Signal::HUP);
        secured.program.wait_for("reload: nothing is changed: config.yaml:");
        secured.program.wait_for(words);
        check_both_ways(&mut secured.source, &mut client);
        drop(secured.connect());
    }
    secured.folder.write("own-key.pem", &right);
    secured.program.signal(Signal::HUP);
    secured.program.wait_for("reload: nothing has changed");
}

#[test]
fn endpoint_changes_to_tls_and_back_and_nobody_goes() {
    let mut secured = Secured::new();
    let mut in_tls = secured.connect();
    let plain = feed(&secured.service.url(), &secured.port, "") + QUICK;
    let tls = std::fs::read_to_string(secured.folder.join("config.yaml")).unwrap();
    secured.folder.write("config.yaml", &plain);
    secured.program.signal(Signal::HUP);
    secured.program.wait_for("new connections speak no TLS");
    let mut without = Peer::connect(&secured.port);
    check_both_ways(&mut secured.source, &mut without);
    assert_eq!(in_tls.text(), "greeting");
    assert!(secured.authority.connect_with(&secured.port, None, &VERSIONS).is_err());
    secured.program.wait_for("a TLS hello: this port speaks plain ws://");

    secured.folder.write("config.yaml", &tls);
    secured.program.signal(Signal::HUP);
    secured.program.wait_for("new connections must speak TLS");
    let mut again = secured.connect();
    check_both_ways(&mut secured.source, &mut again);
}

#[test]
fn plain_http_at_a_tls_port_is_told_so() {
    let secured = Secured::new();
    let answer = all_of(connect(&secured.port), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.ends_with("this port speaks TLS: use wss:// or https://\n"), "{answer}");
    secured.program.wait_for("spoke HTTP without TLS");
    assert!(!all_of(connect(&secured.port), b"\0nonsense\r\n\r\n").contains("HTTP"));
    secured.program.wait_for("not opened (speaks no TLS)");
}

#[test]
fn operators_look_in_tls_too() {
    let door = Port::free();
    let tls = "cert_file: own-cert.pem, key_file: own-key.pem, client_ca_file: ca.pem";
    let admin = format!("admin: {{listen: \"127.0.0.1:{door}\", tls: {{{tls}}}}}\n");
    let secured = Secured::with("", &admin);
    secured.program.wait_for(&format!("admin: listening at https://127.0.0.1:{door}"));
    let ask = |identity: Option<&Identity>| {
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "--max-time", "10", "--cacert"]).arg(secured.folder.join("ca.pem"));
        if let Some(identity) = identity {
            identity.files(&secured.folder, "operator");
            let [cert, key] = ["operator-cert.pem", "operator-key.pem"];
            command.args(["--cert".as_ref(), secured.folder.join(cert).as_os_str()]);
            command.args(["--key".as_ref(), secured.folder.join(key).as_os_str()]);
        }
        let done = command.arg(format!("https://localhost:{door}/healthz")).output().unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap())
    };
    let (is_right, health) = ask(Some(&secured.authority.issue(&["operator"])));
    assert!(is_right && health.contains("ok"), "{health}");
    assert!(!ask(None).0);
    secured.program.wait_for("admin: a visitor was not let in (showed no certificate");
}
