//! Section 5: fragmentation.

use crate::case::{case, check};
use crate::frame::{bare_close, binary, more, ping, pong, text};

#[test]
fn control_frames_are_never_fragmented() {
    check([
        case("5.1", [ping("frag").begun(), more("ment")]).fails(1002),
        case("5.2", [pong("frag").begun(), more("ment")]).fails(1002),
        case("fragmented close", [bare_close([3, 0xe8]).begun(), more("")]).fails(1002),
    ]);
}

#[test]
fn fragments_are_joined() {
    let joined = || text("fragment1fragment2");
    check([
        case("5.3 to 5.5", [text("fragment1").begun(), more("fragment2")]).delivers([joined()]),
        case("binary", [binary([1, 2]).begun(), more([3])]).delivers([binary([1, 2, 3])]),
        case("empty first", [text("").begun(), more("x")]).delivers([text("x")]),
        case("empty last", [text("x").begun(), more("")]).delivers([text("x")]),
        case("all empty", [binary("").begun(), more("").begun(), more("")]).delivers([binary("")]),
        case("one after the other", [text("a").begun(), more("b"), binary("c").begun(), more("d")])
            .delivers([text("ab"), binary("cd")]),
    ]);
    let many = (0..500).map(|_| more("x").begun());
    case("of one byte", [text("").begun()].into_iter().chain(many).chain([more("!")]))
        .delivers([text("x".repeat(500) + "!")])
        .check();
}

#[test]
fn control_frames_pass_between_fragments() {
    let joined = || text("fragment1fragment2");
    let first = || text("fragment1").begun();
    check([
        case("5.6 to 5.8", [first(), ping("ping"), more("fragment2")])
            .delivers([joined()])
            .pongs(["ping"]),
        case("pong", [first(), pong("unsolicited"), more("fragment2")]).delivers([joined()]),
        case(
            "5.19 and 5.20",
            [
                text("fragment1").begun(),
                more("fragment2").begun(),
                ping("pongme 1!"),
                more("fragment3").begun(),
                more("fragment4").begun(),
                ping("pongme 2!"),
                more("fragment5"),
            ],
        )
        .delivers([text("fragment1fragment2fragment3fragment4fragment5")])
        .pongs(["pongme 1!", "pongme 2!"]),
    ]);
    let pings = (0..100).map(|n| ping(format!("{n:0>100}")));
    case("a hundred long pings", [first()].into_iter().chain(pings).chain([more("fragment2")]))
        .delivers([joined()])
        .pongs((0..100).map(|n| format!("{n:0>100}")))
        .check();
}

#[test]
fn continuation_of_nothing_fails_the_connection() {
    check([
        case("5.9 to 5.11", [more("non-continuation payload"), text("Hello")]).fails(1002),
        case("5.12 to 5.14", [more("non-continuation").begun(), text("Hello")]).fails(1002),
        case(
            "5.15",
            [text("fragment1").begun(), more("fragment2"), more("fragment3").begun(), more("4")],
        )
        .delivers([text("fragment1fragment2")])
        .fails(1002),
        case("5.16", [more("fragment1").begun(), text("fragment2").begun(), more("3")]).fails(1002),
        case("5.17", [more("fragment1"), text("fragment2").begun(), more("fragment3")]).fails(1002),
    ]);
}

#[test]
fn message_inside_a_message_fails_the_connection() {
    check([
        case("5.18", [text("fragment1").begun(), text("fragment2")]).fails(1002),
        case("binary inside text", [text("a").begun(), binary("b")]).fails(1002),
        case("text begun inside binary", [binary("a").begun(), text("b").begun()]).fails(1002),
    ]);
}
