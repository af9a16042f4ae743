//! Any request is answered, the same however it is cut: with a handshake that fits its key, or with
//! a complete HTTP answer. No page of a foreign origin gets in, nobody without a secret where one is
//! asked for, and a head has a limit.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tungstenite::handshake::derive_accept_key;
use veylor::codec::auth::{Auth, Grant};
use veylor::codec::{Error, ws};
use veylor::net::url::percent_decoded;
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::{Peer, Seen, Story};

const ORIGIN: &str = "https://desk.example";
const TOKEN: &str = "open-sesame";
const USER: &str = "ali:baba";
/// The user as a header shows it.
const BASIC: &str = "YWxpOmJhYmE=";

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    let open = ws::Policy {
        allowed_origins: vec![ORIGIN.into()],
        subprotocols: vec!["v2".into(), "v1".into()],
        auth: Auth::default(),
    };
    let (user, password) = USER.split_once(':').expect("it has a colon");
    let auth = Auth::new([
        Grant::token(TOKEN, String::new(), false),
        Grant::basic(user, password, user.to_owned(), true),
    ]);
    let guarded = Arc::new(ws::Policy { auth, ..open.clone() });
    tell(&Arc::new(open), bytes, cuts);
    let is_let_in = |seen: &Seen| matches!(seen, Seen::Opened | Seen::Streams);
    if tell(&guarded, bytes, cuts).seen.iter().any(is_let_in) {
        check_secret(bytes);
    }
});

/// What a request comes to, however it is cut.
fn tell(policy: &Arc<ws::Policy>, bytes: &[u8], cuts: Cuts) -> Story {
    let (mut peer, mut other) = (Peer::accepting(policy), Peer::accepting(policy));
    let story = peer.read(bytes, cuts);
    assert_eq!(story, other.read(bytes, Cuts::none()), "the cuts made a difference");
    assert_eq!(peer.outbox.bytes(), other.outbox.bytes());
    check(bytes, &story, peer.outbox.bytes());
    story
}

/// Whether a request that was let in shows a secret, if need be with its escapes undone.
fn check_secret(request: &[u8]) {
    let plain = percent_decoded(&String::from_utf8_lossy(request));
    let is_there = |secret: &str| plain.contains(secret);
    assert!(is_there(TOKEN) || is_there(BASIC), "somebody without a secret was let in");
}

fn check(request: &[u8], story: &Story, answer: &[u8]) {
    match (&story.error, story.seen.first()) {
        (Some(Error::Refused { status, .. }), None) => check_refusal(*status, answer),
        (_, Some(Seen::Opened)) => check_handshake(request, answer),
        (None, Some(Seen::Streams)) => assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n")),
        (None, None) => assert_eq!(answer, b"", "an answer to half a request"),
        wrong => panic!("not the end of a handshake: {wrong:?}"),
    }
}

fn check_refusal(status: u16, answer: &[u8]) {
    let text = std::str::from_utf8(answer).expect("the answer is text");
    assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").expect("the answer has a head");
    assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{text}");
}

fn check_handshake(request: &[u8], answer: &[u8]) {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("a whole head");
    let head = std::str::from_utf8(&answer[..head]).expect("the head is text");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let key = header(request, "sec-websocket-key").expect("a request without a key was accepted");
    let accept = format!("Sec-WebSocket-Accept: {}", derive_accept_key(key));
    assert!(head.lines().any(|line| line == accept), "{head}");
    if let Some(origin) = header(request, "origin") {
        let host = header(request, "host").expect("a request without a host was accepted");
        let own = [&b"://"[..], host].concat().to_ascii_lowercase();
        let is_own = origin.to_ascii_lowercase().ends_with(&own);
        assert!(is_own || origin.eq_ignore_ascii_case(ORIGIN.as_bytes()), "a foreign page got in");
    }
}

/// The value of the first header of that name, whatever bytes it is made of.
fn header<'a>(request: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let lines = request.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    lines.take_while(|line| !line.is_empty() || line.as_ptr() == request.as_ptr()).find_map(
        |line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let is_it = line[..colon].eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| line[colon + 1..].trim_ascii())
        },
    )
}
