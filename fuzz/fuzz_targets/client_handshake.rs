//! Any response is understood the same however it is cut; only one that fits the key and what was
//! offered opens the connection. What a source says of itself is short and cannot forge a log line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::codec::{Error, ws};
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::{Peer, Seen, Story};

/// Stands in an input for the key that fits; as long as one.
const ACCEPT: &[u8] = b"<the key that is accepted..>";

/// The status line's words, those of two headers with their names, and a line of the page.
const LONGEST_REASON: usize = 4 * 80 + 40;

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    let story = dial(bytes, Cuts::none());
    let cut = without_the_page_s_words(dial(bytes, cuts));
    assert_eq!(cut, without_the_page_s_words(story.clone()), "the cuts made a difference");
    match (&story.error, story.seen.first()) {
        (Some(Error::NotAccepted { reason, .. }), None) => {
            assert!(reason.chars().count() <= LONGEST_REASON, "a long reason: {reason}");
            assert!(!reason.contains(char::is_control), "a reason of two lines: {reason}");
        }
        (Some(Error::Moved { .. }) | None, None) => {}
        (_, Some(Seen::Opened)) => {
            assert!(bytes.starts_with(b"HTTP/1.") || bytes.trim_ascii_start() != bytes);
            assert!(bytes.windows(ACCEPT.len()).any(|part| part == ACCEPT), "opened without a key");
        }
        wrong => panic!("not the end of a handshake: {wrong:?}"),
    }
});

/// A refusal ends with a line of its page in quotes, as far as that came with the head: this may
/// differ, and nothing before it.
fn without_the_page_s_words(mut story: Story) -> Story {
    if let Some(Error::NotAccepted { reason, .. }) = &mut story.error {
        let head = reason.split('"').next().unwrap_or_default().trim_end();
        *reason = head.to_owned();
    }
    story
}

fn dial(bytes: &[u8], cuts: Cuts) -> Story {
    let request = ws::Request {
        path_and_query: "/x".into(),
        host: "example.com".into(),
        headers: vec![("Authorization".into(), "Basic eDp5".into())],
        subprotocols: vec!["v1".into()],
        ..ws::Request::default()
    };
    let (mut peer, accept) = Peer::dialing(&request);
    let mut bytes = bytes.to_vec();
    if let Some(at) = place_of_the_key(&bytes) {
        bytes[at..at + ACCEPT.len()].copy_from_slice(accept.as_bytes());
    }
    peer.read(&bytes, cuts)
}

/// Where the key stands as the value of its header, and nowhere else: other words are part of the
/// result, and each dial has another key.
fn place_of_the_key(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(ACCEPT.len()).position(|part| part == ACCEPT)?;
    let line = bytes[..at].iter().rposition(|byte| *byte == b'\n')? + 1;
    let name = bytes[line..at].trim_ascii_end();
    name.eq_ignore_ascii_case(b"sec-websocket-accept:").then_some(at)
}
