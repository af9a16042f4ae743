//! Sections 1 to 4: lengths, pings, reserved bits, opcodes.

use crate::case::{case, check};
use crate::frame::{Frame, bare_close, binary, more, opcode, ping, pong, text};
use crate::link::{Link, Side};

const SIZES: [usize; 8] = [0, 125, 126, 127, 128, 65535, 65536, 1 << 20];

#[test]
fn section_1_messages_of_every_length_come_back_unchanged() {
    for size in SIZES {
        case(format!("1.1 with {size} bytes"), [text("*".repeat(size))])
            .delivers([text("*".repeat(size))])
            .check();
        let bytes: Vec<u8> = (0..=255).cycle().take(size).collect();
        case(format!("1.2 with {size} bytes"), [binary(&bytes)]).delivers([binary(&bytes)]).check();
    }
}

#[test]
fn section_2_pings_are_answered_and_pongs_forgotten() {
    let ten = || (0..10).map(|n| format!("payload-{n}"));
    check([
        case("2.1", [ping("")]).pongs([""]),
        case("2.2", [ping("Hello, world!")]).pongs(["Hello, world!"]),
        case("2.3", [ping([0x00, 0xff, 0xfe, 0xfd])]).pongs([[0x00, 0xff, 0xfe, 0xfd]]),
        case("2.4", [ping([0xfe; 125])]).pongs([[0xfe; 125]]),
        case("2.5", [ping([0xfe; 126])]).fails(1002),
        case("2.7", [pong("")]),
        case("2.8", [pong("unsolicited pong payload")]),
        case("2.9", [pong("unsolicited"), ping("ping")]).pongs(["ping"]),
        case("2.10", ten().map(ping)).pongs(ten()),
        case("long pong", [pong([0; 126])]).fails(1002),
        case("long close", [bare_close([3; 126])]).fails(1002),
        case("ping between messages", [text("a"), ping("b"), text("c")])
            .delivers([text("a"), text("c")])
            .pongs(["b"]),
    ]);
}

#[test]
fn section_3_reserved_bits_fail_the_connection() {
    let small = || text("Hello, world!");
    let after = |frame: Frame| [small(), frame, ping("")];
    check([
        case("3.1", [small().reserved(1)]).fails(1002),
        case("3.2", after(small().reserved(2))).delivers([small()]).fails(1002),
        case("3.3", after(small().reserved(3))).delivers([small()]).fails(1002),
        case("3.4", after(small().reserved(4))).delivers([small()]).fails(1002),
        case("3.5", [binary([0; 8]).reserved(5), ping("")]).fails(1002),
        case("3.6", [ping("").reserved(6), ping("")]).fails(1002),
        case("3.7", [bare_close("").reserved(7)]).fails(1002),
        case("3 in a continuation", [small().begun(), more("x").reserved(4)]).fails(1002),
    ]);
}

#[test]
fn section_4_unknown_opcodes_fail_the_connection() {
    for unknown in (3..=7).chain(0xb..=0xf) {
        let name = |what: &str| format!("4: opcode {unknown} {what}");
        check([
            case(name("alone"), [opcode(unknown, "")]).fails(1002),
            case(name("with a payload"), [opcode(unknown, "reserved")]).fails(1002),
            case(name("after a message"), [text("Hello"), opcode(unknown, ""), ping("")])
                .delivers([text("Hello")])
                .fails(1002),
            case(name("in a message"), [text("He").begun(), opcode(unknown, "x"), more("llo")])
                .fails(1002),
        ]);
    }
}

#[test]
fn mask_of_the_wrong_side_fails_the_connection() {
    for side in Side::BOTH {
        for frame in [text("Hello"), text(""), ping("x"), bare_close("")] {
            let mut link = Link::open();
            link.say(side, &frame.bytes(!side.masks()));
            let close = link.next_frame(side).unwrap();
            assert_eq!(close.payload[..2], 1002_u16.to_be_bytes(), "{side:?}: {frame:?}");
            assert_eq!(link.next_frame(side.other()), None);
        }
    }
}

#[test]
fn length_above_what_63_bits_can_say_fails_the_connection() {
    for side in Side::BOTH {
        let mut link = Link::open();
        let mask_bit = u8::from(side.masks()) << 7;
        link.say(side, &[0x82, mask_bit | 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0]);
        link.say(side, &[0; 8]);
        let close = link.next_frame(side).unwrap();
        let code = u16::from_be_bytes(*close.payload.first_chunk().unwrap());
        assert!([1002, 1009].contains(&code), "{side:?}: {code}");
    }
}
