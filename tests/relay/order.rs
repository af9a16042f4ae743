//! Messages of several legs keep their order, whatever holds a leg up.

use std::time::Duration;

use veylor::codec::Wire;
use veylor::codec::pattern::{Pattern, Pointer};
use veylor::relay::feed::JOIN_WAIT;
use veylor::relay::reload::Layout;
use veylor::relay::script::{Overture, Payload, Prompt, Script, Step, Wait};
use veylor::relay::settings::{ChannelId, ChannelSettings, Strategy};

use crate::feeds::{A, B, C, bring, fed_by, has_all, legs, numbers, world, world_of};
use crate::world::{Client, World, channel, source};

const SECOND: Duration = Duration::from_secs(1);

/// A channel that nobody is cut off from.
fn patient(max_queue_size: usize) -> ChannelSettings {
    ChannelSettings { max_queue_size, max_pause: Duration::from_mins(5), ..channel() }
}

/// A race of two legs, to which a script is said.
fn race_with(script: Script) -> World {
    let legs = legs(Strategy::Race, &[0, 1]);
    let mut world = World::laid_out(vec![fed_by(&legs, channel())], legs);
    world.script = script;
    world.is_up = true;
    world.settle();
    world
}

#[test]
fn message_that_waits_for_room_is_not_overtaken_by_another_leg() {
    let settings = ChannelSettings { max_queue_bytes: 150, ..patient(100) };
    let mut world = world_of(legs(Strategy::Race, &[0, 1]), settings);
    let [fast, slow] = world.clients();
    let [large, larger] = ["a", "b"].map(|text| text.repeat(100));
    world.stall(slow);
    // All in one turn: the second message has no room, the third had.
    world.keeps(A, [&large, &larger]);
    world.keeps(B, [&*large, &larger, "small", "last"]);
    world.settle();
    assert_eq!(world.received(fast), [&*large]);
    world.resume(slow);
    assert_eq!(world.received(fast), [&*large, &larger, "small", "last"]);
    assert_eq!(world.received(slow), [&*large, &larger, "small", "last"]);
    bring(&mut world, &[A, B], 0..3);
    assert_eq!(world.received(fast)[4..], numbers(0..3), "both are read on");
}

#[test]
fn new_leg_waits_for_an_old_one_that_is_read_late() {
    let mut world = world_of(legs(Strategy::Race, &[0, 1]), patient(2));
    let [fast, slow] = world.clients();
    world.unreachable = vec![B];
    world.lose(B);
    bring(&mut world, &[A], 0..1);
    world.stall(slow);
    // Two are in the backlog, one is held, all others are unread.
    world.keeps(A, numbers(1..50));
    world.settle();
    world.unreachable.clear();
    world.pass(20 * SECOND);
    world.sends(B, numbers(40..50));
    world.pass(10 * JOIN_WAIT);
    world.resume(slow);
    world.pass(JOIN_WAIT);
    has_all(&mut world, fast, 50);
    has_all(&mut world, slow, 50);
}

#[test]
fn leg_that_has_brought_nothing_yet_is_not_taken_to_have_overlapped() {
    let mut world = world(Strategy::Race, &[0, 1, 2]);
    let [client] = world.clients();
    bring(&mut world, &[A, B, C], 0..1);
    world.unreachable = vec![C];
    world.lose(C);
    bring(&mut world, &[A], 1..2);
    world.unreachable.clear();
    world.pass(5 * SECOND);
    assert!(world.is_open(C));
    // Another is late with what had passed before the new one came.
    bring(&mut world, &[B], 1..2);
    bring(&mut world, &[C], 4..5);
    bring(&mut world, &[A], 2..5);
    bring(&mut world, &[B], 2..5);
    has_all(&mut world, client, 5);
}

#[test]
fn leg_that_has_not_subscribed_to_everything_waits_for_others_too() {
    let subscribe = |text: &str| Step {
        send: Some(Payload::text(text)),
        wait: Some(Wait { pattern: Pattern::Equals(format!("{text} done")), timeout: 10 * SECOND }),
    };
    let mut world =
        race_with(Script { steps: vec![subscribe("a"), subscribe("b")], ..Script::default() });
    let [client] = world.clients();
    world.sends(A, ["a done", "b done"]);
    bring(&mut world, &[A], 0..1);
    world.sends(B, ["a done"]);
    // Ahead of the other, of the first subscription.
    bring(&mut world, &[B], 2..3);
    world.sends(B, ["b done"]);
    bring(&mut world, &[A], 1..3);
    bring(&mut world, &[B], 3..4);
    world.pass(JOIN_WAIT);
    let texts = world.received(client);
    assert_eq!(texts.iter().filter(|text| text.ends_with("done")).count(), 2, "{texts:?}");
    assert_eq!(texts.into_iter().filter(|text| text.len() == 1).collect::<Vec<_>>(), numbers(0..4));
}

#[test]
fn answer_that_a_script_waits_for_holds_nothing_up() {
    let ready = Wait { pattern: Pattern::Contains("session".into()), timeout: 10 * SECOND };
    let step = |text: &str| Step { send: Some(Payload::text(text)), wait: Some(ready.clone()) };
    let mut world =
        race_with(Script { steps: vec![step("one"), step("two")], ..Script::default() });
    let [client] = world.clients();
    world.sends(A, ["session a1", "session a2"]);
    // No other leg will ever bring these.
    world.sends(B, ["session b1", "session b2"]);
    assert_eq!(world.received(client), ["session a1", "session a2", "session b1", "session b2"]);
    assert_eq!(world.received_by(B), ["one", "two"]);
}

#[test]
fn message_that_waits_for_other_legs_is_not_lost_at_the_end() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    bring(&mut world, &[A], 0..1);
    bring(&mut world, &[B], 1..2);
    assert_eq!(world.received(client), ["0"]);
    world.stop();
    assert_eq!(world.received(client)[..2], ["0", "1"]);
}

#[test]
fn message_that_waits_for_other_legs_is_not_lost_when_its_leg_is_taken_away() {
    let mut world = world(Strategy::Race, &[0, 1]);
    let [client] = world.clients();
    bring(&mut world, &[A], 0..1);
    bring(&mut world, &[B], 1..2);
    assert_eq!(world.received(client), ["0"]);
    world.reload(Layout {
        sources: vec![Some(source()), None],
        channels: vec![Some(channel())],
        ..Layout::default()
    });
    bring(&mut world, &[A], 2..4);
    has_all(&mut world, client, 4);
}

#[test]
fn what_a_service_repeats_after_a_failover_is_known_by_its_key() {
    let legs = legs(Strategy::Failover, &[0, 1]).into_iter().map(|mut leg| {
        leg.leg.as_mut().unwrap().dedup.key = Pointer::parse("/id");
        leg
    });
    let mut world = world_of(legs.collect(), channel());
    let [client] = world.clients();
    let messages: Vec<_> = (0..8).map(|id| format!("{{\"id\":{id}}}")).collect();
    world.sends(A, &messages[..5]);
    world.unreachable = vec![A];
    world.lose(A);
    world.sends(B, &messages[2..]);
    assert_eq!(world.received(client), messages);
}

#[test]
fn leg_is_dialled_again_when_its_connection_before_is_gone() {
    let mut world = world(Strategy::Failover, &[0, 1]);
    world.unreachable = vec![A];
    world.lose(A);
    assert!(world.is_open(B));
    world.unreachable.clear();
    world.pass(20 * SECOND);
    assert!(world.is_open(A) && !world.is_open(B), "the second is let go");
    world.unreachable = vec![A];
    world.lose(A);
    world.pass(5 * SECOND);
    assert!(world.is_open(B), "and wanted again while it is seen off");
}

#[test]
fn url_that_is_wanted_again_while_it_is_let_go_is_dialled_at_once() {
    let mut world = world(Strategy::Failover, &[0, 1]);
    world.unreachable = vec![A];
    world.lose(A);
    assert!(world.is_open(B));
    world.unreachable.clear();
    // The first is stable, and lost while the second is still being seen off.
    while !world.received_by(B).iter().any(|text| text.starts_with("close")) {
        world.pass(SECOND / 10);
    }
    world.unreachable = vec![A];
    world.lose(A);
    world.pass(SECOND / 10);
    assert!(world.is_open(B));
}

/// Two legs that feed two channels, the second of which has brought a message too early.
fn ahead_in_two_channels() -> (World, [ChannelSettings; 2], [Client; 2]) {
    let legs = legs(Strategy::Race, &[0, 1]);
    let both = ["test", "all"]
        .map(|name| fed_by(&legs, ChannelSettings { name: name.into(), ..channel() }));
    let mut world = World::of(both.to_vec(), legs);
    let clients = [0, 1].map(|id| world.client_of(ChannelId(id), Wire::WebSocket));
    bring(&mut world, &[A], 0..1);
    bring(&mut world, &[B], 1..2);
    (world, both, clients)
}

#[test]
fn message_that_waits_for_other_legs_reaches_the_channels_that_stay() {
    let (mut world, [own, _], [client, other]) = ahead_in_two_channels();
    let sources = legs(Strategy::Race, &[0, 1]).into_iter().map(Some).collect();
    world.reload(Layout { sources, channels: vec![Some(own), None], ..Layout::default() });
    bring(&mut world, &[A], 1..3);
    bring(&mut world, &[B], 2..4);
    assert_eq!(world.received(client), numbers(0..4));
    assert_eq!(world.received(other)[..2], numbers(0..2));
}

#[test]
fn message_that_waits_for_other_legs_outlives_its_feed() {
    let (mut world, _, [client, other]) = ahead_in_two_channels();
    let alone = |name: &str| ChannelSettings { name: name.into(), sources: vec![B], ..channel() };
    world.reload(Layout {
        sources: vec![None, Some(source())],
        channels: vec![Some(alone("test")), Some(alone("all"))],
        ..Layout::default()
    });
    bring(&mut world, &[B], 2..4);
    assert_eq!(world.received(client), numbers(0..4));
    assert_eq!(world.received(other), numbers(0..4));
}

#[test]
fn what_waits_for_room_goes_out_before_what_waits_for_legs_at_the_end() {
    let settings = ChannelSettings { max_queue_bytes: 150, ..patient(100) };
    let mut world = world_of(legs(Strategy::Race, &[0, 1]), settings);
    let [client] = world.clients();
    let [large, larger] = ["a", "b"].map(|text| text.repeat(100));
    world.sends(B, ["early"]);
    world.stall(client);
    world.sends(A, [&*large, &larger]);
    world.stop();
    world.resume(client);
    assert_eq!(world.received(client)[..3], [&*large, &larger, "early"]);
}

#[test]
fn data_that_comes_before_a_login_waits_for_other_legs() {
    let overture = Overture::Until(Pattern::Equals("challenge".into()));
    let prompt = Some(Prompt { overture, timeout: 10 * SECOND });
    let mut world = race_with(Script { prompt, ..Script::default() });
    let [client] = world.clients();
    world.sends(A, ["challenge"]);
    let key = world.prompts[0];
    world.relay.prompted(key, Ok(b"login\n"), world.now);
    bring(&mut world, &[A], 0..1);
    bring(&mut world, &[B], 2..3);
    bring(&mut world, &[A], 1..3);
    assert_eq!(world.received(client)[1..], numbers(0..3));
}
