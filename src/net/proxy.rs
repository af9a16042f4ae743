//! Proxies on the way to a source: HTTP's CONNECT (RFC 9110, section 9.3.6) and SOCKS 5 (RFC 1928,
//! with user and password by RFC 1929). The proxy resolves the name.
//!
//! A [`Tunnel`] is what is said to a proxy before the connection is ours: a state machine over any
//! stream that would rather say `WouldBlock` than wait. It reads no byte more than is the proxy's.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::IpAddr;

use data_encoding::BASE64;

use super::secrets::Secrets;
use super::url::{host_and_port, percent_decoded};

/// Bytes of a proxy's answer to CONNECT at most.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Interim answers before it at most, which count as part of it (RFC 9110, section 15.2).
const MAX_INTERIM_ANSWERS: usize = 8;
/// Headers of it at most.
const MAX_HEADERS: usize = 64;
/// Bytes of a user, a password and a name, each, in SOCKS.
const MAX_SOCKS_BYTES: usize = 255;

const SOCKS_VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const LOGIN: u8 = 2;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A proxy. `Display` and `Debug` show it without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    host: String,
    port: u16,
    login: Option<Login>,
}

/// What is wrong with the address of a proxy. Nothing of it is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyError(&'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Http,
    Socks,
}

#[derive(Clone, PartialEq, Eq)]
struct Login {
    user: String,
    password: String,
}

impl Login {
    fn words(&self) -> [&str; 2] {
        [&self.user, &self.password]
    }
}

impl Proxy {
    /// Takes `http://user:password@host:port` or `socks5h://…` apart.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        const EXPECTED: ProxyError = ProxyError(
            "expected http://HOST:PORT or socks5h://HOST:PORT, perhaps with USER:PASSWORD@",
        );
        let (scheme, rest) = text.split_once("://").ok_or(EXPECTED)?;
        let kind = match scheme {
            "http" => Kind::Http,
            "socks5h" => Kind::Socks,
            "socks5" => {
                return Err(ProxyError("is socks5://: write socks5h://, the proxy resolves names"));
            }
            "https" => {
                return Err(ProxyError(
                    "is https://: proxies are spoken to without TLS, write http://",
                ));
            }
            _ => return Err(EXPECTED),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(Login::parse(login)), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address).ok_or(EXPECTED)?;
        let is_too_long = |login: &Login| {
            kind == Kind::Socks && (login.user.len().max(login.password.len()) > MAX_SOCKS_BYTES)
        };
        if login.as_ref().is_some_and(is_too_long) {
            return Err(ProxyError(
                "has a user or a password above 255 bytes, SOCKS has no room for it",
            ));
        }
        Ok(Self { kind, host: host.to_owned(), port, login })
    }

    /// The name or address to dial, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to dial.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What is to be said to it for a connection to a host.
    pub fn tunnel(&self, host: &str, port: u16) -> Tunnel {
        let target = Target { host: host.to_owned(), port };
        let (state, outgoing) = match self.kind {
            Kind::Http => (State::Asked, self.connect_request(&target)),
            Kind::Socks => {
                let methods: &[u8] =
                    if self.login.is_some() { &[NO_LOGIN, LOGIN] } else { &[NO_LOGIN] };
                let count = u8::try_from(methods.len()).expect("there are two at most");
                (State::Greeted, [&[SOCKS_VERSION, count], methods].concat())
            }
        };
        let (incoming, passed) = (Vec::new(), Passed::default());
        Tunnel { proxy: self.clone(), target, state, outgoing, incoming, passed }
    }

    fn connect_request(&self, target: &Target) -> Vec<u8> {
        let target = bracketed(&target.host, target.port);
        let login = self.login.as_ref().map_or_else(String::new, |Login { user, password }| {
            let login = BASE64.encode(format!("{user}:{password}").as_bytes());
            format!("Proxy-Authorization: Basic {login}\r\n")
        });
        format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n").into_bytes()
    }
}

impl Login {
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Self { user: percent_decoded(user), password: percent_decoded(password) }
    }
}

/// Where a connection shall lead.
#[derive(Clone, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

/// What is being said to a proxy. `Debug` shows nothing of it but the proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Tunnel {
    proxy: Proxy,
    target: Target,
    state: State,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    passed: Passed,
}

/// Interim answers that were passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Passed {
    answers: usize,
    bytes: usize,
}

/// What the proxy answers next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// HTTP: whether it connects.
    Asked,
    /// SOCKS: which way to log in it has chosen.
    Greeted,
    /// SOCKS: whether user and password are right.
    LoggingIn,
    /// SOCKS: whether it connects.
    Requested,
}

/// Whether more is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Done,
}

impl Tunnel {
    /// The proxy that is spoken to.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Says and hears what can be, without waiting. Whether the connection leads to the target now;
    /// or why it will not, in words that name the proxy.
    pub fn step(&mut self, stream: &mut (impl Read + Write)) -> Result<bool, String> {
        match self.exchange(stream) {
            Ok(()) => Ok(true),
            Err(Failure::System(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(Failure::System(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(format!("proxy {} closed the connection without an answer", self.proxy))
            }
            Err(Failure::System(error)) => Err(format!("proxy {}: {error}", self.proxy)),
            Err(Failure::Answer(why)) => Err(format!("proxy {} {why}", self.proxy)),
        }
    }

    fn exchange(&mut self, stream: &mut (impl Read + Write)) -> Result<(), Failure> {
        loop {
            while !self.outgoing.is_empty() {
                let count = stream.write(&self.outgoing)?;
                self.outgoing.drain(..count);
            }
            while self.missing() > 0 {
                self.receive(stream)?;
            }
            if self.understand()? == Next::Done {
                return Ok(());
            }
            self.incoming.clear();
        }
    }

    /// Bytes of the answer that have not come, as far as its length is known. The end of a head of
    /// HTTP is found byte by byte, so that nothing behind it is taken.
    fn missing(&self) -> usize {
        let whole = match (self.state, self.incoming.as_slice()) {
            (State::Asked, head) => {
                let is_full = head.len() + self.passed.bytes >= MAX_HEAD_BYTES;
                let is_whole = head.ends_with(b"\r\n\r\n") || is_full;
                return usize::from(!is_whole);
            }
            // A refusal may have no more than its code.
            (State::Requested, [_, 0, _, IPV4, ..]) => 10,
            (State::Requested, [_, 0, _, NAME, length, ..]) => 7 + usize::from(*length),
            (State::Requested, [_, 0, _, NAME]) => 5,
            (State::Requested, [_, 0, _, IPV6, ..]) => 22,
            (State::Requested, [_, 0, ..]) => 4,
            (State::Greeted | State::LoggingIn | State::Requested, _) => 2,
        };
        whole.saturating_sub(self.incoming.len())
    }

    fn receive(&mut self, stream: &mut impl Read) -> io::Result<()> {
        let mut bytes = [0; MAX_SOCKS_BYTES + 7];
        let missing = self.missing().min(bytes.len());
        match stream.read(&mut bytes[..missing]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.incoming.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes a whole answer in, and owes what it asks for.
    fn understand(&mut self) -> Result<Next, Failure> {
        let answer = std::mem::take(&mut self.incoming);
        match (self.state, answer.as_slice()) {
            (State::Asked, head) => self.connected(head),
            (State::Greeted, [SOCKS_VERSION, NO_LOGIN]) | (State::LoggingIn, [_, 0]) => {
                self.request()
            }
            (State::Greeted, [SOCKS_VERSION, LOGIN]) if self.proxy.login.is_some() => self.log_in(),
            (State::Greeted, [SOCKS_VERSION, _]) if self.proxy.login.is_none() => {
                Err(refused("wants a login: give user and password in its url"))
            }
            (State::Greeted, [SOCKS_VERSION, _]) => Err(refused("takes no user and password")),
            (State::LoggingIn, _) => Err(refused("refused the user or the password of its url")),
            (State::Requested, [SOCKS_VERSION, 0, ..]) => Ok(Next::Done),
            (State::Requested, [SOCKS_VERSION, code, ..]) => {
                Err(Failure::Answer(format!("answered {code}: {}", reply(*code))))
            }
            (State::Greeted | State::Requested, _) => Err(refused("does not speak SOCKS 5")),
        }
    }

    /// Owes user and password (RFC 1929).
    fn log_in(&mut self) -> Result<Next, Failure> {
        let Some(Login { user, password }) = &self.proxy.login else { return Ok(Next::GoOn) };
        self.outgoing.push(LOGIN_VERSION);
        for part in [user, password] {
            self.outgoing.push(length_of(part)?);
            self.outgoing.extend_from_slice(part.as_bytes());
        }
        self.state = State::LoggingIn;
        Ok(Next::GoOn)
    }

    /// Owes the request for a connection.
    fn request(&mut self) -> Result<Next, Failure> {
        let Target { host, port } = &self.target;
        self.outgoing.extend([SOCKS_VERSION, CONNECT, 0]);
        match host.parse() {
            Ok(IpAddr::V4(address)) => {
                self.outgoing.push(IPV4);
                self.outgoing.extend(address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                self.outgoing.push(IPV6);
                self.outgoing.extend(address.octets());
            }
            Err(_) => {
                self.outgoing.extend([NAME, length_of(host)?]);
                self.outgoing.extend_from_slice(host.as_bytes());
            }
        }
        self.outgoing.extend(port.to_be_bytes());
        self.state = State::Requested;
        Ok(Next::GoOn)
    }

    /// Whether an answer to CONNECT is a yes.
    fn connected(&mut self, head: &[u8]) -> Result<Next, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let Ok(httparse::Status::Complete(_)) = response.parse(head) else {
            return Err(refused("does not speak HTTP"));
        };
        let remedy = match (response.code, &self.proxy.login) {
            (Some(100..=199), _) if self.passed.answers < MAX_INTERIM_ANSWERS => {
                self.passed.answers += 1;
                self.passed.bytes += head.len();
                return Ok(Next::GoOn);
            }
            (Some(200..=299), _) => return Ok(Next::Done),
            (Some(407), None) => ": give user and password in its url",
            (Some(407), Some(_)) => ": the user or the password of its url is wrong",
            (_, _) => "",
        };
        let mut secrets = Secrets::default();
        secrets.extend(self.proxy.login.iter().flat_map(Login::words));
        let reason = secrets.shown(response.reason.unwrap_or_default());
        let answer = format!("{} {reason}", response.code.unwrap_or_default());
        Err(Failure::Answer(format!("answered {}{remedy}", answer.trim_end())))
    }
}

enum Failure {
    System(io::Error),
    /// What the proxy did, to stand behind its name.
    Answer(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

fn refused(why: &str) -> Failure {
    Failure::Answer(why.to_owned())
}

fn length_of(part: &str) -> Result<u8, Failure> {
    u8::try_from(part.len()).map_err(|_| refused("cannot be told a name of more than 255 bytes"))
}

/// The words for a code of SOCKS (RFC 1928, section 6).
fn reply(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "not allowed by its rules",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown",
    }
}

fn bracketed(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bracketed(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tunnel({}, {:?})", self.proxy, self.state)
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ProxyError {}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A proxy that says its lines one after the other, each when it has been spoken to, byte by
    /// byte.
    #[derive(Default)]
    struct Script {
        lines: VecDeque<Vec<u8>>,
        heard: Vec<u8>,
        is_ended: bool,
    }

    impl Script {
        fn rest(&self) -> Vec<u8> {
            self.lines.iter().flatten().copied().collect()
        }
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(line) = self.lines.front_mut() else {
                return if self.is_ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
            };
            let count = buffer.len().min(line.len());
            buffer[..count].copy_from_slice(&line[..count]);
            line.drain(..count);
            if line.is_empty() {
                self.lines.pop_front();
            }
            Ok(count)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What becomes of a tunnel to `host`, what the proxy heard, and what is left of its words.
    fn story(url: &str, host: &str, lines: &[&[u8]]) -> (Result<bool, String>, Vec<u8>, Vec<u8>) {
        let mut script = Script::default();
        let mut tunnel = Proxy::parse(url).unwrap().tunnel(host, 443);
        let mut result = tunnel.step(&mut script);
        for byte in lines.iter().flat_map(|line| line.iter()) {
            if result != Ok(false) {
                break;
            }
            script.lines.push_back(vec![*byte]);
            result = tunnel.step(&mut script);
        }
        let rest = script.rest();
        (result, script.heard, rest)
    }

    fn said(url: &str, lines: &[&[u8]]) -> String {
        story(url, "example.com", lines).0.unwrap_err()
    }

    #[test]
    fn http_proxy_is_asked_to_connect_and_its_yes_is_taken() {
        let yes = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n";
        let (result, heard, _) = story("http://proxy:3128", "example.com", &[yes]);
        assert_eq!(result, Ok(true));
        assert_eq!(heard, b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
        let (result, heard, _) = story("http://a%40b:p%3Aq@proxy:3128/", "::1", &[yes]);
        assert_eq!(result, Ok(true));
        let heard = String::from_utf8(heard).unwrap();
        let login = BASE64.encode(b"a@b:p:q");
        assert!(heard.starts_with("CONNECT [::1]:443 HTTP/1.1\r\n"), "{heard}");
        assert!(heard.contains(&format!("\r\nProxy-Authorization: Basic {login}\r\n")), "{heard}");
    }

    #[test]
    fn interim_answers_of_a_proxy_are_passed_over_and_are_not_endless() {
        let wait: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
        let yes: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
        let (result, ..) = story("http://p:1", "h", &[wait, wait, yes]);
        assert_eq!(result, Ok(true));
        let many = vec![wait; MAX_INTERIM_ANSWERS + 1];
        assert_eq!(said("http://p:1", &many), "proxy p:1 answered 100 Continue");
        let long = format!("HTTP/1.1 103 Wait\r\nX: {}\r\n\r\n", "x".repeat(MAX_HEAD_BYTES / 2));
        let said = said("http://p:1", &[long.as_bytes(), long.as_bytes()]);
        assert_eq!(said, "proxy p:1 does not speak HTTP");
    }

    #[test]
    fn nothing_behind_the_answer_is_read() {
        let mut script = Script::default();
        script.lines.push_back(b"HTTP/1.1 200 OK\r\n\r\nthe source's".to_vec());
        let mut tunnel = Proxy::parse("http://p:1").unwrap().tunnel("h", 1);
        assert_eq!(tunnel.step(&mut script), Ok(true));
        assert_eq!(script.rest(), b"the source's");
        let mut script = Script::default();
        script.lines.push_back(b"\x05\x00\x05\x00\x00\x03\x01hPPthe source's".to_vec());
        let mut tunnel = Proxy::parse("socks5h://p:1").unwrap().tunnel("h", 1);
        assert_eq!(tunnel.step(&mut script), Ok(true));
        assert_eq!(script.rest(), b"the source's");
    }

    #[test]
    fn http_proxy_that_says_no_is_quoted_with_the_remedy() {
        let no = |url, line: &str| said(url, &[line.as_bytes(), b"\r\n\r\n"]);
        let open = "http://p:3128";
        assert_eq!(
            no(open, "HTTP/1.1 407 Proxy Auth\u{7} Required"),
            "proxy p:3128 does not speak HTTP"
        );
        assert_eq!(
            no(open, "HTTP/1.1 407 Log in"),
            "proxy p:3128 answered 407 Log in: give user and password in its url"
        );
        assert_eq!(
            no("http://u:s3cret@p:3128", "HTTP/1.1 407 Log in"),
            "proxy p:3128 answered 407 Log in: the user or the password of its url is wrong"
        );
        assert_eq!(no(open, "HTTP/1.0 403"), "proxy p:3128 answered 403");
        assert_eq!(no(open, "SSH-2.0-x"), "proxy p:3128 does not speak HTTP");
        assert_eq!(no(open, &"x".repeat(MAX_HEAD_BYTES)), "proxy p:3128 does not speak HTTP");
    }

    #[test]
    fn socks_proxy_is_logged_in_to_where_it_wants_that() {
        let yes: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x01\xbb";
        let (result, heard, _) = story("socks5h://p:1080", "example.com", &[b"\x05\x00", yes]);
        assert_eq!(result, Ok(true));
        assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x03\x0bexample.com\x01\xbb");
        let lines: &[&[u8]] = &[b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x04", &[0; 18]];
        let (result, heard, _) = story("socks5h://me:pw@p:1080", "10.0.0.1", lines);
        assert_eq!(result, Ok(true));
        assert_eq!(
            heard,
            b"\x05\x02\x00\x02\x01\x02me\x02pw\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb"
        );
        let (result, heard, _) = story("socks5h://p:1080", "::1", &[b"\x05\x00", yes]);
        assert_eq!(result, Ok(true));
        assert_eq!(heard[3..7], [5, 1, 0, 4]);
    }

    #[test]
    fn socks_proxy_that_says_no_is_told_in_words() {
        let (open, login) = ("socks5h://p:1080", "socks5h://u:s3cret@p:1080");
        assert!(
            said(open, &[b"\x05\xff"])
                .ends_with("wants a login: give user and password in its url")
        );
        assert!(
            said(open, &[b"\x05\x02"])
                .ends_with("wants a login: give user and password in its url")
        );
        assert_eq!(said(login, &[b"\x05\xff"]), "proxy p:1080 takes no user and password");
        assert!(
            said(login, &[b"\x05\x02", b"\x01\x01"]).contains("refused the user or the password")
        );
        assert_eq!(
            said(open, &[b"\x05\x00", b"\x05\x05"]),
            "proxy p:1080 answered 5: connection refused"
        );
        assert!(said(open, &[b"HT"]).ends_with("does not speak SOCKS 5"));
        assert!(said(open, &[b"\x05\x00", b"HT"]).ends_with("does not speak SOCKS 5"));
        let long = "x".repeat(256);
        let (result, ..) = story(open, &long, &[b"\x05\x00"]);
        assert!(result.unwrap_err().contains("255 bytes"));
    }

    #[test]
    fn proxy_that_goes_away_is_told() {
        let mut script = Script { is_ended: true, ..Script::default() };
        let mut tunnel = Proxy::parse("http://p:1").unwrap().tunnel("h", 1);
        let said = tunnel.step(&mut script).unwrap_err();
        assert_eq!(said, "proxy p:1 closed the connection without an answer");
    }

    #[test]
    fn addresses_are_taken_apart_and_wrong_ones_are_not_repeated() {
        let proxy = Proxy::parse("socks5h://u:s3cret@[::1]:1080").unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("::1", 1080));
        assert_eq!(format!("{proxy} {proxy:?}"), "[::1]:1080 Proxy([::1]:1080)");
        assert!(!format!("{:?}", proxy.tunnel("h", 1)).contains("s3cret"));
        for wrong in [
            "p:1",
            "ftp://p:1",
            "http://p",
            "http://p:0",
            "http://:1",
            "http://p:1/x",
            "http://[p]:1",
        ] {
            assert!(
                Proxy::parse(wrong).unwrap_err().to_string().starts_with("expected http://"),
                "{wrong}"
            );
        }
        assert!(Proxy::parse("socks5://p:1").unwrap_err().to_string().contains("socks5h://"));
        assert!(Proxy::parse("https://p:1").unwrap_err().to_string().contains("http://"));
        let long = format!("socks5h://{}@p:1", "x".repeat(256));
        assert!(Proxy::parse(&long).unwrap_err().to_string().contains("255"));
    }
}
