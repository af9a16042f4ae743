//! Section 7: the close handshake.

use std::time::Duration;

use crate::case::{case, check};
use crate::frame::{CLOSE, bare_close, close, more, ping, text};
use crate::link::{Link, Side};

#[test]
fn nothing_that_follows_a_close_is_heard() {
    let large = "BAsd7&jh23".repeat(26_000);
    check([
        case("7.1.1", [text("Hello World!"), close(1000, "")])
            .delivers([text("Hello World!")])
            .closes(1000),
        case("7.1.2", [close(1000, ""), close(1000, "")]).closes(1000),
        case("7.1.3", [close(1000, ""), ping("")]).closes(1000),
        case("7.1.4", [close(1000, ""), text("Hello World!")]).closes(1000),
        case("7.1.5", [text("fragment1").begun(), close(1000, ""), more("fragment2")]).closes(1000),
        case("7.1.6", [text(&large), text("Hello World!"), close(1000, ""), ping("")])
            .delivers([text(&large), text("Hello World!")])
            .closes(1000),
        case("garbage", [close(1000, ""), text([0xff]).reserved(7)]).closes(1000),
    ]);
}

#[test]
fn payloads_of_a_close_are_checked() {
    check([
        case("7.3.1", [bare_close("")]).closes(None),
        case("7.3.2", [bare_close("a")]).fails(1002),
        case("7.3.3", [close(1000, "")]).closes(1000),
        case("7.3.4", [close(1000, "Hello World!")]).closes(1000),
        case("7.3.5", [close(1000, "*".repeat(123))]).closes(1000),
        case("7.3.6", [close(1000, "*".repeat(124))]).fails(1002),
        case("7.5.1", [close(1000, b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80")]).fails(1007),
        case("a reason cut inside a character", [close(1000, b"\xce")]).fails(1007),
    ]);
}

#[test]
fn codes_that_may_be_sent_are_repeated() {
    // 7.7, and those registered since.
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]) {
        case(format!("7.7: {code}"), [close(code, "")]).closes(code).check();
        case(format!("7.7: {code} with words"), [close(code, "bye")]).closes(code).check();
    }
}

#[test]
fn codes_that_may_not_be_sent_fail_the_connection() {
    // 7.9 and 7.13.
    let below = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999];
    for code in below.into_iter().chain([5000, 0xffff]) {
        case(format!("7.9: {code}"), [close(code, "")]).fails(1002).check();
        case(format!("7.9: {code} with words"), [close(code, "bye")]).fails(1002).check();
    }
}

#[test]
fn goodbye_of_the_relay_comes_last_and_needs_no_answer() {
    for answers in [true, false] {
        let mut link = Link::open();
        link.say(Side::Source, &text("last").bytes(false));
        link.stop();
        assert_eq!(link.next_frame(Side::Client), Some(text("last")));
        for side in Side::BOTH {
            let goodbye = link.next_frame(side).unwrap();
            assert_eq!(goodbye.opcode, CLOSE);
            assert_eq!(goodbye.payload[..2], 1001_u16.to_be_bytes());
            link.say(side, &ping("too late").bytes(side.masks()));
            if answers {
                link.say(side, &goodbye.bytes(side.masks()));
            }
        }
        link.pass(Duration::from_secs(2));
        for side in Side::BOTH {
            assert_eq!(link.next_frame(side), None);
            assert!(link.is_cut_off(side), "{side:?}, answers: {answers}");
        }
    }
}
