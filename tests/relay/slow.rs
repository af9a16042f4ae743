//! Clients that do not keep up.

use std::time::Duration;

use tungstenite::Message;
use veylor::relay::settings::{ChannelSettings, SlowClient, SourceId};

use crate::world::{World, channel};

const MAX_PAUSE: Duration = Duration::from_millis(500);

fn small_queue(slow_client: SlowClient) -> ChannelSettings {
    ChannelSettings { max_queue_size: 3, max_pause: MAX_PAUSE, slow_client, ..channel() }
}

#[test]
fn stalled_client_loses_oldest_messages() {
    let mut world = World::new(small_queue(SlowClient::DropOldest));
    let [slow, fast] = world.clients();
    world.stall(slow);

    world.source_sends(["one", "two", "three", "four"]);
    assert_eq!(world.received(fast), ["one", "two", "three"]);
    world.pass(MAX_PAUSE);

    assert_eq!(world.received(fast), ["one", "two", "three", "four"]);
    world.resume(slow);
    assert_eq!(world.received(slow), ["two", "three", "four"]);
}

#[test]
fn stalled_client_is_disconnected_and_costs_only_itself() {
    let mut world = World::new(small_queue(SlowClient::Disconnect));
    let [slow, fast] = world.clients();
    world.stall(slow);

    world.source_sends(["1", "2", "3", "4", "5", "6", "7"]);
    world.pass(MAX_PAUSE);
    assert_eq!(world.received(fast), ["1", "2", "3", "4", "5", "6", "7"]);
    assert!(!world.is_cut_off(slow), "it has a moment to take its goodbye");
    world.pass(MAX_PAUSE);
    assert!(world.is_cut_off(slow));
}

#[test]
fn recording_is_held_back_by_nobody_for_longer_than_max_pause() {
    for is_recorded in [false, true] {
        let mut world = World::new(small_queue(SlowClient::Disconnect));
        let [slow] = world.clients();
        if is_recorded {
            world.relay.record(SourceId(0), None);
        }
        world.stall(slow);
        world.source_sends(["1", "2", "3", "4", "5"]);
        world.pass(10 * MAX_PAUSE);
        assert_eq!(world.is_cut_off(slow), is_recorded, "nobody else wants anything");
        let received = world.relay.source_stats(world.now)[0].received_messages;
        assert_eq!(received, if is_recorded { 5 } else { 4 });
    }
}

#[test]
fn goodbye_of_a_slow_client_names_its_lag() {
    let mut world = World::new(small_queue(SlowClient::Disconnect));
    let [slow, _fast] = world.clients();
    world.stall(slow);
    world.source_sends(["1", "2", "3", "4"]);
    world.pass(MAX_PAUSE);
    world.resume(slow);
    let received = world.received(slow);
    assert_eq!(received[0], "close 1013 slow consumer: 3 messages behind");
}

#[test]
fn burst_passes_whole_when_the_slow_catch_up_in_time() {
    let mut world = World::new(small_queue(SlowClient::Disconnect));
    let [slow, fast] = world.clients();
    world.stall(slow);
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    world.source_sends(&texts);
    world.pass(MAX_PAUSE * 9 / 10);
    world.resume(slow);
    assert_eq!(world.received(slow), texts);
    assert_eq!(world.received(fast), texts);
}

#[test]
fn patience_is_restored_by_catching_up() {
    let mut world = World::new(small_queue(SlowClient::Disconnect));
    let [slow, fast] = world.clients();
    for _ in 0..5 {
        world.stall(slow);
        world.source_sends(["1", "2", "3", "4"]);
        world.pass(MAX_PAUSE * 9 / 10);
        world.resume(slow);
    }
    assert_eq!(world.received(slow).len(), 20);
    assert_eq!(world.received(fast).len(), 20);
}

#[test]
fn patience_adds_up_until_the_client_has_caught_up() {
    let mut world = World::new(small_queue(SlowClient::Disconnect));
    let [slow, fast] = world.clients();
    world.stall(slow);
    world.source_sends((0..7).map(|n| format!("12345{n}")));
    world.pass(MAX_PAUSE * 6 / 10);
    world.stall_after(slow, 9);
    world.pass(MAX_PAUSE * 3 / 10);
    assert!(world.received(fast).len() < 7);
    world.pass(MAX_PAUSE * 2 / 10);
    assert_eq!(world.received(fast).len(), 7, "a frame now and then buys no new patience");
}

#[test]
fn waiting_costs_nobody_when_everyone_is_behind() {
    let mut world = World::new(small_queue(SlowClient::Disconnect));
    let [one, two] = world.clients();
    world.stall(one);
    world.stall(two);
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    world.source_sends(&texts);
    world.pass(MAX_PAUSE * 10);
    world.resume(one);
    world.resume(two);
    assert_eq!(world.received(one), texts);
    assert_eq!(world.received(two), texts);
}

#[test]
fn pause_of_zero_never_waits() {
    let mut world = World::new(ChannelSettings {
        max_pause: Duration::ZERO,
        ..small_queue(SlowClient::DropOldest)
    });
    let [slow, fast] = world.clients();
    world.stall(slow);
    let texts: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    world.source_sends(&texts);
    assert_eq!(world.received(fast), texts);
    world.resume(slow);
    assert_eq!(world.received(slow), texts[47..]);
}

#[test]
fn frame_once_begun_is_finished_before_messages_are_dropped() {
    let mut world = World::new(small_queue(SlowClient::DropOldest));
    let [slow, fast] = world.clients();
    world.stall_after(slow, 10);
    let texts: Vec<String> = (0..50).map(|n| format!("a longer message {n}")).collect();
    world.source_sends(&texts);
    world.pass(MAX_PAUSE);
    assert_eq!(world.received(fast), texts);
    world.resume(slow);
    let received = world.received(slow);
    assert_eq!(received[0], texts[0]);
    assert_eq!(received[1..], texts[47..]);
}

#[test]
fn dropping_client_cannot_hold_the_sources_back_before_it_has_caught_up() {
    let mut world = World::new(small_queue(SlowClient::DropOldest));
    let [slow, fast] = world.clients();
    world.stall(slow);
    world.source_sends(["1", "2", "3", "4"]);
    world.pass(MAX_PAUSE);
    let texts: Vec<String> = (5..50).map(|n| n.to_string()).collect();
    world.source_sends(&texts);
    assert_eq!(world.received(fast).len(), 49, "nothing waits for the slow one");

    world.resume(slow);
    world.stall(slow);
    world.source_sends(["a", "b", "c", "d"]);
    assert_eq!(world.received(fast).last().unwrap(), "c", "it has its patience again");
    world.pass(MAX_PAUSE);
    assert_eq!(world.received(fast).last().unwrap(), "d");
}

#[test]
fn byte_limit_holds_a_source_back_like_the_message_limit() {
    let mut world = World::new(ChannelSettings {
        max_queue_bytes: 10_000,
        ..small_queue(SlowClient::Disconnect)
    });
    let [slow, fast] = world.clients();
    world.stall(slow);
    world.queue_from_source(Message::binary(vec![1; 6_000]));
    world.queue_from_source(Message::binary(vec![2; 6_000]));
    assert_eq!(world.received(fast).len(), 1);
    world.resume(slow);
    assert_eq!(world.received(fast).len(), 2);
    assert_eq!(world.received(slow).len(), 2);
}

#[test]
fn stalled_client_that_is_alone_is_dead_by_the_ping_rule() {
    let mut world = World::new(channel());
    let [alone] = world.clients();
    world.stall(alone);
    world.source_sends((0..5000).map(|n| n.to_string()));
    world.pass(Duration::from_secs(39));
    assert!(!world.is_cut_off(alone));
    world.pass(Duration::from_secs(2));
    assert!(world.is_cut_off(alone));
    assert!(world.source_is_open(), "the source is not blamed for not being read");
}

#[test]
fn stalled_unix_client_that_is_alone_is_dead_too() {
    let mut world = World::new(channel());
    let alone = world.client(veylor::codec::Wire::Prefixed);
    world.pass(Duration::from_mins(5));
    assert!(!world.is_cut_off(alone), "who is owed nothing is alive");
    world.stall(alone);
    world.source_sends(["x"]);
    world.pass(Duration::from_secs(41));
    assert!(world.is_cut_off(alone));
}

/// A ping of 125 bytes, masked with zeroes.
fn large_ping() -> Vec<u8> {
    [&[0x89, 0xfd, 0, 0, 0, 0][..], &[b'p'; 125]].concat()
}

#[test]
fn client_that_pings_and_takes_nothing_is_dead_by_the_ping_rule() {
    let mut world = World::new(channel());
    let [alone] = world.clients();
    world.stall(alone);
    world.say(alone, &large_ping().repeat(1000));
    world.source_sends((0..5000).map(|n| n.to_string()));
    world.pass(Duration::from_mins(1));
    assert!(world.is_cut_off(alone));
}

#[test]
fn client_stalled_inside_a_large_frame_cannot_drop_and_is_disconnected() {
    let mut world = World::new(small_queue(SlowClient::DropOldest));
    let [slow, fast] = world.clients();
    world.stall_after(slow, 10);
    for n in 0..5 {
        world.queue_from_source(Message::binary(vec![n; 200_000]));
    }
    world.settle();
    world.pass(MAX_PAUSE);
    assert_eq!(world.received(fast).len(), 5);
    world.pass(MAX_PAUSE);
    assert!(world.is_cut_off(slow));
}

#[test]
fn client_that_takes_bytes_however_slowly_is_alive() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.stall_after(client, 100);
    world.source_sends((0..5000).map(|n| format!("{n} {}", "x".repeat(100))));
    for second in 1..90 {
        world.pass(Duration::from_secs(1));
        assert!(!world.is_cut_off(client), "cut off after {second} s");
        world.stall_after(client, 100 + second * 1000);
    }
}
