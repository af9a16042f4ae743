//! What strangers and broken programs send: each gets its answer, nobody else notices.

use std::time::Duration;

use tungstenite::Message;
use veylor::codec::Wire;
use veylor::relay::settings::ChannelSettings;

use crate::world::{Client, HANDSHAKE, World, channel};

/// A client that has opened and then says raw bytes, beside one that must not notice.
fn answer_to(bytes: &[u8]) -> String {
    let mut world = World::new(ChannelSettings { max_client_message_size: 1000, ..channel() });
    let [witness] = world.clients();
    let client = opened(&mut world);
    world.say(client, bytes);
    let answer = close_in(&world.heard(client));
    world.pass(Duration::from_secs(1));
    assert!(world.is_cut_off(client), "still connected after {bytes:?}");
    world.source_sends(["unharmed"]);
    assert_eq!(world.received(witness), ["unharmed"]);
    answer
}

fn opened(world: &mut World) -> Client {
    let client = world.stranger(Wire::WebSocket);
    world.say(client, HANDSHAKE.as_bytes());
    assert!(world.heard(client).starts_with(b"HTTP/1.1 101 "));
    client
}

/// The code of the close frame that bytes end with.
fn close_in(bytes: &[u8]) -> String {
    match bytes {
        [0x88, 0, ..] => "close".into(),
        [0x88, _, high, low, ..] => u16::from_be_bytes([*high, *low]).to_string(),
        other => format!("{other:?}"),
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(short @ 0..126) = u8::try_from(payload.len()) {
        frame.push(0x80 | short);
    } else {
        frame.push(0x80 | 0x7e);
        frame.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[test]
fn framing_errors_get_1002() {
    assert_eq!(answer_to(b"\x81\x02hi"), "1002", "not masked");
    assert_eq!(answer_to(&masked(0xc1, b"hi")), "1002", "reserved bit");
    assert_eq!(answer_to(&masked(0x83, b"hi")), "1002", "reserved opcode");
    assert_eq!(answer_to(&masked(0x80, b"hi")), "1002", "continues nothing");
    assert_eq!(answer_to(&masked(0x09, b"hi")), "1002", "fragmented ping");
    assert_eq!(answer_to(&masked(0x89, &[0; 126])), "1002", "long ping");
    assert_eq!(answer_to(&masked(0x88, &[1])), "1002", "close of one byte");
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
        assert_eq!(answer_to(&masked(0x88, &code.to_be_bytes())), "1002", "close with {code}");
    }
}

#[test]
fn broken_text_gets_1007() {
    assert_eq!(answer_to(&masked(0x81, &[0xff])), "1007");
    assert_eq!(answer_to(&masked(0x01, &[0xc3, 0x28])), "1007", "at the first fragment already");
    assert_eq!(answer_to(&masked(0x88, &[3, 0xe8, 0xff])), "1007", "in a close reason");
}

#[test]
fn large_messages_get_1009_before_they_are_read() {
    assert_eq!(answer_to(&masked(0x82, &[0; 1001])), "1009");
    assert_eq!(answer_to(&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "1009");
    let fragments = [masked(0x02, &[0; 900]), masked(0x80, &[0; 101])].concat();
    assert_eq!(answer_to(&fragments), "1009");
}

#[test]
fn good_closes_are_repeated() {
    assert_eq!(answer_to(&masked(0x88, &[3, 0xe8])), "1000");
    assert_eq!(answer_to(&masked(0x88, &[0x0f, 0xa0, b'b', b'y', b'e'])), "4000");
    assert_eq!(answer_to(&masked(0x88, &[])), "close");
}

#[test]
fn ping_is_answered_before_later_frames() {
    let mut world = World::new(channel());
    let client = opened(&mut world);
    world.queue_from_source(Message::text("later"));
    world.say(client, &masked(0x89, b"now"));
    let heard = world.heard(client);
    assert!(heard.starts_with(b"\x8a\x03now") || heard.ends_with(b"\x8a\x03now"), "{heard:?}");
}

#[test]
fn who_pings_and_does_not_read_is_read_no_further() {
    let mut world = World::new(channel());
    let client = opened(&mut world);
    world.stall(client);
    let pings = masked(0x89, &[b'x'; 125]).repeat(200);
    for _ in 0..40 {
        world.say(client, &pings);
    }
    world.resume(client);
    assert!(!world.heard(client).is_empty());
    world.source_sends(["still served"]);
    assert!(world.heard(client).ends_with(b"\x81\x0cstill served"));
}

#[test]
fn wrong_lengths_end_a_unix_client() {
    let mut world = World::new(ChannelSettings { max_client_message_size: 1000, ..channel() });
    let witness = world.client(Wire::Prefixed);
    for bytes in [[0, 0, 0, 0], [0, 0, 3, 0xe9], [0xff; 4]] {
        let client = world.client(Wire::Prefixed);
        world.say(client, &bytes);
        world.pass(Duration::from_secs(1));
        assert!(world.is_cut_off(client), "still connected after {bytes:?}");
    }
    world.source_sends(["unharmed"]);
    assert_eq!(world.received(witness), ["unharmed"]);
}

#[test]
fn connections_that_vanish_in_the_middle_of_a_frame_are_forgotten() {
    let mut world = World::new(channel());
    let [witness] = world.clients();
    let vanishing = opened(&mut world);
    world.say(vanishing, &masked(0x82, &[0; 500])[..100]);
    world.reset(vanishing);
    let unix = world.client(Wire::Prefixed);
    world.say(unix, &[0, 0, 1, 0, 1, 2, 3]);
    world.reset(unix);
    world.source_sends(["unharmed"]);
    assert_eq!(world.received(witness), ["unharmed"]);
    assert_eq!(world.source_received(), [""; 0]);
}

#[test]
fn malformed_handshakes_get_an_http_answer() {
    for (request, status) in [
        ("\x16\x03\x01\x02\x00", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        (&HANDSHAKE.replace(": 13", ": 12"), "426"),
        (&HANDSHAKE.replace("dGhl", "####"), "400"),
        (&HANDSHAKE.replace("Host: x", "Origin: http://evil.example\r\nHost: x"), "403"),
        (&HANDSHAKE.replace("Host: x", &format!("Host: {}", "x".repeat(20_000))), "431"),
    ] {
        let mut world = World::new(channel());
        let client = world.stranger(Wire::WebSocket);
        world.say(client, request.as_bytes());
        let response = String::from_utf8(world.heard(client)).unwrap();
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {response}");
        world.pass(Duration::from_secs(1));
        assert!(world.is_cut_off(client));
    }
}

#[test]
fn source_that_breaks_the_protocol_is_dialled_again() {
    for bytes in [&b"\x81\x82mask.."[..], b"\xc1\x02hi", b"\x81\x01\xff", b"\x83\x00"] {
        let mut world = World::new(channel());
        let [client] = world.clients();
        world.source_says(bytes);
        assert!(!world.source_is_open());
        world.pass(Duration::from_secs(6));
        world.source_sends(["again"]);
        assert_eq!(world.received(client), ["again"]);
    }
}
