//! The opening handshake on both sides, and what comes with it.

use crate::frame::{binary, close, ping, text};
use crate::link::{Link, REQUEST, Side};

#[test]
fn frames_that_come_with_the_handshake_are_heard() {
    for chop in [1, 7, usize::MAX] {
        let mut link = Link::connected();
        let greeting = [text("welcome").bytes(false), ping("early").bytes(false)].concat();
        let bytes = [link.response().as_bytes(), &greeting].concat();
        let request = [REQUEST.as_bytes(), &binary("first").bytes(true)].concat();
        // The client first: whoever comes later gets what comes later.
        for piece in REQUEST.as_bytes().chunks(chop) {
            link.say(Side::Client, piece);
        }
        for piece in bytes.chunks(chop) {
            link.say(Side::Source, piece);
        }
        assert_eq!(link.next_frame(Side::Source).map(|frame| frame.payload), Some(b"early".into()));
        let heard = String::from_utf8_lossy(&link.heard(Side::Client)).into_owned();
        assert!(heard.ends_with("\r\n\r\n\u{fffd}\u{7}welcome"), "{heard:?}");

        let mut link = Link::connected();
        let response = link.response();
        link.say(Side::Source, response.as_bytes());
        for piece in request.chunks(chop) {
            link.say(Side::Client, piece);
        }
        assert_eq!(link.next_frame(Side::Source), Some(binary("first")));
    }
}

#[test]
fn extensions_that_are_offered_are_declined() {
    let mut link = Link::connected();
    let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nHost: x";
    link.say(Side::Client, REQUEST.replace("Host: x", offer).as_bytes());
    let response = String::from_utf8(link.heard(Side::Client)).unwrap();
    assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
    assert!(!response.contains("Extensions"), "{response}");
    assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
}

#[test]
fn extension_that_was_not_offered_is_refused() {
    let mut link = Link::connected();
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\nUpgrade: w";
    let response = link.response().replace("Upgrade: w", extension);
    link.say(Side::Source, response.as_bytes());
    link.say(Side::Source, &text("compressed?").bytes(false));
    link.say(Side::Client, REQUEST.as_bytes());
    let heard = String::from_utf8(link.heard(Side::Client)).unwrap();
    assert!(heard.ends_with("\r\n\r\n"), "{heard}");
}

#[test]
fn close_that_comes_with_the_handshake_is_answered() {
    let mut link = Link::connected();
    let bytes = [link.response().as_bytes(), &close(1013, "busy").bytes(false)].concat();
    link.say(Side::Source, &bytes);
    assert_eq!(link.next_frame(Side::Source), Some(close(1013, "")));
}
