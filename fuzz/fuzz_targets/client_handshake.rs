//! Any response is understood the same however it is cut; only one that fits the key and what was
//! offered opens the connection. What a source says of itself is short and cannot forge a log line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::codec::{Error, ws};
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::{Peer, Seen, Story};

/// Stands in an input for the key that fits; as long as one.
const ACCEPT: &[u8] = b"<the key that is accepted..>";

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    let story = dial(bytes, cuts);
    assert_eq!(story, dial(bytes, Cuts::none()), "the cuts made a difference");
    match (&story.error, story.seen.first()) {
        (Some(Error::NotAccepted { reason, .. }), None) => {
            assert!(reason.len() <= 4 * 80, "a long reason: {reason}");
            assert!(!reason.contains(char::is_control), "a reason of two lines: {reason}");
        }
        (None, None) => {}
        (_, Some(Seen::Opened)) => {
            assert!(bytes.starts_with(b"HTTP/1.") || bytes.trim_ascii_start() != bytes);
            assert!(bytes.windows(ACCEPT.len()).any(|part| part == ACCEPT), "opened without a key");
        }
        wrong => panic!("not the end of a handshake: {wrong:?}"),
    }
});

fn dial(bytes: &[u8], cuts: Cuts) -> Story {
    let request = ws::Request {
        path_and_query: "/x".into(),
        host: "example.com".into(),
        headers: vec![("Authorization".into(), "Basic eDp5".into())],
        subprotocols: vec!["v1".into()],
    };
    let (mut peer, accept) = Peer::dialing(&request);
    let mut bytes = bytes.to_vec();
    // Not in the status line: its words are part of the result, and each dial has another key.
    let headers = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let at = bytes[headers..].windows(ACCEPT.len()).position(|part| part == ACCEPT);
    if let Some(at) = at.map(|at| headers + at) {
        bytes[at..at + ACCEPT.len()].copy_from_slice(accept.as_bytes());
    }
    peer.read(&bytes, cuts)
}
