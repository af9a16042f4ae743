//! Section 6: text is UTF-8, wherever it is cut.

use crate::case::{case, check};
use crate::frame::{Frame, binary, more, text};

/// "κόσμε".
const KOSME: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
/// "κόσμε", a surrogate, "edited".
const BROKEN: &[u8] =
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64";

#[test]
fn empty_text_comes_back_however_it_is_cut() {
    check([
        case("6.1.1", [text("")]).delivers([text("")]),
        case("6.1.2", [text("").begun(), more("").begun(), more("")]).delivers([text("")]),
        case("6.1.3", [text("").begun(), more("middle frame payload").begun(), more("")])
            .delivers([text("middle frame payload")]),
    ]);
}

#[test]
fn valid_text_comes_back_however_it_is_cut() {
    let greeting = "Hello-µ@ßöäüàá-UTF-8!!";
    let by_byte = |payload: &[u8]| {
        let bytes: Vec<_> = payload.iter().map(|byte| more([*byte]).begun()).collect();
        [text("").begun()].into_iter().chain(bytes).chain([more("")]).collect::<Vec<_>>()
    };
    check([
        case("6.2.1", [text(greeting)]).delivers([text(greeting)]),
        case("6.2.2", [text("Hello-µ@ßöä").begun(), more("üàá-UTF-8!!")])
            .delivers([text(greeting)]),
        case("6.2.3", by_byte(greeting.as_bytes())).delivers([text(greeting)]),
        case("6.2.4", by_byte(KOSME)).delivers([text(KOSME)]),
        case("every plane", by_byte("aß€𐍈\u{10ffff}".as_bytes()))
            .delivers([text("aß€𐍈\u{10ffff}")]),
    ]);
}

#[test]
fn invalid_text_fails_the_connection() {
    let by_byte = [text("").begun()]
        .into_iter()
        .chain(BROKEN.iter().map(|byte| more([*byte]).begun()))
        .chain([more("")]);
    check([
        case("6.3.1", [text(BROKEN)]).fails(1007),
        case("6.3.2", by_byte).fails(1007),
        case("a surrogate in binary", [binary(BROKEN)]).delivers([binary(BROKEN)]),
    ]);
}

#[test]
fn invalid_text_fails_at_the_fragment_it_is_in() {
    // What would make the message whole does not come.
    check([
        case("6.4.1", [text(KOSME).begun(), more(b"\xf4\x90\x80\x80").begun()]).fails(1007),
        case("6.4.2", [text([KOSME, b"\xf4"].concat()).begun(), more(b"\x90").begun()]).fails(1007),
        case("at once", [text(b"\xff").begun()]).fails(1007),
    ]);
}

#[test]
fn sequences_that_are_valid_come_back() {
    let valid: [&[u8]; 35] = [
        // 6.5, 6.6: a greeting cut behind each whole character.
        KOSME,
        b"\xce\xba",
        b"\xce\xba\xe1\xbd\xb9",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc",
        // 6.7: the first of each length.
        b"\x00",
        b"\xc2\x80",
        b"\xe0\xa0\x80",
        b"\xf0\x90\x80\x80",
        // 6.9: the last of each length.
        b"\x7f",
        b"\xdf\xbf",
        b"\xef\xbf\xbf",
        b"\xf4\x8f\xbf\xbf",
        // 6.11: around the surrogates, the replacement character, the end.
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        // 6.22: what is no character, and may be sent.
        b"\xef\xbf\xbe",
        b"\xf0\x9f\xbf\xbe",
        b"\xf0\x9f\xbf\xbf",
        b"\xf0\xaf\xbf\xbe",
        b"\xf0\xaf\xbf\xbf",
        b"\xf0\xbf\xbf\xbe",
        b"\xf0\xbf\xbf\xbf",
        b"\xf1\x8f\xbf\xbe",
        b"\xf1\x8f\xbf\xbf",
        b"\xf1\x9f\xbf\xbe",
        b"\xf1\x9f\xbf\xbf",
        b"\xf2\x8f\xbf\xbf",
        b"\xf3\x8f\xbf\xbe",
        b"\xf3\x8f\xbf\xbf",
        b"\xf3\xbf\xbf\xbf",
        b"\xf4\x8f\xbf\xbe",
        // 6.23: specials.
        b"\xef\xbf\xb9",
        b"\xef\xbf\xbb",
        b"\xef\xbb\xbf",
    ];
    for bytes in valid {
        assert!(std::str::from_utf8(bytes).is_ok(), "{bytes:02x?}");
        case(format!("{bytes:02x?}"), [text(bytes)]).delivers([text(bytes)]).check();
        case(format!("{bytes:02x?} cut"), cut_everywhere(bytes)).delivers([text(bytes)]).check();
    }
}

#[test]
fn sequences_that_are_invalid_fail_the_connection() {
    let invalid: [&[u8]; 52] = [
        // 6.6: a greeting cut inside a character.
        b"\xce",
        b"\xce\xba\xe1",
        b"\xce\xba\xe1\xbd",
        b"\xce\xba\xe1\xbd\xb9\xcf",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce",
        // 6.8, 6.10: five and six bytes.
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        // 6.11: above the last character.
        b"\xf4\x90\x80\x80",
        // 6.12, 6.13: continuation bytes without a beginning, one to many.
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80",
        b"\x80\xbf\x80\xbf\x80\xbf",
        b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90",
        // 6.14: beginnings without a continuation.
        b"\xc0\x20\xc1\x20\xc2\x20",
        b"\xc3\x28",
        b"\xe0\x20\xe1\x20",
        b"\xf0\x20\xf1\x20",
        b"\xf8\x20",
        b"\xfc\x20",
        // 6.15: the last byte is missing.
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xf8\x80\x80\x80",
        b"\xfc\x80\x80\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfb\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf",
        // 6.16: several of these.
        b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80\xdf\xef\xbf\xf7\xbf\xbf",
        // 6.17: impossible bytes.
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        // 6.18: an overlong slash.
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xf8\x80\x80\x80\xaf",
        b"\xfc\x80\x80\x80\x80\xaf",
        // 6.19: the last that is overlong.
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        // 6.20: an overlong zero.
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xf0\x80\x80\x80",
        // 6.21: surrogates, alone and in a pair.
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
    ];
    for bytes in invalid {
        assert!(std::str::from_utf8(bytes).is_err(), "{bytes:02x?}");
        case(format!("{bytes:02x?}"), [text(bytes)]).fails(1007).check();
        case(format!("{bytes:02x?} cut"), cut_everywhere(bytes)).fails(1007).check();
        case(format!("{bytes:02x?} as binary"), [binary(bytes)]).delivers([binary(bytes)]).check();
    }
}

/// A text with a fragment for each byte.
fn cut_everywhere(payload: &[u8]) -> Vec<Frame> {
    let (last, rest) = payload.split_last().unwrap();
    let first = rest.first().map(|byte| text([*byte]).begun());
    let Some(first) = first else { return vec![text("").begun(), more([*last])] };
    let middle = rest[1..].iter().map(|byte| more([*byte]).begun());
    [first].into_iter().chain(middle).chain([more([*last])]).collect()
}
