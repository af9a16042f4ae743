//! Several connections that are one source: who serves, who takes over, and that clients get each
//! message once and in order, whatever happens to single connections.

use std::collections::VecDeque;
use std::time::Duration;

use tungstenite::Message;
use veylor::codec::Wire;
use veylor::codec::pattern::{Pattern, Pointer};
use veylor::relay::feed::{JOIN_WAIT, MIN_OVERLAP, OVERLAP};
use veylor::relay::reload::Layout;
use veylor::relay::script::{Payload, Script, Step, Wait};
use veylor::relay::settings::{
    ChannelSettings, DedupRule, Leg, OnSourceLoss, PrologueRule, SourceId, SourceSettings, Strategy,
};
use veylor::relay::stats::SourceStats;
use veylor::relay::tap::Way;
use veylor::relay::{Outcome, STABLE_AFTER, State};

use crate::world::{Client, World, channel, source};

pub(crate) const A: SourceId = SourceId(0);
pub(crate) const B: SourceId = SourceId(1);
pub(crate) const C: SourceId = SourceId(2);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// The legs of one feed, by the places of their urls.
pub(crate) fn legs(strategy: Strategy, ranks: &[usize]) -> Vec<SourceSettings> {
    let leg = |(n, rank): (usize, &usize)| {
        let label = format!("test/{}", n + 1);
        let name = if n == 0 { "test".to_owned() } else { label.clone() };
        let dedup = DedupRule::default();
        let leg = Leg { feed: "test".into(), label, rank: *rank, strategy, dedup };
        SourceSettings { name, leg: Some(leg), ..source() }
    };
    ranks.iter().enumerate().map(leg).collect()
}

pub(crate) fn fed_by(legs: &[SourceSettings], settings: ChannelSettings) -> ChannelSettings {
    ChannelSettings { sources: (0..legs.len()).map(SourceId).collect(), ..settings }
}

pub(crate) fn world(strategy: Strategy, ranks: &[usize]) -> World {
    world_of(legs(strategy, ranks), channel())
}

pub(crate) fn world_of(legs: Vec<SourceSettings>, settings: ChannelSettings) -> World {
    World::of(vec![fed_by(&legs, settings)], legs)
}

/// A world whose source has one url and a `max_age` of an hour.
fn ageing(settings: ChannelSettings, script: Script) -> World {
    let legs = legs(Strategy::Failover, &[0, 0]);
    let legs: Vec<_> =
        legs.into_iter().map(|leg| SourceSettings { max_age: Some(HOUR), ..leg }).collect();
    let mut world = World::laid_out(vec![fed_by(&legs, settings)], legs);
    world.script = script;
    world.is_up = true;
    world.settle();
    world
}

fn stats(world: &World) -> SourceStats {
    let mut stats = world.relay.source_stats(world.now);
    assert_eq!(stats.len(), 1, "a feed is one source");
    stats.remove(0)
}

fn states(world: &World) -> Vec<String> {
    stats(world).legs.into_iter().map(|leg| leg.state).collect()
}

pub(crate) fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// Lets legs bring the same numbers.
pub(crate) fn bring(world: &mut World, legs: &[SourceId], range: std::ops::Range<u32>) {
    for leg in legs {
        world.sends(*leg, numbers(range.clone()));
    }
}

#[track_caller]
pub(crate) fn has_all(world: &mut World, client: Client, count: u32) {
    assert_eq!(world.received(client), numbers(0..count));
}

#[test]
fn feed_is_one_source_with_details_of_its_legs() {
    let mut world = world(Strategy::Failover, &[0, 1, 2]);
    assert_eq!(world.dials.len(), 1, "later urls are left alone while the first serves");
    assert_eq!(states(&world), ["open", "standby", "standby"]);
    bring(&mut world, &[A], 0..3);
    let stats = stats(&world);
    assert_eq!((&*stats.name, &*stats.state, stats.received_messages), ("test", "open", 3));
    assert!(stats.legs[0].is_serving && !stats.legs[1].is_serving);
    assert_eq!(stats.legs[0].won_messages, 3);
    let census = world.relay.census();
    assert_eq!((census.open_sources, census.sources), (1, 1));
    assert_eq!(world.relay.channel_stats(world.now)[0].sources, ["test"]);
}

#[test]
fn next_url_serves_when_the_first_is_lost_and_until_it_is_stable_again() {
    let mut world = world(Strategy::Failover, &[0, 1, 2]);
    let [client] = world.clients();
    bring(&mut world, &[A], 0..5);
    world.unreachable = vec![A];
    world.lose(A);
    assert_eq!(states(&world), ["waiting", "open", "standby"]);
    let error = stats(&world).last_error.unwrap();
    assert!(error.starts_with("test/1: "), "what is amiss is told of the whole: {error}");
    bring(&mut world, &[B], 5..8);
    world.unreachable.clear();
    world.pass(6 * SECOND);
    assert_eq!(states(&world), ["open", "open", "standby"], "both for a while");
    bring(&mut world, &[B, A], 8..12);
    bring(&mut world, &[A, B], 12..14);
    world.pass(STABLE_AFTER.mul_f32(0.5));
    assert!(world.is_open(B), "the first has not proved anything");
    world.pass(6 * SECOND);
    assert_eq!(states(&world), ["open", "standby", "standby"]);
    let goodbye = world.received_by(B);
    assert!(goodbye.contains(&"close 1000 another connection serves".to_owned()), "{goodbye:?}");
    bring(&mut world, &[A], 14..20);
    has_all(&mut world, client, 20);
    assert_eq!(stats(&world).legs[1].duplicate_messages, 2);
    assert_eq!(stats(&world).received_messages, 20);
}

#[test]
fn first_url_that_flaps_costs_nothing() {
    let mut world = world(Strategy::Failover, &[0, 1]);
    let [client] = world.clients();
    world.unreachable = vec![A];
    world.lose(A);
    world.unreachable.clear();
    let mut sent = 0;
    for _ in 0..5 {
        while !world.is_open(A) {
            world.pass(SECOND);
        }
        assert!(world.is_open(B));
        bring(&mut world, &[A, B], sent..sent + 3);
        sent += 3;
        world.lose(A);
        bring(&mut world, &[B], sent..sent + 2);
        sent += 2;
    }
    has_all(&mut world, client, sent);
}

#[test]
fn relay_that_ends_does_not_look_at_its_feeds_again_and_again() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let client = world.client(Wire::WebSocket);
    world.stall(client);
    bring(&mut world, &[A, B], 0..1);
    world.pass(9 * (MIN_OVERLAP / 10));
    world.stop();
    // Time goes on from deadline to deadline; a deadline that stays would never let it.
    world.pass(SECOND / 2);
    assert!(!world.relay.is_finished());
    world.pass(2 * SECOND);
    assert!(world.relay.is_finished());
}

#[test]
fn third_url_serves_when_two_have_failed() {
    let settings = legs(Strategy::Failover, &[0, 1, 2]);
    let mut world = World::laid_out(vec![fed_by(&settings, channel())], settings);
    world.unreachable = vec![A, B];
    world.is_up = true;
    world.settle();
    assert_eq!(states(&world), ["waiting", "waiting", "open"]);
    world.unreachable = vec![A];
    world.pass(6 * SECOND);
    assert_eq!(states(&world)[1..], ["open", "open"]);
    world.pass(STABLE_AFTER);
    assert_eq!(states(&world)[1..], ["open", "standby"], "the second of three is better");
}

#[test]
fn feed_whose_urls_have_all_given_up_is_over() {
    let settings = legs(Strategy::Failover, &[0, 0, 1, 1]);
    let settings: Vec<_> = settings
        .into_iter()
        .map(|leg| SourceSettings { reconnect_max_attempts: 2, max_age: Some(HOUR), ..leg })
        .collect();
    let mut world = World::laid_out(vec![fed_by(&settings, channel())], settings);
    world.pass(Duration::from_mins(5));
    assert_eq!(world.dials.len(), 4, "two attempts for each url");
    assert_eq!(world.relay.outcome(), Some(Outcome::AllSourcesGaveUp));
}

#[test]
fn race_gives_clients_the_first_copy_of_each_message() {
    let mut world = world(Strategy::Race, &[0, 1, 2]);
    let [client] = world.clients();
    assert_eq!(world.dials.len(), 3);
    bring(&mut world, &[A, B, C], 0..3);
    bring(&mut world, &[C, A, B], 3..6);
    world.lose(C);
    bring(&mut world, &[B, A], 6..9);
    world.lose(A);
    bring(&mut world, &[B], 9..12);
    has_all(&mut world, client, 12);
    let stats = stats(&world);
    let won: Vec<_> = stats.legs.iter().map(|leg| leg.won_messages).collect();
    assert_eq!(won, [3, 6, 3]);
    assert_eq!((stats.received_messages, &*stats.state), (12, "open"));
}

#[test]
fn message_that_is_said_twice_is_heard_twice() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    world.sends(A, ["start", "tick", "tick"]);
    world.sends(B, ["start", "tick", "tick", "tick"]);
    world.sends(A, ["tick"]);
    assert_eq!(world.received(client), ["start", "tick", "tick", "tick"]);
}

#[test]
fn connection_that_returns_is_heard_when_it_is_left_alone() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    world.sends(A, ["tick"]);
    world.sends(B, ["tick"]);
    world.lose(B);
    world.sends(A, ["tick", "tick"]);
    world.pass(6 * SECOND);
    world.sends(B, ["tick"]);
    world.sends(A, ["tick"]);
    world.lose(A);
    world.sends(B, ["tick"]);
    assert_eq!(world.received(client), ["tick"; 5]);
}

#[test]
fn copies_are_copies_however_long_nobody_was_read() {
    let settings = ChannelSettings { max_queue_size: 2, ..channel() };
    let mut world = world_of(legs(Strategy::Race, &[0, 1]), settings);
    let client = world.client(Wire::Prefixed);
    bring(&mut world, &[A, B], 0..1);
    world.stall(client);
    bring(&mut world, &[A], 1..6);
    bring(&mut world, &[B], 1..6);
    for _ in 0..12 {
        world.pass(10 * SECOND);
        world.client_sends(client, "alive");
    }
    world.resume(client);
    has_all(&mut world, client, 6);
    assert_eq!(stats(&world).legs[1].duplicate_messages, 6);
}

#[test]
fn key_tells_which_message_it_is() {
    let mut settings = legs(Strategy::Race, &[0, 1]);
    for leg in settings.iter_mut().filter_map(|leg| leg.leg.as_mut()) {
        leg.dedup.key = Pointer::parse("/id");
    }
    let mut world = world_of(settings, channel());
    let [client] = world.clients();
    world.sends(A, [r#"{"id":1,"by":"a"}"#, r#"{"id":2,"by":"a"}"#]);
    world.sends(B, [r#"{"id":1,"by":"b"}"#, r#"{"id":2,"by":"b"}"#, r#"{"id":3,"by":"b"}"#]);
    world.sends(A, [r#"{"id":3,"by":"a"}"#]);
    let expected = [r#"{"id":1,"by":"a"}"#, r#"{"id":2,"by":"a"}"#, r#"{"id":3,"by":"b"}"#];
    assert_eq!(world.received(client), expected);
}

#[test]
fn connection_that_begins_ahead_of_the_others_waits_for_them() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    bring(&mut world, &[A, B], 0..2);
    world.lose(B);
    world.pass(6 * SECOND);
    // What comes first on the new connection is 5, while the other is at 3.
    world.sends(B, numbers(5..8));
    bring(&mut world, &[A], 2..4);
    has_all(&mut world, client, 4);
    bring(&mut world, &[A], 4..6);
    has_all(&mut world, client, 8);
    bring(&mut world, &[A], 6..9);
    has_all(&mut world, client, 9);
}

#[test]
fn connection_whose_first_message_no_other_brings_waits_for_a_moment() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    world.sends(B, ["hello, connection 17", "news"]);
    assert!(world.received(client).is_empty());
    world.pass(JOIN_WAIT);
    assert_eq!(world.received(client), ["hello, connection 17", "news"]);
    world.sends(A, ["news"]);
    assert_eq!(world.received(client).len(), 2);
}

#[test]
fn message_that_waits_for_a_connection_that_is_lost_is_not() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    world.sends(B, numbers(0..3));
    assert!(world.received(client).is_empty());
    world.lose(A);
    has_all(&mut world, client, 3);
}

#[test]
fn clients_messages_go_to_one_connection() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    world.client_sends(client, "one");
    world.lose(A);
    world.client_sends(client, "two");
    assert_eq!(world.received_by(B), ["two"]);
    world.pass(6 * SECOND);
    world.client_sends(client, "three");
    assert_eq!(world.received_by(A), ["three"]);
    assert_eq!(world.received_by(B), ["two"]);
    assert_eq!(stats(&world).forwarded_messages, 3);
    assert_eq!(stats(&world).dropped_messages, 0);
}

#[test]
fn taps_show_each_message_once() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    let id = world.relay.source_named("test").unwrap();
    assert_eq!(world.relay.source_named("test/2"), None);
    world.relay.set_taps(vec![(id, Way::Received), (id, Way::Forwarded)]);
    bring(&mut world, &[A, B], 0..2);
    bring(&mut world, &[B, A], 2..4);
    world.lose(A);
    world.client_sends(client, "order");
    let tapped = world.relay.take_tapped();
    let payloads: Vec<_> = tapped.into_iter().filter_map(|t| t.payload).collect();
    assert_eq!(payloads, [&b"0"[..], b"1", b"2", b"3", b"order"]);
}

#[test]
fn clients_are_closed_when_the_last_connection_is_lost() {
    let settings = ChannelSettings { on_source_loss: OnSourceLoss::Close, ..channel() };
    let mut world = world_of(legs(Strategy::Race, &[0, 1]), settings);
    let [client] = world.clients();
    world.is_up = false;
    world.lose(A);
    assert!(world.received(client).is_empty());
    world.lose(B);
    assert!(world.received(client)[0].starts_with("close 1012"));
}

#[test]
fn operator_redials_all_connections() {
    let mut world = world(Strategy::Race, &[0, 1]);
    world.relay.redial_source(A, world.now);
    world.pass(SECOND);
    assert_eq!(world.dials.len(), 4);
    assert_eq!(states(&world), ["open", "open"]);
}

#[test]
fn prologue_is_that_of_the_first_connection() {
    let prologue = Some(PrologueRule::Messages(1));
    let settings = ChannelSettings { prologue, ..channel() };
    let mut world = world_of(legs(Strategy::Race, &[0, 1]), settings);
    bring(&mut world, &[A, B], 0..3);
    world.lose(A);
    world.pass(6 * SECOND);
    bring(&mut world, &[B, A], 3..5);
    let late = world.client(Wire::Prefixed);
    assert_eq!(world.received(late), ["0"]);
}

#[test]
fn old_connection_is_let_go_when_the_new_one_has_overlapped() {
    let mut world = ageing(channel(), Script::default());
    let [client] = world.clients();
    bring(&mut world, &[A], 0..10);
    world.pass(HOUR);
    assert_eq!(states(&world), ["open", "open"]);
    world.pass(5 * SECOND);
    assert!(world.is_open(A), "nothing shows that the new one has everything");
    bring(&mut world, &[A], 10..15);
    world.sends(B, numbers(12..17));
    bring(&mut world, &[A], 15..18);
    world.pass(MIN_OVERLAP);
    assert_eq!(states(&world), ["standby", "open"]);
    let goodbye = world.received_by(A);
    assert!(goodbye[0].starts_with("close 1000 the connection has reached its age"), "{goodbye:?}");
    world.sends(B, numbers(17..20));
    has_all(&mut world, client, 20);
    world.pass(HOUR);
    assert!(world.is_open(A), "and so on");
    assert_eq!(stats(&world).failures, 0);
}

#[test]
fn new_connection_that_lags_brings_nothing_twice_after_the_old_one_has_gone() {
    let mut world = ageing(channel(), Script::default());
    let [client] = world.clients();
    world.pass(HOUR);
    bring(&mut world, &[A], 0..10);
    world.sends(B, numbers(2..3));
    world.pass(MIN_OVERLAP);
    assert_eq!(states(&world), ["standby", "open"]);
    world.pass(20 * SECOND);
    world.sends(B, numbers(3..12));
    has_all(&mut world, client, 12);
    world.pass(Duration::from_mins(2));
    world.sends(B, ["11"]);
    assert_eq!(world.received(client).len(), 13, "what it says again itself is news");
}

#[test]
fn quiet_feed_changes_connections_as_well() {
    let mut world = ageing(channel(), Script::default());
    world.pass(HOUR + OVERLAP / 2);
    assert_eq!(states(&world), ["open", "open"]);
    world.pass(OVERLAP / 2);
    assert_eq!(states(&world), ["standby", "open"]);
    assert_eq!(world.dials.len(), 2);
}

#[test]
fn new_connection_has_said_all_before_the_old_one_goes() {
    let wait = Wait { pattern: Pattern::Equals("ok".into()), timeout: 10 * SECOND };
    let subscribe = Step { send: Some(Payload::text("subscribe")), wait: Some(wait) };
    let script = Script { steps: vec![subscribe], ..Script::default() };
    let mut world = ageing(channel(), script);
    let [client] = world.clients();
    world.sends(A, ["ok"]);
    bring(&mut world, &[A], 0..3);
    world.pass(HOUR);
    bring(&mut world, &[A], 3..5);
    world.sends(B, numbers(4..6));
    world.pass(5 * SECOND);
    assert!(world.is_open(A), "the other has not subscribed to everything");
    world.client_sends(client, "to the old one");
    world.sends(B, ["ok"]);
    bring(&mut world, &[A], 5..7);
    world.sends(B, numbers(6..8));
    world.client_sends(client, "to the new one");
    world.pass(SECOND);
    assert_eq!(states(&world), ["standby", "open"]);
    bring(&mut world, &[B], 8..10);
    let seen: Vec<_> = world.received(client).into_iter().filter(|text| text != "ok").collect();
    assert_eq!(seen, numbers(0..10));
    assert_eq!(world.received_by(A)[1], "to the old one");
    assert_eq!(world.received_by(B)[1], "to the new one");
}

#[test]
fn old_connection_goes_on_while_no_new_one_can_be_had() {
    let mut world = ageing(channel(), Script::default());
    let [client] = world.clients();
    bring(&mut world, &[A], 0..3);
    world.unreachable = vec![B];
    world.pass(HOUR + Duration::from_mins(3));
    let dials = world.dials.len();
    assert!((4..12).contains(&dials), "with the usual waits: {dials}");
    assert!(world.is_open(A));
    bring(&mut world, &[A], 3..6);
    world.unreachable.clear();
    world.pass(Duration::from_mins(2));
    assert_eq!(states(&world), ["standby", "open"]);
    bring(&mut world, &[B], 6..9);
    has_all(&mut world, client, 9);
}

#[test]
fn old_connection_that_is_cut_meanwhile_is_not_dialled_beside_the_new_one() {
    let mut world = ageing(channel(), Script::default());
    let [client] = world.clients();
    world.pass(HOUR);
    bring(&mut world, &[A, B], 0..3);
    world.lose(A);
    world.pass(Duration::from_mins(1));
    assert_eq!(states(&world), ["standby", "open"]);
    bring(&mut world, &[B], 3..6);
    has_all(&mut world, client, 6);
}

#[test]
fn full_channel_holds_the_change_up_and_loses_nothing() {
    let settings =
        ChannelSettings { max_queue_size: 2, max_pause: Duration::from_secs(30), ..channel() };
    let mut world = ageing(settings, Script::default());
    let [fast, slow] = world.clients();
    world.pass(HOUR.mul_f32(0.999));
    world.stall(slow);
    // The fourth message of the old connection is held, further ones are unread.
    bring(&mut world, &[A], 0..6);
    world.pass(5 * SECOND);
    assert!(!world.is_open(B), "the age is looked at when the connection is read");
    world.resume(slow);
    world.pass(SECOND);
    assert!(world.is_open(B));
    world.stall(slow);
    bring(&mut world, &[A], 6..12);
    world.sends(B, numbers(8..14));
    world.pass(15 * SECOND);
    assert!(world.is_open(A), "what it has brought is not read yet");
    world.resume(slow);
    world.pass(2 * SECOND);
    assert_eq!(states(&world), ["standby", "open"]);
    world.sends(B, numbers(14..16));
    has_all(&mut world, fast, 16);
    has_all(&mut world, slow, 16);
}

#[test]
fn message_that_is_held_at_the_change_is_delivered_once() {
    let settings =
        ChannelSettings { max_queue_size: 1, max_pause: Duration::from_mins(2), ..channel() };
    let mut world = ageing(settings, Script::default());
    let [fast, slow] = world.clients();
    world.pass(HOUR);
    bring(&mut world, &[A, B], 0..1);
    world.stall(slow);
    // 1 is in the backlog, 2 is held by the old connection, which is cut.
    bring(&mut world, &[A], 1..4);
    world.lose(A);
    world.sends(B, numbers(1..6));
    world.pass(SECOND);
    world.resume(slow);
    has_all(&mut world, fast, 6);
    has_all(&mut world, slow, 6);
}

#[test]
fn second_url_may_be_added_and_taken_away_while_messages_pass() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    bring(&mut world, &[A], 0..3);
    let both = legs(Strategy::Race, &[0, 1]);
    let layout = |sources: Vec<Option<SourceSettings>>, channel: ChannelSettings| Layout {
        sources,
        channels: vec![Some(channel)],
        ..Layout::default()
    };
    let with_both = fed_by(&both, channel());
    world.reload(layout(both.into_iter().map(Some).collect(), with_both));
    assert_eq!(states(&world), ["open", "open"]);
    assert_eq!(world.dials.len(), 2, "the connection that was there stays");
    bring(&mut world, &[A, B], 3..6);
    bring(&mut world, &[B, A], 6..9);
    world.reload(layout(vec![Some(source()), None], channel()));
    assert_eq!(world.dials.len(), 2);
    bring(&mut world, &[A], 9..12);
    has_all(&mut world, client, 12);
    assert!(stats(&world).legs.is_empty());
}

#[test]
fn connection_that_stood_by_is_dialled_when_it_is_left_alone() {
    let mut world = world(Strategy::Failover, &[0, 1]);
    world.unreachable = vec![A];
    world.lose(A);
    assert_eq!(states(&world), ["waiting", "open"]);
    world.unreachable.clear();
    world.reload(Layout {
        sources: vec![Some(source()), None],
        channels: vec![Some(channel())],
        redials: vec![A],
        ..Layout::default()
    });
    world.pass(SECOND);
    assert!(world.is_open(A));
    assert_eq!(world.relay.source_state(B), State::Removed);
}

#[test]
fn messages_of_one_connection_are_not_compared() {
    let mut world = world(Strategy::Failover, &[0, 1]);
    let [client] = world.clients();
    world.queue_from_source(Message::text("same"));
    world.sends(A, ["same", "same"]);
    assert_eq!(world.received(client), ["same"; 3]);
    assert_eq!(stats(&world).legs[0].won_messages, 3);
}

/// A service with two doors: what it says is on its way to each of them for its own time.
struct Service {
    said: u32,
    ways: [Way2; 2],
}

/// What is on its way through one door.
#[derive(Default)]
struct Way2 {
    /// The first message that the connection of now gets.
    since: Option<u32>,
    under_way: VecDeque<(Duration, u32)>,
    delivered: u32,
}

#[test]
fn nothing_is_lost_or_doubled_in_a_race_while_one_connection_stands() {
    for seed in 0..60 {
        race_story(seed, false);
    }
}

#[test]
fn nothing_is_lost_or_doubled_where_the_same_is_said_again_and_again() {
    for seed in 0..20 {
        race_story(seed, true);
    }
}

/// Random delays, cuts and reconnects of two connections, of which one stands at each moment. What is
/// said again and again is only told apart while connections stand: it may have been under way
/// when a connection began.
fn race_story(seed: u64, repeats: bool) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    let mut service = Service { said: 0, ways: Default::default() };
    let text = |n: u32| if repeats { (n % 3).to_string() } else { n.to_string() };
    let mut time = Duration::ZERO;
    for _ in 0..400 {
        service.notice(&world);
        match random.u8(0..10) {
            0..6 => service.say(&mut random, time),
            6 => {
                let leg = random.usize(0..2);
                if !repeats && service.can_spare(leg, &world) {
                    service.ways[leg] = Way2::default();
                    world.lose(SourceId(leg));
                }
            }
            _ => {
                let step = Duration::from_millis(random.u64(1..300));
                time += step;
                world.pass(step);
            }
        }
        service.notice(&world);
        service.deliver(&mut world, time, text);
    }
    service.deliver(&mut world, Duration::MAX, text);
    world.pass(JOIN_WAIT);
    let expected: Vec<_> = (0..service.said).map(text).collect();
    let received = world.received(client);
    let wrong = (0..).zip(&received).find(|(n, text)| expected.get(*n) != Some(*text));
    assert_eq!(wrong, None, "seed {seed}");
    assert_eq!(received.len(), expected.len(), "seed {seed}");
}

impl Service {
    /// Takes note of new connections: they get what is said from now on.
    fn notice(&mut self, world: &World) {
        for (n, way) in self.ways.iter_mut().enumerate() {
            if world.is_connected(SourceId(n)) && way.since.is_none() {
                *way = Way2 { since: Some(self.said), ..Way2::default() };
                way.delivered = self.said;
            }
        }
    }

    fn say(&mut self, random: &mut fastrand::Rng, time: Duration) {
        for way in self.ways.iter_mut().filter(|way| way.since.is_some()) {
            let earliest = way.under_way.back().map_or(time, |(at, _)| (*at).max(time));
            // One way is not more than this behind the other.
            let arrives = earliest.min(time + Duration::from_millis(600))
                + Duration::from_millis(random.u64(0..150));
            let arrives = arrives.max(earliest);
            way.under_way.push_back((arrives, self.said));
        }
        self.said += 1;
    }

    fn deliver(&mut self, world: &mut World, time: Duration, text: impl Fn(u32) -> String) {
        for (n, way) in self.ways.iter_mut().enumerate() {
            while way.under_way.front().is_some_and(|(at, _)| *at <= time) {
                let (_, number) = way.under_way.pop_front().unwrap();
                way.delivered = number + 1;
                world.sends(SourceId(n), [text(number)]);
            }
        }
    }

    /// Whether the other way brings all that would be lost with this one.
    fn can_spare(&self, leg: usize, world: &World) -> bool {
        let other = &self.ways[1 - leg];
        let is_whole = other.since.is_some_and(|since| since <= self.ways[leg].delivered);
        [0, 1].into_iter().all(|leg| world.is_connected(SourceId(leg))) && is_whole
    }
}
