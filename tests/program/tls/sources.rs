//! Sources behind TLS: whom the relay trusts, and what it says of those it does not.

use std::io::Write;

use rustls::StreamOwned;

use super::authority::{Authority, Identity, VERSIONS};
use crate::faults::reset;
use crate::health::{Health, with_door};
use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, feed};
use crate::relaying::check_both_ways;

fn wss(host: &str, service: &Service) -> String {
    format!("wss://{host}:{}", service.address().port())
}

#[test]
fn source_behind_tls_and_clients_hear_one_another() {
    for host in ["localhost", "127.0.0.1"] {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let authority = Authority::new("ours");
        let own = authority.issue(&[host]);
        let more = format!("ca_file: {}", authority.file(&folder, "ca.pem").display());
        let program = Program::run(&folder, &(feed(&wss(host, &service), &port, &more) + QUICK));
        let mut client = Peer::connect(&port);
        let mut source = Peer::accept(own.secure(&service), None);
        check_both_ways(&mut source, &mut client);

        // Cut off without a goodbye, and dialled again.
        drop(source);
        let mut source = Peer::accept(own.secure(&service), None);
        greet(&mut source, &mut [&mut client]);
        program.wait_for("source feed: lost (closed without a TLS goodbye), redial in");
    }
}

#[test]
fn source_that_resets_within_tls_is_dialled_again_and_clients_stay() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours");
    let own = authority.issue(&["localhost"]);
    let more = format!("ca_file: {}", authority.file(&folder, "ca.pem").display());
    let config = feed(&wss("localhost", &service), &port, &more) + QUICK;
    let program = Program::run(&folder, &with_door(&folder, &config));
    let mut client = Peer::connect(&port);
    greet(&mut Peer::accept(own.secure(&service), None), &mut [&mut client]);
    let mut health = None;
    for round in 0..3 {
        for bytes in [0, 5, 200] {
            let StreamOwned { conn: mut session, mut sock } = own.secure(&service);
            session.read_tls(&mut sock).unwrap();
            session.process_new_packets().unwrap();
            let mut answer = Vec::new();
            session.write_tls(&mut answer).unwrap();
            sock.write_all(&answer[..bytes.min(answer.len())]).unwrap();
            reset(sock);
        }
        // Half a record.
        let mut source = Peer::accept(own.secure(&service), None);
        greet(&mut source, &mut [&mut client]);
        let stream = source.socket.get_mut();
        stream.sock.write_all(b"\x17\x03\x03\x01\x00half").unwrap();
        reset(stream.sock.try_clone().unwrap());
        drop(source);

        let mut source = Peer::accept(own.secure(&service), None);
        greet(&mut source, &mut [&mut client]);
        health.get_or_insert_with(|| Health::of(&program, &folder)).check();
        assert!(round == 2 || source.socket.close(None).is_ok());
    }
}

#[test]
fn flood_of_a_source_behind_tls_arrives_whole() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours");
    let more = format!("ca_file: {}", authority.file(&folder, "ca.pem").display());
    let _program = Program::run(&folder, &feed(&wss("localhost", &service), &port, &more));
    let mut client = Peer::connect(&port);
    let mut source = Peer::accept(authority.issue(&["localhost"]).secure(&service), None);
    greet(&mut source, &mut [&mut client]);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5000).for_each(|n| source.send(format!("{n} {}", "x".repeat(n % 500)))));
        for n in 0..5000 {
            assert_eq!(client.text(), format!("{n} {}", "x".repeat(n % 500)));
        }
    });
    for n in 0..500 {
        client.send(format!("{n}"));
    }
    for n in 0..500 {
        assert_eq!(source.text(), format!("{n}"));
    }
}

#[test]
fn goodbye_to_a_source_is_said_in_tls_too() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours");
    let more = format!("ca_file: {}", authority.file(&folder, "ca.pem").display());
    let program = Program::run(&folder, &feed(&wss("localhost", &service), &port, &more));
    let mut source = Peer::accept(authority.issue(&["localhost"]).secure(&service), None);
    program.wait_for("source feed: connected");
    program.signal(rustix::process::Signal::TERM);
    assert_eq!(source.close_code(), 1001);
    let _ = source.socket.flush();
    let stream = source.socket.get_mut();
    stream.conn.send_close_notify();
    // Without the relay's goodbye this would be an error.
    assert_eq!(std::io::Read::read(stream, &mut [0; 8]).unwrap(), 0);
}

/// What the log says of a source that is not trusted. It must be dialled again.
#[track_caller]
fn refused(identity: &Identity, more: &str, reason: &str) {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = more.replace("FOLDER", &folder.path().display().to_string());
    Authority::new("theirs").file(&folder, "theirs.pem");
    folder.write("own.pem", &identity.cert_pem);
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, &more) + QUICK));
    for times in 1..=2 {
        let mut stream = identity.secure(&service);
        assert!(stream.conn.complete_io(&mut stream.sock).is_err(), "the relay trusts it");
        program.wait_for_times(&format!("source feed: cannot open ({reason}"), times);
        program.wait_for_times("redial in", times);
    }
}

#[test]
fn certificate_of_an_unknown_authority_is_refused_with_the_remedy() {
    let identity = Authority::new("ours").issue(&["localhost"]);
    let reason = "its certificate is from an unknown authority; name that in ca_file";
    refused(&identity, "", reason);
    refused(&identity, "ca_file: FOLDER/theirs.pem", reason);
}

/// Runs a source whose certificate is of an authority that the relay trusts.
#[track_caller]
fn refused_with_ca(names: &[&str], years: (i32, i32), more: &str, reason: &str) {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours");
    let more = format!("ca_file: {}\n{more}", authority.file(&folder, "ca.pem").display());
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, &more) + QUICK));
    let identity = authority.issue_for_years(names, years.0, years.1);
    let mut stream = identity.secure(&service);
    assert!(stream.conn.complete_io(&mut stream.sock).is_err(), "the relay trusts it");
    program.wait_for(&format!("source feed: cannot open ({reason}"));
}

#[test]
fn certificate_is_refused_outside_its_time_and_for_another_name() {
    let always = (2020, 2999);
    refused_with_ca(&["localhost"], (2020, 2021), "", "its certificate expired ");
    refused_with_ca(&["localhost"], (2998, 2999), "", "its certificate is not valid for another ");
    let reason = "its certificate is for example.com and not for localhost; if that is the right \
                  service, set server_name: example.com";
    refused_with_ca(&["example.com"], always, "", reason);
    let reason = "its certificate is for localhost and not for example.com";
    refused_with_ca(&["localhost"], always, "server_name: example.com", reason);
}

#[test]
fn self_signed_certificate_is_refused_with_its_fingerprint() {
    let identity = Identity::self_signed(&["localhost"]);
    let pin = format!("fingerprint: \"{}\"", identity.fingerprint());
    let reason = "its certificate is self-signed; if that is your device, pin it: ";
    refused(&identity, "", &format!("{reason}{pin}"));
    let ended = Identity::self_signed_for_years(&["localhost"], 2020, 2021);
    refused(&ended, "", "its certificate expired ");
}

#[test]
fn pinned_certificate_is_trusted_whatever_it_says_and_no_other_is() {
    // It has ended, is for another name, and nobody knows it.
    let device = Identity::self_signed_for_years(&["device.local"], 2020, 2021);
    for pin in [device.fingerprint(), device.fingerprint().replace(':', "").to_lowercase()] {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let more = format!("fingerprint: \"{pin}\"");
        let url = wss("localhost", &service);
        let _program = Program::run(&folder, &(feed(&url, &port, &more) + QUICK));
        let mut client = Peer::connect(&port);
        let mut source = Peer::accept(device.secure(&service), None);
        check_both_ways(&mut source, &mut client);
    }
    let other = Identity::self_signed(&["localhost"]);
    let more = format!("fingerprint: \"{}\"\nca_file: FOLDER/own.pem", device.fingerprint());
    let reason = format!(
        "its certificate is not the pinned one; if it was renewed, and only then, set \
         fingerprint: \"{}\"",
        other.fingerprint()
    );
    refused(&other, &more, &reason);
}

#[test]
fn copy_of_a_pinned_certificate_without_its_key_is_not_trusted() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let device = Identity::self_signed(&["localhost"]);
    let more = format!("fingerprint: \"{}\"", device.fingerprint());
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, &more) + QUICK));
    for version in VERSIONS {
        let mut stream = device.impersonate(&service, version);
        assert!(stream.conn.complete_io(&mut stream.sock).is_err(), "the relay trusts it");
    }
    program.wait_for_times("source feed: cannot open (a signature is not right: ", 2);
}

#[test]
fn name_of_a_source_may_differ_from_its_host() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours");
    let file = authority.file(&folder, "ca.pem");
    let more = format!("ca_file: {}\nserver_name: service.example", file.display());
    let _program = Program::run(&folder, &feed(&wss("127.0.0.1", &service), &port, &more));
    let mut client = Peer::connect(&port);
    let stream = authority.issue(&["service.example"]).secure(&service);
    let mut source = Peer::accept(stream, None);
    check_both_ways(&mut source, &mut client);
    assert_eq!(source.socket.get_ref().conn.server_name(), Some("service.example"));
}

#[test]
fn source_that_asks_for_a_certificate_gets_ours() {
    let authority = Authority::new("ours");
    let own = authority.issue(&["localhost"]);
    for version in VERSIONS {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let ca = format!("ca_file: {}", authority.file(&folder, "ca.pem").display());
        let url = wss("localhost", &service);
        let config = feed(&url, &port, &ca) + QUICK;
        let program = Program::run(&folder, &config);
        let mut stream = own.secure_from(&service, &authority, version);
        let refused = stream.conn.complete_io(&mut stream.sock);
        assert!(refused.is_err(), "{refused:?}");
        drop(stream);
        program.wait_for("(it asks for a certificate of ours; set cert_file and key_file)");

        let identity = authority.issue(&["relay"]).files(&folder, "relay");
        let with_identity = format!("{ca}\n{}", identity.replace(", ", "\n"));
        folder.write("config.yaml", &(feed(&url, &port, &with_identity) + QUICK));
        program.signal(rustix::process::Signal::HUP);
        program.wait_for("source feed: cert_file, key_file have changed, it is dialled anew");
        let mut source = loop {
            // A dial from before the reload may come first.
            let mut stream = own.secure_from(&service, &authority, version);
            if stream.conn.complete_io(&mut stream.sock).is_ok() {
                break Peer::accept(stream, None);
            }
        };
        greet(&mut source, &mut [&mut Peer::connect(&port)]);
        let shown = source.socket.get_ref().conn.peer_certificates();
        assert_eq!(shown.map(<[_]>::len), Some(1));
    }
}

#[test]
fn certificate_of_ours_that_a_source_does_not_take_is_told() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours");
    let stranger = Authority::new("theirs").issue(&["relay"]).files(&folder, "relay");
    let file = authority.file(&folder, "ca.pem");
    let more = format!("ca_file: {}\n{}", file.display(), stranger.replace(", ", "\n"));
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, &more) + QUICK));
    for version in VERSIONS {
        let own = authority.issue(&["localhost"]);
        let mut stream = own.secure_from(&service, &authority, version);
        assert!(stream.conn.complete_io(&mut stream.sock).is_err());
    }
    program.wait_for_times("cannot open (it does not take our certificate; see cert_file)", 2);
}

#[test]
fn plain_server_behind_wss_is_told() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, "") + QUICK));
    let mut stream = service.accept_stream();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    program.wait_for("perhaps this port does not speak TLS: is it ws://?)");
    drop(stream);
    drop(service.accept_stream());
}
