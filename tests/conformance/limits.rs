//! Sections 9 and 10: large messages, and those that are too large.

use crate::case::{case, check};
use crate::frame::{Frame, binary, more, ping, text};
use crate::link::{Link, MAX_MESSAGE_SIZE, Side};

/// A message in fragments of so many bytes.
fn fragmented(first: fn(Vec<u8>) -> Frame, payload: &[u8], bytes: usize) -> Vec<Frame> {
    let mut frames: Vec<_> = payload.chunks(bytes).map(|chunk| more(chunk).begun()).collect();
    let begin = std::mem::take(&mut frames[0].payload);
    frames[0] = first(begin).begun();
    frames.last_mut().unwrap().is_final = true;
    frames
}

#[test]
fn section_9_large_messages_come_back_however_they_are_fragmented() {
    let words = "*".repeat(MAX_MESSAGE_SIZE);
    let bytes: Vec<u8> = (0..=255).cycle().take(MAX_MESSAGE_SIZE).collect();
    for size in [1024, 64 * 1024] {
        case(format!("9.3 by {size}"), fragmented(text, words.as_bytes(), size))
            .delivers([text(&words)])
            .check();
        case(format!("9.4 by {size}"), fragmented(binary, &bytes, size))
            .delivers([binary(&bytes)])
            .check();
    }
    case("9.3 by 64, of 64 KiB", fragmented(text, &words.as_bytes()[..65536], 64))
        .delivers([text(&words[..65536])])
        .check();
}

#[test]
fn section_9_many_small_messages_come_back() {
    for size in [0, 16, 64, 256] {
        let messages = || (0..200).map(|n| text(format!("{n:0>size$}")));
        case(format!("9.7 with {size}"), messages()).delivers(messages()).check();
    }
}

#[test]
fn section_10_fragments_that_fit_no_boundary_are_joined() {
    let payload = "*".repeat(65536);
    let frames = fragmented(text, payload.as_bytes(), 1300);
    case("10.1.1", frames).delivers([text(&payload)]).check();
}

#[test]
fn messages_above_the_limit_fail_the_connection() {
    let limit = vec![0; MAX_MESSAGE_SIZE];
    check([
        case("at the limit", [binary(&limit)]).delivers([binary(&limit)]),
        case("above it", [binary([&limit[..], &[0]].concat())]).fails(1009),
        case("above it in fragments", [binary(&limit).begun(), more([0])]).fails(1009),
        case("at it in fragments", [binary(&limit[1..]).begun(), more([0])])
            .delivers([binary(&limit)]),
        case("after others", [text("a"), ping("b"), binary([&limit[..], &[0]].concat())])
            .delivers([text("a")])
            .pongs(["b"])
            .fails(1009),
    ]);
}

#[test]
fn message_above_the_limit_fails_before_its_payload_comes() {
    for side in Side::BOTH {
        let mut link = Link::open();
        let whole = binary(vec![0; MAX_MESSAGE_SIZE + 1]).bytes(side.masks());
        link.say(side, &whole[..14]);
        let close = link.next_frame(side).unwrap();
        assert_eq!(close.payload[..2], 1009_u16.to_be_bytes(), "{side:?}");
    }
}
