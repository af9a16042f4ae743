//! Sources and clients come, are silent, and go.

use std::time::Duration;

use veylor::codec::Wire;
use veylor::relay::settings::{ChannelSettings, OnSourceLoss, SourceSettings};
use veylor::relay::{HANDSHAKE_TIMEOUT, Outcome};

use crate::world::{World, channel, source};

#[test]
fn lost_source_is_dialled_again_and_clients_stay() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.source_sends(["before"]);
    world.lose_source();
    assert!(!world.source_is_open());
    world.pass(Duration::from_secs(5));
    assert!(world.source_is_open());
    world.source_sends(["after"]);
    assert_eq!(world.received(client), ["before", "after"]);
}

#[test]
fn first_dial_lasts_from_the_start() {
    let mut world = World::without_source(channel(), source());
    world.relay.number_from(0, world.now);
    let stats = world.relay.source_stats(world.now + Duration::from_secs(3));
    assert_eq!((&*stats[0].state, stats[0].state_seconds), ("dialing", 3.0));
}

#[test]
fn clients_are_closed_with_the_source_where_asked_for() {
    let mut world =
        World::new(ChannelSettings { on_source_loss: OnSourceLoss::Close, ..channel() });
    let [client] = world.clients();
    world.source_sends(["last"]);
    world.lose_source();
    let received = world.received(client);
    assert_eq!(received[..2], ["last", "close 1012 the source was lost"]);
    world.pass(Duration::from_secs(1));
    assert!(world.is_cut_off(client));
}

#[test]
fn client_that_comes_before_the_source_stays_also_where_a_loss_closes() {
    let settings = ChannelSettings { on_source_loss: OnSourceLoss::Close, ..channel() };
    let mut world = World::without_source(settings, source());
    let [client] = world.clients();
    world.pass(Duration::from_secs(30));
    assert_eq!(world.received(client), [""; 0]);
    assert!(!world.is_cut_off(client));
}

#[test]
fn source_that_accepts_and_hangs_up_is_not_stormed() {
    let mut world = World::without_source(channel(), source());
    world.is_up = true;
    let minute = Duration::from_mins(1);
    let mut passed = Duration::ZERO;
    while passed < minute {
        world.settle();
        if world.source_is_open() {
            world.lose_source();
        }
        world.pass(Duration::from_millis(100));
        passed += Duration::from_millis(100);
    }
    assert!((3..=8).contains(&world.dials.len()), "{:?}", world.dials);
}

#[test]
fn what_a_lost_source_has_said_is_delivered_before_it_is_dialled_again() {
    let mut world = World::new(ChannelSettings { max_queue_size: 1, ..channel() });
    let [stalled] = world.clients();
    world.stall(stalled);
    world.source_sends(["one", "two", "three", "four"]);
    world.lose_source();
    world.pass(Duration::from_secs(30));
    world.resume(stalled);
    world.pass(Duration::from_secs(5));
    world.source_sends(["five"]);
    assert_eq!(world.received(stalled), ["one", "two", "three", "four", "five"]);
}

#[test]
fn stable_connection_resets_the_backoff() {
    let mut world = World::without_source(channel(), source());
    world.pass(Duration::from_mins(5));
    world.is_up = true;
    world.pass(Duration::from_mins(1));
    assert!(world.source_is_open());
    world.source_sends(["alive"]);
    world.pass(Duration::from_secs(15));
    world.lose_source();
    world.pass(Duration::from_secs(5));
    assert!(world.source_is_open(), "redialled after the first delay at most");
}

#[test]
fn source_gives_up_after_its_attempts_and_so_does_the_relay() {
    let settings = SourceSettings { reconnect_max_attempts: 3, ..source() };
    let mut world = World::without_source(channel(), settings);
    let [client] = world.clients();
    world.pass(Duration::from_secs(20));
    assert_eq!(world.dials.len(), 3);
    assert_eq!(world.relay.outcome(), Some(Outcome::AllSourcesGaveUp));
    assert!(world.received(client)[0].starts_with("close 1001"));
    assert!(world.relay.is_finished());
}

#[test]
fn silent_source_is_found_out_and_dialled_again() {
    let mut world = World::new(channel());
    world.stall_source(1 << 20);
    world.pass(Duration::from_secs(39));
    assert_eq!(world.dials.len(), 1);
    world.pass(Duration::from_secs(7));
    assert_eq!(world.dials.len(), 2);
}

#[test]
fn silent_source_is_found_out_also_while_it_takes_nothing() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.stall_source(0);
    world.client_sends(client, &"x".repeat(100_000));
    world.pass(Duration::from_secs(46));
    assert_eq!(world.dials.len(), 2);
}

#[test]
fn client_that_answers_pings_stays_and_a_silent_one_goes() {
    let mut world = World::new(channel());
    let [alive, dead] = world.clients();
    world.stall_after(dead, 1 << 20);
    world.pass(Duration::from_secs(39));
    assert!(!world.is_cut_off(dead));
    world.pass(Duration::from_secs(2));
    assert!(world.is_cut_off(dead));
    world.pass(Duration::from_mins(10));
    assert!(!world.is_cut_off(alive));
}

#[test]
fn half_a_header_then_silence_ends_at_the_handshake_s_deadline() {
    let mut world = World::new(channel());
    let client = world.stranger(Wire::WebSocket);
    world.say(client, b"GET / HTTP/1.1\r\nHost: ");
    world.pass(HANDSHAKE_TIMEOUT * 9 / 10);
    world.say(client, b"x");
    assert!(!world.is_cut_off(client));
    world.pass(Duration::from_secs(1));
    assert!(world.is_cut_off(client));
}

#[test]
fn client_s_goodbye_is_answered() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.client_closes(client);
    assert_eq!(world.received(client), ["close", "end"]);
    assert!(world.is_cut_off(client));
}

#[test]
fn everyone_gets_what_is_kept_and_a_goodbye_when_the_relay_ends() {
    let mut world = World::new(channel());
    let [fast, slow] = world.clients();
    world.stall_after(slow, 3);
    world.source_sends(["one", "two"]);
    world.stop();
    assert!(world.accepts_nobody());
    assert_eq!(world.received(fast)[..3], ["one", "two", "close 1001 the relay is shutting down"]);
    world.pass(Duration::from_millis(500));
    world.resume(slow);
    assert_eq!(world.received(slow)[..3], ["one", "two", "close 1001 the relay is shutting down"]);
    assert!(world.source_received()[0].starts_with("close 1001"));
    world.pass(Duration::from_secs(1));
    assert!(world.relay.is_finished());
}

#[test]
fn stalled_peers_do_not_hold_up_the_end() {
    let mut world = World::new(channel());
    let [stalled] = world.clients();
    let stranger = world.stranger(Wire::WebSocket);
    world.stall(stalled);
    world.stall(stranger);
    world.stall_source(0);
    world.source_sends(["never read"]);
    world.stop();
    assert!(!world.relay.is_finished());
    world.pass(Duration::from_millis(1900));
    assert!(world.relay.is_finished());
    assert_eq!(world.relay.outcome(), Some(Outcome::Asked));
}

#[test]
fn client_that_resets_is_forgotten() {
    let mut world = World::new(channel());
    let [gone, stays] = world.clients();
    world.reset(gone);
    world.source_sends(["hello"]);
    assert_eq!(world.received(stays), ["hello"]);
}
