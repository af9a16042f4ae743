//! What a source lets us know as it refuses or leaves, and how long it is left alone then.

use std::time::Duration;

use veylor::relay::backoff::{MAX_RETRY_AFTER, REFUSED_WAIT, TRY_LATER_WAIT};

use crate::world::{World, channel, source};

const SECOND: Duration = Duration::from_secs(1);

/// A world whose source answers so, after the first dial.
fn answered(answer: &str) -> World {
    let mut world = World::without_source(channel(), source());
    world.is_up = true;
    world.refusal = Some(format!("HTTP/1.1 {answer}\r\n\r\n"));
    world.settle();
    assert_eq!(world.dials.len(), 1);
    world
}

/// A world whose source was open and closes with this code.
fn closed_with(code: u16) -> World {
    let mut world = World::new(channel());
    world.source_sends(["something"]);
    world.pass(20 * SECOND);
    let code = code.to_be_bytes();
    world.source_says(&[0x88, 2, code[0], code[1]]);
    assert!(!world.source_is_open());
    world
}

fn is_refused(world: &World) -> bool {
    world.relay.source_stats(world.now)[0].is_refused
}

/// Nothing is dialled for so long, and a tenth of it later it is.
#[track_caller]
fn is_left_alone_for(world: &mut World, wait: Duration) {
    let dials = world.dials.len();
    world.pass(wait.saturating_sub(SECOND));
    assert_eq!(world.dials.len(), dials, "too early");
    world.pass(wait / 10 + 2 * SECOND);
    assert_eq!(world.dials.len(), dials + 1, "too late");
}

#[test]
fn busy_source_is_left_alone_for_as_long_as_it_asks() {
    for status in ["429 Slow down", "503 Busy"] {
        let mut world = answered(&format!("{status}\r\nRetry-After: 300"));
        is_left_alone_for(&mut world, 300 * SECOND);
        assert!(!is_refused(&world));
    }
    let mut world = answered("503 Busy\r\nRetry-After: 999999999");
    is_left_alone_for(&mut world, MAX_RETRY_AFTER);
    let mut world = answered("503 Busy");
    world.pass(5 * SECOND);
    assert_eq!(world.dials.len(), 2, "who asks for nothing is dialled as ever");
}

#[test]
fn source_that_does_not_want_us_is_asked_less_often_and_shown_as_such() {
    for status in ["401 Who are you", "403 No"] {
        let mut world = answered(status);
        assert!(is_refused(&world));
        is_left_alone_for(&mut world, REFUSED_WAIT);
        assert!(is_refused(&world));
        is_left_alone_for(&mut world, 2 * REFUSED_WAIT);
        let said = world.relay.source_stats(world.now)[0].last_error.clone().unwrap();
        let begins = format!("refused (answered HTTP {status}");
        assert!(
            said.starts_with(&begins) && said.ends_with("check its token or headers"),
            "{said}"
        );
        world.refusal = None;
        world.pass(10 * REFUSED_WAIT);
        assert!(world.source_is_open() && !is_refused(&world));
    }
}

#[test]
fn goodbyes_say_how_soon_a_source_wants_to_see_us_again() {
    let mut world = closed_with(1012);
    world.pass(5 * SECOND);
    assert!(world.source_is_open());
    let mut world = closed_with(1013);
    is_left_alone_for(&mut world, TRY_LATER_WAIT);
    let mut world = closed_with(1008);
    assert!(is_refused(&world));
    is_left_alone_for(&mut world, REFUSED_WAIT);
    assert!(!is_refused(&world));
    let mut world = closed_with(1000);
    world.pass(5 * SECOND);
    assert!(world.source_is_open());
}

#[test]
fn source_that_does_nothing_but_restart_is_not_stormed() {
    let mut world = World::new(channel());
    for _ in 0..3000 {
        if world.source_is_open() {
            world.source_says(&[0x88, 2, 0x03, 0xf4]);
        }
        world.pass(SECOND / 10);
    }
    assert!((4..=13).contains(&world.dials.len()), "{:?}", world.dials);
}

#[test]
fn operator_need_not_wait_for_a_source_that_refuses() {
    let mut world = answered("401 Who are you");
    world.refusal = None;
    world.relay.redial(veylor::relay::settings::SourceId(0), world.now);
    world.settle();
    assert!(world.source_is_open());
}

#[test]
fn redirect_is_a_part_of_the_same_attempt() {
    let mut world = World::without_source(channel(), source());
    world.is_up = true;
    world.refusal = Some("HTTP/1.1 307 Over there\r\nLocation: /there?k=v\r\n\r\n".into());
    world.refuses_once = true;
    world.settle();
    assert_eq!(world.locations, ["/there?k=v"]);
    assert!(world.source_is_open());
    assert_eq!(world.dials.len(), 2);
    let stats = &world.relay.source_stats(world.now)[0];
    assert_eq!((stats.failures, stats.connects), (0, 1));
    world.source_sends(["hello"]);
    assert!(world.source_is_open(), "the first connection goes without taking the second along");
    world.pass(Duration::from_mins(1));
    assert!(world.source_is_open());
}
