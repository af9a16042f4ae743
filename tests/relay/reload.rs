//! Sources, channels and limits change while messages pass.

use std::collections::HashMap;
use std::time::Duration;

use fastrand::Rng;
use veylor::codec::auth::{Auth, Grant};
use veylor::codec::{Gate, Wire};
use veylor::config::parse;
use veylor::config::reload::plan;
use veylor::config::settings::Settings;
use veylor::relay::reload::{Layout, Seat, Seats};
use veylor::relay::settings::{
    ChannelId, ChannelSettings, OnSourceLoss, PrologueRule, SlowClient, SourceId, SourceSettings,
};
use veylor::relay::{LINGER, Outcome, State};

use crate::world::{Client, World, channel, source};

const A: SourceId = SourceId(0);
const B: SourceId = SourceId(1);
const FIRST: ChannelId = ChannelId(0);
const SECOND: ChannelId = ChannelId(1);

fn named(name: &str) -> SourceSettings {
    SourceSettings { name: name.to_owned(), ..source() }
}

fn fed_by(name: &str, sources: &[SourceId]) -> ChannelSettings {
    ChannelSettings { name: name.to_owned(), sources: sources.to_vec(), ..channel() }
}

/// A source and a channel of its own, twice.
fn pair() -> Layout {
    Layout {
        sources: vec![Some(named("a")), Some(named("b"))],
        channels: vec![Some(fed_by("a", &[A])), Some(fed_by("b", &[B]))],
        ..Layout::default()
    }
}

fn world(layout: &Layout) -> World {
    let channels = layout.channels.iter().flatten().cloned().collect();
    World::of(channels, layout.sources.iter().flatten().cloned().collect())
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("message {n}")).collect()
}

#[test]
fn beginning_of_a_source_that_was_removed_is_given_to_nobody() {
    let prologue = Some(PrologueRule::Messages(1));
    let settings = ChannelSettings { prologue, ..fed_by("all", &[A, B]) };
    let mut world = World::of(vec![settings.clone()], vec![named("a"), named("b")]);
    world.sends(A, ["a begins"]);
    world.sends(B, ["b begins"]);
    let settings = ChannelSettings { sources: vec![A], ..settings };
    world.reload(Layout {
        sources: vec![Some(named("a")), None],
        channels: vec![Some(settings)],
        ..Layout::default()
    });
    let client = world.client_at("/");
    assert_eq!(world.received(client), ["a begins"]);
}

#[test]
fn client_that_is_not_let_in_any_more_gets_nothing_more_and_is_not_heard() {
    let mut world = world(&pair());
    let [client] = world.clients();
    world.stall(client);
    world.sends(A, ["unread"]);
    let auth = Auth::new([Grant::token("open-sesame", String::new(), false)]);
    let channels =
        vec![Some(ChannelSettings { auth, ..fed_by("a", &[A]) }), Some(fed_by("b", &[B]))];
    world.reload(Layout { channels, ..pair() });
    world.client_sends(client, "too late");
    world.resume(client);
    assert_eq!(world.received_by(A), [""; 0]);
    let goodbye = "close 1008 the token or password is not known any more";
    assert_eq!(world.received(client), [goodbye, "end"]);
}

#[test]
fn untouched_channel_loses_nothing_over_many_reloads_under_load() {
    let small = ChannelSettings { max_queue_size: 4, ..fed_by("a", &[A]) };
    let with_b = Layout { channels: vec![Some(small.clone()), Some(fed_by("b", &[B]))], ..pair() };
    let without_b = Layout {
        sources: vec![Some(named("a")), None],
        channels: vec![Some(small), None],
        ..Layout::default()
    };
    let mut world = world(&with_b);
    let clients: [_; 2] = world.clients();
    let unix = world.client(Wire::Prefixed);
    let all = texts(2000);
    for (n, texts) in all.chunks(10).enumerate() {
        // Sometimes one is behind, and a message is held, while everything changes.
        world.stall(clients[1]);
        world.sends(A, texts);
        world.reload(if n % 2 == 0 { without_b.clone() } else { with_b.clone() });
        if n % 2 == 1 {
            let other = world.client_of(SECOND, Wire::WebSocket);
            world.sends(B, ["for the other"]);
            assert_eq!(world.received(other), ["for the other"]);
        }
        world.resume(clients[1]);
        world.pass(Duration::from_secs(2));
    }
    for client in [clients[0], clients[1], unix] {
        assert_eq!(world.received(client), all);
    }
    assert!(world.is_open(A));
    let dials = all.len() / 10 / 2 + 2;
    assert_eq!(world.dials.len(), dials, "only the other source was dialled again");
}

#[test]
fn removed_channel_s_clients_are_told_when_they_have_what_is_kept() {
    let mut world = world(&pair());
    let [stays] = world.clients();
    let (fast, slow) =
        (world.client_of(SECOND, Wire::WebSocket), world.client_of(SECOND, Wire::WebSocket));
    let unix = world.client_of(SECOND, Wire::Prefixed);
    let stranger = world.stranger_of(SECOND, Wire::WebSocket);
    world.stall_after(slow, 3);
    world.sends(B, ["one", "two"]);
    let layout = Layout {
        sources: vec![Some(named("a")), None],
        channels: vec![Some(fed_by("a", &[A])), None],
        ..Layout::default()
    };
    world.reload(layout);
    let expected = ["one", "two", "close 1001 the endpoint was removed"];
    assert_eq!(world.received(fast)[..3], expected);
    assert_eq!(world.received(unix), ["one", "two"]);
    assert!(world.is_cut_off(unix));
    world.pass(Duration::from_millis(900));
    world.resume(slow);
    assert_eq!(world.received(slow)[..3], expected);
    world.pass(Duration::from_secs(2));
    assert!(world.is_cut_off(stranger));
    assert_eq!(world.received_by(B)[0], "close 1000 the configuration has changed");
    world.sends(A, ["still here"]);
    assert_eq!(world.received(stays), ["still here"]);
}

#[test]
fn place_is_free_when_the_last_connection_of_its_owner_is_gone() {
    let mut world = world(&pair());
    let stalled = world.client_of(SECOND, Wire::WebSocket);
    world.stall(stalled);
    world.sends(B, ["never read"]);
    let without_b = Layout {
        sources: vec![Some(named("a")), None],
        channels: vec![Some(fed_by("a", &[A])), None],
        ..Layout::default()
    };
    world.reload(without_b);
    let seats = |seat: Seat| Seats {
        sources: vec![Seat::Taken("a".to_owned()), seat.clone()],
        channels: vec![Seat::Taken("a".to_owned()), seat],
    };
    assert_eq!(world.relay.seats(), seats(Seat::Leaving));
    world.pass(Duration::from_secs(2));
    assert!(world.is_cut_off(stalled));
    assert_eq!(world.relay.seats(), seats(Seat::Free));
    assert_eq!(world.relay.source_stats(world.now).len(), 1);
    assert_eq!(world.relay.channel_stats(world.now).len(), 1);

    world.reload(Layout {
        sources: vec![Some(named("a")), Some(named("c"))],
        channels: vec![Some(fed_by("a", &[A])), Some(fed_by("c", &[B]))],
        ..Layout::default()
    });
    let client = world.client_of(SECOND, Wire::WebSocket);
    world.sends(B, ["from another"]);
    assert_eq!(world.received(client), ["from another"]);
}

#[test]
fn added_source_is_dialled_and_feeds_a_channel_that_was_there() {
    let one = Layout {
        sources: vec![Some(named("a"))],
        channels: vec![Some(fed_by("all", &[A]))],
        ..Layout::default()
    };
    let mut world = world(&one);
    let [client] = world.clients();
    let both = Layout {
        sources: vec![Some(named("a")), Some(named("b"))],
        channels: vec![Some(fed_by("all", &[A, B]))],
        ..Layout::default()
    };
    world.reload(both);
    assert!(world.is_open(B));
    world.sends(A, ["from a"]);
    world.sends(B, ["from b"]);
    assert_eq!(world.received(client), ["from a", "from b"]);
    world.client_sends(client, "to both");
    assert_eq!(world.received_by(A), ["to both"]);
    assert_eq!(world.received_by(B), ["to both"]);
}

#[test]
fn held_message_of_a_removed_source_is_delivered() {
    let small = |sources: &[SourceId]| {
        Some(ChannelSettings { max_queue_size: 2, ..fed_by("all", sources) })
    };
    let both = Layout {
        sources: vec![Some(named("a")), Some(named("b"))],
        channels: vec![small(&[A, B])],
        ..Layout::default()
    };
    let mut world = world(&both);
    let [slow, fast] = world.clients();
    world.stall(slow);
    world.sends(B, ["1", "2", "held"]);
    assert_eq!(world.received(fast), ["1", "2"]);
    world.reload(Layout {
        sources: vec![Some(named("a")), None],
        channels: vec![small(&[A])],
        ..Layout::default()
    });
    assert_eq!(world.received(fast), ["1", "2", "held"]);
    assert_eq!(world.relay.source_state(B), State::Removed);
    world.sends(A, ["from a"]);
    world.resume(slow);
    assert_eq!(world.received(slow), ["1", "2", "held", "from a"]);
    assert_eq!(world.received(fast), ["1", "2", "held", "from a"]);
}

#[test]
fn held_message_reaches_the_clients_of_a_channel_that_is_removed() {
    let small = |name| Some(ChannelSettings { max_queue_size: 2, ..fed_by(name, &[A]) });
    let both = Layout {
        sources: vec![Some(named("a"))],
        channels: vec![small("kept"), small("removed")],
        ..Layout::default()
    };
    let mut world = world(&both);
    let [slow] = world.clients();
    let leaving = world.client_of(SECOND, Wire::WebSocket);
    world.stall(slow);
    world.sends(A, ["1", "2", "held", "next"]);
    assert_eq!(world.received(leaving), ["1", "2"]);
    let channels = vec![small("kept"), None];
    world.reload(Layout { sources: vec![Some(named("a"))], channels, ..Layout::default() });
    assert_eq!(world.received(leaving)[..3], ["1", "2", "held"]);
    assert!(world.received(leaving)[3].starts_with("close 1001"));
    world.resume(slow);
    assert_eq!(world.received(slow), ["1", "2", "held", "next"]);
}

#[test]
fn source_that_is_reached_in_another_way_is_dialled_when_its_connection_is_gone() {
    let mut world = world(&pair());
    let client = world.client_of(SECOND, Wire::WebSocket);
    world.sends(B, ["before"]);
    world.reload(Layout { redials: vec![B], ..pair() });
    assert_eq!(world.received_by(B)[0], "close 1000 the configuration has changed");
    world.pass(LINGER);
    assert!(world.is_open(B));
    assert_eq!(world.dials.len(), 3);
    assert_eq!(world.received_by(B), [""; 0], "it is another connection");
    world.sends(B, ["after"]);
    assert_eq!(world.received(client), ["before", "after"]);
    assert_eq!(world.relay.source_stats(world.now)[1].connects, 2);
}

#[test]
fn stalled_source_delays_its_redial_for_a_moment_only() {
    let mut world = world(&pair());
    world.stall_source(0);
    let [client] = world.clients();
    world.client_sends(client, "on its way");
    world.reload(Layout { redials: vec![A], ..pair() });
    world.reload(Layout { redials: vec![A], ..pair() });
    assert!(!world.is_open(A));
    world.pass(Duration::from_secs(1));
    assert!(world.is_open(A));
    assert_eq!(world.dials.len(), 3);
    let stats = &world.relay.source_stats(world.now)[0];
    assert_eq!((stats.forwarded_messages, stats.dropped_messages), (0, 1));
}

#[test]
fn source_that_waits_or_has_given_up_is_dialled_at_once_when_it_changes() {
    for attempts in [0, 1] {
        let limited = SourceSettings { reconnect_max_attempts: attempts, ..source() };
        let settings = |limited| Layout {
            sources: vec![Some(limited), Some(named("b"))],
            channels: vec![Some(fed_by("a", &[A])), Some(fed_by("b", &[B]))],
            ..Layout::default()
        };
        let mut world = world(&settings(limited.clone()));
        world.is_up = false;
        world.lose_source();
        assert!(!world.is_open(A));
        world.is_up = true;
        world.reload(Layout { redials: vec![A], ..settings(limited) });
        assert!(world.is_open(A));
    }
}

#[test]
fn relay_ends_when_nobody_is_left_but_who_has_given_up() {
    let limited = SourceSettings { reconnect_max_attempts: 1, ..source() };
    let layout = |b| Layout {
        sources: vec![Some(limited.clone()), b],
        channels: vec![Some(fed_by("all", &[A]))],
        ..Layout::default()
    };
    let mut world = world(&layout(Some(named("b"))));
    world.is_up = false;
    world.lose_source();
    assert_eq!(world.relay.outcome(), None);
    world.reload(layout(None));
    assert_eq!(world.relay.outcome(), Some(Outcome::AllSourcesGaveUp));
}

#[test]
fn limits_of_a_channel_change_in_place() {
    let mut world = World::new(channel());
    let [slow, fast] = world.clients();
    let reload = |world: &mut World, settings: ChannelSettings| {
        world.reload(Layout {
            sources: vec![Some(source())],
            channels: vec![Some(settings)],
            ..Layout::default()
        });
    };
    world.stall(slow);
    world.source_sends(texts(10));
    assert_eq!(world.received(fast).len(), 10);

    let small = ChannelSettings { max_queue_size: 3, ..channel() };
    reload(&mut world, small.clone());
    world.source_sends(["held"]);
    assert_eq!(world.received(fast).len(), 10, "there is no room any more");
    reload(&mut world, ChannelSettings { max_queue_size: 20, ..channel() });
    assert_eq!(world.received(fast).len(), 11, "there is room again");

    let dropping = ChannelSettings { slow_client: SlowClient::DropOldest, ..small };
    reload(&mut world, dropping);
    world.source_sends(["last"]);
    world.pass(Duration::from_millis(500));
    assert_eq!(world.received(fast).len(), 12);
    world.resume(slow);
    assert_eq!(world.received(slow), ["message 9", "held", "last"]);
}

#[test]
fn limits_of_messages_change_for_those_who_are_connected() {
    let mut world = World::new(channel());
    let [client, other] = world.clients();
    let limited = ChannelSettings { max_client_message_size: 4, ..channel() };
    world.client_sends(client, "12345");
    world.reload(Layout {
        sources: vec![Some(SourceSettings { max_message_size: 4, ..source() })],
        channels: vec![Some(limited)],
        ..Layout::default()
    });
    world.client_sends(client, "1234");
    assert_eq!(world.source_received(), ["12345", "1234"]);
    world.client_sends(client, "12345");
    assert!(world.received(client)[0].starts_with("close 1009"));
    world.source_sends(["1234", "12345"]);
    assert_eq!(world.received(other), ["1234"]);
    assert!(!world.source_is_open());
}

#[test]
fn read_only_and_the_number_of_clients_change_in_place() {
    let mut world = World::new(channel());
    let [client] = world.clients();
    world.reload(Layout {
        sources: vec![Some(source())],
        channels: vec![Some(ChannelSettings { read_only: true, max_clients: 1, ..channel() })],
        ..Layout::default()
    });
    world.client_sends(client, "no");
    assert_eq!(world.source_received(), [""; 0]);
    let refused = world.stranger(Wire::WebSocket);
    world.say(refused, crate::world::HANDSHAKE.as_bytes());
    assert!(world.heard(refused).starts_with(b"HTTP/1.1 503"));
    world.reload(Layout {
        sources: vec![Some(source())],
        channels: vec![Some(channel())],
        ..Layout::default()
    });
    let [_other] = world.clients();
    world.client_sends(client, "yes");
    assert_eq!(world.source_received(), ["yes"]);
}

#[test]
fn clients_of_a_closed_endpoint_are_told_and_the_others_stay() {
    let mut world = World::new(channel());
    let [stays] = world.clients();
    let unix = world.client(Wire::Prefixed);
    world.reload(Layout {
        sources: vec![Some(source())],
        channels: vec![Some(channel())],
        closed: vec![(FIRST, Gate::Unix)],
        ..Layout::default()
    });
    assert!(world.is_cut_off(unix));
    world.source_sends(["hello"]);
    assert_eq!(world.received(stays), ["hello"]);
}

#[test]
fn clients_that_shall_know_of_a_lost_source_are_told_of_a_removed_one() {
    let close = |sources: &[SourceId]| {
        Some(ChannelSettings { on_source_loss: OnSourceLoss::Close, ..fed_by("all", sources) })
    };
    let layout = Layout {
        sources: vec![Some(named("a"))],
        channels: vec![close(&[A])],
        ..Layout::default()
    };
    let mut world = world(&layout);
    let [client] = world.clients();
    world.reload(Layout {
        sources: vec![None, Some(named("b"))],
        channels: vec![close(&[B])],
        ..Layout::default()
    });
    assert!(world.received(client)[0].starts_with("close 1012"));
    assert!(world.is_open(B));
}

#[test]
fn clients_that_wait_for_a_removed_source_are_read_on() {
    let small = |sources: &[SourceId]| {
        Some(ChannelSettings { max_queue_bytes: 1_000, ..fed_by("all", sources) })
    };
    let both = Layout {
        sources: vec![Some(named("a")), Some(named("b"))],
        channels: vec![small(&[A, B])],
        ..Layout::default()
    };
    let mut world = world(&both);
    let [client] = world.clients();
    world.stall_source(0);
    let texts = texts(1000);
    for text in &texts {
        world.client_sends(client, text);
    }
    assert!(world.received_by(B).len() < 1000);
    world.reload(Layout {
        sources: vec![None, Some(named("b"))],
        channels: vec![small(&[B])],
        ..Layout::default()
    });
    assert_eq!(world.received_by(B), texts);
}

#[test]
fn reload_of_a_relay_that_ends_changes_nothing() {
    let mut world = world(&pair());
    world.stop();
    world.reload(Layout {
        sources: vec![Some(named("a")), Some(named("b")), Some(named("c"))],
        channels: vec![None, None],
        redials: vec![A],
        ..Layout::default()
    });
    world.relay.redial(A, world.now);
    world.settle();
    assert_eq!(world.dials.len(), 2);
    world.pass(LINGER);
    assert!(world.relay.is_finished());
}

#[test]
fn source_that_was_paused_for_a_removed_channel_is_read_on() {
    let small = |name: &str, sources: &[SourceId]| {
        Some(ChannelSettings { max_queue_size: 2, ..fed_by(name, sources) })
    };
    let both = Layout {
        sources: vec![Some(named("a")), Some(named("b"))],
        channels: vec![small("kept", &[A]), small("removed", &[A, B])],
        ..Layout::default()
    };
    let mut world = world(&both);
    let [client] = world.clients();
    let stalled = world.client_of(SECOND, Wire::WebSocket);
    world.stall(stalled);
    world.sends(B, ["1", "2", "held"]);
    world.sends(A, ["waits"]);
    assert_eq!(world.received(client), [""; 0]);
    let channels = vec![small("kept", &[A]), None];
    world.reload(Layout { channels, ..both });
    assert_eq!(world.received(client), ["waits"]);
}

#[test]
fn random_reloads_confuse_nobody() {
    for seed in 0..40 {
        Story::new(seed).tell();
    }
}

/// A relay whose file changes at random; its source `a` is always there.
struct Story {
    random: Rng,
    world: World,
    settings: Settings,
    clients: Vec<(String, Client)>,
    /// Messages that each source has sent so far.
    sent: HashMap<String, usize>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let settings = parse(&file(&mut random)).unwrap();
        let sources = settings.sources.iter().map(|source| source.relay.clone()).collect();
        let world = World::of(settings.channels.clone(), sources);
        Self { random, world, settings, clients: Vec::new(), sent: HashMap::new() }
    }

    fn tell(mut self) {
        for _ in 0..120 {
            match self.random.u8(0..7) {
                0 => self.reload(),
                1 => self.connect(),
                2 => self.stall_or_resume(),
                3 => self.world.pass(Duration::from_millis(self.random.u64(0..400))),
                _ => self.send(),
            }
        }
        for (_, client) in &self.clients {
            self.world.resume(*client);
        }
        self.check();
    }

    fn reload(&mut self) {
        let new = parse(&file(&mut self.random)).unwrap();
        let plan = plan(&self.settings, &new, &self.world.relay.seats());
        self.world.reload(plan.layout);
        self.settings = new;
    }

    fn connect(&mut self) {
        let seats = self.world.relay.seats().channels;
        let taken = seats.into_iter().enumerate().filter_map(|(place, seat)| match seat {
            Seat::Taken(name) => Some((ChannelId(place), name)),
            Seat::Leaving | Seat::Free => None,
        });
        let (id, name) = self.random.choice(taken.collect::<Vec<_>>()).unwrap();
        let wire = if self.random.bool() { Wire::WebSocket } else { Wire::Prefixed };
        self.clients.push((name, self.world.client_of(id, wire)));
    }

    fn stall_or_resume(&mut self) {
        let Some((_, client)) = self.random.choice(&self.clients) else { return };
        if self.random.bool() {
            self.world.stall_after(*client, self.random.usize(0..40));
        } else {
            self.world.resume(*client);
        }
    }

    fn send(&mut self) {
        for (place, seat) in self.world.relay.seats().sources.into_iter().enumerate() {
            let Seat::Taken(name) = seat else { continue };
            if self.world.is_open(SourceId(place)) {
                let sent = self.sent.entry(name.clone()).or_default();
                let count = self.random.usize(0..6);
                let texts = (*sent..*sent + count).map(|n| format!("{name} {n}"));
                *sent += count;
                self.world.sends(SourceId(place), texts);
            }
        }
    }

    fn check(&mut self) {
        for (channel, client) in &self.clients {
            let mut received = self.world.received(*client);
            received.retain(|text| !text.starts_with("close") && text != "end");
            let foreign = |text: &&String| channel != "rebroadcast" && !text.starts_with(channel);
            assert_eq!(received.iter().find(foreign), None, "a client of {channel}");
            // In order, and no message is missing; who stays has the last as well.
            let of_a = received.iter().filter_map(|text| text.strip_prefix("a "));
            let of_a: Vec<usize> = of_a.map(|number| number.parse().unwrap()).collect();
            assert!(of_a.is_sorted_by(|one, next| one + 1 == *next), "{of_a:?}");
            if channel == "a" && !of_a.is_empty() {
                assert_eq!(of_a.last(), Some(&(self.sent["a"] - 1)));
            }
        }
    }
}

/// A file of the source `a` and of some others, each there or not, with endpoints or without.
fn file(random: &mut Rng) -> String {
    let mut text = "sources:\n".to_owned();
    for (name, port) in [("a", 1000), ("b", 1001), ("c", 1002), ("d", 1003)] {
        if name == "a" || random.bool() {
            let path = if name != "a" && random.bool() { "/x" } else { "" };
            let url = format!("url: 'ws://{name}{path}'");
            let at = format!("websocket_port: {port}, websocket_host: 127.0.0.1");
            let source = format!("  - {{name: {name}, {url}, {at}}}\n");
            text.push_str(&source);
        }
    }
    if random.bool() {
        text += "rebroadcast: {unix_socket: {path: /all}}\n";
    }
    let max_queue_size = random.choice([2, 5, 1000]).unwrap();
    text + &format!("performance: {{max_pause: 10m, max_queue_size: {max_queue_size}}}\n")
}
