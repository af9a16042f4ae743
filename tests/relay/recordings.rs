//! Recordings as sources, and copies for those that are made.

use std::io::Write;
use std::time::Duration;

use veylor::codec::recording::{Found, Happening, push, push_end, record};
use veylor::codec::{Kind, Message, Wire};
use veylor::relay::record::{MAX_UNWRITTEN_BYTES, Writer};
use veylor::relay::settings::{ChannelSettings, OnSourceLoss, SourceId};
use veylor::relay::{LAST_WAIT, Outcome, PING_INTERVAL, State};

use crate::world::{World, channel, source};

const SOURCE: SourceId = SourceId(0);

/// The records of some texts.
fn texts(texts: &[&str]) -> Vec<u8> {
    let mut records = Vec::new();
    for text in texts {
        let message = Message { kind: Kind::Text, payload: text.as_bytes() };
        push(1, Happening::Message(message), &mut records);
    }
    records
}

/// The same, and the end.
fn whole(some: &[&str], why: &str) -> Vec<u8> {
    let mut records = texts(some);
    push_end(why, &mut records);
    records
}

fn world(channel: ChannelSettings) -> World {
    World::without_source(channel, source())
}

/// What came of the source since this was last asked, in words.
fn recorded(world: &mut World) -> Vec<String> {
    let bytes = world.relay.take_records(SOURCE).bytes;
    let (mut rest, mut told) = (&*bytes, Vec::new());
    while let Ok(Found::Record(found)) = record(rest, usize::MAX) {
        assert_eq!(found.time, 5);
        told.push(match found.happening {
            Happening::Message(message) => String::from_utf8_lossy(message.payload).into_owned(),
            Happening::Opened => "opened".to_owned(),
            Happening::Gap(missed) => format!("{missed} missed"),
        });
        rest = &rest[found.size..];
    }
    told
}

#[test]
fn relay_ends_well_when_the_recording_has_and_everyone_has_got_all() {
    let mut world = world(channel());
    let [client] = world.clients();
    let unix = world.client(Wire::Prefixed);
    world.plays(&whole(&["one", "two"], ""));
    assert_eq!(world.received(unix)[..2], ["one", "two"]);
    let received = world.received(client);
    assert_eq!(received[..3], ["one", "two", "close 1001 the relay is shutting down"]);
    assert_eq!(world.relay.outcome(), Some(Outcome::Played));
    world.pass(Duration::from_secs(2));
    assert!(world.relay.is_finished());
}

#[test]
fn client_that_is_behind_gets_the_rest_before_the_relay_ends() {
    let mut world = world(channel());
    let [slow, fast] = world.clients();
    world.stall(slow);
    world.plays(&whole(&["one", "two"], ""));
    world.pass(PING_INTERVAL / 2);
    assert_eq!(world.relay.source_state(SOURCE), State::Ended);
    assert_eq!(world.relay.outcome(), None, "one has not got all");
    assert_eq!(world.received(fast), ["one", "two"]);
    world.resume(slow);
    assert_eq!(world.received(slow)[..2], ["one", "two"]);
    assert_eq!(world.relay.outcome(), Some(Outcome::Played));
}

#[test]
fn client_that_is_alive_and_takes_nothing_keeps_the_relay_only_for_so_long() {
    let mut world = world(channel());
    let [mute] = world.clients();
    world.stall(mute);
    world.plays(&whole(&["one"], ""));
    let step = Duration::from_secs(5);
    let mut passed = Duration::ZERO;
    while passed < LAST_WAIT {
        assert_eq!(world.relay.outcome(), None, "after {passed:?}");
        world.client_sends(mute, "still here");
        world.pass(step);
        passed += step;
    }
    assert_eq!(world.relay.outcome(), Some(Outcome::Played));
}

#[test]
fn recording_that_ends_too_early_is_a_failure() {
    let mut world = world(channel());
    let [client] = world.clients();
    world.plays(&whole(&["one"], "at byte 7: nonsense"));
    assert_eq!(world.received(client)[0], "one");
    assert_eq!(world.relay.outcome(), Some(Outcome::AllSourcesGaveUp));
    let stats = &world.relay.source_stats(world.now)[0];
    let told = stats.last_error.as_deref();
    assert_eq!(told, Some("cannot be played on (at byte 7: nonsense)"));
}

#[test]
fn recording_that_stops_without_an_end_is_dialled_again() {
    let mut world = world(channel());
    let dials = world.dials.len();
    let far = world.plays(&texts(&["one"]));
    assert!(world.source_is_open());
    far.reset();
    world.settle();
    assert!(!world.source_is_open());
    world.pass(Duration::from_mins(1));
    assert!(world.dials.len() > dials);
}

#[test]
fn quiet_recording_is_not_taken_for_dead() {
    let mut world = world(channel());
    let [client] = world.clients();
    let mut far = world.plays(&texts(&["one"]));
    world.pass(10 * PING_INTERVAL);
    assert!(world.source_is_open());
    far.write_all(&texts(&["two"])).unwrap();
    assert_eq!(world.received(client), ["one", "two"]);
}

#[test]
fn end_of_a_recording_is_a_loss_to_clients_where_asked_for() {
    let settings = ChannelSettings { on_source_loss: OnSourceLoss::Close, ..channel() };
    let mut world = world(settings);
    let [client] = world.clients();
    world.plays(&whole(&["one"], ""));
    assert_eq!(world.received(client)[..2], ["one", "close 1012 the source was lost"]);
}

#[test]
fn messages_to_a_recording_are_counted_as_dropped() {
    let mut world = world(channel());
    let [client] = world.clients();
    world.plays(&texts(&["one"]));
    world.client_sends(client, "to nobody");
    let message = Message { kind: Kind::Text, payload: b"nor this" };
    assert!(!world.relay.send_to_source(SOURCE, message));
    assert_eq!(world.relay.source_tally(SOURCE).dropped_messages, 1);
    assert_eq!(world.relay.source_tally(SOURCE).forwarded_messages, 0);
}

#[test]
fn held_back_recording_loses_nothing() {
    let mut world = world(ChannelSettings { max_queue_size: 2, ..channel() });
    let [slow] = world.clients();
    world.stall(slow);
    let names: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    world.plays(&whole(&all, ""));
    world.pass(Duration::from_secs(5));
    assert!(world.source_is_open(), "its end waits behind what is held");
    world.resume(slow);
    assert_eq!(world.received(slow)[..50], all);
    assert_eq!(world.relay.outcome(), Some(Outcome::Played));
}

#[test]
fn everything_a_source_sends_is_copied_from_the_opening_on() {
    let mut world = world(channel());
    world.relay.set_record_time(5);
    world.relay.record(SOURCE, None);
    world.is_up = true;
    world.pass(Duration::from_secs(5));
    world.source_sends(["one", "two"]);
    assert_eq!(recorded(&mut world), ["opened", "one", "two"]);
    world.source_sends(["three"]);
    assert_eq!(recorded(&mut world), ["three"]);
    world.relay.learn_of_writer(SOURCE, Writer::Busy(MAX_UNWRITTEN_BYTES), 0);
    world.source_sends(["four", "five"]);
    assert_eq!(recorded(&mut world), [""; 0]);
    assert_eq!(world.relay.left_out(SOURCE), 2);
    world.relay.learn_of_writer(SOURCE, Writer::Busy(0), 0);
    world.source_sends(["six"]);
    assert_eq!(recorded(&mut world), ["2 missed", "six"]);
    world.relay.end_records(SOURCE);
    world.source_sends(["seven"]);
    assert_eq!(recorded(&mut world), [""; 0]);
}
