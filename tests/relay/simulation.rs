//! Random turns against what must always hold.
//!
//! Every seed is a story of its own: sends, stalls, resets, goodbyes, lost sources, jumps of the
//! clock. A failure names its seed.

use std::time::Duration;

use veylor::codec::pattern::Pattern;
use veylor::codec::{Kind, Wire};
use veylor::relay::script::{Answer, Heartbeat, Payload, Piece, Reply, Script, Step, Wait};
use veylor::relay::settings::{ChannelSettings, SlowClient, SourceId};

use crate::world::{Client, World, channel, source};

const SEEDS: u64 = 150;
const STEPS: usize = 120;

/// A client and what it may expect.
struct Follower {
    client: Client,
    /// The number of the first message that was sent after it had joined.
    joined_at: usize,
    is_gone: bool,
    was_stalled: bool,
    sent: usize,
}

#[test]
fn order_loss_and_memory_hold_in_random_stories() {
    for seed in 0..SEEDS {
        story(seed);
    }
}

fn story(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let slow_client = if random.bool() { SlowClient::Disconnect } else { SlowClient::DropOldest };
    let settings = ChannelSettings {
        max_queue_size: random.usize(1..20),
        max_queue_bytes: random.usize(10..20_000),
        max_pause: Duration::from_millis(random.u64(0..600)),
        slow_client,
        ..channel()
    };
    let mut world = World::without_source(settings, source());
    if random.bool() {
        world.script = script();
    }
    world.is_up = true;
    world.settle();
    let mut followers: Vec<Follower> = Vec::new();
    let mut sent = 0;
    for _ in 0..STEPS {
        let some = random.usize(0..followers.len().max(1));
        match random.u8(0..12) {
            0 | 1 if followers.len() < 12 => {
                let wire = if random.bool() { Wire::WebSocket } else { Wire::Prefixed };
                // What the source still holds comes after whoever joins now.
                let joined_at = world.relay.source_tally(SourceId(0)).received_messages;
                let joined_at = usize::try_from(joined_at).unwrap();
                let client = world.client(wire);
                followers.push(Follower {
                    client,
                    joined_at,
                    is_gone: false,
                    was_stalled: false,
                    sent: 0,
                });
            }
            2..=5 if world.source_is_open() => {
                let count = random.usize(1..30);
                world.source_sends((sent..sent + count).map(|n| message(seed, n)));
                sent += count;
            }
            6 => world.pass(Duration::from_millis(random.u64(0..1500))),
            7 => {
                if let Some(follower) = followers.get_mut(some) {
                    follower.was_stalled = true;
                    world.stall_after(follower.client, random.usize(0..300));
                }
            }
            8 => {
                if let Some(follower) = followers.get(some) {
                    world.resume(follower.client);
                }
            }
            9 if random.u8(0..4) == 0 => {
                if let Some(follower) = followers.get_mut(some) {
                    follower.is_gone = true;
                    world.reset(follower.client);
                }
            }
            10 => {
                if let Some(follower) = followers.get_mut(some)
                    && !follower.is_gone
                    && !world.is_cut_off(follower.client)
                {
                    world.client_sends(follower.client, &format!("{some}:{}", follower.sent));
                    follower.sent += 1;
                }
            }
            11 => {
                if let Some(follower) = followers.get(some) {
                    world.dribble(follower.client, random.usize(1..200));
                }
            }
            _ => world.pass(Duration::from_secs(1)),
        }
    }
    for follower in &followers {
        world.resume(follower.client);
    }
    world.pass(Duration::from_secs(3));
    for follower in &followers {
        check(seed, &mut world, follower, sent);
    }
    check_forwarded(seed, &mut world, followers.len());
}

/// Something is said at connect, again and again, and in reply; clients wait for the first message.
fn script() -> Script {
    let wait = Wait { pattern: Pattern::Contains("m".into()), timeout: Duration::from_mins(10) };
    let send = Payload::text("login");
    let answer = Answer { kind: Kind::Text, pieces: vec![Piece::Plain(b"reply".to_vec())] };
    let pattern = Pattern::Contains("1 m".into());
    Script {
        prompt: None,
        steps: vec![Step { send: Some(send.clone()), wait: Some(wait) }],
        heartbeat: Some(Heartbeat { every: Duration::from_millis(300), send }),
        replies: vec![Reply { pattern, answer, forward: true }],
    }
}

/// What a client received is in order, without gaps unless it was stalled, and complete if it
/// never was.
fn check(seed: u64, world: &mut World, follower: &Follower, sent: usize) {
    let received = world.received(follower.client);
    let numbers: Vec<usize> = received
        .iter()
        .filter(|text| !text.starts_with("close") && *text != "end")
        .map(|text| {
            let number = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(*text, message(seed, number), "seed {seed}: a message was damaged");
            number
        })
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: out of order: {numbers:?}");
    if !follower.was_stalled {
        // The last message from before may have been held back, and then comes after all.
        let first = numbers.first().copied().unwrap_or(follower.joined_at);
        assert!(first == follower.joined_at || first + 1 == follower.joined_at, "seed {seed}");
        let end = first + numbers.len();
        let expected: Vec<_> = (first..end).collect();
        assert_eq!(numbers, expected, "seed {seed}: a client that kept up lost messages");
        if !follower.is_gone {
            assert_eq!(end, sent, "seed {seed}: a client that kept up is not up to date");
        }
    }
}

/// Every client's messages arrived in its own order, none twice.
fn check_forwarded(seed: u64, world: &mut World, clients: usize) {
    let received = world.source_received();
    for client in 0..clients {
        let prefix = format!("{client}:");
        let numbers = received.iter().filter_map(|text| text.strip_prefix(&prefix));
        let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
        let expected: Vec<_> = (0..numbers.len()).collect();
        assert_eq!(numbers, expected, "seed {seed}: client {client}'s messages");
    }
}

fn message(seed: u64, number: usize) -> String {
    let length = usize::try_from(seed).unwrap().wrapping_mul(31).wrapping_add(number * 7919) % 700;
    format!("{number} {}", "m".repeat(length))
}
