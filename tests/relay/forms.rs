//! A channel in its forms: numbered, as events and lines, in parts, from an earlier message on.

use std::time::Duration;

use veylor::codec::Wire;
use veylor::codec::pattern::{Pattern, Pointer};
use veylor::relay::reload::Layout;
use veylor::relay::settings::{
    ChannelSettings, LastValue, PrologueRule, SlowClient, SourceId, SourceSettings, TcpFraming,
};

use crate::world::{HANDSHAKE, World, channel, source};

/// A channel that keeps messages for those who come back.
fn with_history(history: usize) -> ChannelSettings {
    ChannelSettings { history, ..channel() }
}

fn with_last_value() -> ChannelSettings {
    let key = Pointer::parse("/s").unwrap();
    ChannelSettings { last_value: Some(LastValue { key, max_keys: 10 }), ..channel() }
}

/// The number that a message of a numbered client says.
fn number(message: &str) -> u64 {
    let rest = message.strip_prefix("{\"seq\":").unwrap();
    rest.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn every_form_has_the_same_messages_with_the_same_numbers() {
    let mut world = World::new(channel());
    let plain = world.client_at("/");
    let numbered = world.client_at("/?seq=1");
    let (events, head) = world.stream_at("/sse");
    assert!(head.contains("text/event-stream"), "{head}");
    let (lines, head) = world.stream_at("/ndjson");
    assert!(head.contains("application/x-ndjson"), "{head}");

    world.source_sends(["{\"a\":1}", "text"]);

    assert_eq!(world.received(plain), ["{\"a\":1}", "text"]);
    let seen = world.received(numbered);
    assert_eq!(seen, ["{\"seq\":0,\"data\":{\"a\":1}}", "{\"seq\":1,\"data\":\"text\"}"]);
    let expected = "retry: 2000\n\nid: 0\ndata: {\"a\":1}\n\nid: 1\ndata: text\n\n";
    assert_eq!(world.streamed(events), expected);
    assert_eq!(world.streamed(lines), "{\"a\":1}\n\"text\"\n");
}

#[test]
fn bare_tcp_speaks_lines_both_ways() {
    let mut world = World::new(channel());
    let client = world.client(Wire::Lines);
    world.source_sends(["one", "two\nlines"]);
    assert_eq!(world.streamed(client), "one\ntwo lines\n");
    world.say(client, b"hello\r\n\nthere\n");
    assert_eq!(world.source_received(), ["hello", "there"]);
}

#[test]
fn browser_s_page_says_nothing_to_the_source_by_bare_tcp() {
    let mut world = World::new(channel());
    let page = world.client(Wire::Lines);
    world.say(page, b"POST / HTTP/1.1\r\nHost: localhost:8770\r\n\r\n{\"op\":\"buy\"}\n");
    world.pass(Duration::from_secs(1));
    assert!(world.is_cut_off(page));
    assert_eq!(world.source_received(), [""; 0]);
}

#[test]
fn bare_tcp_speaks_lengths_if_asked_to() {
    let settings = ChannelSettings { tcp_framing: TcpFraming::Length, ..channel() };
    let mut world = World::new(settings);
    let client = world.client(Wire::Lines);
    world.source_sends(["one"]);
    assert_eq!(world.heard(client), b"\0\0\0\x03one");
}

#[test]
fn filtered_client_gets_its_part_and_nothing_else() {
    let mut world = World::new(channel());
    let all = world.client_at("/");
    let bitcoin = world.client_at("/?match=/s=BTC");
    let two = world.client_at("/?match=/s=BTC,ETH&match=buy");
    let (events, _) = world.stream_at("/sse?match=ETH");
    let sent = [r#"{"s":"BTC","d":"buy"}"#, r#"{"s":"ETH","d":"buy"}"#, r#"{"s":"BTC"}"#, "ping"];

    world.source_sends(sent);

    assert_eq!(world.received(all), sent);
    assert_eq!(world.received(bitcoin), [sent[0], sent[2]]);
    assert_eq!(world.received(two), [sent[0], sent[1]]);
    let events = world.streamed(events);
    assert!(events.ends_with(&format!("\n\nid: 1\ndata: {}\n\n", sent[1])), "{events}");
}

#[test]
fn filters_have_a_limit_and_give_their_place_back() {
    let mut world = World::new(ChannelSettings { max_filters: 1, ..channel() });
    let first = world.client_at("/?match=a");
    let same = world.client_at("/?match=a");
    let (_, head) = world.stream_at("/sse?match=a");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    world.client_closes(first);
    let (_, head) = world.stream_at("/ndjson?match=b");
    assert!(head.starts_with("HTTP/1.1 503 "), "one of the two is left: {head}");
    world.client_closes(same);
    let (stream, head) = world.stream_at("/ndjson?match=b");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    world.source_sends(["a", "b"]);
    assert_eq!(world.streamed(stream), "\"b\"\n");
}

#[test]
fn stalled_part_costs_only_itself() {
    let settings = ChannelSettings { max_queue_size: 3, ..channel() };
    let mut world = World::new(settings);
    let fast = world.client_at("/");
    let slow = world.client_at("/?match=x");
    world.stall(slow);

    for n in 0..10 {
        world.source_sends([format!("x{n}"), format!("y{n}")]);
    }
    world.pass(Duration::from_millis(600));
    assert_eq!(world.received(fast).len(), 20);
    world.resume(slow);
    let seen = world.received(slow);
    assert!(seen.iter().any(|line| line.starts_with("close 1013 slow consumer")), "{seen:?}");
}

#[test]
fn messages_that_are_not_in_a_part_hold_nobody_back() {
    let settings = ChannelSettings { max_queue_size: 2, max_pause: Duration::ZERO, ..channel() };
    let mut world = World::new(settings);
    let part = world.client_at("/?match=x");
    world.source_sends(["x"]);
    world.stall(part);
    for _ in 0..100 {
        world.source_sends(["y"]);
    }
    world.resume(part);
    world.source_sends(["x2"]);
    assert_eq!(world.received(part), ["x", "x2"]);
}

#[test]
fn new_client_gets_the_last_messages_first() {
    let mut world = World::new(ChannelSettings { history: 5, replay: 2, ..channel() });
    world.source_sends(["one", "two", "three"]);
    let late = world.client_at("/");
    let numbered = world.client_at("/?seq=1");
    let part = world.client_at("/?match=o");
    let unix = world.client(Wire::Prefixed);
    world.source_sends(["four"]);
    assert_eq!(world.received(late), ["two", "three", "four"]);
    assert_eq!(world.received(unix), ["two", "three", "four"]);
    assert_eq!(world.received(part), ["one", "two", "four"], "the last two of its part");
    let numbers: Vec<u64> = world.received(numbered).iter().map(|m| number(m)).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn returning_client_gets_exactly_what_it_has_missed() {
    let mut world = World::new(with_history(100));
    let first = world.client_at("/?seq=1");
    world.source_sends(["one", "two"]);
    let last = number(world.received(first).last().unwrap());
    world.client_closes(first);
    world.source_sends(["three", "four"]);

    let back = world.client_at(&format!("/?seq=1&since={last}"));
    world.source_sends(["five"]);

    let numbers: Vec<u64> = world.received(back).iter().map(|m| number(m)).collect();
    assert_eq!(numbers, [last + 1, last + 2, last + 3]);
    let current = world.client_at(&format!("/?since={}", last + 3));
    assert_eq!(world.received(current), [""; 0], "it has everything");
}

#[test]
fn returning_client_gets_its_part_on_its_wire() {
    let mut world = World::new(with_history(100));
    world.source_sends(["x0", "y1", "x2", "y3"]);
    let part = world.client_at("/?match=x&since=0");
    let (events, _) = world.stream_at("/sse?since=2");
    world.source_sends(["x4"]);
    assert_eq!(world.received(part), ["x2", "x4"]);
    let expected = "retry: 2000\n\nid: 3\ndata: y3\n\nid: 4\ndata: x4\n\n";
    assert_eq!(world.streamed(events), expected);
}

#[test]
fn gap_is_told_on_every_wire() {
    let mut world = World::new(with_history(2));
    world.source_sends(["0", "1", "2", "3"]);

    let closed = world.client_at("/?since=0");
    let words = "close 4410 gap: what came after that message is not kept any more";
    assert_eq!(world.received(closed), [words, "end"]);
    let (_, head) = world.stream_at("/ndjson?since=0");
    assert!(head.starts_with("HTTP/1.1 410 "), "{head}");

    let told = world.client_at("/?since=0&notices=1");
    let notice = "{\"notice\":\"gap\",\"since\":0,\"first\":2}";
    assert_eq!(world.received(told), [notice, "2", "3"]);
    let (lines, _) = world.stream_at("/ndjson?since=0&notices=1");
    assert_eq!(world.streamed(lines), format!("{notice}\n2\n3\n"));
    let (events, _) = world.stream_at("/sse?since=0");
    let events = world.streamed(events);
    assert!(events.contains(&format!("\n\nevent: gap\ndata: {notice}\n\nid: 2\n")), "{events}");
}

#[test]
fn gap_is_told_without_a_history_and_for_numbers_of_another_life() {
    let mut world = World::new(channel());
    let witness = world.client_at("/");
    world.source_sends(["0", "1"]);
    assert_eq!(world.received(witness).len(), 2);
    for wrong in ["/?since=0", "/?since=2", "/?since=18446744073709551615"] {
        let client = world.client_at(wrong);
        assert!(world.received(client)[0].starts_with("close 4410 "), "{wrong}");
    }
    let current = world.client_at("/?since=1");
    world.source_sends(["2"]);
    assert_eq!(world.received(current), ["2"]);
}

#[test]
fn history_outlives_its_clients_and_slow_ones_do_not_lengthen_it() {
    let mut world = World::new(ChannelSettings { max_queue_size: 4, ..with_history(2) });
    let first = world.client_at("/");
    world.source_sends(["0", "1", "2"]);
    world.client_closes(first);
    world.source_sends(["3", "4"]);
    let back = world.client_at("/?since=2");
    assert_eq!(world.received(back), ["3", "4"]);
    let gap = world.client_at("/?since=1");
    assert!(world.received(gap)[0].starts_with("close 4410 "));
}

#[test]
fn first_of_a_form_that_takes_more_bytes_than_the_history_misses_nothing() {
    let sent: Vec<_> = (0..11).map(|n| format!("{n:0200}")).collect();
    // Ten messages and the byte that the history keeps with each.
    let max_queue_bytes = 10 * 201;
    for part in ["", "&match=0"] {
        let mut world = World::new(ChannelSettings { max_queue_bytes, ..with_history(10) });
        world.source_sends(&sent);
        let plain = world.client_at(&format!("/?since=0{part}"));
        let (events, _) = world.stream_at(&format!("/sse?since=0{part}"));
        assert_eq!(world.received(plain), sent[1..]);
        let events = world.streamed(events);
        let first = format!("\n\nid: 1\ndata: {}\n\nid: 2\n", sent[1]);
        assert!(events.contains(&first), "{events}");

        // There is room for fewer of these; whoever asks for more is told.
        world.source_sends([&sent[0]]);
        let late = world.client_at(&format!("/?since=1{part}"));
        assert!(world.received(late)[0].starts_with("close 4410 "));
    }
}

#[test]
fn client_that_returns_is_entitled_to_what_it_asked_for() {
    let settings = ChannelSettings {
        max_queue_size: 5,
        slow_client: SlowClient::DropOldest,
        ..with_history(5)
    };
    let mut world = World::new(settings);
    world.source_sends(["0", "1", "2", "3", "4"]);
    let fast = world.client_at("/");
    let back = world.stranger(Wire::WebSocket);
    world.stall_after(back, 129);
    world.say(back, HANDSHAKE.replace("GET / ", "GET /?since=0 ").as_bytes());
    world.source_sends(["5", "6"]);
    assert_eq!(world.received(fast), ["5"], "the next waits for the one that came back");
    world.resume(back);
    let bytes = world.heard(back);
    assert!(bytes.ends_with(b"\x81\x011\x81\x012\x81\x013\x81\x014\x81\x015\x81\x016"));
    assert_eq!(world.received(fast), ["5", "6"]);
}

#[test]
fn numbers_begin_where_they_are_told_to() {
    let mut world = World::new(with_history(10));
    let now = world.now;
    world.relay.number_from(1_700_000_000_000_000, now);
    let client = world.client_at("/?seq=1");
    world.source_sends(["one"]);
    assert_eq!(number(&world.received(client)[0]), 1_700_000_000_000_000);
    let old = world.client_at("/?since=5");
    assert!(world.received(old)[0].starts_with("close 4410 "));
}

#[test]
fn new_client_gets_how_the_connection_began() {
    let rule = PrologueRule::Messages(2);
    let mut world = World::new(ChannelSettings { prologue: Some(rule), ..channel() });
    world.source_sends(["hello", "subscribed", "one", "two"]);
    let late = world.client_at("/");
    let part = world.client_at("/?match=hello");
    world.source_sends(["three"]);
    assert_eq!(world.received(late), ["hello", "subscribed", "three"]);
    assert_eq!(world.received(part), ["hello"]);

    world.lose_source();
    world.pass(Duration::from_secs(6));
    world.source_sends(["hello again"]);
    let early = world.client_at("/");
    world.source_sends(["subscribed again", "four"]);
    assert_eq!(world.received(early), ["hello again", "subscribed again", "four"]);
    let later = world.client_at("/");
    assert_eq!(world.received(later), ["hello again", "subscribed again"]);
}

#[test]
fn beginning_ends_by_the_clock_or_by_a_message() {
    let rule = PrologueRule::Time(Duration::from_secs(2));
    let mut world = World::new(ChannelSettings { prologue: Some(rule), ..channel() });
    world.source_sends(["in time"]);
    world.pass(Duration::from_secs(3));
    world.source_sends(["late"]);
    let client = world.client_at("/");
    assert_eq!(world.received(client), ["in time"]);

    let rule = PrologueRule::Until(Pattern::Contains("end".into()));
    let mut world = World::new(ChannelSettings { prologue: Some(rule), ..channel() });
    world.source_sends(["a", "b", "the end", "c"]);
    let client = world.client_at("/");
    assert_eq!(world.received(client), ["a", "b", "the end"]);
}

#[test]
fn new_client_gets_the_latest_of_each_key() {
    let mut world = World::new(with_last_value());
    let sent = [r#"{"s":"a","p":1}"#, r#"{"s":"b","p":2}"#, r#"{"s":"a","p":3}"#, "no key"];
    world.source_sends(sent);
    let late = world.client_at("/");
    let part = world.client_at("/?match=/s=b");
    world.source_sends(["live"]);
    assert_eq!(world.received(late), [sent[1], sent[2], "live"]);
    assert_eq!(world.received(part), [sent[1]]);
    let counted: Vec<_> =
        world.relay.client_stats(world.now).iter().map(|client| client.sent_messages).collect();
    assert_eq!(counted, [3, 1], "they count as sent");
}

#[test]
fn nothing_is_given_twice_to_a_new_client() {
    let settings = ChannelSettings {
        prologue: Some(PrologueRule::Messages(1)),
        replay: 2,
        history: 2,
        ..with_last_value()
    };
    let mut world = World::new(settings);
    let [hello, a, b, a2] = ["hello", r#"{"s":"a"}"#, r#"{"s":"b"}"#, r#"{"s":"a","p":2}"#];
    world.source_sends([hello]);
    let early = world.client_at("/");
    assert_eq!(world.received(early), [hello], "as part of the replay, and so not again");
    world.source_sends([a, b, a2, "x"]);
    let late = world.client_at("/");
    assert_eq!(world.received(late), [hello, b, a2, "x"]);
    let back = world.client_at("/?since=3");
    assert_eq!(world.received(back), ["x"], "who comes back has the rest");

    let prologue = Some(PrologueRule::Messages(2));
    let mut world = World::new(ChannelSettings { prologue, ..with_last_value() });
    world.source_sends([a, b, a2]);
    let late = world.client_at("/");
    assert_eq!(world.received(late), [a, b, a2], "the latest of b began the connection");
}

#[test]
fn greeting_is_in_the_order_of_the_numbers() {
    let prologue = Some(PrologueRule::Messages(1));
    let mut world = World::new(ChannelSettings { prologue, ..with_last_value() });
    world.source_sends(["hello", r#"{"s":"a"}"#]);
    world.lose_source();
    world.pass(Duration::from_secs(6));
    world.source_sends(["hello again", r#"{"s":"b"}"#]);
    let client = world.client_at("/?seq=1");
    let numbers: Vec<u64> = world.received(client).iter().map(|m| number(m)).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn greeting_reaches_a_client_that_takes_little() {
    let mut world = World::new(with_last_value());
    let large = format!(r#"{{"s":"a","p":"{}"}}"#, "x".repeat(200_000));
    world.source_sends([&large]);
    let client = world.client_at("/?notices=1");
    world.dribble(client, 1000);
    world.source_sends(["live"]);
    assert_eq!(world.received(client), [large.as_str(), "live"]);
}

fn two_channels() -> World {
    let named = |name: &str, id: usize| ChannelSettings {
        name: name.into(),
        sources: vec![SourceId(id)],
        ..channel()
    };
    let sources = vec![source(), SourceSettings { name: "other".into(), ..source() }];
    World::of(vec![named("trades", 0), named("btc usd", 1)], sources)
}

#[test]
fn newcomer_names_its_channel() {
    let mut world = two_channels();
    let trades = world.newcomer_at("/trades");
    let other = world.newcomer_at("/btc%20usd");
    world.sends(SourceId(0), ["one"]);
    world.sends(SourceId(1), ["two"]);
    assert_eq!(world.received(trades), ["one"]);
    assert_eq!(world.received(other), ["two"]);
    world.client_sends(other, "hello");
    assert_eq!(world.received_by(SourceId(1)), ["hello"]);
    assert_eq!(world.received_by(SourceId(0)), [""; 0]);
}

#[test]
fn newcomer_is_told_which_channels_there_are() {
    let mut world = two_channels();
    let asks = |world: &mut World, request: &str| {
        let client = world.newcomer();
        world.say(client, request.as_bytes());
        world.streamed(client)
    };
    let list = asks(&mut world, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(list.ends_with("\n/trades\n/btc%20usd\n"), "{list}");
    let json = asks(&mut world, "GET / HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n");
    assert!(json.contains(r#""sse":"/btc%20usd/sse""#), "{json}");
    let none = asks(&mut world, "GET /none/sse HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(none.starts_with("HTTP/1.1 404 "), "{none}");
    let stream = asks(&mut world, "GET /trades/ndjson HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(stream.starts_with("HTTP/1.1 200 "), "{stream}");
}

#[test]
fn newcomers_count_where_they_go() {
    let mut settings = channel();
    settings.name = "trades".into();
    settings.max_clients = 1;
    let mut world = World::new(settings);
    let first = world.newcomer_at("/trades");
    let second = world.newcomer();
    world.say(second, b"GET /trades/sse HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(world.streamed(second).starts_with("HTTP/1.1 503 "));
    world.client_closes(first);
    world.pass(Duration::from_secs(1));
    let _third = world.newcomer_at("/trades");
}

#[test]
fn newcomers_for_whom_there_is_no_room_are_told_so_as_far_as_there_is_room_for_that() {
    let mut settings = channel();
    settings.name = "trades".into();
    settings.max_clients = 1;
    let mut world = World::new(settings);
    let _first = world.newcomer_at("/trades");
    let others: Vec<_> = (0..100).map(|_| world.newcomer()).collect();
    for other in &others {
        world.say(*other, b"GET /trades/sse HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    let told = others.iter().filter(|other| !world.heard(**other).is_empty()).count();
    assert_eq!(told, veylor::relay::MAX_REFUSALS);
}

#[test]
fn newcomers_that_say_nothing_have_a_limit_and_a_time() {
    let mut world = two_channels();
    let silent: Vec<_> = (0..300).map(|_| world.newcomer()).collect();
    world.settle();
    let cut_off: Vec<_> = silent.iter().map(|client| world.is_cut_off(*client)).collect();
    let expected = 300 - veylor::relay::MAX_NEWCOMERS;
    assert!(cut_off[..expected].iter().all(|is_cut| *is_cut), "the oldest make way");
    assert!(!cut_off[expected..].iter().any(|is_cut| *is_cut));
    let client = world.newcomer_at("/trades");
    world.sends(SourceId(0), ["zero"]);
    assert_eq!(world.received(client), ["zero"], "nobody is kept out");
    world.pass(Duration::from_secs(11));
    assert!(silent.iter().all(|client| world.is_cut_off(*client)));
    let client = world.newcomer_at("/trades");
    world.sends(SourceId(0), ["one"]);
    assert_eq!(world.received(client), ["one"]);
}

#[test]
fn newcomer_of_an_endpoint_that_is_removed_is_told_so() {
    let mut world = World::new(channel());
    let newcomer = world.newcomer();
    world.reload(Layout {
        sources: vec![Some(source())],
        channels: vec![Some(channel())],
        ..Layout::default()
    });
    let answer = world.streamed(newcomer);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn stream_is_kept_awake_and_ends_with_the_relay() {
    let mut world = World::new(channel());
    let (events, _) = world.stream_at("/sse");
    let (lines, _) = world.stream_at("/ndjson");
    world.streamed(events);
    world.pass(Duration::from_mins(2));
    let kept = world.streamed(events);
    assert!(!kept.is_empty() && kept.replace(":\n\n", "").is_empty(), "{kept:?}");
    assert_eq!(world.streamed(lines), "", "lines of JSON have no comments");
    world.source_sends(["last"]);
    world.stop();
    assert_eq!(world.streamed(events), "id: 0\ndata: last\n\n");
    assert_eq!(world.streamed(lines), "\"last\"\n");
    assert!(world.is_cut_off(events) && world.is_cut_off(lines));
}

#[test]
fn stream_that_takes_nothing_is_dead() {
    let mut world = World::new(channel());
    let (events, _) = world.stream_at("/sse");
    world.stall(events);
    world.source_sends(["x"]);
    world.pass(Duration::from_mins(1));
    assert!(world.is_cut_off(events));
}

#[test]
fn what_a_stream_s_client_says_is_not_heard() {
    let mut world = World::new(channel());
    let (events, _) = world.stream_at("/sse");
    world.say(events, &b"GET / HTTP/1.1\r\n\r\n".repeat(1000));
    assert_eq!(world.source_received(), [""; 0]);
    world.source_sends(["x"]);
    assert!(world.streamed(events).ends_with("data: x\n\n"));
}
