//! The opening handshake as a server (RFC 6455, section 4.2).

use std::borrow::Cow;
use std::sync::Arc;

use httparse::{Header, Request, Status};
use tungstenite::handshake::derive_accept_key;

use crate::codec::auth::{self, Auth, Grant, Shown};
use crate::codec::entrance::Entrance;
use crate::codec::http::{
    MAX_HEAD_BYTES, MAX_HEADERS, accepts, has_token, header, is_fixed_host, reason_phrase, tokens,
};
use crate::codec::{Error, Wire, base64};
use crate::reactor::outbox::Outbox;

/// The length of a base64-encoded key of 16 bytes.
const KEY_CHARS: usize = 24;

/// Characters of a client's own words that are kept.
const MAX_SHOWN_CHARS: usize = 80;

/// The first byte of a TLS handshake: the kind of its record (RFC 8446, section 5.1).
const TLS_HELLO: u8 = 0x16;

/// What an `EventSource` waits before it comes back, in milliseconds.
const RETRY_LINE: &str = "retry: 2000\n\n";

/// What a browser or a passer-by reads who opens the port in the address bar.
const FRIENDLY_PAGE: &str = "\
This is a Veylor endpoint. Connect a WebSocket client to this very address, with ws:// in front
(wss:// if it came over https://), for example

    python -m websockets ws://HOST:PORT/
    new WebSocket(\"ws://HOST:PORT/\")

Over plain HTTP it gives server-sent events with /sse behind the address, lines of JSON with /ndjson:

    curl -N http://HOST:PORT/sse
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
}

/// Why somebody is sent away who would be welcome at another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The endpoint has all the clients it may have.
    Full,
    /// The client's address has all the clients it may have.
    Crowded,
    /// The channel has all the filters it may have.
    Filters,
    /// What it has missed is not kept any more.
    Gap,
}

/// Where a request leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To messages.
    Messages(Entrance),
    /// To the list of channels; as JSON, if it asks for that.
    List {
        /// Whether it does.
        as_json: bool,
    },
}

/// A request that was agreed to.
pub(super) struct Agreed {
    pub(super) user_agent: Option<Box<str>>,
    pub(super) grant: Option<Arc<Grant>>,
}

/// A refusal: status and what was wrong.
type Refusal = (u16, Cow<'static, str>);

/// Bytes of the request at the front of an inbox, `None` if it is not all there.
pub(super) fn head_bytes(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    let head = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
    match request.parse(head) {
        Ok(Status::Complete(head_bytes)) => Ok(Some(head_bytes)),
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

/// Understands what the head of a request asks for. `is_shared`: its path names a channel.
pub(super) fn asked(head: &[u8], is_shared: bool) -> Result<Asked, Refusal> {
    with_request(head, |request| {
        let headers = &*request.headers;
        if request.method != Some("GET") {
            return Err((405, "only GET is spoken here: a handshake, or a stream".into()));
        }
        let target = request.path.unwrap_or_default();
        let entrance =
            Entrance::of(target, headers, is_shared).map_err(|wrong| (400, wrong.into()))?;
        if is_shared && entrance.channel.is_empty() && !has_token(headers, "Upgrade", "websocket") {
            return Ok(Asked::List { as_json: accepts(headers, "application/json") });
        }
        Ok(Asked::Messages(entrance))
    })
}

/// Answers the head of a request: agrees to what it asks for, or says why not.
pub(super) fn answer(
    head: &[u8],
    entrance: &Entrance,
    policy: &Policy,
    closed: Option<Closed>,
    outbox: &mut Outbox,
) -> Result<Agreed, Error> {
    let answered = with_request(head, |request| {
        let (response, grant) = agree(policy, closed, entrance, request)?;
        outbox.push(response.as_bytes());
        Ok(Agreed { user_agent: header(request.headers, "User-Agent").map(shown), grant })
    });
    answered.map_err(|refusal| match refusal {
        (401, reason) => {
            let challenges = policy.auth.challenges().iter();
            let lines = challenges.map(|(name, value)| format!("{name}: {value}\r\n"));
            refuse_with(401, &reason, &lines.collect::<String>(), outbox);
            Error::Refused { status: 401, reason: reason.into_owned() }
        }
        refusal => refuse(refusal, outbox),
    })
}

/// Owes an HTTP answer that says why there will be no messages.
pub(super) fn refuse((status, reason): Refusal, outbox: &mut Outbox) -> Error {
    let extra = match status {
        405 => "Allow: GET\r\n",
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        429 | 503 => "Retry-After: 5\r\n",
        _ => "",
    };
    refuse_with(status, &reason, extra, outbox);
    Error::Refused { status, reason: reason.into_owned() }
}

/// Owes a page; the connection ends with it.
pub(super) fn show(content_type: &str, body: &str, outbox: &mut Outbox) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
         Content-Length: {}\r\n\r\n",
        body.len(),
    );
    outbox.push(head.as_bytes());
    outbox.push(body.as_bytes());
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

/// Looks at the head of a request that is all there.
fn with_request<T>(
    head: &[u8],
    look: impl FnOnce(&Request<'_, '_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {
            let is_host = |header: &&Header<'_>| header.name.eq_ignore_ascii_case("Host");
            if request.headers.iter().filter(is_host).count() > 1 {
                return Err((400, "more than one Host header".into()));
            }
            look(&request)
        }
        Ok(Status::Partial) | Err(_) => Err((400, "not an HTTP request".into())),
    }
}

fn agree(
    policy: &Policy,
    closed: Option<Closed>,
    entrance: &Entrance,
    request: &Request<'_, '_>,
) -> Result<(String, Option<Arc<Grant>>), Refusal> {
    let headers = &*request.headers;
    let is_stream = matches!(entrance.wire, Wire::Sse | Wire::Ndjson);
    let key = if is_stream { &b""[..] } else { handshake_key(request)? };
    let Some(host) = header(headers, "Host") else { return Err((400, "no Host header".into())) };
    let origin = header(headers, "Origin");
    if let Some(origin) = origin
        && !std::str::from_utf8(origin).is_ok_and(|origin| is_allowed(policy, origin, host))
    {
        let origin = shown(origin);
        let reason = format!("pages of {origin:?} may not connect unless allowed_origins names it");
        return Err((403, reason.into()));
    }
    // Where a secret is asked for, such a page has none to show.
    if is_stream && origin.is_none() && policy.auth.is_open() && is_rebound(policy, headers, host) {
        let reason = "pages may not connect by this name unless allowed_origins names its origin";
        return Err((403, reason.into()));
    }
    let shown = || Shown::by(request.path.unwrap_or_default(), headers);
    let grant = policy.auth.admit(shown).map_err(|denial| (401, denial.words().into()))?;
    match closed {
        None if is_stream => Ok((stream_response(entrance.wire, origin), grant)),
        None => Ok((response(policy, headers, key), grant)),
        Some(closed) => Err(closed.refusal()),
    }
}

/// The key of a WebSocket handshake that is in order.
fn handshake_key<'h>(request: &Request<'h, '_>) -> Result<&'h [u8], Refusal> {
    let headers = &*request.headers;
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
    let key = headers.iter().find(|header| header.name.eq_ignore_ascii_case("Sec-WebSocket-Key"));
    let key = key.map(|header| header.value.trim_ascii()).filter(|key| is_key(key));
    key.ok_or_else(|| (400, "no Sec-WebSocket-Key of 16 bytes".into()))
}

/// Whether a browser's page asks by a name that may have been made to point here after it was
/// loaded. A handshake of its own origin shows that origin, a plain request does not. Only where
/// the name is trusted (TLS, a loopback name) do browsers say which site asks; a page cannot keep
/// them from saying which languages they like.
fn is_rebound(policy: &Policy, headers: &[Header<'_>], host: &[u8]) -> bool {
    let by_page = match header(headers, "Sec-Fetch-Site") {
        Some(site) => site != b"none",
        None => header(headers, "Accept-Language").is_some(),
    };
    let host = std::str::from_utf8(host).unwrap_or_default();
    let is_named = |allowed: &String| {
        let rest = allowed.split_once("://").map(|(_, rest)| rest);
        allowed == "*" || rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    by_page && !is_fixed_host(host) && !policy.allowed_origins.iter().any(is_named)
}

/// The head of a stream, which ends with the connection.
fn stream_response(wire: Wire, origin: Option<&[u8]>) -> String {
    let (content_type, beginning) = if wire == Wire::Sse {
        ("text/event-stream", RETRY_LINE)
    } else {
        ("application/x-ndjson", "")
    };
    let cors = origin.map(|origin| {
        let origin = String::from_utf8_lossy(origin);
        format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n")
    });
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\n\
         X-Accel-Buffering: no\r\nX-Content-Type-Options: nosniff\r\n{}Connection: close\r\n\r\n\
         {beginning}",
        cors.unwrap_or_default(),
    )
}

impl Closed {
    fn refusal(self) -> Refusal {
        match self {
            Self::Full => {
                (503, "the endpoint has all the clients it may have; see max_clients".into())
            }
            Self::Crowded => (
                429,
                "your address has all the clients it may have; see max_clients_per_address".into(),
            ),
            Self::Filters => {
                (503, "the channel has all the filters it may have; see max_filters".into())
            }
            Self::Gap => (
                410,
                "what came after that message is not kept any more; see history, or ask for \
                 notices=1"
                    .into(),
            ),
        }
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
    key.len() == KEY_CHARS && base64::decode(key).is_some_and(|bytes| bytes.len() == 16)
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

    /// What becomes of a request that comes byte by byte; `None`: it is not all there.
    fn answered(policy: &Policy, request: &[u8]) -> (Option<Result<Agreed, Error>>, String) {
        let mut outbox = Outbox::default();
        let whole = (0..=request.len()).find_map(|n| head_bytes(&request[..n]).transpose());
        let result = whole.map(|whole| {
            let asked = whole.and_then(|count| asked(&request[..count], false));
            match asked {
                Ok(Asked::Messages(entrance)) => {
                    answer(request, &entrance, policy, None, &mut outbox)
                }
                Ok(Asked::List { .. }) => panic!("there is one channel"),
                Err(refusal) => Err(refuse(refusal, &mut outbox)),
            }
        });
        (result, String::from_utf8(outbox.bytes().to_vec()).unwrap())
    }

    fn status(request: &str) -> u16 {
        match answered(&Policy::default(), request.as_bytes()).0 {
            Some(Ok(_)) => 101,
            None => 0,
            Some(Err(Error::Refused { status, .. })) => status,
            Some(Err(other)) => panic!("{other}"),
        }
    }

    fn opened(policy: &Policy, request: &str) -> (Agreed, String) {
        let (result, response) = answered(policy, request.as_bytes());
        (result.unwrap().unwrap(), response)
    }

    fn is_opened(policy: &Policy, request: &str) -> bool {
        answered(policy, request.as_bytes()).0.unwrap().is_ok()
    }

    #[test]
    fn request_of_the_rfc_is_accepted() {
        let (agreed, response) = opened(&Policy::default(), REQUEST);
        assert!(agreed.user_agent.is_none() && agreed.grant.is_none());
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!response.contains("Sec-WebSocket-Protocol"));
    }

    #[test]
    fn client_s_name_is_kept_short_and_without_control_characters() {
        let name = format!("bot\t{}", "x".repeat(200));
        let request = REQUEST.replace("Upgrade: W", &format!("User-Agent: {name}\r\nUpgrade: W"));
        let shown = opened(&Policy::default(), &request).0.user_agent.unwrap();
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
        let (_, answer) = answered(&Policy::default(), b"\x16\x03");
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
        let result = |origin| is_opened(&policy, &from(origin));
        assert!(result("https://DESK.example"));
        assert!(result("http://localhost:8765"));
        assert!(!result("http://localhost:3000"));
        assert!(!result("https://evil.example"));
        assert!(!result("null"));
        let rebound =
            from("http://evil.example:8765").replace("localhost:8765", "evil.example:8765");
        assert!(!is_opened(&policy, &rebound), "a name that was made to point here");
    }

    #[test]
    fn origin_that_is_no_text_is_refused() {
        let mut request = REQUEST.replace("Upgrade: W", "Origin: ?\r\nUpgrade: W").into_bytes();
        let at = request.iter().position(|byte| *byte == b'?').unwrap();
        request[at] = 0xff;
        let (result, _) = answered(&Policy::default(), &request);
        assert!(matches!(result, Some(Err(Error::Refused { status: 403, .. }))));
    }

    #[test]
    fn subprotocol_is_the_first_of_ours_that_was_offered() {
        let policy = Policy { subprotocols: vec!["v2".into(), "v1".into()], ..Policy::default() };
        let request =
            REQUEST.replace("Upgrade: W", "Sec-WebSocket-Protocol: v0, v1, v2\r\nUpgrade: W");
        assert!(opened(&policy, &request).1.contains("Sec-WebSocket-Protocol: v2\r\n"));
        assert!(!opened(&Policy::default(), &request).1.contains("Sec-WebSocket-Protocol"));
    }

    #[test]
    fn passer_by_gets_a_friendly_page() {
        let (_, page) = answered(&Policy::default(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 426 Upgrade Required\r\n"));
        assert!(page.contains("This is a Veylor endpoint"));
    }

    #[test]
    fn request_for_two_hosts_is_for_none() {
        let two = REQUEST.replace("Host:", "Host: other\r\nHost:");
        let (_, answer) = answered(&Policy::default(), two.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[test]
    fn stream_is_a_plain_answer_without_an_end() {
        let request = |extra: &str| format!("GET /sse HTTP/1.1\r\nHost: h:1\r\n{extra}\r\n");
        let (_, response) = opened(&Policy::default(), &request(""));
        assert!(response.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"));
        assert!(response.ends_with("\r\n\r\nretry: 2000\n\n"));
        assert!(!response.contains("Content-Length") && !response.contains("Access-Control"));
        let ndjson = request("").replace("/sse", "/ndjson");
        assert!(opened(&Policy::default(), &ndjson).1.contains("application/x-ndjson"));
    }

    #[test]
    fn stream_is_not_for_pages_of_others() {
        let request = |extra: &str| format!("GET /sse HTTP/1.1\r\nHost: h:1\r\n{extra}\r\n");
        let page = request("Origin: https://desk.example\r\nSec-Fetch-Site: cross-site\r\n");
        assert!(!is_opened(&Policy::default(), &page));
        let policy =
            Policy { allowed_origins: vec!["https://desk.example".into()], ..Policy::default() };
        let (_, response) = opened(&policy, &page);
        assert!(response.contains("Access-Control-Allow-Origin: https://desk.example\r\n"));
        let rebound = request("Sec-Fetch-Site: same-origin\r\n");
        assert!(!is_opened(&policy, &rebound), "a name that was made to point here");
        assert!(is_opened(&policy, &rebound.replace("h:1", "localhost:1")));
        assert!(is_opened(&policy, &rebound.replace("h:1", "desk.example")));
        assert!(is_opened(&policy, &request("Sec-Fetch-Site: none\r\n")), "an address bar");
        // What a browser says whose page came by a name and without TLS; a page may empty it.
        assert!(!is_opened(&policy, &request("Accept-Language: \r\n")));
    }

    #[test]
    fn shared_endpoint_lists_its_channels() {
        let root = |extra: &str| {
            asked(format!("GET / HTTP/1.1\r\nHost: h\r\n{extra}\r\n").as_bytes(), true)
        };
        assert_eq!(root("").unwrap(), Asked::List { as_json: false });
        assert_eq!(root("Accept: application/json\r\n").unwrap(), Asked::List { as_json: true });
        assert!(matches!(root("Upgrade: websocket\r\n"), Ok(Asked::Messages(_))));
    }
}
