//! Programs that make the token of a dial.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rustix::process::Signal;

use crate::peer::{Peer, Service, greet};
use crate::program::{
    Folder, Port, Program, QUICK, WAIT, ended, feed, process_in, veylor, wait_for_end_of,
};

/// A program of this folder.
fn script(folder: &Folder, name: &str, lines: &str) -> PathBuf {
    let path = folder.write(name, &format!("#!/bin/sh\n{lines}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn token_is_made_anew_for_each_dial_also_inside_the_sandbox() {
    let (folder, bin, service, port) = (Folder::new(), Folder::new(), Service::new(), Port::free());
    folder.write("secret", "one");
    let program = script(&bin, "token", "read word < \"$1\"; echo \"tok-$word\"; echo noise >&2");
    let url = format!("{}/feed?token=${{token}}", service.url());
    let more = format!(
        "token_command: [{}, {}]\nheaders: {{Authorization: \"Bearer ${{token}}\"}}",
        program.display(),
        folder.join("secret").display()
    );
    let _program = Program::run(&folder, &(feed(&url, &port, &more) + QUICK));
    let source = service.accept();
    assert_eq!(source.header("Authorization"), Some("Bearer tok-one"));
    assert_eq!(source.target, "/feed?token=tok-one");
    folder.write("secret", "two");
    drop(source);
    let mut source = service.accept();
    assert_eq!(source.header("Authorization"), Some("Bearer tok-two"));
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
}

#[test]
fn text_is_a_command_of_the_shell_and_its_failure_is_told_without_its_output() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("word", "");
    let command = "read word < word; test -n \"${word:-}\" || { echo s3cret; echo log in first >&2; exit 7; }; echo $word";
    let more = format!("token_command: '{command}'\nheaders: {{X-Token: \"${{token}}\"}}");
    let program = Program::run(&folder, &(feed(&service.url(), &port, &more) + QUICK));
    program.wait_for(
        "source feed: cannot connect (token_command ended with status 7: \"log in first\"",
    );
    folder.write("word", "sesame\n");
    let source = service.accept();
    assert_eq!(source.header("X-Token"), Some("sesame"));
    assert!(!program.stderr().contains("s3cret") && !program.stderr().contains("sesame"));
}

#[test]
fn program_that_is_late_is_killed_and_the_dial_tried_again() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = "token_command: [sleep, 600]\ntoken_timeout: 50ms\n\
                headers: {X-Token: \"${token}\"}";
    let program = Program::run(&folder, &(feed(&service.url(), &port, more) + QUICK));
    program.wait_for_times("token_command did not end within 0.05 s, it was killed", 2);
}

#[test]
fn program_ends_with_the_relay_or_its_source_and_so_do_its_children() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let hangs = "sleep 300 & echo $! > child.new; mv child.new child; wait";
    let more =
        format!("token_command: '{hangs}'\ntoken_timeout: 5m\nheaders: {{X: \"${{token}}\"}}");
    let mut program = Program::run(&folder, &feed(&service.url(), &port, &more));
    let child = process_in(&folder.join("child"));
    fs::remove_file(folder.join("child")).unwrap();
    let other = format!("{more}\nbind: 127.0.0.1");
    folder.write("config.yaml", &feed(&service.url(), &port, &other));
    program.signal(Signal::HUP);
    wait_for_end_of(child);
    let child = process_in(&folder.join("child"));
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(WAIT), 0);
    wait_for_end_of(child);
}

#[test]
fn check_runs_no_program_and_knows_where_a_token_belongs() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let header = "headers: {X-Token: \"${token}\"}";
    let checked = |more: &str| {
        folder.write("config.yaml", &feed(&service.url(), &port, more));
        let (code, said, problems) = ended(veylor(&folder).arg("check"));
        (code, said + &problems)
    };
    let (code, said) = checked(&format!("token_command: 'touch was-run; echo x'\n{header}"));
    assert_eq!(code, 0, "{said}");
    assert!(!folder.join("was-run").exists());
    let (code, said) = checked(header);
    assert!(
        code == 2 && said.contains("headers.X-Token: ${token} needs a token_command"),
        "{said}"
    );
    let (code, said) = checked("token_timeout: 5s");
    assert!(code == 2 && said.contains("token_timeout: needs token_command beside it"), "{said}");
    for wrong in ["[]", "''", "{a: b}", "[sh, [x]]", "5"] {
        let (code, said) = checked(&format!("token_command: {wrong}"));
        assert!(code == 2 && said.contains("token_command: expected a program and"), "{said}");
    }
}

#[test]
fn service_that_repeats_what_it_was_told_brings_no_secret_into_the_log() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("listen-key", "listen-s3cret");
    folder.write("login", "login-s3cret");
    let url = format!("{}/ws/${{file:listen-key}}", service.url());
    let more = "headers: {X-Key: header-s3cret}\non_connect: [{login: \"${file:login}\"}]";
    let program = Program::run(&folder, &(feed(&url, &port, more) + QUICK));
    let mut source = service.accept();
    let reason = "listen-s3cret, login-s3cret and header-s3cret are void";
    source.say(
        &[&[0x88, 2 + u8::try_from(reason.len()).unwrap(), 0x0f, 0xa1], reason.as_bytes()].concat(),
    );
    program.wait_for("closed by the source, 4001 \"…, … and … are void\"");
    assert!(!program.stderr().contains("s3cret"));
}
