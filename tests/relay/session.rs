//! What the relay says to a source itself, and what it waits for.

use std::time::Duration;

use tungstenite::Message;
use veylor::codec::Kind;
use veylor::codec::pattern::{Pattern, Pointer};
use veylor::relay::script::{
    Answer, Heartbeat, Overture, Payload, Piece, Prompt, Reply, Script, Step, Wait,
};
use veylor::relay::session::MAX_OVERTURE_BYTES;
use veylor::relay::settings::{ChannelSettings, OnSourceLoss, SourceId, SourceSettings};
use veylor::relay::tap::Way;

use crate::world::{World, channel, source};

const TIMEOUT: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

/// A world that says this script at each connect, and whose source is about to be dialled.
fn world(script: Script) -> World {
    world_of(channel(), source(), script)
}

fn world_of(channel: ChannelSettings, source: SourceSettings, script: Script) -> World {
    let mut world = World::without_source(channel, source);
    world.script = script;
    world.is_up = true;
    world.settle();
    world
}

fn steps<const N: usize>(steps: [Step; N]) -> Script {
    Script { steps: steps.into(), ..Script::default() }
}

fn send(text: &str) -> Step {
    Step { send: Some(Payload::text(text)), wait: None }
}

fn ask(text: &str, answer: &str) -> Step {
    Step { wait: wait_for(answer).wait, ..send(text) }
}

fn wait_for(answer: &str) -> Step {
    let wait = Wait { pattern: Pattern::Equals(answer.into()), timeout: TIMEOUT };
    Step { send: None, wait: Some(wait) }
}

fn heartbeat(seconds: u64) -> Script {
    let every = Duration::from_secs(seconds);
    let heartbeat = Some(Heartbeat { every, send: Payload::text("beat") });
    Script { heartbeat, ..Script::default() }
}

fn reply(pattern: Pattern, text: &str, forward: bool) -> Reply {
    let pieces = vec![Piece::Plain(text.as_bytes().to_vec())];
    Reply { pattern, answer: Answer { kind: Kind::Text, pieces }, forward }
}

fn prompt(overture: Overture) -> Script {
    Script { prompt: Some(Prompt { overture, timeout: TIMEOUT }), ..steps([send("subscribe")]) }
}

/// How the source stands, as operators see it.
fn state(world: &World) -> String {
    world.relay.source_stats(world.now)[0].state.clone()
}

fn last_error(world: &World) -> String {
    world.relay.source_stats(world.now)[0].last_error.clone().unwrap_or_default()
}

#[test]
fn messages_go_out_in_their_order_and_clients_after_them() {
    let mut world = world(steps([send("one"), ask("two", "ok"), send("three")]));
    let [client] = world.clients();
    world.client_sends(client, "from a client");
    assert_eq!(world.source_received(), ["one", "two"]);
    assert_eq!(state(&world), "opening");
    assert_eq!(world.relay.census().open_sources, 0);
    world.source_sends(["something else", "ok"]);
    assert_eq!(world.source_received(), ["one", "two", "three", "from a client"]);
    assert_eq!(state(&world), "open");
    assert_eq!(world.received(client), ["something else", "ok"], "the rest is broadcast as ever");
    let tally = world.relay.source_tally(SourceId(0));
    assert_eq!((tally.own_messages, tally.forwarded_messages), (3, 1));
    assert_eq!(tally.dropped_messages, 0);
}

#[test]
fn greeting_is_waited_for_before_anything_is_said() {
    let mut world = world(steps([wait_for("hello"), ask("login", "welcome")]));
    assert!(world.source_received().is_empty());
    world.source_sends(["hello", "welcome"]);
    assert_eq!(world.source_received(), ["login"]);
    assert_eq!(state(&world), "open");
}

#[test]
fn binary_is_sent_as_binary() {
    let bytes = Payload { kind: Kind::Binary, bytes: vec![0, 255] };
    let mut world = world(steps([Step { send: Some(bytes), wait: None }]));
    assert_eq!(world.source_received(), ["b\"\\0\\xff\""]);
}

#[test]
fn wait_that_fails_is_a_failed_connection_and_names_its_place_alone() {
    let mut world = world(steps([send("hunter1"), ask("hunter2", "hunter3")]));
    world.source_sends(["no"]);
    world.pass(TIMEOUT.mul_f32(0.9));
    assert!(last_error(&world).is_empty());
    world.pass(SECOND);
    assert_eq!(
        last_error(&world),
        "cannot open (no answer to message 2 of on_connect within 10 s)"
    );
    assert!(world.source_received()[2].starts_with("close 1000"));
    world.pass(Duration::from_secs(6));
    assert_eq!(world.dials.len(), 2);
    assert_eq!(world.relay.source_stats(world.now)[0].failures, 1);
}

#[test]
fn failures_of_a_login_back_off_also_when_the_source_talks() {
    let mut world = world(steps([ask("login", "ok")]));
    for _ in 0..120 {
        if world.source_received().first().is_some_and(|first| first == "login")
            && state(&world) == "opening"
        {
            world.source_sends(["try harder"]);
        }
        world.pass(SECOND);
    }
    assert!(world.dials.len() <= 6, "{:?}", world.dials);
    assert!(world.relay.source_stats(world.now)[0].failures >= 3);
}

#[test]
fn clients_stay_where_a_loss_closes_while_the_source_was_never_ready() {
    let settings = ChannelSettings { on_source_loss: OnSourceLoss::Close, ..channel() };
    let mut world = world_of(settings, source(), steps([ask("login", "ok")]));
    let [client] = world.clients();
    world.pass(TIMEOUT + SECOND);
    assert!(last_error(&world).starts_with("cannot open"));
    assert!(!world.is_cut_off(client));
}

#[test]
fn redial_says_it_all_again() {
    let mut world = world(steps([ask("login", "ok"), send("subscribe")]));
    for _ in 0..3 {
        assert_eq!(world.source_received(), ["login"]);
        world.source_sends(["ok"]);
        assert_eq!(world.source_received(), ["login", "subscribe"]);
        world.lose_source();
        world.pass(TIMEOUT);
    }
}

#[test]
fn messages_of_clients_wait_and_are_not_lost_when_the_login_is_late() {
    let mut world = world(steps([ask("login", "ok")]));
    let [client] = world.clients();
    for n in 0..50 {
        world.client_sends(client, &format!("order {n}"));
    }
    world.pass(Duration::from_secs(9));
    assert!(!world.relay.send_to_source(
        SourceId(0),
        veylor::codec::Message { kind: Kind::Text, payload: b"operator" }
    ));
    world.source_sends(["ok"]);
    let received = world.source_received();
    assert_eq!(received.len(), 51);
    assert_eq!((&*received[0], &*received[1], &*received[50]), ("login", "order 0", "order 49"));
}

#[test]
fn source_that_is_not_read_does_not_fail_its_wait() {
    let settings = ChannelSettings { max_queue_size: 2, ..channel() };
    let mut world = world_of(settings, source(), steps([ask("login", "ok")]));
    let [stalled] = world.clients();
    world.stall(stalled);
    world.source_sends(["one", "two", "three", "four", "ok"]);
    world.pass(Duration::from_secs(35));
    assert_eq!(state(&world), "opening", "who takes nothing is alone, and holds the source");
    assert_eq!(world.dials.len(), 1);
    world.resume(stalled);
    assert_eq!(state(&world), "open");
}

#[test]
fn heartbeats_go_out_idle_or_busy() {
    let mut world = world(heartbeat(5));
    assert!(world.source_received().is_empty());
    world.pass(Duration::from_secs(11));
    assert_eq!(world.source_received(), ["beat", "beat"]);
    for _ in 0..12 {
        world.source_sends(["busy"]);
        world.pass(SECOND);
    }
    assert_eq!(world.source_received().len(), 4);
}

#[test]
fn heartbeats_begin_when_the_source_is_ready() {
    let script = Script { heartbeat: heartbeat(2).heartbeat, ..steps([ask("login", "ok")]) };
    let mut world = world(script);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.source_received(), ["login"]);
    world.source_sends(["ok"]);
    world.pass(Duration::from_secs(3));
    assert_eq!(world.source_received(), ["login", "beat"]);
}

#[test]
fn source_that_takes_nothing_gets_no_heap_of_heartbeats() {
    let mut world = world(heartbeat(1));
    world.stall_source(0);
    world.pass(Duration::from_secs(18));
    assert!(world.relay.source_tally(SourceId(0)).own_messages <= 2);
    world.resume_source();
    world.pass(Duration::from_secs(2));
    assert!(world.source_received().len() <= 4);
    assert!(world.source_received().len() >= 2);
}

#[test]
fn replies_are_sent_and_clients_get_what_they_are_meant_to() {
    let op = Pattern::Json(vec![(Pointer::parse("/op").unwrap(), vec!["ping".into()])]);
    let mut echo = reply(op, "", false);
    echo.answer.pieces = vec![
        Piece::Plain(b"{\"pong\":".to_vec()),
        Piece::Value(Pointer::parse("/id").unwrap()),
        Piece::Plain(b"}".to_vec()),
    ];
    let replies = vec![reply(Pattern::Equals("ping".into()), "pong", true), echo];
    let mut world = world(Script { replies, ..Script::default() });
    let [client] = world.clients();
    world.source_sends(["ping", r#"{"op":"ping","id":7}"#, "data", r#"{"op":"ping"}"#]);
    assert_eq!(world.source_received(), ["pong", r#"{"pong":7}"#]);
    assert_eq!(world.received(client), ["ping", "data", r#"{"op":"ping"}"#], "it has no id");
}

#[test]
fn replies_are_sent_before_the_source_is_ready() {
    let replies = vec![reply(Pattern::Equals("ping".into()), "pong", false)];
    let mut world = world(Script { replies, ..steps([ask("login", "ok")]) });
    world.source_sends(["ping", "ok"]);
    assert_eq!(world.source_received(), ["login", "pong"]);
    assert_eq!(state(&world), "open");
}

#[test]
fn tap_shows_what_is_said_to_the_source() {
    let mut world = World::without_source(channel(), source());
    world.script = steps([send("hello")]);
    world.relay.set_taps(vec![(SourceId(0), Way::Forwarded)]);
    world.is_up = true;
    world.settle();
    let tapped = world.relay.take_tapped();
    assert_eq!(tapped[0].payload.as_deref(), Some(&b"hello"[..]));
}

#[test]
fn silent_source_is_lost_by_idle_timeout_though_it_answers_pings() {
    let settings = SourceSettings { idle_timeout: Some(Duration::from_secs(90)), ..source() };
    let mut world = world_of(channel(), settings, Script::default());
    world.pass(Duration::from_secs(50));
    world.source_sends(["data"]);
    world.pass(Duration::from_secs(89));
    assert!(world.source_is_open());
    world.pass(SECOND);
    assert!(!world.source_is_open());
    assert_eq!(last_error(&world), "lost (no message for 90 s, see idle_timeout)");
}

#[test]
fn pings_in_text_are_no_data() {
    let settings = SourceSettings { idle_timeout: Some(TIMEOUT), ..source() };
    let replies = vec![reply(Pattern::Equals("ping".into()), "pong", false)];
    let mut world = world_of(channel(), settings, Script { replies, ..Script::default() });
    for _ in 0..9 {
        world.source_sends(["ping"]);
        world.pass(SECOND);
    }
    assert!(world.source_is_open());
    world.source_sends(["ping"]);
    world.pass(SECOND);
    assert!(!world.source_is_open());
}

#[test]
fn source_that_talks_without_end_to_a_program_has_failed() {
    let mut world = world(prompt(Overture::Until(Pattern::Equals("go".into()))));
    let text = "x".repeat(MAX_OVERTURE_BYTES / 4);
    world.source_sends([&text, &text, &text]);
    assert_eq!(state(&world), "opening");
    world.source_sends([&text]);
    assert_eq!(last_error(&world), "cannot open (more than 256 KiB for on_connect_command)");
}

#[test]
fn closed_market_stays_connected_without_idle_timeout() {
    let mut world = world(heartbeat(20));
    world.pass(Duration::from_hours(14));
    assert!(world.source_is_open());
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn source_that_is_not_read_is_not_idle() {
    let settings = SourceSettings { idle_timeout: Some(Duration::from_secs(5)), ..source() };
    let queue = ChannelSettings { max_queue_size: 1, ..channel() };
    let mut world = world_of(queue, settings, Script::default());
    let [stalled] = world.clients();
    world.stall(stalled);
    world.source_sends(["one", "two", "three"]);
    world.pass(Duration::from_secs(30));
    assert!(world.source_is_open());
    world.resume(stalled);
    world.pass(Duration::from_secs(4));
    assert!(world.source_is_open(), "its time begins when it is read again");
    world.pass(Duration::from_secs(2));
    assert!(!world.source_is_open());
}

#[test]
fn old_connection_is_replaced_at_once_and_that_is_no_failure() {
    let settings = SourceSettings { max_age: Some(Duration::from_hours(1)), ..source() };
    let mut world = world_of(channel(), settings, steps([send("subscribe")]));
    let [client] = world.clients();
    world.pass(Duration::from_mins(59));
    assert_eq!(world.dials.len(), 1);
    world.pass(Duration::from_mins(1));
    world.pass(SECOND);
    assert!(world.source_is_open());
    assert_eq!(world.dials.len(), 2);
    assert_eq!(world.source_received(), ["subscribe"]);
    assert_eq!(world.relay.source_stats(world.now)[0].failures, 0);
    world.source_sends(["fresh"]);
    assert_eq!(world.received(client), ["fresh"]);
    world.pass(Duration::from_mins(3 * 60 + 1));
    assert_eq!(world.dials.len(), 5);
}

#[test]
fn program_gets_the_first_text_and_says_the_first_messages() {
    let mut world = world(prompt(Overture::First));
    let [client] = world.clients();
    world.client_sends(client, "order");
    assert!(world.prompts.is_empty());
    world.queue_from_source(Message::binary(vec![1]));
    world.source_sends(["challenge\n42", "more"]);
    let key = world.prompts[0];
    assert_eq!(world.prompts.len(), 1);
    let (id, heard, timeout) = world.relay.take_overture(key).unwrap();
    assert_eq!((id, &*heard, timeout), (SourceId(0), &b"challenge 42\n"[..], TIMEOUT));
    assert!(world.source_received().is_empty());
    world.relay.prompted(key, Ok(b"login\n\nplease\n"), world.now);
    assert_eq!(world.source_received(), ["login", "please", "subscribe", "order"]);
    world.relay.prompted(key, Ok(b"again"), world.now);
    assert_eq!(world.source_received().len(), 4);
}

#[test]
fn program_gets_all_texts_up_to_the_one_that_matches_or_none() {
    let mut until = world(prompt(Overture::Until(Pattern::Contains("go".into()))));
    until.source_sends(["one", "two", "go!", "three"]);
    let (_, heard, _) = until.relay.take_overture(until.prompts[0]).unwrap();
    assert_eq!(heard, b"one\ntwo\ngo!\n");
    let mut nothing = world(prompt(Overture::Nothing));
    let (_, heard, _) = nothing.relay.take_overture(nothing.prompts[0]).unwrap();
    assert_eq!(heard, b"");
}

#[test]
fn program_that_fails_or_is_late_is_a_failed_connection() {
    let mut world = world(prompt(Overture::First));
    world.source_sends(["challenge"]);
    world.relay.take_overture(world.prompts[0]).unwrap();
    world.relay.prompted(world.prompts[0], Err("ended with status 1"), world.now);
    world.settle();
    assert_eq!(last_error(&world), "cannot open (on_connect_command ended with status 1)");
    world.pass(Duration::from_secs(6));
    world.source_sends(["challenge"]);
    let key = world.prompts[1];
    world.relay.take_overture(key).unwrap();
    world.pass(TIMEOUT + SECOND);
    assert_eq!(last_error(&world), "cannot open (no answer of on_connect_command in time)");
    world.relay.prompted(key, Ok(b"too late"), world.now);
    world.pass(TIMEOUT);
    assert!(world.source_received().is_empty(), "another connection is not told");
}

#[test]
fn source_that_says_nothing_to_a_program_has_failed() {
    let mut world = world(prompt(Overture::First));
    world.pass(TIMEOUT);
    assert_eq!(last_error(&world), "cannot open (nothing for on_connect_command within 10 s)");
    assert!(world.prompts.is_empty());
}

#[test]
fn limits_of_a_running_connection_change_without_a_redial() {
    let mut world = world(heartbeat(1));
    let settings = SourceSettings { idle_timeout: Some(TIMEOUT), ..source() };
    world.reload(veylor::relay::reload::Layout {
        sources: vec![Some(settings)],
        channels: vec![Some(channel())],
        ..Default::default()
    });
    assert_eq!(world.dials.len(), 1);
    world.pass(TIMEOUT + SECOND);
    assert!(last_error(&world).starts_with("lost (no message for 10 s"));
}

#[test]
fn end_of_the_relay_does_not_wait_for_a_login() {
    let mut world = world(steps([ask("login", "ok")]));
    let [client] = world.clients();
    world.client_sends(client, "order");
    world.stop();
    world.pass(Duration::from_secs(2));
    assert!(world.relay.is_finished());
}
