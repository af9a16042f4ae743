//! Lines come out as they went in, however the stream is cut, up to the first that is too long or
//! no text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::codec::{Codec, Error, lines};
use veylor::reactor::outbox::Outbox;
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::{LIMIT, Peer, Seen};

fuzz_target!(|data: &[u8]| {
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    let mut expected = vec![Seen::Opened];
    let mut is_faulty = false;
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        let bare = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LIMIT + 1 || std::str::from_utf8(bare).is_err() {
            is_faulty = true;
            break;
        }
        if !bare.is_empty() {
            expected.push(Seen::Text(bare.to_vec()));
        }
    }
    is_faulty |= rest.len() > LIMIT + 1;
    for cuts in [cuts, Cuts::none()] {
        let codec = Codec::Lines(lines::Codec::new(LIMIT + 1));
        let mut peer = Peer::new(codec, Outbox::default());
        let story = peer.read(bytes, cuts);
        assert!(peer.outbox.is_empty(), "this wire has no answers");
        if story.error.is_none() && !bytes.is_empty() && !is_faulty {
            assert_eq!(story.seen, expected);
        }
        let error = story.error.as_ref();
        // A page's request is known by its first line.
        let is_request = bytes
            .split(|byte| *byte == b'\n')
            .any(|line| String::from_utf8_lossy(line).contains(" HTTP/"));
        let is_told = matches!(error, Some(Error::Protocol(_))) && is_request;
        assert!(error.is_none() || is_told || is_faulty || rest.len() > LIMIT, "{error:?}");
    }
});
