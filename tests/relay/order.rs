//! Messages of several legs keep their order, whatever holds a leg up.

use std::time::Duration;

use veylor::codec::pattern::{Pattern, Pointer};
use veylor::relay::feed::JOIN_WAIT;
use veylor::relay::reload::Layout;
use veylor::relay::script::{Payload, Script, Step, Wait};
use veylor::relay::settings::{ChannelSettings, Strategy};

use crate::feeds::{A, B, C, bring, fed_by, has_all, legs, numbers, world, world_of};
use crate::world::{World, channel, source};

const SECOND: Duration = Duration::from_secs(1);

/// A channel that nobody is cut off from.
fn patient(max_queue_size: usize) -> ChannelSettings {
    ChannelSettings { max_queue_size, max_pause: Duration::from_mins(5), ..channel() }
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
    let legs = legs(Strategy::Race, &[0, 1]);
    let mut world = World::laid_out(vec![fed_by(&legs, channel())], legs);
    world.script = Script { steps: vec![subscribe("a"), subscribe("b")], ..Script::default() };
    world.is_up = true;
    world.settle();
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
    let legs = legs(Strategy::Race, &[0, 1]);
    let mut world = World::laid_out(vec![fed_by(&legs, channel())], legs);
    world.script = Script { steps: vec![step("one"), step("two")], ..Script::default() };
    world.is_up = true;
    world.settle();
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
