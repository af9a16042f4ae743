//! Clients to source.

use std::time::Duration;

use veylor::codec::Wire;
use veylor::relay::settings::{ChannelSettings, SourceId};

use crate::world::{World, channel};

#[test]
fn messages_of_all_clients_reach_the_source_in_their_order() {
    let mut world = World::new(channel());
    let [one, two] = world.clients();
    let unix = world.client(Wire::Prefixed);
    for n in 0..100 {
        world.client_sends(one, &format!("one {n}"));
        world.client_sends(two, &format!("two {n}"));
        world.client_sends(unix, &format!("unix {n}"));
    }
    let received = world.source_received();
    for name in ["one", "two", "unix"] {
        let of_client: Vec<_> = received.iter().filter(|text| text.starts_with(name)).collect();
        let expected: Vec<_> = (0..100).map(|n| format!("{name} {n}")).collect();
        assert_eq!(of_client, expected.iter().collect::<Vec<_>>());
    }
}

#[test]
fn clients_of_a_slow_source_wait_and_lose_nothing() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 2_000, ..channel() });
    let [client] = world.clients();
    world.stall_source(100);
    for n in 0..1000 {
        world.client_sends(client, &format!("message {n}"));
    }
    world.resume_source();
    let expected: Vec<_> = (0..1000).map(|n| format!("message {n}")).collect();
    assert_eq!(world.source_received(), expected);
}

#[test]
fn client_that_waits_for_a_source_is_not_blamed_for_its_silence() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let [client] = world.clients();
    world.stall_source(100);
    for n in 0..1000 {
        world.client_sends(client, &format!("message {n}"));
    }
    world.pass(Duration::from_secs(19));
    world.resume_source();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.source_received().len(), 1000);
    assert!(!world.is_cut_off(client));
}

#[test]
fn client_whose_answer_waits_behind_a_dead_source_is_not_cut_with_it() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let [quiet, noisy] = world.clients();
    world.stall_source(100);
    for n in 0..1000 {
        world.client_sends(noisy, &format!("message {n}"));
    }
    // The source and the clients are pinged at the same time, and judged at the same time.
    world.pass(Duration::from_mins(1));
    assert_eq!(world.dials.len(), 2);
    assert!(!world.is_cut_off(quiet));
    assert!(!world.is_cut_off(noisy));
}

#[test]
fn client_may_come_while_the_source_takes_nothing() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let [noisy] = world.clients();
    world.stall_source(100);
    world.client_sends(noisy, &"x".repeat(2_000));
    let [newcomer] = world.clients();
    let unix = world.client(Wire::Prefixed);
    world.source_sends(["hello"]);
    assert_eq!(world.received(newcomer), ["hello"]);
    assert_eq!(world.received(unix), ["hello"]);
}

#[test]
fn messages_are_dropped_and_counted_while_the_source_is_down() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.is_up = false;
    world.lose_source();
    world.client_sends(client, "lost");
    world.client_sends(client, "lost, too");
    assert_eq!(world.relay.source_tally(SourceId(0)).dropped_messages, 2);
    world.is_up = true;
    world.pass(Duration::from_secs(6));
    world.client_sends(client, "found");
    assert_eq!(world.source_received(), ["found"]);
    assert_eq!(world.relay.source_tally(SourceId(0)).forwarded_messages, 1);
}

#[test]
fn messages_on_their_way_to_a_source_that_is_lost_are_counted_as_dropped() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.stall_source(0);
    for n in 0..5 {
        world.client_sends(client, &format!("message {n}"));
    }
    assert_eq!(world.relay.source_tally(SourceId(0)).forwarded_messages, 5);
    world.is_up = false;
    world.lose_source();
    let tally = world.relay.source_tally(SourceId(0));
    assert_eq!((tally.forwarded_messages, tally.dropped_messages), (0, 5));
}

#[test]
fn read_only_channel_forwards_nothing() {
    let mut world = World::new(ChannelSettings { read_only: true, ..channel() });
    let [client] = world.clients();
    world.client_sends(client, "ignored");
    world.source_sends(["still here"]);
    assert_eq!(world.source_received(), [""; 0]);
    assert_eq!(world.received(client), ["still here"]);
}

#[test]
fn large_message_of_a_client_does_not_stop_the_feed() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let [sender, reader] = world.clients();
    world.stall_source(100);
    world.client_sends(sender, &"x".repeat(5_000));
    world.source_says(b"\x81\x01a");
    assert_eq!(world.received(reader), ["a"]);
}

#[test]
fn source_that_takes_nothing_is_found_out_also_with_a_full_outbox() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let [sender] = world.clients();
    world.stall_source(100);
    world.client_sends(sender, &"x".repeat(5_000));
    world.source_says(b"\x81\x01a");
    world.pass(Duration::from_mins(1));
    assert!(world.dials.len() >= 2, "{:?}", world.dials);
}

#[test]
fn source_that_takes_bytes_however_slowly_is_alive() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.stall_source(100);
    world.client_sends(client, &"x".repeat(100_000));
    for second in 1..90 {
        world.pass(Duration::from_secs(1));
        assert_eq!(world.dials.len(), 1, "redialled after {second} s");
        world.stall_source(100 + second * 1000);
    }
}

#[test]
fn messages_that_the_end_overtakes_are_counted_as_dropped() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.stall_source(0);
    for n in 0..5 {
        world.client_sends(client, &format!("message {n}"));
    }
    world.stop();
    world.pass(Duration::from_secs(2));
    let tally = world.relay.source_tally(SourceId(0));
    assert_eq!((tally.forwarded_messages, tally.dropped_messages), (0, 5));
}

#[test]
fn last_message_of_a_client_that_goes_is_forwarded() {
    let mut world = World::new(channel());
    let unix = world.client(Wire::Prefixed);
    world.client_goes_before_the_flush(unix, b"\0\0\0\x03bye");
    assert_eq!(world.source_received(), ["bye"]);
}

#[test]
fn messages_of_a_client_that_goes_while_it_waits_are_not_lost() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let unix = world.client(Wire::Prefixed);
    world.stall_source(100);
    let texts: Vec<_> = (0..100).map(|n| format!("message {n} {}", "x".repeat(90))).collect();
    let prefixed = texts.iter().map(|text| {
        let length = u32::try_from(text.len()).unwrap().to_be_bytes();
        [&length, text.as_bytes()].concat()
    });
    world.say(unix, &prefixed.collect::<Vec<_>>().concat());
    world.reset(unix);
    world.source_says(b"\x81\x01x");
    world.resume_source();
    assert_eq!(world.source_received(), texts);
}

#[test]
fn clients_that_go_while_they_wait_leave_nothing_behind() {
    let mut world = World::new(ChannelSettings { max_queue_bytes: 1_000, ..channel() });
    let [sender] = world.clients();
    world.stall_source(0);
    world.client_sends(sender, &"x".repeat(900));
    world.client_sends(sender, &"x".repeat(900));
    for _ in 0..500 {
        let [passer_by] = world.clients();
        world.client_sends(passer_by, "x");
        world.client_closes(passer_by);
        world.reset(passer_by);
        world.source_says(b"\x81\x01x");
    }
    world.pass(Duration::from_mins(2));
    let state = format!("{:?}", world.relay);
    let waiting = state.split("waiting: [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    assert!(waiting.matches("Key").count() < 10, "{waiting}");
}

#[test]
fn client_that_sends_too_much_is_read_at_its_pace_and_loses_nothing() {
    let mut world = World::new(ChannelSettings { max_client_message_rate: 100, ..channel() });
    let [noisy, quiet] = world.clients();
    for n in 0..350 {
        world.client_sends(noisy, &format!("message {n}"));
    }
    // A second's worth at once, and the one that is behind it.
    assert_eq!(world.source_received().len(), 101);
    world.client_sends(quiet, "hello");
    assert_eq!(world.source_received().len(), 102);
    world.pass(Duration::from_millis(500));
    assert_eq!(world.source_received().len(), 152);
    world.pass(Duration::from_secs(2));
    let received = world.source_received();
    assert_eq!(received.len(), 351);
    assert_eq!(received.last().map(String::as_str), Some("message 349"));

    // It has been quiet for a while, and may send as much at once again.
    world.pass(Duration::from_secs(2));
    for n in 0..100 {
        world.client_sends(noisy, &format!("later {n}"));
    }
    assert_eq!(world.source_received().len(), 451);
}

#[test]
fn large_message_delays_what_follows_it_and_is_not_taken_for_silence() {
    let mut world = World::new(ChannelSettings { max_client_byte_rate: 1_000, ..channel() });
    let [client] = world.clients();
    world.client_sends(client, &"x".repeat(100_000));
    world.client_sends(client, "behind it");
    assert_eq!(world.source_received().len(), 1);
    world.pass(Duration::from_secs(98));
    assert_eq!(world.source_received().len(), 1);
    assert!(!world.is_cut_off(client));
    world.pass(Duration::from_secs(2));
    assert_eq!(world.source_received()[1..], ["behind it"]);
    world.pass(Duration::from_mins(1));
    assert!(!world.is_cut_off(client));
}
