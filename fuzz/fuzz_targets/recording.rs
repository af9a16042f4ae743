//! The reader of recordings sees in any bytes what a plain one sees, up to the first flaw, and what
//! it has read is written as the same bytes. What is played comes out of the codec as it went in,
//! however it is cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::codec::recording::{
    BEGINNING, Codec, Flaw, Found, HEAD_BYTES, Happening, check_beginning, messages_in, push,
    push_end, record, whole_records,
};
use veylor::codec::{self, Kind, Message};
use veylor::reactor::outbox::Outbox;
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::{LIMIT, Peer, Seen};

fuzz_target!(|data: &[u8]| {
    assert_eq!(check_beginning(data).is_ok(), data.starts_with(&BEGINNING));
    let Some((cuts, bytes)) = Cuts::split(data) else { return };
    let (mut at, mut written, mut seen) = (0, Vec::new(), vec![Seen::Opened]);
    let mut played = Vec::new();
    let mut told = (0, 0_u64);
    while let Found::Record(found) = match record(&bytes[at..], LIMIT) {
        Ok(found) => found,
        Err(flaw) => return check_flaw(&flaw, &bytes[at..]),
    } {
        push(found.time, found.happening, &mut written);
        at += found.size;
        match found.happening {
            Happening::Message(Message { kind, payload }) => {
                assert!(payload.len() <= LIMIT);
                push(found.time, found.happening, &mut played);
                told.0 += 1;
                seen.push(match kind {
                    Kind::Text => Seen::Text(payload.to_vec()),
                    Kind::Binary => Seen::Binary(payload.to_vec()),
                });
            }
            Happening::Opened => {}
            Happening::Gap(messages) => told.1 = told.1.saturating_add(messages),
        }
    }
    assert_eq!(written, bytes[..at]);
    for most in [0, at / 2, at] {
        let whole = whole_records(&written, most);
        assert!(whole <= most && whole_records(&written[..whole], whole) == whole);
    }
    assert_eq!(messages_in(&written), told);
    push_end("", &mut played);
    let codec = codec::Codec::Recording(Codec::default());
    let mut peer = Peer::new(codec, Outbox::default());
    let story = peer.read(&played, cuts);
    assert!(story.error.is_none() && peer.outbox.is_empty());
    assert_eq!(story.seen[..seen.len()], seen);
});

/// A flaw is one of the head, or of a text that is whole.
fn check_flaw(flaw: &Flaw, bytes: &[u8]) {
    let kind = bytes[8];
    let length = u32::from_be_bytes(bytes[9..HEAD_BYTES].try_into().expect("four bytes"));
    match flaw {
        Flaw::Kind(unknown) => assert!(*unknown == kind && !b"tbog".contains(&kind)),
        Flaw::Length(wrong) => assert!(*wrong == length && b"og".contains(&kind)),
        Flaw::TooLarge { size, .. } => assert!(*size == length && length as usize > LIMIT),
        Flaw::NotUtf8 => {
            let payload = &bytes[HEAD_BYTES..][..length as usize];
            assert!(kind == b't' && std::str::from_utf8(payload).is_err());
        }
        Flaw::Beginning | Flaw::Version(_) => panic!("a record has no beginning"),
        Flaw::Beyond { .. } => panic!("where a file ends is not known here"),
    }
}
