//! The opening handshake as a server (RFC 6455, section 4.2).

use std::borrow::Cow;
use std::sync::Arc;

use httparse::{Header, Request, Status};
use tungstenite::handshake::derive_accept_key;

use crate::codec::Error;
use crate::codec::auth::{self, Auth, Grant, Shown};
use crate::codec::http::{
    MAX_HEAD_BYTES, MAX_HEADERS, has_token, header, is_fixed_host, reason_phrase, tokens,
};
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// The length of a base64-encoded key of 16 bytes.
const KEY_CHARS: usize = 24;

/// Characters of a client's own words that are kept.
const MAX_SHOWN_CHARS: usize = 80;

/// The first byte of a TLS handshake: the kind of its record (RFC 8446, section 5.1).
const TLS_HELLO: u8 = 0x16;

/// What a browser or a passer-by reads who opens the port in the address bar.
const FRIENDLY_PAGE: &str = "\
This is a Veylor endpoint. It speaks WebSocket, not plain HTTP.

Connect a WebSocket client to this very address, with ws:// in front (wss:// if it came over
https://), for example

    python -m websockets ws://HOST:PORT/
    new WebSocket(\"ws://HOST:PORT/\")
";

/// Whom an endpoint lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Browser origins besides the endpoint's own; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Subprotocols to agree to when a client offers them, best first.
    pub subprotocols: Vec<String>,
    /// Who may come in.
    pub auth: Auth,
    /// Why everyone is sent away, if that is so.
    pub closed: Option<Closed>,
}

/// Why somebody is sent away who would be welcome at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The endpoint has all the clients it may have.
    Full,
    /// The client's address has all the clients it may have.
    Crowded,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is not all there.
    NotYet,
    /// The connection is open.
    Opened {
        /// What the client calls itself, without control characters.
        user_agent: Option<Box<str>>,
        /// What it may do, if it had to show a secret.
        grant: Option<Arc<Grant>>,
    },
}

/// A request that was understood and agreed to.
struct Agreed {
    head_bytes: usize,
    response: String,
    user_agent: Option<Box<str>>,
    grant: Option<Arc<Grant>>,
}

/// A refusal: status and what was wrong.
type Refusal = (u16, Cow<'static, str>);

/// Answers a request as soon as it is all there.
pub(super) fn answer(
    policy: &Policy,
    inbox: &mut Inbox,
    outbox: &mut Outbox,
) -> Result<Answered, Error> {
    match understand(policy, inbox.bytes()) {
        Ok(None) => Ok(Answered::NotYet),
        Ok(Some(Agreed { head_bytes, response, user_agent, grant })) => {
            inbox.take(head_bytes);
            outbox.push(response.as_bytes());
            Ok(Answered::Opened { user_agent, grant })
        }
        Err((401, reason)) => {
            let challenges = policy.auth.challenges().iter();
            let lines = challenges.map(|(name, value)| format!("{name}: {value}\r\n"));
            refuse_with(401, &reason, &lines.collect::<String>(), outbox);
            Err(Error::Refused { status: 401, reason: reason.into_owned() })
        }
        Err((status, reason)) => {
            refuse(status, &reason, outbox);
            Err(Error::Refused { status, reason: reason.into_owned() })
        }
    }
}

/// Owes an HTTP answer that says why there will be no WebSocket.
pub(super) fn refuse(status: u16, reason: &str, outbox: &mut Outbox) {
    let extra = match status {
        405 => "Allow: GET\r\n",
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        429 | 503 => "Retry-After: 5\r\n",
        _ => "",
    };
    refuse_with(status, reason, extra, outbox);
}

fn refuse_with(status: u16, reason: &str, extra: &str, outbox: &mut Outbox) {
    let connection = if status == 426 { "Upgrade, close" } else { "close" };
    let page = if status == 426 { FRIENDLY_PAGE } else { "" };
    let body = format!("{status} {}: {reason}\n{page}", reason_phrase(status));
    let head = format!(
        "HTTP/1.1 {status} {}\r\nConnection: {connection}\r\n{extra}\
         Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Length: {}\r\n\r\n",
        reason_phrase(status),
        body.len(),
    );
    outbox.push(head.as_bytes());
    outbox.push(body.as_bytes());
}

/// Reads a request and agrees to it, `None` if more must come.
fn understand(policy: &Policy, bytes: &[u8]) -> Result<Option<Agreed>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let head = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    match request.parse(head) {
        Ok(Status::Complete(head_bytes)) => {
            let (response, grant) = agree(policy, &request)?;
            let user_agent = header(request.headers, "User-Agent").map(shown);
            Ok(Some(Agreed { head_bytes, response, user_agent, grant }))
        }
        Ok(Status::Partial) if head.len() == MAX_HEAD_BYTES => {
            Err((431, "the request's head is above 16 KiB".into()))
        }
        Ok(Status::Partial) => Ok(None),
        Err(httparse::Error::TooManyHeaders) => Err((431, "too many headers".into())),
        Err(_) if head.first() == Some(&TLS_HELLO) => {
            Err((400, "a TLS hello: this port speaks plain ws://, unless `tls` is set".into()))
        }
        Err(_) => Err((400, "not an HTTP request".into())),
    }
}

fn agree(
    policy: &Policy,
    request: &Request<'_, '_>,
) -> Result<(String, Option<Arc<Grant>>), Refusal> {
    let headers = &*request.headers;
    if request.method != Some("GET") {
        return Err((405, "a WebSocket handshake is a GET".into()));
    }
    if !has_token(headers, "Upgrade", "websocket") {
        return Err((426, "this endpoint speaks WebSocket".into()));
    }
    if request.version != Some(1) {
        return Err((400, "a WebSocket handshake needs HTTP/1.1".into()));
    }
    if !has_token(headers, "Connection", "upgrade") {
        return Err((400, "the Connection header does not name Upgrade".into()));
    }
    if header(headers, "Sec-WebSocket-Version") != Some(b"13") {
        return Err((426, "only WebSocket version 13 is spoken here".into()));
    }
    let Some(host) = header(headers, "Host") else { return Err((400, "no Host header".into())) };
    let key = header(headers, "Sec-WebSocket-Key").filter(|key| is_key(key));
    let Some(key) = key else { return Err((400, "no Sec-WebSocket-Key of 16 bytes".into())) };
    if let Some(origin) = header(headers, "Origin")
        && !std::str::from_utf8(origin).is_ok_and(|origin| is_allowed(policy, origin, host))
    {
        let origin = shown(origin);
        let reason = format!("pages of {origin:?} may not connect unless allowed_origins names it");
        return Err((403, reason.into()));
    }
    let shown = || Shown::by(request.path.unwrap_or_default(), headers);
    let grant = policy.auth.admit(shown).map_err(|denial| (401, denial.words().into()))?;
    match policy.closed {
        None => Ok((response(policy, headers, key), grant)),
        Some(Closed::Full) => {
            Err((503, "the endpoint has all the clients it may have; see max_clients".into()))
        }
        Some(Closed::Crowded) => Err((
            429,
            "your address has all the clients it may have; see max_clients_per_address".into(),
        )),
    }
}

fn response(policy: &Policy, headers: &[Header<'_>], key: &[u8]) -> String {
    let accept = derive_accept_key(key);
    let offered = |ours: &&String| tokens(headers, "Sec-WebSocket-Protocol").any(|o| o == *ours);
    let agreed = policy.subprotocols.iter().find(offered).map(String::as_str);
    let carrier = || auth::carrier(headers).filter(|_| !policy.auth.is_open());
    let subprotocol = match agreed.or_else(carrier) {
        Some(agreed) => format!("Sec-WebSocket-Protocol: {agreed}\r\n"),
        None => String::new(),
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{subprotocol}\r\n"
    )
}

/// A client's own words, fit to be shown.
fn shown(words: &[u8]) -> Box<str> {
    let words = String::from_utf8_lossy(words);
    let shown: String = words.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARS).collect();
    shown.into_boxed_str()
}

fn is_key(key: &[u8]) -> bool {
    key.len() == KEY_CHARS && data_encoding::BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// Whether a page may connect: its origin is named, or is the endpoint's own.
fn is_allowed(policy: &Policy, origin: &str, host: &[u8]) -> bool {
    let named = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
    let is_own = |rest: &str| rest.as_bytes().eq_ignore_ascii_case(host) && is_fixed_host(rest);
    let own = origin.split_once("://").is_some_and(|(_, rest)| is_own(rest));
    own || policy.allowed_origins.iter().any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost:8765\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";

    fn answered(policy: &Policy, request: &str) -> (Result<Answered, Error>, String) {
        let mut inbox = Inbox::default();
        let mut outbox = Outbox::default();
        let mut result = Ok(Answered::NotYet);
        for byte in request.bytes() {
            inbox.push(&[byte]);
            result = answer(policy, &mut inbox, &mut outbox);
            if result != Ok(Answered::NotYet) {
                break;
            }
        }
        (result, String::from_utf8(outbox.bytes().to_vec()).unwrap())
    }

    fn status(request: &str) -> u16 {
        match answered(&Policy::default(), request).0 {
            Ok(Answered::Opened { .. }) => 101,
            Ok(Answered::NotYet) => 0,
            Err(Error::Refused { status, .. }) => status,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn request_of_the_rfc_is_accepted() {
        let (result, response) = answered(&Policy::default(), REQUEST);
        assert_eq!(result, Ok(Answered::Opened { user_agent: None, grant: None }));
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!response.contains("Sec-WebSocket-Protocol"));
    }

    #[test]
    fn client_s_name_is_kept_short_and_without_control_characters() {
        let name = format!("bot\t{}", "x".repeat(200));
        let request = REQUEST.replace("Upgrade: W", &format!("User-Agent: {name}\r\nUpgrade: W"));
        let Ok(Answered::Opened { user_agent: Some(shown), .. }) =
            answered(&Policy::default(), &request).0
        else {
            panic!("not opened")
        };
        assert_eq!(*shown, format!("bot{}", "x".repeat(77)));
    }

    #[test]
    fn malformed_requests_are_told_what_is_wrong() {
        let without = |line: &str| REQUEST.replace(line, "X-Gone: ");
        assert_eq!(status(&without("Host: ")), 400);
        assert_eq!(status(&without("Connection: ")), 400);
        assert_eq!(status(&without("Sec-WebSocket-Key: ")), 400);
        assert_eq!(status(&without("Sec-WebSocket-Version: ")), 426);
        assert_eq!(status(&without("Upgrade: ")), 426);
        assert_eq!(status(&REQUEST.replace("Version: 13", "Version: 8")), 426);
        assert_eq!(status(&REQUEST.replace("dGhl", "dGh")), 400);
        assert_eq!(status(&REQUEST.replace("dGhl", "!!!!")), 400);
        assert_eq!(status(&REQUEST.replace("GET", "POST")), 405);
        assert_eq!(status(&REQUEST.replace("HTTP/1.1", "HTTP/1.0")), 400);
        assert_eq!(status("\x16\x03\x01\x02\x00\x01"), 400);
        let (_, answer) = answered(&Policy::default(), "\x16\x03");
        assert!(answer.contains("a TLS hello"), "{answer}");
        assert_eq!(status(&REQUEST[..REQUEST.len() - 2]), 0);
    }

    #[test]
    fn head_has_a_limit() {
        let long = REQUEST.replace("/ HTTP", &format!("/{} HTTP", "x".repeat(MAX_HEAD_BYTES)));
        assert_eq!(status(&long), 431);
        let many = REQUEST.replace("\r\n\r\n", &"\r\nX: y".repeat(MAX_HEADERS)) + "\r\n\r\n";
        assert_eq!(status(&many), 431);
    }

    #[test]
    fn page_of_another_origin_is_refused_unless_named() {
        let from = |origin: &str| {
            REQUEST.replace("Upgrade: W", &format!("Origin: {origin}\r\nUpgrade: W"))
        };
        let policy =
            Policy { allowed_origins: vec!["https://desk.example".into()], ..Policy::default() };
        let result = |origin| answered(&policy, &from(origin)).0.is_ok();
        assert!(result("https://DESK.example"));
        assert!(result("http://localhost:8765"));
        assert!(!result("http://localhost:3000"));
        assert!(!result("https://evil.example"));
        assert!(!result("null"));
        let rebound =
            from("http://evil.example:8765").replace("localhost:8765", "evil.example:8765");
        assert!(answered(&policy, &rebound).0.is_err(), "a name that was made to point here");
    }

    #[test]
    fn origin_that_is_no_text_is_refused() {
        let mut request = REQUEST.replace("Upgrade: W", "Origin: ?\r\nUpgrade: W").into_bytes();
        let at = request.iter().position(|byte| *byte == b'?').unwrap();
        request[at] = 0xff;
        let mut inbox = Inbox::default();
        inbox.push(&request);
        let answered = answer(&Policy::default(), &mut inbox, &mut Outbox::default());
        assert!(matches!(answered, Err(Error::Refused { status: 403, .. })));
    }

    #[test]
    fn subprotocol_is_the_first_of_ours_that_was_offered() {
        let policy = Policy { subprotocols: vec!["v2".into(), "v1".into()], ..Policy::default() };
        let request =
            REQUEST.replace("Upgrade: W", "Sec-WebSocket-Protocol: v0, v1, v2\r\nUpgrade: W");
        assert!(answered(&policy, &request).1.contains("Sec-WebSocket-Protocol: v2\r\n"));
        assert!(!answered(&Policy::default(), &request).1.contains("Sec-WebSocket-Protocol"));
    }

    #[test]
    fn passer_by_gets_a_friendly_page() {
        let (_, page) = answered(&Policy::default(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(page.contains("This is a Veylor endpoint"));
    }
}
