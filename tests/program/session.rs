//! What is said to a service when it is connected, by the real program.

use data_encoding::HEXLOWER;
use ring::hmac;
use rustix::process::{Pid, Signal, kill_process};

use crate::peer::{Peer, Service, greet};
use crate::program::{
    Folder, Port, Program, QUICK, WAIT, ended, feed, process_in, veylor, wait_for_end_of,
};

/// Answers the challenge on stdin with its HMAC, as exchanges ask for it; the key is in a file.
const LOGIN: &str = "\
import hashlib, hmac, json, sys
challenge = json.loads(sys.stdin.readline())['challenge']
key = open(sys.argv[1], 'rb').read()
print(json.dumps({'op': 'login', 'sign': hmac.new(key, challenge.encode(), hashlib.sha256).hexdigest()}))
print('second line')
";

#[test]
fn login_with_a_challenge_comes_before_all_else_at_each_connect() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let script = folder.write("login.py", LOGIN);
    let key = folder.write("key", "s3cret-key");
    let more = format!(
        "on_connect_command: [python3, '{}', '{}']\n\
         on_connect:\n  - send: {{op: subscribe, key: \"${{file:{}}}\"}}\n    wait_for: {{json: {{/op: subscribed}}}}\n  \
         - last",
        script.display(),
        key.display(),
        key.display()
    );
    let program = Program::run(&folder, &(feed(&service.url(), &port, &more) + QUICK));
    let mut client = Peer::connect(&port);
    for (round, challenge) in ["one", "two \\\" three"].into_iter().enumerate() {
        let mut source = service.accept();
        program.wait_for_times("source feed: connected (", round + 1);
        client.send("order");
        source.send(format!("{{\"challenge\":\"{challenge}\"}}"));
        let plain = challenge.replace('\\', "");
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s3cret-key");
        let sign = hmac::sign(&key, plain.as_bytes());
        let sign = HEXLOWER.encode(sign.as_ref());
        assert_eq!(source.text(), format!("{{\"op\": \"login\", \"sign\": \"{sign}\"}}"));
        assert_eq!(source.text(), "second line");
        assert_eq!(source.text(), r#"{"op":"subscribe","key":"s3cret-key"}"#);
        source.send(r#"{"op":"subscribed"}"#);
        assert_eq!(source.text(), "last");
        assert_eq!(source.text(), "order");
        assert!(client.text().starts_with("{\"challenge\""));
        assert_eq!(client.text(), r#"{"op":"subscribed"}"#);
        greet(&mut source, &mut [&mut client]);
    }
    program.wait_for("source feed: ready (4 messages sent)");
    program.wait_for("source feed: ready again (4 messages sent) after");
    assert!(!program.stderr().contains("s3cret"), "{}", program.stderr());
}

#[test]
fn program_that_fails_or_is_late_is_told_and_tried_again() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("step", "fail");
    let command = "read first; read step < step; case $step in \
                   fail) echo s3cret; echo no key >&2; exit 3;; late) sleep 600;; esac; \
                   echo \"got $first\"";
    let more = format!("on_connect_command: {{command: '{command}', timeout: 500ms}}");
    let program = Program::run(&folder, &(feed(&service.url(), &port, &more) + QUICK));
    let mut source = service.accept();
    source.send("hello");
    assert_eq!(source.close_code(), 1000);
    program
        .wait_for("source feed: cannot open (on_connect_command ended with status 3: \"no key\"");
    folder.write("step", "late");
    let mut late = service.accept();
    late.send("hello");
    program.wait_for("on_connect_command did not end within 0.5 s, it was killed");
    // Whoever came meanwhile waits for a greeting that does not come.
    folder.write("step", "go");
    loop {
        let mut source = service.accept();
        if source.socket.send("hello".into()).is_ok()
            && source.try_receive().is_ok_and(|message| message.to_string() == "got hello")
        {
            break;
        }
    }
    program.wait_for("source feed: ready (1 messages sent)");
    assert!(!program.stderr().contains("s3cret"), "{}", program.stderr());
}

/// A program that hangs, once the number of a child of it is in a file.
const HANGS: &str = "sleep 300 & echo $! > child.new; mv child.new child; wait";

#[test]
fn program_of_a_connection_that_is_gone_is_killed_and_the_next_runs_its_own() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let socket = folder.join("admin.sock");
    let config = |more: &str| {
        let more = format!("on_connect_command: {{command: '{HANGS}', timeout: 5m}}\n{more}");
        feed(&service.url(), &port, &more)
            + &format!("admin: {{unix_socket_path: {}}}\n", socket.display())
            + QUICK
    };
    let program = Program::run(&folder, &config(""));
    let hung = || {
        let mut source = service.accept();
        source.send("hello");
        let child = process_in(&folder.join("child"));
        std::fs::remove_file(folder.join("child")).unwrap();
        (source, child)
    };
    // The service hangs up.
    let (source, child) = hung();
    source.reset();
    wait_for_end_of(child);
    // An operator dials it anew.
    let (_source, child) = hung();
    let (code, ..) = ended(veylor(&folder).args(["redial", "feed", "--socket", "admin.sock"]));
    assert_eq!(code, 0);
    wait_for_end_of(child);
    // A reload reaches it in another way.
    let (_source, child) = hung();
    folder.write("config.yaml", &config("headers: {X-Y: z}"));
    program.signal(Signal::HUP);
    wait_for_end_of(child);
    let (_source, child) = hung();
    drop(program);
    let _ = kill_process(Pid::from_raw(child.cast_signed()).unwrap(), Signal::KILL);
}

#[test]
fn program_ends_with_the_relay_and_so_do_its_children() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = format!("on_connect_command: {{command: '{HANGS}', timeout: 5m}}");
    let mut program = Program::run(&folder, &(feed(&service.url(), &port, &more) + QUICK));
    let mut source = service.accept();
    source.send("hello");
    let child = process_in(&folder.join("child"));
    program.signal(Signal::TERM);
    assert_eq!(source.close_code(), 1001);
    drop(source);
    assert_eq!(program.exit_code(WAIT), 0);
    wait_for_end_of(child);
}

#[test]
fn program_is_run_at_once_where_the_service_does_not_speak_first() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = "on_connect_command: {command: 'cat; echo login', wait_for: nothing}";
    let _program = Program::run(&folder, &feed(&service.url(), &port, more));
    assert_eq!(service.accept().text(), "login");
}

#[test]
fn heartbeats_and_replies_keep_a_service_content() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = "heartbeat: {every: 100ms, send: {op: ping}}\n\
                reply_to:\n  - {match: {contains: '\"ping\"'}, send: {pong: \"${match:/ping}\"}, forward: false}";
    let _program = Program::run(&folder, &feed(&service.url(), &port, more));
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    for _ in 0..3 {
        assert_eq!(source.text(), r#"{"op":"ping"}"#);
    }
    source.send(r#"{"ping":1492420473027}"#);
    source.send("data");
    assert_eq!(client.text(), "data");
    let answers = std::iter::repeat_with(|| source.text());
    let answer = answers.into_iter().find(|text| text != r#"{"op":"ping"}"#);
    assert_eq!(answer.as_deref(), Some(r#"{"pong":1492420473027}"#));
}

#[test]
fn login_that_fails_shows_no_secret_whatever_is_logged() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let key = folder.write("key", "s3cret-key");
    let more = format!(
        "on_connect:\n  - send: {{op: s3cret-word, key: \"${{file:{}}}\"}}\n    \
         wait_for: {{equals: s3cret-answer}}\n    timeout: 500ms",
        key.display()
    );
    let program = Program::run(&folder, &(feed(&service.url(), &port, &more) + QUICK));
    let mut source = service.accept();
    assert!(source.text().contains("s3cret-key"));
    // The next dial finds it gone.
    std::fs::remove_file(&key).unwrap();
    source.send("s3cret refused");
    assert_eq!(source.close_code(), 1000);
    program.wait_for(
        "source feed: cannot open (no answer to message 1 of on_connect within 0.5 s), redial in",
    );
    program.wait_for("source feed: cannot connect (item 1 of on_connect: cannot read ${file:");
    assert!(!program.stderr().contains("s3cret"), "{}", program.stderr());
}

#[test]
fn problems_name_the_key_and_hide_what_may_be_secret() {
    let folder = Folder::new();
    let problem = |more: &str| {
        folder.write("config.yaml", &feed("ws://localhost", &Port::free(), more));
        let (code, said, problems) = ended(veylor(&folder).arg("check"));
        assert_eq!(code, 2, "{more}: {said}");
        assert!(!problems.contains("s3cret"), "{problems}");
        problems
    };
    let told = problem("on_connect:\n  - {op: login, key: '${env:NO_SUCH_VARIABLE}', x: s3cret}");
    assert!(told.contains("on_connect[0]: environment variable NO_SUCH_VARIABLE"), "{told}");
    let told = problem("on_connect:\n  - {send: s3cret, wait-for: {equals: x}}");
    assert!(told.contains("on_connect[0].wait-for: unknown key, did you mean wait_for?"), "{told}");
    let told = problem("on_connect:\n  - {send: s3cret, timeout: 5s}");
    assert!(told.contains("on_connect[0]: has a timeout and nothing to wait for"), "{told}");
    let told = problem("on_connect: s3cret");
    assert!(told.contains("on_connect: expected a list, found a text"), "{told}");
    let told = problem("heartbeat: {every: 10s}");
    assert!(told.contains("heartbeat: has nothing to send"), "{told}");
    let told = problem("reply_to: [{send: x}]");
    assert!(told.contains("reply_to[0]: has no match"), "{told}");
    let told = problem("heartbeat: {send: '${match:/a}'}");
    assert!(told.contains("heartbeat.send: ${match: stands in `send` of reply_to alone"), "{told}");
    let told = problem("on_connect_command: {timeout: 5s}");
    assert!(told.contains("on_connect_command: has no command"), "{told}");
    let told = problem("max_age: 5s");
    assert!(told.contains("max_age: expected 0 (never), or a duration from 10s to 720h"), "{told}");
}

#[test]
fn reload_redials_for_what_is_said_and_not_for_limits() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = |more: &str| feed(&service.url(), &port, more) + QUICK;
    let program = Program::run(&folder, &config("on_connect: [one]"));
    let mut source = service.accept();
    assert_eq!(source.text(), "one");
    folder.write("config.yaml", &config("on_connect: [one]\nidle_timeout: 1h\nmax_age: 23h50m"));
    program.signal(Signal::HUP);
    program.wait_for("source feed: idle_timeout, max_age have changed");
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
    folder.write("config.yaml", &config("on_connect: [two]\nheartbeat: {send: x}"));
    program.signal(Signal::HUP);
    program
        .wait_for("on_connect, heartbeat, idle_timeout, max_age have changed, it is dialled anew");
    assert_eq!(source.close_code(), 1000);
    drop(source);
    assert_eq!(service.accept().text(), "two");
}
