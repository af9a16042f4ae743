//! HTTP/1.1 requests with small bodies, and their answers: what the operator's door speaks
//! (RFC 9112).

use httparse::Status;

use super::auth::Shown;
use super::http::{MAX_HEAD_BYTES, MAX_HEADERS, has_token, header, origin_form};
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// Bytes of a request's body at most.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A request that is all there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST` or something else.
    pub method: String,
    /// The target without its query.
    pub path: String,
    /// The host and the port that it was meant for, empty if it does not say.
    pub host: String,
    /// The secrets that it shows.
    pub shown: Shown,
    /// Whether the body is binary (`application/octet-stream`).
    pub is_binary: bool,
    /// Its body, empty if there is none.
    pub body: Vec<u8>,
    /// Whether the connection stays for another request.
    pub keeps_alive: bool,
}

/// A request that cannot be understood; the connection ends with this answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong.
    pub reason: &'static str,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The type of its body.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: &'static [(&'static str, &'static str)],
    /// Its body.
    pub body: Vec<u8>,
}

/// What an inbox has of the next request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All of it.
    Whole(Request),
    /// Not all.
    Part,
    /// Its head, and whoever sent it asks whether the body may come (RFC 9110, section 10.1.1).
    AsksToGoOn,
}

/// The answer to [`Taken::AsksToGoOn`], once for each request.
pub const GO_ON: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Request {
    /// Takes the next request out of an inbox if it is all there.
    pub fn take(inbox: &mut Inbox) -> Result<Taken, Refusal> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        let bytes = inbox.bytes();
        let head_bytes = match parsed.parse(&bytes[..bytes.len().min(MAX_HEAD_BYTES)]) {
            Ok(Status::Complete(head_bytes)) => head_bytes,
            Ok(Status::Partial) if bytes.len() >= MAX_HEAD_BYTES => {
                return refuse(431, "the request's head is above 16 KiB");
            }
            Ok(Status::Partial) => return Ok(Taken::Part),
            Err(httparse::Error::TooManyHeaders) => return refuse(431, "too many headers"),
            Err(_) => return refuse(400, "not an HTTP request"),
        };
        let body_bytes = body_bytes(parsed.headers)?;
        let target = parsed.path.unwrap_or_default();
        let mut request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path_of(target).to_owned(),
            shown: Shown::by(target, parsed.headers),
            host: text_of(parsed.headers, "Host").unwrap_or_default().to_owned(),
            is_binary: has_type(parsed.headers, "application/octet-stream"),
            body: Vec::new(),
            keeps_alive: parsed.version == Some(1)
                && !has_token(parsed.headers, "Connection", "close"),
        };
        if bytes.len() < head_bytes + body_bytes {
            let asks = has_token(parsed.headers, "Expect", "100-continue");
            inbox.expect(head_bytes + body_bytes);
            return Ok(if asks { Taken::AsksToGoOn } else { Taken::Part });
        }
        request.body = inbox.take(head_bytes + body_bytes)[head_bytes..].to_vec();
        Ok(Taken::Whole(request))
    }
}

impl Response {
    /// An answer of a line of text.
    pub fn text(status: u16, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            headers: &[],
            body: format!("{text}\n").into_bytes(),
        }
    }

    /// An answer of JSON.
    pub fn json(status: u16, json: Vec<u8>) -> Self {
        Self { status, content_type: "application/json", headers: &[], body: json }
    }

    /// Owes the answer to a request; a HEAD gets no body.
    pub fn send(&self, request: &Request, outbox: &mut Outbox) {
        let connection = if request.keeps_alive { "" } else { "Connection: close\r\n" };
        let length = format!("Content-Length: {}\r\n", self.body.len());
        outbox.push(self.head(connection, &length).as_bytes());
        if request.method != "HEAD" {
            outbox.push(&self.body);
        }
    }

    /// Owes the answer's head alone: its body comes in parts and ends with the connection.
    pub fn begin(&self, outbox: &mut Outbox) {
        outbox.push(self.head("Connection: close\r\n", "").as_bytes());
    }

    fn head(&self, connection: &str, length: &str) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n{}{connection}{length}\r\n",
            self.status,
            super::http::reason_phrase(self.status),
            self.content_type,
            headers.collect::<String>(),
        )
    }
}

impl Refusal {
    /// Owes the answer; the connection ends after it.
    pub fn send(self, outbox: &mut Outbox) {
        let response = Response::text(self.status, self.reason);
        let length = format!("Content-Length: {}\r\n", response.body.len());
        outbox.push(response.head("Connection: close\r\n", &length).as_bytes());
        outbox.push(&response.body);
    }
}

fn body_bytes(headers: &[httparse::Header<'_>]) -> Result<usize, Refusal> {
    if header(headers, "Transfer-Encoding").is_some() {
        return Err(Refusal { status: 411, reason: "a body needs a Content-Length here" });
    }
    let Some(length) = header(headers, "Content-Length") else { return Ok(0) };
    let mut lengths = headers.iter().filter(|h| h.name.eq_ignore_ascii_case("Content-Length"));
    if lengths.any(|other| other.value.trim_ascii() != length) {
        return Err(Refusal { status: 400, reason: "there are two Content-Lengths" });
    }
    let digits = std::str::from_utf8(length).ok().filter(|text| !text.starts_with('+'));
    match digits.and_then(|text| text.parse::<usize>().ok()) {
        None => Err(Refusal { status: 400, reason: "Content-Length is not a number" }),
        Some(length) if length > MAX_BODY_BYTES => {
            Err(Refusal { status: 413, reason: "the body is above 1 MiB" })
        }
        Some(length) => Ok(length),
    }
}

/// The path of a target without its query.
fn path_of(target: &str) -> &str {
    match origin_form(target).split('?').next() {
        None | Some("") => "/",
        Some(path) => path,
    }
}

/// Whether a body is of a type, with or without parameters (RFC 9110, section 8.3.1).
fn has_type(headers: &[httparse::Header<'_>], wanted: &str) -> bool {
    let value = text_of(headers, "Content-Type").unwrap_or_default();
    let (essence, _) = value.split_once(';').unwrap_or((value, ""));
    essence.trim_ascii().eq_ignore_ascii_case(wanted)
}

fn text_of<'h>(headers: &'h [httparse::Header<'h>], name: &str) -> Option<&'h str> {
    header(headers, name).and_then(|value| std::str::from_utf8(value).ok())
}

fn refuse(status: u16, reason: &'static str) -> Result<Taken, Refusal> {
    Err(Refusal { status, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> Result<Vec<Request>, Refusal> {
        let mut inbox = Inbox::default();
        let mut requests = Vec::new();
        for byte in bytes {
            inbox.push(&[*byte]);
            if let Taken::Whole(request) = Request::take(&mut inbox)? {
                requests.push(request);
            }
        }
        Ok(requests)
    }

    #[test]
    fn requests_follow_one_another_with_and_without_bodies() {
        let requests = taken(
            b"GET /a?x=1 HTTP/1.1\r\nHost: h\r\n\r\n\
              POST /b HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
        )
        .unwrap();
        let paths: Vec<_> = requests.iter().map(|r| (&*r.method, &*r.path, &*r.body)).collect();
        assert_eq!(paths, [("GET", "/a", &b""[..]), ("POST", "/b", b"hi")]);
        assert!(requests[0].keeps_alive && !requests[1].keeps_alive);
    }

    #[test]
    fn target_may_be_a_url_and_a_type_may_have_parameters() {
        let paths = [
            ("/a://b?c", "/a://b"),
            ("http://h:1/a/b?c", "/a/b"),
            ("http://h", "/"),
            ("http://h?c", "/"),
        ];
        for (target, path) in paths {
            assert_eq!(path_of(target), path, "{target}");
        }
        let request = |value| format!("POST / HTTP/1.1\r\nContent-Type: {value}\r\n\r\n");
        let is_binary = |value| taken(request(value).as_bytes()).unwrap()[0].is_binary;
        assert!(is_binary("Application/octet-stream; charset=binary"));
        assert!(!is_binary("text/plain; x=application/octet-stream"));
    }

    #[test]
    fn who_asks_to_go_on_has_sent_a_head_and_no_body() {
        let mut inbox = Inbox::default();
        inbox.push(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n");
        assert_eq!(Request::take(&mut inbox), Ok(Taken::Part));
        inbox.push(b"\r\nh");
        assert_eq!(Request::take(&mut inbox), Ok(Taken::AsksToGoOn));
        inbox.push(b"i");
        assert!(matches!(Request::take(&mut inbox), Ok(Taken::Whole(_))));
    }

    #[test]
    fn what_cannot_be_served_is_refused_with_its_status() {
        let status = |bytes: &[u8]| taken(bytes).unwrap_err().status;
        assert_eq!(status(b"\x00\x01"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n"), 400);
        let two = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n";
        assert_eq!(status(two), 400);
        assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n"), 413);
        assert_eq!(status(format!("GET /{} HTTP/1.1", "x".repeat(20_000)).as_bytes()), 431);
    }

    #[test]
    fn head_gets_the_length_but_not_the_body() {
        let request = taken(b"HEAD / HTTP/1.1\r\n\r\n").unwrap().remove(0);
        let mut outbox = Outbox::default();
        Response::text(200, "hello").send(&request, &mut outbox);
        let text = String::from_utf8(outbox.bytes().to_vec()).unwrap();
        assert!(text.contains("Content-Length: 6\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
