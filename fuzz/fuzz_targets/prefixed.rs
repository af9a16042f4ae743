//! Length and payload come out as they went in, however the stream is cut, up to the first length
//! that is not allowed or the first text that is none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use veylor::codec::prefixed::{self, MessageType};
use veylor::codec::{Codec, Error, Kind, Message, Wire};
use veylor::reactor::outbox::Outbox;
use veylor_fuzz::bytes::Cuts;
use veylor_fuzz::peer::{LIMIT, Peer, Seen, Story};

fuzz_target!(|data: &[u8]| {
    let Some(([message_type], rest)) = data.split_first_chunk::<1>() else { return };
    let Some((cuts, bytes)) = Cuts::split(rest) else { return };
    let message_type = match message_type % 3 {
        0 => MessageType::Auto,
        1 => MessageType::Text,
        _ => MessageType::Binary,
    };
    let expected = naive(bytes, message_type);
    for cuts in [cuts, Cuts::none()] {
        let codec = Codec::Prefixed(prefixed::Codec::new(message_type, LIMIT));
        let mut peer = Peer::new(codec, Outbox::default());
        let story = peer.read(bytes, cuts);
        assert!(peer.outbox.is_empty(), "this wire has no answers");
        // A codec that was never asked has not opened.
        if !bytes.is_empty() {
            assert_eq!(story, expected);
        }
    }
    check_frames(&expected, bytes);
});

fn naive(mut bytes: &[u8], message_type: MessageType) -> Story {
    let mut story = Story { seen: vec![Seen::Opened], error: None };
    while let Some((prefix, rest)) = bytes.split_first_chunk::<4>() {
        let size = u32::from_be_bytes(*prefix) as usize;
        if size == 0 {
            story.error = Some(Error::Protocol("a length of 0"));
            break;
        }
        if size > LIMIT {
            story.error = Some(Error::TooLarge { size: size as u64, limit: LIMIT });
            break;
        }
        let Some(payload) = rest.get(..size) else { break };
        let is_text = std::str::from_utf8(payload).is_ok();
        story.seen.push(match message_type {
            MessageType::Text if !is_text => {
                story.error = Some(Error::NotUtf8);
                break;
            }
            MessageType::Auto if is_text => Seen::Text(payload.to_vec()),
            MessageType::Text => Seen::Text(payload.to_vec()),
            MessageType::Auto | MessageType::Binary => Seen::Binary(payload.to_vec()),
        });
        bytes = &rest[size..];
    }
    story
}

/// What was read is written as the same bytes.
fn check_frames(story: &Story, bytes: &[u8]) {
    let mut written = Vec::new();
    for seen in &story.seen {
        let (Seen::Text(payload) | Seen::Binary(payload)) = seen else { continue };
        let frame = Wire::Prefixed.frame(Message { kind: Kind::Binary, payload }).unwrap();
        assert_eq!(frame.len(), 4 + payload.len());
        written.extend_from_slice(frame.header());
        written.extend_from_slice(frame.payload());
    }
    assert!(bytes.starts_with(&written));
}
