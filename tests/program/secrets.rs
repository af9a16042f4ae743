//! What is secret never comes into the log, whatever happens.

use std::io::{Read, Write};

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, ended, feed, veylor};

/// Parts of every secret below.
const SECRETS: [&str; 2] = ["s3cret", "czNjcmV0"];

#[track_caller]
fn check_hidden(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in:\n{text}");
    }
}

fn config(folder: &Folder, service: &Service, port: &Port) -> String {
    let token = folder.write("token", "s3cret-token");
    let url = service.url().replace("ws://", "ws://s3cret-user:s3cret-password@");
    let more = format!(
        "headers: {{X-Token: \"Bearer ${{file:{}}}\", X-Plain: s3cret-plain, \
         X-Env: \"${{env:VEYLOR_TEST_SECRET}}\"}}",
        token.display()
    );
    feed(&(url + "/path?token=s3cret-query"), port, &more) + QUICK
}

#[test]
fn log_has_no_secret_whatever_becomes_of_a_source() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("config.yaml", &config(&folder, &service, &port));
    let mut command = veylor(&folder);
    let program =
        Program::listening(command.arg("-v").env("VEYLOR_TEST_SECRET", "s3cret-environment"));

    // Refused, in words that repeat what was asked.
    let mut stream = service.accept_stream();
    let mut request = [0; 4096];
    let count = stream.read(&mut request).unwrap();
    let request = String::from_utf8_lossy(&request[..count]).into_owned();
    assert_eq!(request.matches("s3cret").count(), 4, "{request}");
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    program.wait_for("answered HTTP 400");
    drop(stream);
    // Garbage.
    service.accept_stream().write_all(b"\x15\x03\x01 no HTTP at all\r\n\r\n").unwrap();
    program.wait_for("not an HTTP response");
    // Open, then lost.
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
    // A token that cannot be sent: it has a line break inside.
    folder.write("token", "s3cret\ns3cret");
    drop(source);
    program.wait_for("source feed: lost");
    program.wait_for("header X-Token: has a line break");
    // Gone.
    std::fs::remove_file(folder.join("token")).unwrap();
    program.wait_for("header X-Token: cannot read ${file:");
    drop(service);
    folder.write("token", "s3cret-token");
    program.wait_for("connection refused");

    check_hidden(&program.stderr());
}

#[test]
fn plan_and_problems_have_no_secret() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let good = config(&folder, &service, &port);
    let check = |config: &str| {
        folder.write("config.yaml", config);
        ended(veylor(&folder).arg("check").env("VEYLOR_TEST_SECRET", "s3cret-environment"))
    };
    let (code, plan, stderr) = check(&good);
    assert_eq!(code, 0, "{stderr}");
    assert!(plan.contains("/path?…"), "{plan}");
    check_hidden(&plan);
    let (code, _, problems) =
        check(&good.replace("ws://", "http://").replace("X-Plain", "Upgrade"));
    assert_eq!(code, 2);
    assert_eq!(problems.lines().count(), 2, "{problems}");
    check_hidden(&problems);
}
