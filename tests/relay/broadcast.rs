//! Source to clients.

use std::time::Duration;

use tungstenite::Message;
use veylor::codec::Wire;
use veylor::relay::settings::{ChannelSettings, SourceId, SourceSettings};

use crate::world::{World, channel, source};

#[test]
fn everyone_gets_everything_in_order_on_every_wire() {
    let mut world = World::new(channel());
    let [one, two] = world.clients();
    let unix = world.client(Wire::Prefixed);
    let texts: Vec<String> = (0..500).map(|n| format!("message {n}")).collect();

    world.source_sends(&texts);

    for client in [one, two, unix] {
        assert_eq!(world.received(client), texts);
    }
}

#[test]
fn text_stays_text_and_binary_stays_binary() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.queue_from_source(Message::text("grüße"));
    world.queue_from_source(Message::binary(vec![0, 255]));
    world.queue_from_source(Message::text(""));
    assert_eq!(world.received(client), ["grüße", r#"b"\0\xff""#, ""]);
}

#[test]
fn fragments_of_the_source_are_joined() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.source_says(b"\x01\x03one\x89\x00\x00\x04 two\x80\x06 three");
    assert_eq!(world.received(client), ["one two three"]);
}

#[test]
fn late_client_gets_what_comes_after_it() {
    let mut world = World::new(channel());
    world.source_sends(["early"]);
    let [client] = world.clients();
    world.source_sends(["late"]);
    assert_eq!(world.received(client), ["late"]);
}

#[test]
fn client_may_come_before_the_source() {
    let mut world = World::without_source(channel(), source());
    let [client] = world.clients();
    world.is_up = true;
    world.pass(Duration::from_secs(6));
    world.source_sends(["hello"]);
    assert_eq!(world.received(client), ["hello"]);
}

#[test]
fn messages_arrive_whole_however_little_a_socket_takes() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    let unix = world.client(Wire::Prefixed);
    world.dribble(client, 1);
    world.dribble(unix, 3);
    let texts: Vec<String> = (0..40).map(|n| "x".repeat(n * 7)).collect();

    world.source_sends(&texts);

    assert_eq!(world.received(client), texts);
    assert_eq!(world.received(unix), texts);
}

/// What TCP puts into two packets on loopback, with timestamps.
const PORTION_BYTES: usize = 2 * 65_483;

#[test]
fn flood_reaches_each_client_in_portions_that_fill_two_packets() {
    for bytes in [20, 150, 1500, 5000, 30_000] {
        let flood = || (0..900).map(|n| format!("{{\"n\":{n},\"of\":\"{}\"}}", "x".repeat(bytes)));
        let settings = || ChannelSettings { max_queue_bytes: 64 << 20, ..channel() };
        for target in ["/", "/?seq=1", "/?match=x"] {
            let mut world = World::new(settings());
            let client = world.client_at(target);
            world.source_sends(flood());
            assert_eq!(world.received(client).len(), 900);
            let gift = world.largest_gift;
            assert!(gift <= PORTION_BYTES, "{target}: {gift} in messages of {bytes}");
        }
        let mut world = World::new(settings());
        let (events, _) = world.stream_at("/sse");
        world.source_sends(flood());
        assert_eq!(world.streamed(events).matches("id: ").count(), 900);
        let gift = world.largest_gift;
        assert!(gift <= PORTION_BYTES, "events: {gift} in messages of {bytes}");
        let most = PORTION_BYTES.min(900 * bytes);
        assert!(gift > most / 3, "events: {gift} in messages of {bytes}");
    }
}

#[test]
fn sources_that_flood_a_channel_take_turns() {
    // Small messages fill the queue's places first, larger ones two packets.
    for bytes in [10, 100] {
        let mut settings = channel();
        settings.sources = vec![SourceId(0), SourceId(1)];
        let named = |name: &str| SourceSettings { name: name.into(), ..source() };
        let mut world = World::of(vec![settings], vec![named("one"), named("two")]);
        let client = world.client_at("/");
        let texts = |name| (0..8000).map(move |n| format!("{name} {n} {}", "x".repeat(bytes)));
        world.keeps(SourceId(0), texts("one"));
        world.sends(SourceId(1), texts("two"));

        let received = world.received(client);

        assert_eq!(received.len(), 16_000);
        let of_two = received[..8000].iter().filter(|text| text.starts_with("two")).count();
        assert!((2000..=6000).contains(&of_two), "{of_two} of the first 8000, of {bytes}");
    }
}

#[test]
fn large_message_passes_small_ones_keep_their_place() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    let large = "y".repeat(3 << 20);
    world.source_sends(["before", &large, "after"]);
    assert_eq!(world.received(client), ["before", &large, "after"]);
}

#[test]
fn endpoint_has_a_limit_and_says_so() {
    let mut world = World::new(ChannelSettings { max_clients: 2, ..channel() });
    let [_, second] = world.clients();
    let third = world.stranger(Wire::WebSocket);
    world.say(third, crate::world::HANDSHAKE.as_bytes());
    let response = String::from_utf8(world.heard(third)).unwrap();
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");

    world.client_closes(second);
    world.pass(Duration::from_secs(2));
    let [fourth] = world.clients();
    world.source_sends(["welcome"]);
    assert_eq!(world.received(fourth), ["welcome"]);
}
