//! The opening handshake as a client (RFC 6455, section 4.1).

use std::fmt;
use std::time::Duration;

use httparse::{Header, Response, Status};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

use crate::codec::http::{MAX_HEAD_BYTES, MAX_HEADERS, has_token, header};
use crate::codec::{Error, Location, date};
use crate::net::secrets::Secrets;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// Interim answers that may come before the final one (RFC 9110, section 15.2).
const MAX_INTERIM_ANSWERS: usize = 8;
/// Answers that say where a source is instead (RFC 9110, section 15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

/// Words of headers that are none.
const SCHEMES: [&str; 3] = ["Bearer", "Basic", "Digest"];

/// What a source is asked. `Debug` keeps the headers' values to itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Path and query, beginning with `/`.
    pub path_and_query: String,
    /// The value of the `Host` header.
    pub host: String,
    /// Further headers; checked by the configuration to have no line breaks.
    pub headers: Vec<(String, String)>,
    /// Subprotocols to offer, best first.
    pub subprotocols: Vec<String>,
    /// What must not come into the log by the source's mouth, besides the words of the headers and
    /// of the query.
    pub secrets: Secrets,
}

/// What the response to a request must say.
pub(super) struct Expected {
    accept: String,
    subprotocols: Vec<String>,
    /// What we tell the source that must not come into the log by its mouth.
    pub(super) secrets: Secrets,
}

/// What has come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verified {
    /// The response has not come whole.
    NotYet,
    /// Messages may pass.
    Opened {
        /// What the source has chosen of what it was offered.
        subprotocol: Chosen,
    },
}

/// A subprotocol, if one was chosen.
type Chosen = Option<Box<str>>;

impl Request {
    /// Owes the request. Says what the response must be.
    pub(super) fn begin(&self, outbox: &mut Outbox) -> Expected {
        let key = generate_key();
        outbox.push(self.text(&key).as_bytes());
        let accept = derive_accept_key(key.as_bytes());
        let subprotocols = self.subprotocols.clone();
        Expected { accept, subprotocols, secrets: self.all_secrets() }
    }

    /// All that must not come into the log by the source's mouth.
    fn all_secrets(&self) -> Secrets {
        let (_, query) = self.path_and_query.split_once('?').unwrap_or_default();
        let values = self.headers.iter().map(|(_, value)| value.as_str());
        let words = values.flat_map(|value| value.split([' ', '\t', ',', ';']));
        let words = words.filter(|word| !SCHEMES.contains(word));
        let mut secrets = self.secrets.clone();
        for word in words.chain(query.split('&')) {
            // Of a cookie and of a query the value, of a signature all.
            secrets.extend(word.split_once('=').map(|(_, value)| value));
            secrets.add(word);
        }
        secrets
    }

    fn text(&self, key: &str) -> String {
        let mut lines = vec![
            format!("GET {} HTTP/1.1", self.path_and_query),
            format!("Host: {}", self.host),
            "Upgrade: websocket".to_owned(),
            "Connection: Upgrade".to_owned(),
            format!("Sec-WebSocket-Key: {key}"),
            "Sec-WebSocket-Version: 13".to_owned(),
        ];
        if !self.subprotocols.is_empty() {
            lines.push(format!("Sec-WebSocket-Protocol: {}", self.subprotocols.join(", ")));
        }
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("User-Agent")) {
            lines.push(format!("User-Agent: veylor/{}", env!("CARGO_PKG_VERSION")));
        }
        lines.extend(self.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.join("\r\n") + "\r\n\r\n"
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Request")
            .field("host", &self.host)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

impl Expected {
    /// Verifies the response as soon as it is all there.
    pub(super) fn verify(&self, inbox: &mut Inbox) -> Result<Verified, Error> {
        let Some((head_bytes, subprotocol)) = self.understand(inbox.bytes())? else {
            return Ok(Verified::NotYet);
        };
        inbox.take(head_bytes);
        Ok(Verified::Opened { subprotocol })
    }

    /// How long the head is, with the interim answers before it, and what was chosen in it.
    fn understand(&self, bytes: &[u8]) -> Result<Option<(usize, Chosen)>, Error> {
        let head = &bytes[..bytes.len().min(MAX_HEAD_BYTES)];
        let mut begin = 0;
        for _ in 0..=MAX_INTERIM_ANSWERS {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = Response::new(&mut headers);
            match response.parse(&head[begin..]) {
                Ok(Status::Complete(head_bytes)) => begin += head_bytes,
                Ok(Status::Partial) if head.len() == MAX_HEAD_BYTES => {
                    return Err(faulty("its head is above 16 KiB"));
                }
                Ok(Status::Partial) => return Ok(None),
                Err(httparse::Error::TooManyHeaders) => return Err(faulty("too many headers")),
                Err(_) => return Err(faulty("not an HTTP response")),
            }
            if !matches!(response.code, Some(100 | 102..=199)) {
                let chosen = self.agrees(&response, &bytes[begin..])?;
                return Ok(Some((begin, chosen)));
            }
        }
        Err(faulty("too many interim answers"))
    }

    /// The subprotocol that was chosen, if the response is what it must be.
    fn agrees(&self, response: &Response<'_, '_>, body: &[u8]) -> Result<Option<Box<str>>, Error> {
        let headers = &*response.headers;
        let status = response.code.unwrap_or_default();
        if let Some(location) = location(status, headers) {
            return Err(Error::Moved { status, location });
        }
        if status != 101 {
            let reason = self.own_words(response, body);
            let retry_after = retry_after(headers);
            return Err(Error::NotAccepted { status, reason, retry_after });
        }
        if !has_token(headers, "Upgrade", "websocket") {
            return Err(faulty("no Upgrade: websocket"));
        }
        if !has_token(headers, "Connection", "upgrade") {
            return Err(faulty("no Connection: Upgrade"));
        }
        if header(headers, "Sec-WebSocket-Accept") != Some(self.accept.as_bytes()) {
            return Err(faulty("Sec-WebSocket-Accept does not fit the key"));
        }
        if header(headers, "Sec-WebSocket-Extensions").is_some_and(|value| !value.is_empty()) {
            return Err(faulty("an extension that was not offered"));
        }
        let Some(chosen) = header(headers, "Sec-WebSocket-Protocol") else { return Ok(None) };
        match self.subprotocols.iter().find(|offered| offered.as_bytes() == chosen) {
            Some(offered) => Ok(Some(offered.as_str().into())),
            None => Err(faulty("a subprotocol that was not offered")),
        }
    }
}

impl Expected {
    /// What a refusing source says: its reason phrase, where it points, and the first line of its
    /// page, as far as that came with the head.
    fn own_words(&self, response: &Response<'_, '_>, body: &[u8]) -> String {
        let mut words = vec![self.shown(response.reason.unwrap_or_default().as_bytes())];
        let wait = header(response.headers, "Retry-After").filter(|wait| !wait.is_empty());
        words.extend(wait.map(|wait| format!("(Retry-After: {})", self.shown(wait))));
        let lines = body.split(|byte| *byte == b'\n').map(|line| self.shown(line));
        let line = lines.into_iter().find(|line| !line.is_empty());
        words.extend(line.filter(|line| !line.starts_with('<')).map(|line| format!("\"{line}\"")));
        words.join(" ")
    }

    /// A few words of a source's, fit for a line of the log: without what we have told it.
    fn shown(&self, bytes: &[u8]) -> String {
        self.secrets.shown(&String::from_utf8_lossy(bytes))
    }
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("accept", &self.accept).finish_non_exhaustive()
    }
}

/// How long a source wants to be left alone: seconds, or a date, which its own `Date` is taken
/// from, so that our clocks need not agree (RFC 9110, section 10.2.3).
fn retry_after(headers: &[Header<'_>]) -> Option<Duration> {
    let wanted = header(headers, "Retry-After").filter(|wanted| !wanted.is_empty())?;
    let wanted = std::str::from_utf8(wanted).ok()?;
    if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are no number are too many.
        return Some(Duration::from_secs(wanted.parse().unwrap_or(u64::MAX)));
    }
    let date = std::str::from_utf8(header(headers, "Date")?).ok()?;
    let seconds = date::seconds(wanted)?.saturating_sub(date::seconds(date)?);
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()))
}

/// Where a source is instead, if it says so.
fn location(status: u16, headers: &[Header<'_>]) -> Option<Location> {
    let target = header(headers, "Location").filter(|target| !target.is_empty())?;
    let text = std::str::from_utf8(target).ok()?;
    REDIRECTS.contains(&status).then(|| Location(text.to_owned()))
}

fn faulty(reason: &str) -> Error {
    Error::NotAccepted { status: 101, reason: reason.to_owned(), retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let subprotocols = vec!["v1".into()];
        Expected { accept: "right".into(), subprotocols, secrets: Secrets::default() }
    }

    fn opened() -> Verified {
        Verified::Opened { subprotocol: Some("v1".into()) }
    }

    fn verified(response: &str) -> Result<Verified, Error> {
        let mut inbox = Inbox::default();
        let mut result = Ok(Verified::NotYet);
        for byte in response.bytes() {
            inbox.push(&[byte]);
            result = expected().verify(&mut inbox);
            if result != Ok(Verified::NotYet) {
                break;
            }
        }
        result
    }

    const RESPONSE: &str = "HTTP/1.1 101 Sure\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
        Sec-WebSocket-Accept: right\r\nSec-WebSocket-Protocol: v1\r\n\r\n";

    #[test]
    fn right_response_opens_the_connection_and_leaves_what_follows() {
        let mut inbox = Inbox::default();
        inbox.push(RESPONSE.as_bytes());
        inbox.push(b"\x81\x02hi");
        assert_eq!(expected().verify(&mut inbox), Ok(opened()));
        assert_eq!(inbox.bytes(), b"\x81\x02hi");
    }

    #[test]
    fn faulty_responses_are_refused() {
        let refused = |from, to| verified(&RESPONSE.replace(from, to)).is_err();
        assert_eq!(verified(RESPONSE), Ok(opened()));
        assert!(refused("right", "wrong"));
        assert!(refused("WebSocket\r", "h2c\r"));
        assert!(refused("upgrade", "close"));
        assert!(refused("v1", "v2"));
        assert!(refused("v1", "v1\u{a0}"));
        assert!(refused("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"));
        assert!(refused("HTTP/1.1", "SIP/2.0"));
        assert!(refused("Sure", &"x".repeat(MAX_HEAD_BYTES)));
    }

    #[test]
    fn interim_answers_are_passed_over_and_are_not_endless() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        for interim in [early, "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 102 P\r\n\r\n"] {
            assert_eq!(verified(&format!("{interim}{RESPONSE}")), Ok(opened()), "{interim}");
        }
        let many = early.repeat(MAX_INTERIM_ANSWERS);
        assert_eq!(verified(&format!("{many}{RESPONSE}")), Ok(opened()));
        assert!(verified(&format!("{early}{many}{RESPONSE}")).is_err());
        let long = early.replace("/x", &"x".repeat(MAX_HEAD_BYTES / 2));
        assert_eq!(verified(&long), Ok(Verified::NotYet));
        assert!(verified(&format!("{long}{long}")).is_err());
        let error = verified(&format!("{early}HTTP/1.1 503 Busy\r\n\r\n")).unwrap_err();
        assert_eq!(error.to_string(), "answered HTTP 503 Busy");
    }

    #[test]
    fn header_that_is_no_text_is_not_overlooked() {
        for name in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"] {
            let response = RESPONSE.replace("Sec-WebSocket-Protocol: v1", &format!("{name}: ?"));
            let mut bytes = response.into_bytes();
            let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
            bytes[at] = 0xff;
            let mut inbox = Inbox::default();
            inbox.push(&bytes);
            assert!(expected().verify(&mut inbox).is_err(), "{name}");
        }
    }

    #[test]
    fn refusal_repeats_the_source_s_own_words() {
        let error = verified("HTTP/1.1 401 Who\u{7}are you\r\n\r\n");
        assert!(error.is_err());
        let error = verified("HTTP/1.1 429 Slow down\r\n\r\n").unwrap_err();
        assert_eq!(error.to_string(), "answered HTTP 429 Slow down");
        let moved = b"HTTP/1.1 500 Sorry\r\n\r\n\ngone\tthere\nmore";
        let mut inbox = Inbox::default();
        inbox.push(moved);
        let error = expected().verify(&mut inbox).unwrap_err();
        let said = "answered HTTP 500 Sorry \"gonethere\"";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn place_that_a_source_has_moved_to_is_told_and_not_shown() {
        for status in REDIRECTS {
            let answer = format!("HTTP/1.1 {status} Moved\r\nLocation: https://b/?s3cret\r\n\r\n");
            let error = verified(&answer).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
            let location = Location("https://b/?s3cret".to_owned());
            assert_eq!(error, Error::Moved { status, location });
        }
        for answer in
            ["301 Moved\r\n", "301 Moved\r\nLocation:\r\n", "300 Choose\r\nLocation: /\r\n"]
        {
            let error = verified(&format!("HTTP/1.1 {answer}\r\n")).unwrap_err();
            assert!(error.to_string().starts_with("answered HTTP 30"), "{error}");
        }
    }

    #[test]
    fn patience_that_is_asked_for_is_understood_as_seconds_and_as_a_date() {
        let asked = |headers: &str| {
            let answer = format!("HTTP/1.1 503 Busy\r\n{headers}\r\n");
            let Error::NotAccepted { retry_after, .. } = verified(&answer).unwrap_err() else {
                panic!("not an answer");
            };
            retry_after.map(|wait| wait.as_secs())
        };
        assert_eq!(asked("Retry-After: 120\r\n"), Some(120));
        assert_eq!(asked("Retry-After: 99999999999999999999999\r\n"), Some(u64::MAX));
        assert_eq!(asked(""), None);
        for empty in ["Retry-After:\r\n", "Retry-After: \t \r\n"] {
            assert_eq!(asked(empty), None);
        }
        assert_eq!(asked("Retry-After: soon\r\nDate: Wed, 21 Oct 2015 07:28:00 GMT\r\n"), None);
        let date = "Retry-After: Wed, 21 Oct 2015 07:28:30 GMT\r\n";
        assert_eq!(asked(date), None);
        let later = format!("{date}Date: Wed, 21 Oct 2015 07:27:00 GMT\r\n");
        assert_eq!(asked(&later), Some(90));
        let past = format!("{date}Date: Thu, 22 Oct 2015 07:27:00 GMT\r\n");
        assert_eq!(asked(&past), Some(0));
    }

    #[test]
    fn refusal_repeats_nothing_that_we_have_told() {
        let request = Request {
            path_and_query: "/x?key=QUERYSECRET&a=b".into(),
            headers: vec![
                ("Authorization".into(), "Bearer HEADERSECRET".into()),
                ("Cookie".into(), "theme=dark; session=COOKIESECRET".into()),
            ],
            ..Request::default()
        };
        let expected = request.begin(&mut Outbox::default());
        for answer in [
            "403 key QUERYSECRET of Bearer HEADERSECRET is bad\r\n\r\nno HEADERSECRET here\n",
            "403 session COOKIESECRET is over\r\n\r\n",
            "301 Moved\r\nLocation: https://u:URLSECRET@h/x/?key=QUERYSECRET\r\n\r\n",
            "302 Moved\r\nLocation: /QUERYSECRET?HEADERSECRET\r\n\r\n",
        ] {
            let mut inbox = Inbox::default();
            inbox.push(format!("HTTP/1.1 {answer}").as_bytes());
            let error = expected.verify(&mut inbox).unwrap_err().to_string();
            assert!(!error.contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn request_carries_the_headers_and_debug_hides_their_values() {
        let request = Request {
            path_and_query: "/x?y".into(),
            host: "example.com".into(),
            headers: vec![("Authorization".into(), "Bearer s3cret".into())],
            subprotocols: vec!["v2".into(), "v1".into()],
            ..Request::default()
        };
        let text = request.text("KEY");
        assert!(text.starts_with("GET /x?y HTTP/1.1\r\nHost: example.com\r\n"));
        assert!(text.contains("\r\nSec-WebSocket-Protocol: v2, v1\r\n"));
        assert!(text.ends_with("\r\nAuthorization: Bearer s3cret\r\n\r\n"));
        assert!(!format!("{request:?}").contains("s3cret"));
    }
}
