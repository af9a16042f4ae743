//! Sources of several urls, with real services that come and go.

use std::thread;

use tungstenite::Message;

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, ended, veylor};

/// The configuration of one source of several urls. `more` is further keys of it, each in a line.
fn feed(services: &[&Service], port: &Port, more: &str) -> String {
    let urls: Vec<_> = services.iter().map(|service| service.url()).collect();
    let more = more.lines().fold(String::new(), |lines, line| lines + "    " + line + "\n");
    format!(
        "sources:\n  - name: feed\n    urls: [\"{}\"]\n    websocket_port: {port}\n    \
         websocket_host: 127.0.0.1\n{more}",
        urls.join("\", \"")
    )
}

fn send_numbers(source: &mut Peer, numbers: std::ops::Range<u32>) {
    numbers.for_each(|n| source.send(n.to_string()));
}

#[track_caller]
fn receive_numbers(client: &mut Peer, numbers: std::ops::Range<u32>) {
    for n in numbers {
        assert_eq!(client.text(), n.to_string());
    }
}

#[test]
fn next_service_serves_when_the_first_is_killed_and_hands_over_when_it_is_back() {
    let (folder, port) = (Folder::new(), Port::free());
    let (first, second) = (Service::new(), Service::new());
    let admin = "admin: {unix_socket_path: admin.sock}\n";
    let config = feed(&[&first, &second], &port, "") + QUICK + admin;
    let program = Program::run(&folder, &config);
    let mut one = first.accept();
    let mut client = Peer::connect(&port);
    greet(&mut one, &mut [&mut client]);
    let (_, status, _) =
        ended(veylor(&folder).args(["status", "--json", "--socket", "admin.sock"]));
    assert!(status.contains("\"standby\"") && status.contains(&second.url()), "{status}");
    one.reset();
    let mut two = second.accept();
    program.wait_for("feed/1: lost (reset by peer)");
    program.wait_for("source feed: there again after");
    client.send("order");
    assert_eq!(two.text(), "order");
    let mut one = first.accept();
    program.wait_for_times("feed/1: connected", 2);
    send_numbers(&mut two, 0..50);
    send_numbers(&mut one, 0..50);
    receive_numbers(&mut client, 0..50);
    assert_eq!(two.close_code(), 1000);
    send_numbers(&mut one, 50..60);
    receive_numbers(&mut client, 50..60);
}

#[test]
fn race_goes_on_without_a_gap_when_a_service_is_killed() {
    let (folder, port) = (Folder::new(), Port::free());
    let (first, second) = (Service::new(), Service::new());
    let config = feed(&[&first, &second], &port, "strategy: race") + QUICK;
    let program = Program::run(&folder, &config);
    let (mut one, mut two) = (first.accept(), second.accept());
    program.wait_for("feed/1: connected");
    program.wait_for("feed/2: connected");
    let mut client = Peer::connect(&port);
    program.wait_for("client feed#");
    let slower = thread::spawn(move || {
        send_numbers(&mut two, 0..1000);
        two
    });
    send_numbers(&mut one, 0..400);
    one.reset();
    receive_numbers(&mut client, 0..1000);
    let mut two = slower.join().unwrap();
    let mut one = first.accept();
    program.wait_for_times("feed/1: connected", 2);
    send_numbers(&mut one, 1000..1010);
    send_numbers(&mut two, 1000..1020);
    receive_numbers(&mut client, 1000..1020);
    assert!(!program.stderr().contains("none of its connections"), "{}", program.stderr());
}

#[test]
fn leg_that_is_ready_again_is_named_and_no_alarm() {
    let (folder, port) = (Folder::new(), Port::free());
    let (first, second) = (Service::new(), Service::new());
    let session = "strategy: race\non_connect: [subscribe]";
    let program = Program::run(&folder, &(feed(&[&first, &second], &port, session) + QUICK));
    let (mut one, mut two) = (first.accept(), second.accept());
    assert_eq!((one.text(), two.text()), ("subscribe".to_owned(), "subscribe".to_owned()));
    program.wait_for("[INFO] source feed/1: ready (1 messages sent)");
    one.reset();
    assert_eq!(first.accept().text(), "subscribe");
    program.wait_for("[INFO] source feed/1: ready again (1 messages sent) after");
}

#[test]
fn connection_of_max_age_is_replaced_while_messages_pass() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let wait = "on_connect: [{send: subscribe, wait_for: {equals: subscribed}}]\nmax_age: 10s";
    let config = feed(&[&service], &port, wait) + QUICK;
    let program = Program::run(&folder, &config);
    let mut old = service.accept();
    assert_eq!(old.text(), "subscribe");
    old.send("subscribed");
    program.wait_for("feed/1: connected");
    let mut client = Peer::connect(&port);
    greet(&mut old, &mut [&mut client]);
    let mut new = service.accept();
    assert_eq!(new.text(), "subscribe");
    client.send("the old one serves");
    assert_eq!(old.text(), "the old one serves");
    send_numbers(&mut old, 0..10);
    new.send("subscribed");
    send_numbers(&mut new, 5..20);
    assert_eq!(old.close_code(), 1000);
    send_numbers(&mut new, 20..30);
    let is_answer = |message: &Message| message.to_text().is_ok_and(|text| text == "subscribed");
    let mut numbers = Vec::new();
    while numbers.len() < 30 {
        numbers.extend(Some(client.receive()).filter(|message| !is_answer(message)));
    }
    let expected: Vec<_> = (0..30).map(|n| Message::text(n.to_string())).collect();
    assert_eq!(numbers, expected);
    program.wait_for("feed/1: max_age is reached, its successor is dialled");
}

#[test]
fn urls_are_added_and_taken_away_by_a_reload() {
    let (folder, port) = (Folder::new(), Port::free());
    let (first, second) = (Service::new(), Service::new());
    let one_url = feed(&[&first], &port, "strategy: race") + QUICK;
    let program = Program::run(&folder, &one_url);
    let mut one = first.accept();
    let mut client = Peer::connect(&port);
    greet(&mut one, &mut [&mut client]);
    folder.write("config.yaml", &(feed(&[&first, &second], &port, "strategy: race") + QUICK));
    program.signal(rustix::process::Signal::HUP);
    let mut two = second.accept();
    program.wait_for("source feed: urls, strategy have changed");
    program.wait_for("feed/2: connected");
    greet(&mut one, &mut [&mut client]);
    send_numbers(&mut two, 0..1);
    // It begins ahead of the other, for which it waits a moment.
    receive_numbers(&mut client, 0..1);
    folder.write("config.yaml", &one_url);
    program.signal(rustix::process::Signal::HUP);
    assert_eq!(two.close_code(), 1000);
    greet(&mut one, &mut [&mut client]);
}

#[test]
fn plan_shows_a_source_of_several_urls_once() {
    let (folder, port) = (Folder::new(), Port::free());
    let (first, second) = (Service::new(), Service::new());
    folder.write("config.yaml", &feed(&[&first, &second], &port, "max_age: 1h"));
    let (code, said, problems) = ended(veylor(&folder).arg("check"));
    assert_eq!(code, 0, "{problems}");
    let urls = format!("source feed: {}, {}", first.url(), second.url());
    assert!(said.contains(&urls), "{said}");
    assert!(said.contains("channel feed, fed by feed\n"), "{said}");
    assert!(said.contains("source feed/2b") && said.contains("copies of feed"), "{said}");
}
