//! Random stories of clients that come, go, come back where they were, and want parts of a channel:
//! what each gets has no hole that it was not told of, and nothing twice.
//!
//! A failure names its seed.

use std::time::Duration;

use veylor::relay::settings::{ChannelSettings, SlowClient};

use crate::world::{Client, World, channel};

const SEEDS: u64 = 120;
const STEPS: usize = 100;
const LETTERS: [&str; 3] = ["x", "y", "z"];

/// A client that may come back.
struct Reader {
    client: Client,
    /// Which messages it wants; `None`: all.
    letter: Option<&'static str>,
    /// What it asked for: everything after this number.
    since: Option<u64>,
    /// The number of the message that would have come next when it came, without a replay.
    came_at: u64,
}

#[test]
fn nobody_misses_anything_without_being_told_and_nothing_comes_twice() {
    let mut returns = 0;
    for seed in 0..SEEDS {
        returns += story(seed);
    }
    assert!(returns > SEEDS, "{returns} clients came back where they were");
}

/// A message, known by its number: the relay's numbers begin at 0 here.
fn message(number: u64) -> String {
    let letter = LETTERS[usize::try_from(number * 7 % 3).unwrap()];
    format!("{{\"s\":\"{letter}\",\"n\":{number}}}")
}

fn is_wanted(letter: Option<&str>, number: u64) -> bool {
    letter.is_none_or(|letter| message(number).contains(letter))
}

/// Tells one story. How many clients came back where they were, without a gap.
fn story(seed: u64) -> u64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let history = random.usize(0..40);
    let settings = ChannelSettings {
        max_queue_size: history.max(random.usize(2..60)),
        max_queue_bytes: random.usize(200..20_000),
        max_pause: Duration::from_millis(random.u64(0..600)),
        slow_client: SlowClient::Disconnect,
        replay: if history == 0 { 0 } else { random.usize(0..history) },
        history,
        ..channel()
    };
    let mut world = World::new(settings);
    let (mut readers, mut sent, mut returns) = (Vec::<Reader>::new(), 0, 0);
    for _ in 0..STEPS {
        let some = random.usize(0..readers.len().max(1));
        match random.u8(0..9) {
            0 | 1 if readers.len() < 25 => {
                let letter = random.bool().then(|| LETTERS[random.usize(0..3)]);
                let since =
                    if sent > 0 && random.bool() { Some(random.u64(0..sent)) } else { None };
                readers.push(come(&mut world, letter, since));
            }
            2..=4 => {
                let count = random.u64(1..20);
                world.source_sends((sent..sent + count).map(message));
                sent += count;
            }
            5 => {
                if let Some(reader) = readers.get(some) {
                    world.stall_after(reader.client, random.usize(0..500));
                }
            }
            6 => {
                if let Some(reader) = readers.get(some) {
                    world.resume(reader.client);
                }
            }
            // Comes back where it was.
            7 => {
                if let Some(reader) = readers.get(some) {
                    let (client, letter) = (reader.client, reader.letter);
                    let last = numbers(&world.received(client)).pop();
                    if let Some(last) = last.filter(|_| readers.len() < 25) {
                        let back = come(&mut world, letter, Some(last));
                        let told = world.received(back.client);
                        returns += u64::from(!told.iter().any(|line| line.contains("notice")));
                        readers.push(back);
                    }
                }
            }
            _ => world.pass(Duration::from_millis(random.u64(0..1000))),
        }
    }
    for reader in &readers {
        world.resume(reader.client);
    }
    world.pass(Duration::from_secs(3));
    for reader in &readers {
        check(seed, &mut world, reader, sent);
    }
    returns
}

fn come(world: &mut World, letter: Option<&'static str>, since: Option<u64>) -> Reader {
    let came_at = world.relay.source_tally(veylor::relay::settings::SourceId(0)).received_messages;
    let part = letter.map(|letter| format!("&match=/s={letter}")).unwrap_or_default();
    let from = since.map(|since| format!("&since={since}")).unwrap_or_default();
    let client = world.client_at(&format!("/?seq=1&notices=1{part}{from}"));
    Reader { client, letter, since, came_at }
}

/// The numbers of the messages among what a client got; each has the right content.
fn numbers(seen: &[String]) -> Vec<u64> {
    let number = |line: &String| {
        let rest = line.strip_prefix("{\"seq\":")?;
        let (number, data) = rest.split_once(",\"data\":").unwrap();
        let number: u64 = number.parse().unwrap();
        assert_eq!(data.strip_suffix('}').unwrap(), message(number));
        Some(number)
    };
    seen.iter().filter_map(number).collect()
}

fn check(seed: u64, world: &mut World, reader: &Reader, sent: u64) {
    let lines = world.received(reader.client);
    let got = numbers(&lines);
    let has_gap = lines.iter().any(|line| line.contains("\"notice\":\"gap\""));
    let is_cut = lines.iter().any(|line| line.starts_with("close ") || line == "end");
    let context = || format!("seed {seed}, {:?} since {:?}", reader.letter, reader.since);
    assert!(got.is_sorted_by(|a, b| a < b), "{}: {got:?}", context());
    let begin = match reader.since {
        Some(since) if !has_gap => since + 1,
        _ => got.first().copied().unwrap_or(reader.came_at).min(reader.came_at),
    };
    let end = if is_cut { got.last().map_or(begin, |last| last + 1) } else { sent };
    let wanted: Vec<u64> = (begin..end).filter(|n| is_wanted(reader.letter, *n)).collect();
    assert_eq!(got, wanted, "{}: what it got, and what it is entitled to", context());
}
