//! Who may connect, and how many: tokens, passwords, networks, users, limits.

use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;

use rustix::process::{Signal, getuid};
use tungstenite::{Error, Message};

use crate::peer::{Peer, Service, UnixPeer, connect, greet};
use crate::program::{Folder, Port, Program, QUICK, Stopwatch, WAIT, ended, feed, veylor};

const AUTH: &str = "\
auth:
  tokens:
    - \"${file:token}\"
    - {token: for-screens, name: screen, read_only: true}
  basic:
    - {user: ann, password: secret}
";

/// A relay whose source is up.
struct Guarded {
    folder: Folder,
    service: Service,
    port: Port,
    program: Program,
    source: Peer,
}

impl Guarded {
    /// `more` is further keys of the source.
    fn with(more: &str) -> Self {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        folder.write("token", "for-bots\n");
        let config = Self::config(&folder, &service, &port, more);
        let program = Program::run(&folder, &config);
        let source = service.accept();
        program.wait_for("source feed: connected");
        Self { folder, service, port, program, source }
    }

    fn config(folder: &Folder, service: &Service, port: &Port, more: &str) -> String {
        let door = folder.join("admin.sock");
        let sockets = format!("unix_socket_path: {}\n", folder.join("feed.sock").display());
        feed(&service.url(), port, &(sockets + more))
            + &format!("admin: {{unix_socket_path: \"{}\"}}\n{QUICK}", door.display())
    }

    fn reload(&self, more: &str) -> String {
        let config = Self::config(&self.folder, &self.service, &self.port, more);
        self.folder.write("config.yaml", &config);
        self.ask("reload")
    }

    fn ask(&self, command: &str) -> String {
        let door = self.folder.join("admin.sock");
        let (code, said, problems) =
            ended(veylor(&self.folder).args([command, "--socket"]).arg(door));
        assert_eq!(code, 0, "{problems}");
        said
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("feed.sock")
    }

    /// Connects to a path of the port, with further headers.
    fn open(&self, target: &str, headers: &[(&'static str, &str)]) -> Result<Peer, Error> {
        Peer::connect_to(&self.port, target, headers)
    }

    /// The status, the challenge and the words of a refusal.
    #[track_caller]
    fn refused(&self, target: &str, headers: &[(&'static str, &str)]) -> (u16, String, String) {
        match self.open(target, headers) {
            Ok(_) => panic!("let in"),
            Err(Error::Http(response)) => {
                let challenges = response.headers().get_all("www-authenticate").iter();
                let challenges: Vec<_> = challenges.map(|c| c.to_str().unwrap()).collect();
                let body = response.body().clone().unwrap_or_default();
                (
                    response.status().as_u16(),
                    challenges.join("; "),
                    String::from_utf8(body).unwrap(),
                )
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn who_knows_a_secret_is_let_in_wherever_it_shows_it() {
    let world = Guarded::with(AUTH);
    for (target, headers) in [
        ("/", &[("authorization", "Bearer for-bots")][..]),
        ("/any/path?x=y&token=for-bots", &[]),
        ("/", &[("cookie", "theme=dark; veylor_token=for-bots")]),
        ("/", &[("authorization", "Basic YW5uOnNlY3JldA==")]),
    ] {
        world.open(target, headers).unwrap();
    }
    let agreed = world.open("/", &[("sec-websocket-protocol", "bearer.for-screens")]).unwrap();
    assert_eq!(agreed.header("sec-websocket-protocol"), Some("bearer.for-screens"));
    world.program.wait_for(" (screen): connected");
    world.program.wait_for(" (ann): connected");
    let said = world.program.stderr() + &world.ask("clients") + &world.ask("status");
    for secret in ["for-bots", "for-screens", "secret"] {
        assert!(!said.contains(secret), "{secret} in\n{said}");
    }
}

#[test]
fn who_knows_none_is_told_what_is_wanted() {
    let world = Guarded::with(AUTH);
    let (status, challenges, words) = world.refused("/", &[]);
    let expected = "Bearer realm=\"veylor\"; Basic realm=\"veylor\", charset=\"UTF-8\"";
    assert_eq!((status, &*challenges), (401, expected));
    assert!(words.contains("this endpoint wants a token or a password"), "{words}");
    for headers in [
        [("authorization", "Bearer for-bot")],
        [("authorization", "Basic YW5uOndyb25n")],
        [("cookie", "veylor_token=")],
    ] {
        let (status, _, words) = world.refused("/", &headers);
        assert_eq!(status, 401);
        assert!(words.contains("the token or password is not known here"), "{words}");
    }
    world.program.wait_for("not opened (refused with 401: the token or password is not known");
}

#[test]
fn read_only_token_only_reads_and_others_write() {
    let mut world = Guarded::with(AUTH);
    let mut screen = world.open("/?token=for-screens", &[]).unwrap();
    let mut bot = world.open("/?token=for-bots", &[]).unwrap();
    greet(&mut world.source, &mut [&mut screen, &mut bot]);
    screen.send("may I?");
    world.program.wait_for(
        " (screen): sends messages, which are dropped: its token or password is read_only",
    );
    bot.send("I may");
    assert_eq!(world.source.text(), "I may");
    // Unix clients are asked for nothing: the file has its mode.
    let mut unix = UnixPeer::connect(&world.socket());
    unix.send("me too");
    assert_eq!(world.source.text(), "me too");
}

#[test]
fn secret_that_is_withdrawn_counts_from_the_reload_on() {
    let mut world = Guarded::with(AUTH);
    let mut bot = world.open("/?token=for-bots", &[]).unwrap();
    let mut screen = world.open("/?token=for-screens", &[]).unwrap();
    greet(&mut world.source, &mut [&mut bot, &mut screen]);

    world.folder.write("token", "renewed");
    assert!(world.reload(AUTH).starts_with("channel feed: auth has changed\n"));
    assert_eq!(bot.close_code(), 1008);
    assert_eq!(world.refused("/?token=for-bots", &[]).0, 401);
    let mut renewed = world.open("/?token=renewed", &[]).unwrap();
    greet(&mut world.source, &mut [&mut screen, &mut renewed]);

    // And who needed none may be asked for one later.
    world.reload("");
    let mut anyone = Peer::connect(&world.port);
    greet(&mut world.source, &mut [&mut anyone, &mut screen, &mut renewed]);
    world.reload(AUTH);
    assert_eq!(anyone.close_code(), 1008);
    greet(&mut world.source, &mut [&mut screen, &mut renewed]);
}

#[test]
fn secret_that_cannot_be_read_changes_nothing_and_lets_nobody_in() {
    let world = Guarded::with(AUTH);
    std::fs::remove_file(world.folder.join("token")).unwrap();
    world.program.signal(Signal::HUP);
    world.program.wait_for("reload: nothing is changed: config.yaml:");
    world.program.wait_for("auth.tokens[0].token: cannot read ${file:token}");
    assert_eq!(world.refused("/", &[]).0, 401);
    world.open("/?token=for-bots", &[]).unwrap();
}

#[test]
fn address_that_is_denied_or_not_allowed_is_sent_away() {
    let world = Guarded::with("deny: [127.0.0.0/8]\n");
    let mut answer = String::new();
    connect(&world.port).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\n403 Forbidden: your address may not connect here\n"),
        "{answer}"
    );
    world.program.wait_for(" may not connect, see allow and deny");
    UnixPeer::connect(&world.socket());
    world.program.wait_for_times("client feed#", 1);

    let said = world.reload("allow: [127.0.0.1]\n");
    assert!(said.contains("allow, deny have changed, which counts for new connections"), "{said}");
    Peer::connect(&world.port);
    world.reload("allow: [192.0.2.0/24]\n");
    let refused = || connect(&world.port).read_to_string(&mut String::new());
    assert!(refused().unwrap() > 0);
}

#[test]
fn process_of_another_user_is_cut_off() {
    let mut world = Guarded::with("unix_socket_users: [4711]\n");
    let mut refused = UnixPeer::connect(&world.socket());
    assert!(refused.try_receive().is_err());
    world.program.wait_for(" may not connect, see users and groups");
    let me = getuid().as_raw();
    world.reload(&format!("unix_socket_users: [4711, {me}]\n"));
    let mut unix = UnixPeer::connect(&world.socket());
    unix.send("hello");
    assert_eq!(world.source.text(), "hello");
}

#[test]
fn address_may_have_so_many_clients_and_no_more() {
    let mut world = Guarded::with("max_clients_per_address: 2\n");
    let (mut one, mut two) = (Peer::connect(&world.port), Peer::connect(&world.port));
    let (status, _, words) = world.refused("/", &[]);
    assert!(status == 429 && words.contains("see max_clients_per_address"), "{status} {words}");
    let mut unix = UnixPeer::connect(&world.socket());
    unix.send("Unix clients have no address");
    assert_eq!(world.source.text(), "Unix clients have no address");
    greet(&mut world.source, &mut [&mut one, &mut two]);

    one.send(Message::Close(None));
    while one.try_receive().is_ok() {}
    drop(one);
    world.program.wait_for("closed by the client");
    // The relay lets go of it at the end of a turn.
    let watch = Stopwatch::start();
    let mut three = loop {
        match world.open("/", &[]) {
            Ok(client) => break client,
            Err(error) => assert!(watch.elapsed() < WAIT, "{error}"),
        }
    };
    greet(&mut world.source, &mut [&mut two, &mut three]);
}

#[test]
fn connections_above_the_rate_wait_and_come_in() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = feed(&service.url(), &port, "") + "performance: {max_connection_rate: 2}\n";
    let _program = Program::run(&folder, &config);
    let watch = Stopwatch::start();
    // Two at once and the one behind them; the others a half second each.
    let _clients: Vec<_> = (0..5).map(|_| Peer::connect(&port)).collect();
    let elapsed = watch.elapsed().as_secs_f64();
    assert!(elapsed > 0.9, "{elapsed} s");
}

#[test]
fn limit_of_memory_is_told_with_what_takes_most() {
    let (folder, port) = (Folder::new(), Port::free());
    let config = feed("ws://example.com", &port, "") + "performance: {memory_limit: 64MiB}\n";
    folder.write("config.yaml", &config);
    let (code, _, said) = ended(veylor(&folder).arg("check"));
    assert_eq!(code, 2);
    assert!(said.contains("performance.memory_limit: these settings may take 1.6 GiB"), "{said}");
    assert!(TcpStream::connect(("127.0.0.1", port.number)).is_err());
}
