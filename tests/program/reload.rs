//! SIGHUP: the configuration is read again while everyone stays connected.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::peer::{Peer, Service, UnixPeer, greet};
use crate::program::{Folder, Port, Program, QUICK, WAIT, feed, veylor};

/// One source named `feed`, relayed.
struct Relayed {
    folder: Folder,
    service: Service,
    port: Port,
    program: Program,
    source: Peer,
    client: Peer,
}

impl Relayed {
    fn new() -> Self {
        Self::with("")
    }

    /// `more` is further keys of the source.
    fn with(more: &str) -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let program = Program::run(&folder, &(feed(&service.url(), &port, more) + QUICK));
        let mut source = service.accept();
        let mut client = Peer::connect(&port);
        greet(&mut source, &mut [&mut client]);
        Self { folder, service, port, program, source, client }
    }

    fn config(&self) -> String {
        feed(&self.service.url(), &self.port, "")
    }

    /// Changes the file, has it read, and waits for words of the log.
    #[track_caller]
    fn reload(&self, config: &str, words: &str) {
        self.folder.write("config.yaml", config);
        self.program.signal(Signal::HUP);
        self.program.wait_for(words);
    }

    /// Messages still pass both ways on the connections that were there.
    #[track_caller]
    fn check_untouched(&mut self) {
        self.source.send("still here");
        assert_eq!(self.client.text(), "still here");
        self.client.send("me too");
        assert_eq!(self.source.text(), "me too");
    }
}

/// A second source named `other`, after [`feed`].
fn other(url: &str, port: &Port) -> String {
    format!(
        "  - name: other\n    url: \"{url}\"\n    websocket_port: {port}\n    \
         websocket_host: 127.0.0.1\n"
    )
}

#[test]
fn file_that_is_the_same_changes_nothing() {
    let mut relayed = Relayed::new();
    relayed.reload(&(relayed.config() + QUICK), "reload: nothing has changed");
    relayed.check_untouched();
}

#[test]
fn source_and_endpoint_come_and_go_beside_those_that_stay() {
    let mut relayed = Relayed::new();
    let (service, port) = (Service::new(), Port::free());
    let both = relayed.config() + &other(&service.url(), &port) + QUICK;
    for round in 1..=3 {
        relayed.folder.write("config.yaml", &both);
        relayed.program.signal(Signal::HUP);
        relayed.program.wait_for_times(&format!("{}: opened for channel other", port.url()), round);
        relayed.program.wait_for_times("reload: memory at most", 2 * round - 1);
        let mut source = service.accept();
        let mut client = Peer::connect(&port);
        greet(&mut source, &mut [&mut client]);

        relayed.folder.write("config.yaml", &(relayed.config() + QUICK));
        relayed.program.signal(Signal::HUP);
        assert_eq!(client.close_code(), 1001);
        assert_eq!(source.close_code(), 1000);
        relayed.program.wait_for_times(&format!("{}: closed", port.url()), round);
        assert!(std::net::TcpStream::connect(("127.0.0.1", port.number)).is_err());
        relayed.check_untouched();
    }
    assert_eq!(relayed.program.stderr().matches("source feed: connected").count(), 1);
}

#[test]
fn bad_file_changes_nothing_and_says_all_that_is_wrong() {
    let mut relayed = Relayed::new();
    let wrong = relayed.config().replace("ws://", "http://") + "performance: {coalesce: 1s}\n";
    relayed.reload(&wrong, "performance.coalesce: expected a duration");
    relayed.program.wait_for("reload: nothing is changed: config.yaml:3:5: sources[0].url: scheme");
    relayed.check_untouched();
    std::fs::remove_file(relayed.folder.join("config.yaml")).unwrap();
    relayed.program.signal(Signal::HUP);
    relayed.program.wait_for("reload: nothing is changed: there is no config.yaml");
    relayed.reload(&(relayed.config() + QUICK), "reload: nothing has changed");
    relayed.check_untouched();
}

#[test]
fn port_that_is_taken_changes_nothing() {
    let mut relayed = Relayed::new();
    let (taken, free) = (Service::new(), Port::free());
    let path = relayed.folder.join("other.sock");
    let sockets = format!("    unix_socket_path: {}\n", path.display());
    let more = other(&relayed.service.url(), &free)
        + &sockets
        + &other("ws://127.0.0.1:1", &free)
            .replace("name: other", "name: third")
            .replace(&format!("port: {free}"), &format!("port: {}", taken.address().port()));
    let config = relayed.config();
    relayed.reload(&(config + &more + QUICK), "reload: nothing is changed: cannot listen at ");
    relayed.program.wait_for("is another veylor running?");
    assert!(!path.exists(), "what was opened before it is closed again");
    assert!(std::net::TcpStream::connect(("127.0.0.1", free.number)).is_err());
    assert!(!relayed.program.stderr().contains("reload: source"));
    relayed.check_untouched();
}

#[test]
fn all_interfaces_give_way_to_one_at_the_same_port() {
    let mut relayed = Relayed::with("");
    let config = relayed.config() + QUICK;
    let everywhere = config.replace("host: 127.0.0.1", "host: 0.0.0.0");
    let port = relayed.port.number;
    relayed.reload(&everywhere, &format!("ws://0.0.0.0:{port}: opened for channel feed"));
    drop(Peer::connect(&relayed.port));
    relayed.check_untouched();
    relayed.reload(&config, &format!("ws://0.0.0.0:{port}: closed"));
    drop(Peer::connect(&relayed.port));
    relayed.check_untouched();
    // One of the new addresses is taken: the old one is open again.
    let taken = Service::new();
    let config = everywhere
        + "rebroadcast: {websocket: {host: 127.0.0.1, port: "
        + &format!("{}}}}}\n", taken.address().port());
    relayed.reload(&config, "reload: nothing is changed: cannot listen at");
    drop(Peer::connect(&relayed.port));
    relayed.check_untouched();
}

#[test]
fn another_url_is_dialled_and_clients_stay() {
    let mut relayed = Relayed::new();
    let config = relayed.config() + QUICK;
    let url = relayed.service.url();
    relayed.reload(
        &config.replace(&url, &(url.clone() + "/new?s3cret")),
        "reload: source feed: url has changed, it is dialled anew",
    );
    assert_eq!(relayed.source.close_code(), 1000);
    // A service that allows one connection gets the new one when the old one has ended.
    assert!(relayed.source.try_receive().is_err());
    relayed.source = relayed.service.accept();
    assert_eq!(relayed.source.target, "/new?s3cret");
    relayed.program.wait_for_times("source feed: connected", 2);
    relayed.check_untouched();
    assert!(!relayed.program.stderr().contains("s3cret"));

    let elsewhere = Service::new();
    relayed.reload(&config.replace(&url, &elsewhere.url()), "reload: source feed: url");
    assert_eq!(relayed.source.close_code(), 1000);
    drop(std::mem::replace(&mut relayed.source, elsewhere.accept()));
    relayed.program.wait_for_times("source feed: connected", 3);
    relayed.check_untouched();
}

#[test]
fn source_that_cannot_be_reached_is_dialled_at_once_at_its_new_url() {
    let (folder, service, port, dead) = (Folder::new(), Service::new(), Port::free(), Port::free());
    let slow = "performance: {reconnect_delay: 10m, reconnect_max_delay: 10m}\n";
    let program = Program::run(&folder, &(feed(&dead.url(), &port, "") + slow));
    program.wait_for("connection refused");
    folder.write("config.yaml", &(feed(&service.url(), &port, "") + slow));
    program.signal(Signal::HUP);
    greet(&mut service.accept(), &mut []);
    program.wait_for("source feed: connected");
}

#[test]
fn rotated_secret_keeps_the_connection_and_is_used_at_the_next_dial() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("token", "old");
    let more = format!("headers: {{X-Token: \"${{file:{}}}\"}}", folder.join("token").display());
    let config = feed(&service.url(), &port, &more) + QUICK;
    let program = Program::run(&folder, &config);
    let mut source = service.accept();
    assert_eq!(source.header("x-token"), Some("old"));
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);

    folder.write("token", "new");
    program.signal(Signal::HUP);
    program.wait_for("reload: nothing has changed");
    greet(&mut source, &mut [&mut client]);
    source.reset();
    let mut source = service.accept();
    assert_eq!(source.header("x-token"), Some("new"));
    greet(&mut source, &mut [&mut client]);

    std::fs::remove_file(folder.join("token")).unwrap();
    program.signal(Signal::HUP);
    program.wait_for("reload: nothing is changed: config.yaml:6:15: sources[0].headers.X-Token");
    greet(&mut source, &mut [&mut client]);
}

#[test]
fn unix_socket_is_added_changes_its_mode_and_is_removed() {
    let mut relayed = Relayed::new();
    let path = relayed.folder.join("feed.sock");
    let config = relayed.config();
    let socket = format!("    unix_socket_path: {}\n", path.display());
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    relayed.reload(&(config.clone() + &socket + QUICK), "feed.sock: opened for channel feed");
    let mut unix = UnixPeer::connect(&path);
    relayed.program.wait_for_times("client feed#", 2);
    assert_eq!(mode(&path), 0o660);
    let private = "    unix_socket_mode: '0600'\n";
    relayed.reload(&(config.clone() + &socket + private + QUICK), "feed.sock: has mode 0600");
    assert_eq!(mode(&path), 0o600);
    relayed.source.send("for both");
    assert_eq!(unix.receive(), b"for both");
    assert_eq!(relayed.client.text(), "for both");
    relayed.reload(&(config + QUICK), "feed.sock: closed");
    assert!(unix.try_receive().is_err());
    assert!(!path.exists());
    relayed.check_untouched();
}

#[test]
fn limits_and_policies_change_for_new_clients_too() {
    let mut relayed = Relayed::new();
    let origin = [("origin", "http://app.example")];
    assert!(Peer::connect_with(&relayed.port, &origin).is_err());
    let allowed = "    allowed_origins: ['http://app.example']\n    read_only: true\n";
    relayed.reload(
        &(relayed.config() + allowed + QUICK),
        "reload: channel feed: read_only, allowed_origins have changed",
    );
    let mut page = Peer::connect_with(&relayed.port, &origin).unwrap();
    relayed.client.send("dropped");
    relayed.program.wait_for("the channel is read_only");
    greet(&mut relayed.source, &mut [&mut relayed.client, &mut page]);
}

#[test]
fn reading_that_hangs_stops_nobody_and_a_reload_during_it_comes_after_it() {
    let mut relayed = Relayed::new();
    let (service, port) = (Service::new(), Port::free());
    let pipe = relayed.folder.join("token");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let header = format!("    headers: {{X: \"${{file:{}}}\"}}\n", pipe.display());
    let config = relayed.config() + &other(&service.url(), &port) + &header + QUICK;
    relayed.folder.write("config.yaml", &config);
    relayed.program.signal(Signal::HUP);
    // Somebody reads, and waits for us to write.
    let mut writer = OpenOptions::new().write(true).open(&pipe).unwrap();
    relayed.check_untouched();
    relayed.program.signal(Signal::HUP);
    relayed.program.wait_for("reload: asked for again");
    // The dial of the new source and the second reading find a file there.
    relayed.folder.write("token", "x");
    writer.write_all(b"x").unwrap();
    drop(writer);
    relayed.program.wait_for("reload: source other: added");
    greet(&mut service.accept(), &mut [&mut Peer::connect(&port)]);
    relayed.program.wait_for("reload: nothing has changed");
    relayed.check_untouched();
}

#[test]
fn relay_without_a_file_ends_with_its_terminal() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let mut command = veylor(&folder);
    let address = format!("127.0.0.1:{port}");
    let mut program = Program::listening(command.args(["relay", &service.url(), "--ws", &address]));
    let mut client = Peer::connect(&port);
    program.signal(Signal::HUP);
    assert_eq!(client.close_code(), 1001);
    assert_eq!(program.exit_code(WAIT), 0);
}

#[test]
fn relay_without_a_file_that_shall_outlive_its_terminal_says_that_there_is_nothing_to_reload() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let mut command = Command::new("nohup");
    command.arg(env!("CARGO_BIN_EXE_veylor")).current_dir(folder.path());
    let address = format!("127.0.0.1:{port}");
    let program = Program::listening(command.args(["relay", &service.url(), "--ws", &address]));
    let mut source = service.accept();
    let mut client = Peer::connect(&port);
    greet(&mut source, &mut [&mut client]);
    program.signal(Signal::HUP);
    program.wait_for("runs without a configuration file, there is nothing to read again");
    greet(&mut source, &mut [&mut client]);
}

#[test]
fn program_still_ends_well_after_reloads() {
    let mut relayed = Relayed::new();
    let (dead, port) = (Port::free(), Port::free());
    let both = relayed.config() + &other(&dead.url(), &port) + QUICK;
    relayed.reload(&both, "source other: cannot connect");
    relayed.reload(&(relayed.config() + QUICK), "source other: removed");
    relayed.program.signal(Signal::TERM);
    assert_eq!(relayed.client.close_code(), 1001);
    assert_eq!(relayed.source.close_code(), 1001);
    drop(relayed.source);
    assert_eq!(relayed.program.exit_code(WAIT.min(Duration::from_millis(2500))), 0);
}

#[test]
fn reloads_under_load_lose_no_message_of_what_is_untouched() {
    const MESSAGES: u32 = 100_000;
    let Relayed { folder, service, port, program, mut source, client } = Relayed::new();
    let path = folder.join("other.sock");
    let (dead, other_port) = (Port::free(), Port::free());
    let config = feed(&service.url(), &port, "");
    let changed = config.clone()
        + &format!("    unix_socket_path: {}\n", path.display())
        + &other(&dead.url(), &other_port)
        + "performance: {max_queue_size: 50, reconnect_delay: 20ms}\n";
    let readers = [client, Peer::connect(&port)].map(|mut client| {
        thread::spawn(move || {
            let numbers = (0..MESSAGES).map(|_| client.text().parse().unwrap());
            numbers.collect::<Vec<u32>>()
        })
    });
    program.wait_for_times("connected", 3);
    let writer = thread::spawn(move || {
        (0..MESSAGES).for_each(|n| source.send(n.to_string()));
        source
    });
    let mut rounds = 0;
    while !writer.is_finished() || rounds < 5 {
        rounds += 1;
        for (config, words) in
            [(&changed, "source other: added"), (&config, "channel other: removed")]
        {
            folder.write("config.yaml", config);
            program.signal(Signal::HUP);
            program.wait_for_times(words, rounds);
        }
    }
    for reader in readers {
        assert!(reader.join().unwrap().into_iter().eq(0..MESSAGES));
    }
    drop(writer.join().unwrap());
    assert_eq!(program.stderr().matches("source feed: connected").count(), 1);
}
