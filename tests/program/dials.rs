//! What a dial asks of the machine before it leaves: proxies, ways out, a place in its budget.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, Stopwatch, WAIT, ended, feed, veylor};

#[test]
fn refusal_is_named_as_such_and_the_subprotocol_of_the_source_is_shown() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let socket = folder.join("admin.sock");
    let config = feed(
        &service.url(),
        &port,
        "subprotocols: [v2.json, v1.json]\nheaders: {Cookie: \"a=1; b=2\"}",
    ) + &format!("admin: {{unix_socket_path: {}}}\n", socket.display());
    let program = Program::run(&folder, &(config + QUICK));
    let refused = service.accept_stream();
    answer(refused, "HTTP/1.1 401 Unauthorized");
    program.wait_for(
        "[WARN] source feed: refused (answered HTTP 401 Unauthorized): check its token or headers, \
         redial in 6",
    );
    let ask = |command: &str| {
        let arguments = [command, "--json", "--socket", "admin.sock"];
        let (code, said, problems) = ended(veylor(&folder).args(arguments));
        assert_eq!(code, 0, "{problems}");
        said
    };
    assert!(ask("status").contains("\"is_refused\":true"), "{}", ask("status"));
    let (code, ..) = ended(veylor(&folder).args(["redial", "feed", "--socket", "admin.sock"]));
    assert_eq!(code, 0);
    let source = Peer::accept(service.accept_stream(), Some("v1.json"));
    assert_eq!(source.header("Cookie"), Some("a=1; b=2"));
    program.wait_for(", subprotocol v1.json)");
    assert!(ask("status").contains("\"subprotocol\":\"v1.json\""), "{}", ask("status"));
}

/// Reads the relay's request and answers it with a head of these lines.
fn answer(mut stream: TcpStream, lines: &str) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        request.extend(byte);
    }
    stream.write_all(format!("{lines}\r\n\r\n").as_bytes()).unwrap();
    String::from_utf8(request).unwrap()
}

/// Carries a connection to where the proxy was asked to.
fn carry(near: &TcpStream, far: &TcpStream) {
    for (from, to) in [(near, far), (far, near)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}

#[test]
fn source_is_reached_through_a_proxy_that_is_asked_by_name() {
    let (folder, service, proxy, port) =
        (Folder::new(), Service::new(), Service::new(), Port::free());
    let url = format!("ws://feed.invalid:{}/x", service.address().port());
    folder.write("password", "open sesame");
    let more = format!(
        "proxy: \"http://me:${{file:{}}}@{}\"",
        folder.join("password").display(),
        proxy.address()
    );
    let program = Program::run(&folder, &(feed(&url, &port, &more) + QUICK));
    // It refuses first, and the log says what, without the password.
    let request = answer(proxy.accept_stream(), "HTTP/1.1 407 Who are you");
    let login = data_encoding::BASE64.encode(b"me:open sesame");
    assert!(request.contains(&format!("\r\nProxy-Authorization: Basic {login}\r\n")), "{request}");
    program.wait_for(&format!(
        "source feed: cannot connect (proxy {} answered 407 Who are you: the user or the password",
        proxy.address()
    ));
    let near = proxy.accept_stream();
    let request = answer(near.try_clone().unwrap(), "HTTP/1.1 200 OK");
    let target = format!("feed.invalid:{}", service.address().port());
    assert!(request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{request}");
    let far = TcpStream::connect(service.address()).unwrap();
    carry(&near, &far);
    let mut source = service.accept();
    assert_eq!(source.header("Host"), Some(target.as_str()));
    assert_eq!(source.header("Proxy-Authorization"), None);
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
    assert!(!program.stderr().contains("sesame") && !program.stderr().contains(&login));
}

#[test]
fn proxy_that_is_not_there_or_says_nothing_is_named() {
    let (folder, dead, port) = (Folder::new(), Port::free(), Port::free());
    let more = format!("proxy: socks5h://me:s3cret@127.0.0.1:{dead}");
    let program = Program::run(&folder, &(feed("ws://feed.invalid", &port, &more) + QUICK));
    program.wait_for(&format!("(proxy 127.0.0.1:{dead}: connection refused)"));
    let mute = Service::on(&dead);
    // It has hung up before it has said anything.
    drop(mute.accept_stream());
    program.wait_for(&format!("(proxy 127.0.0.1:{dead}"));
    let _hung = mute.accept_stream();
    program.wait_for(&format!("(proxy 127.0.0.1:{dead}: no answer within 10 s)"));
    assert!(!program.stderr().contains("s3cret"));
}

#[test]
fn dial_that_an_operator_wants_takes_the_place_of_one_that_hangs_at_its_proxy() {
    let (folder, proxy, port) = (Folder::new(), Service::new(), Port::free());
    let socket = folder.join("admin.sock");
    folder.write("script", "echo token");
    let more = format!(
        "proxy: \"http://{}\"\ntoken_command: '. ./script'\nheaders: {{X-Token: \"${{token}}\"}}",
        proxy.address()
    );
    let config = feed("ws://feed.invalid/x", &port, &more)
        + &format!("admin: {{unix_socket_path: {}}}\n", socket.display());
    let program = Program::run(&folder, &(config + QUICK));
    let hangs = proxy.accept_stream();
    // The next token takes until the first proxy has answered.
    folder
        .write("script", "echo asked > asked; while test ! -e go; do sleep 0.01; done; echo token");
    let (code, ..) = ended(veylor(&folder).args(["redial", "feed", "--socket", "admin.sock"]));
    assert_eq!(code, 0);
    while !folder.join("asked").exists() {
        thread::yield_now();
    }
    let _ = (&hangs).write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    let mut rest = Vec::new();
    let _ = (&hangs).read_to_end(&mut rest);
    folder.write("go", "");
    let request = answer(proxy.accept_stream(), "HTTP/1.1 200 OK");
    assert!(request.starts_with("CONNECT feed.invalid:80 "), "{request}\n{}", program.stderr());
}

#[test]
fn dial_leaves_from_the_address_or_by_the_interface_that_was_named() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = |more: &str| feed(&service.url(), &port, more) + QUICK;
    let program = Program::run(&folder, &config("bind: 127.0.0.77\ntcp_user_timeout: 20s"));
    let source = service.accept_stream();
    assert_eq!(source.peer_addr().unwrap().ip().to_string(), "127.0.0.77");
    folder.write("config.yaml", &config("bind: lo\ntcp_user_timeout: 20s"));
    program.signal(Signal::HUP);
    program.wait_for("source feed: bind has changed, it is dialled anew");
    drop(source);
    let source = service.accept_stream();
    assert_eq!(source.peer_addr().unwrap().ip().to_string(), "127.0.0.1");
    for (wrong, said) in [
        ("no-such-card", "cannot leave by no-such-card: No such device"),
        ("192.0.2.1", "cannot leave by 192.0.2.1: Cannot assign requested address"),
        ("\"::1\"", "the name has no IPv6 address to reach from ::1, see `bind`"),
    ] {
        folder.write("config.yaml", &config(&format!("bind: {wrong}")));
        program.signal(Signal::HUP);
        program.wait_for(said);
    }
}

#[test]
fn wrong_ways_are_told_by_a_check_without_what_may_be_secret() {
    let (folder, port) = (Folder::new(), Port::free());
    for (more, said) in [
        ("proxy: ftp://u:s3cret@host:1", "proxy: expected http://HOST:PORT or socks5h://HOST:PORT"),
        ("proxy: socks5://u:s3cret@host:1", "proxy: is socks5://: write socks5h://"),
        ("proxy: [s3cret]", "proxy: expected a text, found a list"),
        ("bind: a/b", "bind: expected an IP address or a network interface, such as eth0"),
        ("tcp_user_timeout: 1ms", "tcp_user_timeout: expected a duration from 1s to 1h"),
    ] {
        folder.write("config.yaml", &feed("ws://host", &port, more));
        let (code, _, problems) = ended(veylor(&folder).arg("check"));
        assert!(code == 2 && problems.contains(said), "{problems}");
        assert!(!problems.contains("s3cret"), "{problems}");
    }
}

#[test]
fn redirect_is_followed_and_another_host_hears_no_secret() {
    let (folder, near, far, port) = (Folder::new(), Service::new(), Service::new(), Port::free());
    let more = "headers: {Authorization: Bearer s3cret, Cookie: a=s3cret, X-Any: s3cret}\n\
                subprotocols: [v1.json]";
    let url = near.url() + "/feed?key=s3cret";
    let program = Program::run(&folder, &(feed(&url, &port, more) + QUICK));
    // On the same host the headers are said again.
    answer(near.accept_stream(), "HTTP/1.1 301 Moved\r\nLocation: v2/feed?x=y");
    let request = answer(
        near.accept_stream(),
        &format!(
            "HTTP/1.1 307 Over there\r\nLocation: http://localhost:{}/z",
            far.address().port()
        ),
    );
    assert!(request.starts_with("GET /v2/feed?x=y HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nCookie: a=s3cret\r\n"), "{request}");
    let mut source = Peer::accept(far.accept_stream(), Some("v1.json"));
    assert_eq!(source.target, "/z");
    let host = format!("localhost:{}", far.address().port());
    assert_eq!(source.header("Host"), Some(host.as_str()));
    for name in ["Authorization", "Cookie", "X-Any"] {
        assert_eq!(source.header(name), None, "{name}");
    }
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
    program.wait_for(&format!("source feed: redirected to ws://{host}"));
    assert!(!program.stderr().contains("s3cret"));
    // The next dial begins where the configuration says.
    drop(source);
    let mut source = near.accept();
    assert_eq!(source.target, "/feed?key=s3cret");
    assert_eq!(source.header("Authorization"), Some("Bearer s3cret"));
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
}

#[test]
fn host_that_a_redirect_names_is_told_nothing_that_is_for_the_service() {
    let (folder, near, far, port) = (Folder::new(), Service::new(), Service::new(), Port::free());
    let more = "on_connect: [s3cret-login]";
    let program = Program::run(&folder, &(feed(&near.url(), &port, more) + QUICK));
    let place = format!("localhost:{}", far.address().port());
    let answered = format!("HTTP/1.1 307 Over there\r\nLocation: http://{place}/z");
    answer(near.accept_stream(), &answered);
    program.wait_for(&format!(
        "source feed: cannot connect (redirected to ws://{place}, another host or port, to which \
         what on_connect and the like say is not told: put its address into the url), redial in"
    ));
    // On the same host it is said.
    answer(near.accept_stream(), "HTTP/1.1 301 Moved\r\nLocation: v2");
    let mut source = near.accept();
    assert_eq!(source.receive(), "s3cret-login".into());
}

#[test]
fn circle_of_redirects_is_a_failed_dial_that_names_its_hosts() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &(feed(&service.url(), &port, "") + QUICK));
    answer(service.accept_stream(), "HTTP/1.1 302 Found\r\nLocation: /x?s3cret");
    answer(service.accept_stream(), "HTTP/1.1 302 Found\r\nLocation: /x?s3cret#again");
    let host = service.address();
    program.wait_for(&format!(
        "source feed: cannot connect (redirected in a circle: {host} -> {host} -> {host}), redial in"
    ));
    greet(&mut service.accept(), &mut [&mut Peer::connect(&port)]);
    assert!(!program.stderr().contains("s3cret"));
}

#[test]
fn operator_is_told_what_is_in_the_way_of_a_dial() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    folder.write("script", "touch asked; while test ! -e go; do sleep 0.01; done; echo token");
    let more = "dial_budget: 2 per 1h\ntoken_command: '. ./script'\n\
                headers: {X-Token: \"${token}\"}";
    let socket = folder.join("admin.sock");
    let config = feed(&service.url(), &port, more)
        + &format!("admin: {{unix_socket_path: {}}}\n", socket.display());
    let program = Program::run(&folder, &(config + QUICK));
    let redial = || {
        let (code, said, problems) =
            ended(veylor(&folder).args(["redial", "feed", "--socket", "admin.sock"]));
        assert_eq!(code, 0, "{problems}");
        said
    };
    while !folder.join("asked").exists() {
        thread::yield_now();
    }
    assert_eq!(redial(), "source feed: a dial is under way already\n");
    folder.write("go", "");
    let mut client = Peer::connect(&port);
    let mut source = service.accept();
    greet(&mut source, &mut [&mut client]);
    assert_eq!(redial(), "source feed is dialled again\n");
    assert_eq!(source.close_code(), 1000);
    drop(source);
    let mut source = service.accept();
    greet(&mut source, &mut [&mut client]);
    let said = redial();
    let used_up = "its dial_budget of 2 per 1h is used up, dial in 3";
    assert!(said.starts_with(&format!("source feed: disconnected, {used_up}")), "{said}");
    assert_eq!(source.close_code(), 1000);
    drop(source);
    program.wait_for(used_up);
    let said = redial();
    assert!(said.starts_with(&format!("source feed: {used_up}")), "{said}");
}

#[test]
fn restarts_get_no_dial_more_out_of_a_budget() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config =
        feed(&service.url(), &port, "dial_budget: 3 per 2s") + "state_file: state.json\n" + QUICK;
    let watch = Stopwatch::start();
    let mut dials = Vec::new();
    for _ in 0..3 {
        let mut program = Program::run(&folder, &config);
        for _ in 0..2 {
            drop(service.accept());
            dials.push(watch.elapsed());
        }
        program.signal(Signal::TERM);
        assert_eq!(program.exit_code(WAIT), 0);
    }
    // We hear of a dial a little later than it was made.
    let least = Duration::from_millis(1900);
    assert!(dials.windows(4).all(|four| four[3].saturating_sub(four[0]) > least), "{dials:?}");
}

#[test]
fn source_that_is_renamed_back_finds_its_budget_as_it_was() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = feed(&service.url(), &port, "dial_budget: 1 per 1h") + QUICK;
    let program = Program::run(&folder, &config);
    drop(service.accept());
    program.wait_for_times("source feed: its dial_budget of 1 per 1h is used up", 1);
    folder.write("config.yaml", &config.replace("name: feed", "name: other"));
    program.signal(Signal::HUP);
    drop(service.accept());
    program.wait_for("source other: its dial_budget of 1 per 1h is used up");
    folder.write("config.yaml", &config);
    program.signal(Signal::HUP);
    program.wait_for_times("source feed: its dial_budget of 1 per 1h is used up", 2);
    assert_eq!(program.stderr().matches("source feed: dialing").count(), 1);
}

#[test]
fn source_that_waits_for_its_budget_asks_again_when_a_reload_changes_it() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let config = |budget: &str| feed(&service.url(), &port, budget) + QUICK;
    let program = Program::run(&folder, &config("dial_budget: 1 per 1h"));
    let used_up = "is used up, dial in";
    drop(service.accept());
    program.wait_for_times(used_up, 1);
    folder.write("config.yaml", &config("dial_budget: 2 per 1h"));
    program.signal(Signal::HUP);
    drop(service.accept());
    program.wait_for_times(used_up, 2);
    folder.write("config.yaml", &config("dial_budget: 2 per 2h"));
    program.signal(Signal::HUP);
    program.wait_for("its dial_budget of 2 per 2h is used up, dial in 7");
    folder.write("config.yaml", &config(""));
    program.signal(Signal::HUP);
    greet(&mut service.accept(), &mut [&mut Peer::connect(&port)]);
}

#[test]
fn interim_answers_before_the_handshake_and_of_the_proxy_are_passed_over() {
    let (folder, service, proxy, port) =
        (Folder::new(), Service::new(), Service::new(), Port::free());
    let more = format!("proxy: \"http://{}\"", proxy.address());
    let _program = Program::run(&folder, &(feed(&service.url(), &port, &more) + QUICK));
    let near = proxy.accept_stream();
    answer(near.try_clone().unwrap(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK");
    let far = TcpStream::connect(service.address()).unwrap();
    carry(&near, &far);
    let mut stream = service.accept_stream();
    stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n").unwrap();
    let mut source = Peer::accept(stream, None);
    greet(&mut source, &mut [&mut Peer::connect(&port)]);
}

#[test]
fn budget_of_dials_is_kept_over_restarts_and_shown() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    fs::create_dir(folder.join("state")).unwrap();
    let config = feed(&service.url(), &port, "dial_budget: 2 per 1h")
        + "admin: {unix_socket_path: admin.sock}\nstate_file: state/state.json\n"
        + QUICK;
    let mut program = Program::run(&folder, &config);
    drop(service.accept());
    drop(service.accept());
    program.wait_for("[WARN] source feed: its dial_budget of 2 per 1h is used up, dial in 3");
    let arguments = ["status", "--json", "--socket", "admin.sock"];
    let (_, status, _) = ended(veylor(&folder).args(arguments));
    assert!(status.contains("\"is_over_budget\":true"), "{status}");
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code(WAIT), 0);
    let program = Program::run(&folder, &config);
    program.wait_for("source feed: its dial_budget of 2 per 1h is used up, dial in 3");
    assert!(!program.stderr().contains("dialing"), "{}", program.stderr());
    drop(program);

    folder.write("state/state.json", "{ damaged");
    let program = Program::run(&folder, &config);
    program.wait_for("[WARN] state_file state/state.json is of no use (");
    greet(&mut service.accept(), &mut [&mut Peer::connect(&port)]);
}
