//! Any bytes at the operator's door are the same requests however they are cut, up to the first
//! that is refused. A request's body is as long as its head says, an answer is one whole HTTP
//! message, and no header of a visitor gets into it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::codec::http::MAX_HEAD_BYTES;
use veylor::codec::request::{MAX_BODY_BYTES, Refusal, Request, Response, Taken};
use veylor::reactor::inbox::Inbox;
use veylor::reactor::outbox::Outbox;
use veylor_fuzz::bytes::Cuts;

/// What came of a stream: its requests, how it was refused, and how many bytes were left.
#[derive(Debug, PartialEq, Eq)]
struct Visit {
    requests: Vec<Request>,
    refusal: Option<Refusal>,
    rest: usize,
}

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    let visit = visit(bytes, Cuts::none());
    let mut cut = self::visit(bytes, cuts);
    if visit.refusal.is_some() {
        // What came behind a refused request was or was not there yet.
        cut.rest = visit.rest;
    }
    assert_eq!(cut, visit, "the cuts made a difference");
    for request in &visit.requests {
        check_request(request);
        check_answer(request);
    }
    if let Some(refusal) = visit.refusal {
        check_refusal(refusal);
    } else {
        assert!(visit.rest < MAX_HEAD_BYTES + MAX_BODY_BYTES, "it waits for ever");
    }
});

fn visit(bytes: &[u8], cuts: Cuts) -> Visit {
    let mut inbox = Inbox::default();
    let mut visit = Visit { requests: Vec::new(), refusal: None, rest: 0 };
    for piece in cuts.pieces(bytes) {
        inbox.push(piece);
        visit.refusal = take_all(&mut inbox, &mut visit.requests).err();
        visit.rest = inbox.len();
        if visit.refusal.is_some() {
            break;
        }
    }
    visit
}

fn take_all(inbox: &mut Inbox, requests: &mut Vec<Request>) -> Result<(), Refusal> {
    loop {
        let before = inbox.len();
        match Request::take(inbox)? {
            Taken::Whole(request) => {
                let taken = before - inbox.len();
                assert!(taken > request.body.len(), "a request without a head");
                assert!(taken - request.body.len() <= MAX_HEAD_BYTES, "the head is too long");
                requests.push(request);
            }
            Taken::Part | Taken::AsksToGoOn => {
                assert_eq!(before, inbox.len(), "a part of a request was taken");
                return Ok(());
            }
        }
    }
}

fn check_request(request: &Request) {
    assert!(request.body.len() <= MAX_BODY_BYTES, "the body is too long");
    assert!(!request.method.is_empty() && !request.path.is_empty());
    assert!(!request.path.contains('?'), "a query in the path {:?}", request.path);
    let line = [&request.method, &request.path, &request.host];
    assert!(line.iter().all(|text| !text.contains(['\r', '\n'])), "a line end within {line:?}");
}

fn check_answer(request: &Request) {
    let mut outbox = Outbox::default();
    Response::json(200, request.body.clone()).send(request, &mut outbox);
    let (head, body) = parted(outbox.bytes());
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", request.body.len())), "{head}");
    assert_eq!(head.contains("\r\nConnection: close\r\n"), !request.keeps_alive, "{head}");
    let expected = if request.method == "HEAD" { &[][..] } else { &request.body[..] };
    assert_eq!(body, expected);
}

fn check_refusal(refusal: Refusal) {
    let mut outbox = Outbox::default();
    refusal.send(&mut outbox);
    let (head, body) = parted(outbox.bytes());
    assert!(head.starts_with(&format!("HTTP/1.1 {} ", refusal.status)), "{head}");
    assert!(!head.starts_with(&format!("HTTP/1.1 {} \r\n", refusal.status)), "no words: {head}");
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
}

/// An answer's head, with the last line's end, and its body.
fn parted(answer: &[u8]) -> (&str, &[u8]) {
    let at = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head");
    (std::str::from_utf8(&answer[..at + 2]).expect("the head is text"), &answer[at + 4..])
}
