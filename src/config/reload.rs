//! From old settings and new ones to what has to change, and to words for it.
//!
//! Sources and channels are the same when their names are, endpoints when their addresses are.
//! Nothing is done here.

use super::recording::Replay;
use super::session::SessionTemplate;
use super::settings::{Endpoint, Guests, Log, Settings, Source};
use super::template::Template;
use crate::codec::Gate;
use crate::net::certificate::Trust;
use crate::net::listener::Address;
use crate::relay::reload::{Layout, Seat, Seats};
use crate::relay::settings::{ChannelId, ChannelSettings, SourceId};

/// What new settings make of a running relay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the relay shall be.
    pub layout: Layout,
    /// How to reach the source of each place.
    pub sources: Vec<Option<Source>>,
    /// All endpoints, with the channels' places in the relay.
    pub endpoints: Vec<Endpoint>,
    /// What changes, a sentence each; empty if nothing does.
    pub changes: Vec<String>,
}

/// Compares settings. `seats` says who has which place in the relay.
pub fn plan(old: &Settings, new: &Settings, seats: &Seats) -> Plan {
    let source_names = new.sources.iter().map(|source| source.relay.name.as_str());
    let channel_names = new.channels.iter().map(|channel| channel.name.as_str());
    let (source_places, channel_places) =
        (places(source_names, &seats.sources), places(channel_names, &seats.channels));
    let channel_at = |id: ChannelId| ChannelId(channel_places[id.0]);
    let seated = |channel: &ChannelSettings| ChannelSettings {
        sources: channel.sources.iter().map(|id| SourceId(source_places[id.0])).collect(),
        ..channel.clone()
    };

    let sources = spread(new.sources.iter().cloned(), &source_places, seats.sources.len());
    let layout = Layout {
        sources: sources.iter().map(|source| Some(source.as_ref()?.relay.clone())).collect(),
        channels: spread(new.channels.iter().map(seated), &channel_places, seats.channels.len()),
        redials: redials(old, new).map(|n| SourceId(source_places[n])).collect(),
        closed: closed_gates(old, new).map(|(id, gate)| (channel_at(id), gate)).collect(),
        is_shared: new.endpoints.iter().any(|endpoint| endpoint.guests == Guests::Newcomers),
    };
    let seat_guests = |guests: Guests| match guests {
        Guests::Clients(channel) => Guests::Clients(channel_at(channel)),
        Guests::Newcomers | Guests::Operators => guests,
    };
    let endpoints = new
        .endpoints
        .iter()
        .map(|endpoint| Endpoint { guests: seat_guests(endpoint.guests), ..endpoint.clone() });
    Plan { layout, sources, endpoints: endpoints.collect(), changes: changes(old, new) }
}

/// The place of each name: its own, else one that is free, else one behind all.
fn places<'a>(names: impl Iterator<Item = &'a str>, seats: &[Seat]) -> Vec<usize> {
    let free = (0..seats.len()).filter(|place| seats[*place] == Seat::Free);
    let mut unused = free.chain(seats.len()..);
    let has = |seat: &Seat, name: &str| matches!(seat, Seat::Taken(taken) if taken == name);
    names
        .map(|name| {
            let own = seats.iter().position(|seat| has(seat, name));
            own.unwrap_or_else(|| unused.next().expect("places do not run out"))
        })
        .collect()
}

/// Puts items at their places, of which there are at least so many.
fn spread<T>(items: impl Iterator<Item = T>, places: &[usize], at_least: usize) -> Vec<Option<T>> {
    let count = places.iter().map(|place| place + 1).max().unwrap_or(0).max(at_least);
    let mut spread: Vec<Option<T>> = (0..count).map(|_| None).collect();
    for (item, place) in items.zip(places) {
        spread[*place] = Some(item);
    }
    spread
}

/// The new sources that stay and are reached in another way.
fn redials(old: &Settings, new: &Settings) -> impl Iterator<Item = usize> {
    let is_moved = |source: &Source| {
        let before = old.source(&source.relay.name);
        before.is_some_and(|before| !changed_ways(before, source).is_empty())
    };
    (0..new.sources.len()).filter(move |n| is_moved(&new.sources[*n]))
}

/// The kinds of endpoints that channels had and have no more.
fn closed_gates(old: &Settings, new: &Settings) -> impl Iterator<Item = (ChannelId, Gate)> {
    let gates = [Gate::Web, Gate::Unix, Gate::Tcp];
    let all = (0..new.channels.len()).map(ChannelId).flat_map(move |id| gates.map(|g| (id, g)));
    all.filter(|(id, gate)| {
        let name = &new.channels[id.0].name;
        old.has_endpoint(name, *gate) && !new.has_endpoint(name, *gate)
    })
}

impl Settings {
    fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.relay.name == name)
    }

    fn channel(&self, name: &str) -> Option<&ChannelSettings> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    fn endpoint(&self, address: &Address) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.address.is_same_place(address))
    }

    /// Whether clients of a channel may come in by this kind of endpoint.
    fn has_endpoint(&self, channel: &str, gate: Gate) -> bool {
        let leads_there = |endpoint: &&Endpoint| {
            endpoint.guests == Guests::Newcomers || self.channel_of(endpoint) == Some(channel)
        };
        self.endpoints.iter().filter(leads_there).any(|endpoint| endpoint.gate() == gate)
    }

    /// The name of the channel that an endpoint's clients get.
    fn channel_of(&self, endpoint: &Endpoint) -> Option<&str> {
        endpoint.channel().map(|channel| self.channels[channel.0].name.as_str())
    }

    pub(super) fn source_names(&self, channel: &ChannelSettings) -> Vec<&str> {
        let sources = channel.sources.iter().map(|id| &self.sources[id.0]);
        sources.filter(|source| source.is_head()).map(|s| s.relay.name.as_str()).collect()
    }
}

fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut changes = Vec::new();
    for source in new.sources.iter().filter(|source| source.is_head()) {
        changes.extend(source_change(old, new, source));
    }
    let heads = old.sources.iter().filter(|source| source.is_head());
    let gone = heads.filter(|source| new.source(&source.relay.name).is_none());
    changes.extend(gone.map(|source| format!("source {}: removed", source.relay.name)));
    for channel in &new.channels {
        changes.extend(channel_change(old, new, channel));
    }
    let gone = old.channels.iter().filter(|channel| new.channel(&channel.name).is_none());
    changes.extend(gone.map(|channel| format!("channel {}: removed", channel.name)));
    for endpoint in &new.endpoints {
        changes.extend(endpoint_change(old, new, endpoint));
        changes.extend(tls_change(old, endpoint));
    }
    let gone = old.endpoints.iter().filter(|endpoint| new.endpoint(&endpoint.address).is_none());
    changes.extend(gone.map(|endpoint| format!("{endpoint}: closed")));
    changes.extend(have_changed(&if_differs(&old.coalesce, &new.coalesce, "coalesce")));
    changes.extend(log_change(&old.log, &new.log));
    if old.admin_auth != new.admin_auth {
        changes.push("admin: auth has changed".to_owned());
    }
    for (key, differs) in
        [("sandbox", old.sandbox != new.sandbox), ("state_file", old.state_file != new.state_file)]
    {
        let change = format!("{key} has changed, it counts from the next start");
        changes.extend(differs.then_some(change));
    }
    changes
}

fn source_change(old_settings: &Settings, new_settings: &Settings, new: &Source) -> Option<String> {
    let name = &new.relay.name;
    let urls = new_settings.urls_of(name);
    let Some(old) = old_settings.source(name) else {
        let urls: Vec<_> = urls.into_iter().map(Template::redacted_url).collect();
        return Some(format!("source {name}: added, {}", urls.join(", ")));
    };
    let mut ways = changed_ways(old, new);
    if old_settings.urls_of(name).len() > 1 || urls.len() > 1 {
        ways.retain(|way| *way != "url");
    }
    let feed = changed_feed(&old_settings.urls_of(name), &urls, old, new);
    let limits = [
        if_differs(&old.relay.max_message_size, &new.relay.max_message_size, "max_message_size"),
        if_differs(&old.relay.reconnect_delay, &new.relay.reconnect_delay, "reconnect_delay"),
        if_differs(
            &old.relay.reconnect_max_delay,
            &new.relay.reconnect_max_delay,
            "reconnect_max_delay",
        ),
        if_differs(
            &old.relay.reconnect_max_attempts,
            &new.relay.reconnect_max_attempts,
            "reconnect_max_attempts",
        ),
        if_differs(&old.relay.idle_timeout, &new.relay.idle_timeout, "idle_timeout"),
        if_differs(&old.relay.max_age, &new.relay.max_age, "max_age"),
        if_differs(&old.record, &new.record, "record"),
    ];
    let limits = [limits.concat(), old.approach.changed_limits(&new.approach)];
    let redial = if ways.is_empty() { "" } else { ", it is dialled anew" };
    let changed = have_changed(&[ways, feed, limits.concat()].concat())?;
    Some(format!("source {name}: {changed}{redial}"))
}

/// What has changed of the connections of a source. Those that are reached as before stay.
fn changed_feed(
    old_urls: &[&Template],
    new_urls: &[&Template],
    old: &Source,
    new: &Source,
) -> Vec<&'static str> {
    let strategy = |source: &Source| source.relay.leg.as_ref().map(|leg| leg.strategy);
    let dedup = |source: &Source| {
        source.relay.leg.as_ref().map(|leg| leg.dedup.clone()).unwrap_or_default()
    };
    let has_several = old_urls.len() > 1 || new_urls.len() > 1;
    let urls = if has_several { if_differs(&old_urls, &new_urls, "urls") } else { Vec::new() };
    let (before, after) = (strategy(old).unwrap_or_default(), strategy(new).unwrap_or_default());
    [urls, if_differs(&before, &after, "strategy"), if_differs(&dedup(old), &dedup(new), "dedup")]
        .concat()
}

/// What has changed of the way to a source.
fn changed_ways(old: &Source, new: &Source) -> Vec<&'static str> {
    [
        if_differs(&old.url, &new.url, "url"),
        if_differs(&old.headers, &new.headers, "headers"),
        if_differs(&old.subprotocols, &new.subprotocols, "subprotocols"),
        changed_trust(&old.trust, &new.trust),
        old.approach.changes(&new.approach),
        changed_session(&old.session, &new.session),
        changed_replay(old, new),
    ]
    .concat()
}

/// What has changed of what is said on a connection: from its beginning.
fn changed_session(old: &SessionTemplate, new: &SessionTemplate) -> Vec<&'static str> {
    [
        if_differs(&old.steps, &new.steps, "on_connect"),
        if_differs(&old.command, &new.command, "on_connect_command"),
        if_differs(&old.heartbeat, &new.heartbeat, "heartbeat"),
        if_differs(&old.replies, &new.replies, "reply_to"),
    ]
    .concat()
}

/// What has changed of how a recording is played.
fn changed_replay(old: &Source, new: &Source) -> Vec<&'static str> {
    let (old, new) = (&old.replay, &new.replay);
    let (speed, is_looped) = (
        |r: &Option<Replay>| r.map(|r| r.speed),
        |r: &Option<Replay>| r.is_some_and(|r| r.is_looped),
    );
    let audience = |r: &Option<Replay>| r.map_or(0, |r| r.wait_for_clients);
    [
        if_differs(&speed(old), &speed(new), "speed"),
        if_differs(&is_looped(old), &is_looped(new), "loop"),
        if_differs(&audience(old), &audience(new), "wait_for_clients"),
    ]
    .concat()
}

fn changed_trust(old: &Trust, new: &Trust) -> Vec<&'static str> {
    let cert_file = |trust: &Trust| Some(trust.identity.as_ref()?.cert_file.clone());
    let key_file = |trust: &Trust| Some(trust.identity.as_ref()?.key_file.clone());
    [
        if_differs(&old.ca_file, &new.ca_file, "ca_file"),
        if_differs(&cert_file(old), &cert_file(new), "cert_file"),
        if_differs(&key_file(old), &key_file(new), "key_file"),
        if_differs(&old.server_name, &new.server_name, "server_name"),
        if_differs(&old.fingerprint, &new.fingerprint, "fingerprint"),
    ]
    .concat()
}

fn channel_change(
    old_settings: &Settings,
    new_settings: &Settings,
    new: &ChannelSettings,
) -> Option<String> {
    let name = &new.name;
    let fed_by = new_settings.source_names(new);
    let Some(old) = old_settings.channel(name) else {
        return Some(format!("channel {name}: added, fed by {}", fed_by.join(", ")));
    };
    let changed = [
        if_differs(&old_settings.source_names(old), &fed_by, "sources"),
        if_differs(&old.max_queue_size, &new.max_queue_size, "max_queue_size"),
        if_differs(&old.max_queue_bytes, &new.max_queue_bytes, "max_queue_bytes"),
        if_differs(&old.max_pause, &new.max_pause, "max_pause"),
        if_differs(&old.slow_client, &new.slow_client, "slow_client"),
        if_differs(&old.on_source_loss, &new.on_source_loss, "on_source_loss"),
        if_differs(&old.read_only, &new.read_only, "read_only"),
        if_differs(
            &old.max_client_message_size,
            &new.max_client_message_size,
            "max_client_message_size",
        ),
        if_differs(&old.max_clients, &new.max_clients, "max_clients"),
        if_differs(
            &old.max_clients_per_address,
            &new.max_clients_per_address,
            "max_clients_per_address",
        ),
        if_differs(
            &old.max_client_message_rate,
            &new.max_client_message_rate,
            "max_client_message_rate",
        ),
        if_differs(&old.max_client_byte_rate, &new.max_client_byte_rate, "max_client_byte_rate"),
        if_differs(&old.auth, &new.auth, "auth"),
        if_differs(&old.allowed_origins, &new.allowed_origins, "allowed_origins"),
        if_differs(&old.subprotocols, &new.subprotocols, "subprotocols"),
        if_differs(&old.unix_message_type, &new.unix_message_type, "unix_message_type"),
        if_differs(&old.tcp_framing, &new.tcp_framing, "tcp_framing"),
        if_differs(&old.history, &new.history, "history"),
        if_differs(&old.replay, &new.replay, "replay"),
        if_differs(&old.prologue, &new.prologue, "prologue"),
        if_differs(&old.last_value, &new.last_value, "last_value"),
        if_differs(&old.max_filters, &new.max_filters, "max_filters"),
    ];
    Some(format!("channel {name}: {}", have_changed(&changed.concat())?))
}

fn endpoint_change(
    old_settings: &Settings,
    new_settings: &Settings,
    new: &Endpoint,
) -> Vec<String> {
    let channel = new_settings.channel_of(new);
    let Some(old) = old_settings.endpoint(&new.address) else {
        return vec![match channel {
            Some(channel) => format!("{new}: opened for channel {channel}"),
            None if new.guests == Guests::Newcomers => format!("{new}: opened for all channels"),
            None => format!("{new}: opened for operators"),
        }];
    };
    let mut changes = Vec::new();
    let was_shared = old.guests == Guests::Newcomers;
    if old_settings.channel_of(old) != channel || was_shared != (new.guests == Guests::Newcomers) {
        changes.push(match channel {
            Some(channel) => format!("{new}: new clients get channel {channel}"),
            None if new.guests == Guests::Newcomers => format!("{new}: is for all channels"),
            None => format!("{new}: is for operators"),
        });
    }
    if let (Address::Unix { mode: old, .. }, Address::Unix { mode, .. }) =
        (&old.address, &new.address)
        && old != mode
    {
        changes.push(format!("{new}: has mode {mode:04o}"));
    }
    let admission = [
        if_differs(&old.admission.allow, &new.admission.allow, "allow"),
        if_differs(&old.admission.deny, &new.admission.deny, "deny"),
        if_differs(&old.admission.users, &new.admission.users, "users"),
        if_differs(&old.admission.groups, &new.admission.groups, "groups"),
        if_differs(&old.max_connection_rate, &new.max_connection_rate, "max_connection_rate"),
    ];
    let keys = have_changed(&admission.concat());
    changes.extend(keys.map(|keys| format!("{new}: {keys}, which counts for new connections")));
    changes
}

fn tls_change(old_settings: &Settings, new: &Endpoint) -> Option<String> {
    let old = old_settings.endpoint(&new.address)?;
    match (&old.tls, &new.tls) {
        (None, Some(_)) => Some(format!("{new}: new connections must speak TLS")),
        (Some(_), None) => Some(format!("{new}: new connections speak no TLS")),
        (Some(old), Some(new_tls)) if old != new_tls => {
            Some(format!("{new}: tls has changed: new connections get the new certificate"))
        }
        (None, None) | (Some(_), Some(_)) => None,
    }
}

fn log_change(old: &Log, new: &Log) -> Option<String> {
    let changed = [
        if_differs(&old.level, &new.level, "level"),
        if_differs(&old.format, &new.format, "format"),
        if_differs(&old.file, &new.file, "file"),
    ];
    Some(format!("log: {}", have_changed(&changed.concat())?))
}

/// The name of a key whose value is another.
fn if_differs<T: PartialEq>(old: &T, new: &T, key: &'static str) -> Vec<&'static str> {
    if old == new { Vec::new() } else { vec![key] }
}

/// `a, b have changed`, `None` if there is nothing.
fn have_changed(keys: &[&str]) -> Option<String> {
    match keys {
        [] => None,
        [key] => Some(format!("{key} has changed")),
        keys => Some(format!("{} have changed", keys.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const OLD: &str = "
sources:
  - {name: a, url: 'ws://a', websocket_port: 1, websocket_host: 127.0.0.1, unix_socket_path: /a}
  - {name: b, url: 'ws://b', websocket_port: 2, websocket_host: 127.0.0.1}
";

    fn taken(names: &[&str]) -> Vec<Seat> {
        names.iter().map(|name| Seat::Taken((*name).to_owned())).collect()
    }

    fn seats() -> Seats {
        Seats { sources: taken(&["a", "b"]), channels: taken(&["a", "b"]) }
    }

    fn planned(change: impl Fn(&str) -> String) -> Plan {
        plan(&parse(OLD).unwrap(), &parse(&change(OLD)).unwrap(), &seats())
    }

    fn names(layout: &Layout) -> (Vec<&str>, Vec<&str>) {
        let sources = layout.sources.iter().map(|s| s.as_ref().map_or("-", |s| s.name.as_str()));
        let channels = layout.channels.iter().map(|c| c.as_ref().map_or("-", |c| c.name.as_str()));
        (sources.collect(), channels.collect())
    }

    #[test]
    fn same_file_changes_nothing() {
        let plan = planned(str::to_owned);
        assert_eq!(plan.changes, [""; 0]);
        assert_eq!(names(&plan.layout), (vec!["a", "b"], vec!["a", "b"]));
        assert!(plan.layout.redials.is_empty() && plan.layout.closed.is_empty());
    }

    #[test]
    fn order_in_the_file_does_not_move_anybody() {
        let old = parse(OLD).unwrap();
        let mut lines: Vec<&str> = OLD.trim().lines().collect();
        lines.swap(1, 2);
        let plan = plan(&old, &parse(&lines.join("\n")).unwrap(), &seats());
        assert_eq!(plan.changes, [""; 0]);
        assert_eq!(names(&plan.layout), (vec!["a", "b"], vec!["a", "b"]));
        assert_eq!(plan.layout.channels[1].as_ref().unwrap().sources, [SourceId(1)]);
        assert_eq!(plan.endpoints[0].channel(), Some(ChannelId(1)));
    }

    #[test]
    fn only_another_way_to_a_source_asks_for_a_redial() {
        for (old, new, said) in [
            ("ws://b", "ws://b/x", "source b: url has changed, it is dialled anew"),
            ("'ws://b'", "'ws://b', headers: {X: y}", "source b: headers has changed"),
            ("'ws://b'", "'ws://b', subprotocols: [x]", "source b: subprotocols has changed"),
        ] {
            let plan = planned(|text| text.replace(old, new));
            assert_eq!(plan.layout.redials, [SourceId(1)]);
            assert!(plan.changes[0].starts_with(said), "{:?}", plan.changes);
        }
        let plan = planned(|text| {
            format!("{text}performance: {{reconnect_delay: 1, max_queue_size: 5, coalesce: 0}}")
        });
        assert!(plan.layout.redials.is_empty());
        let expected = [
            "source a: reconnect_delay has changed",
            "source b: reconnect_delay has changed",
            "channel a: max_queue_size has changed",
            "channel b: max_queue_size has changed",
            "coalesce has changed",
        ];
        assert_eq!(plan.changes, expected);
    }

    #[test]
    fn removed_place_is_left_empty_and_a_free_one_is_taken() {
        let rename = |text: &str| text.replace("name: a", "name: c");
        let plan_for =
            |seats: &Seats| plan(&parse(OLD).unwrap(), &parse(&rename(OLD)).unwrap(), seats);
        let plan = plan_for(&seats());
        assert_eq!(names(&plan.layout), (vec!["-", "b", "c"], vec!["-", "b", "c"]));
        assert_eq!(plan.endpoints[0].channel(), Some(ChannelId(2)));
        let expected = [
            "source c: added, ws://a",
            "source a: removed",
            "channel c: added, fed by c",
            "channel a: removed",
            "ws://127.0.0.1:1: new clients get channel c",
            "unix:/a: new clients get channel c",
        ];
        assert_eq!(plan.changes, expected);

        let mut later = seats();
        later.sources.extend([Seat::Leaving, Seat::Free]);
        later.channels.extend([Seat::Free, Seat::Leaving]);
        let plan = plan_for(&later);
        assert_eq!(names(&plan.layout), (vec!["-", "b", "-", "c"], vec!["-", "b", "c", "-"]));
        assert_eq!(plan.layout.channels[2].as_ref().unwrap().sources, [SourceId(3)]);
    }

    #[test]
    fn endpoints_are_matched_by_their_addresses() {
        let plan = planned(|text| {
            text.replace("unix_socket_path: /a", "unix_socket_path: /a, unix_socket_mode: '0600'")
                .replace("port: 2", "port: 3")
        });
        let expected = [
            "unix:/a: has mode 0600",
            "ws://127.0.0.1:3: opened for channel b",
            "ws://127.0.0.1:2: closed",
        ];
        assert_eq!(plan.changes, expected);
        assert!(plan.layout.closed.is_empty(), "clients of a channel that moved stay");
        let plan = planned(|text| text.replace(", unix_socket_path: /a", ""));
        assert_eq!(plan.layout.closed, [(ChannelId(0), Gate::Unix)]);
        assert_eq!(plan.changes, ["unix:/a: closed"]);
    }

    #[test]
    fn rebroadcast_gains_and_loses_sources() {
        let all = "rebroadcast: {unix_socket: {path: /all}}";
        let old = parse(&format!("{OLD}{all}")).unwrap();
        let new = parse(&format!("{}{all}", OLD.replace("name: b", "name: c"))).unwrap();
        let channels = taken(&["a", "b", "rebroadcast"]);
        let plan = plan(&old, &new, &Seats { channels, ..seats() });
        assert_eq!(names(&plan.layout).1, ["a", "-", "rebroadcast", "c"]);
        let rebroadcast = plan.layout.channels[2].as_ref().unwrap();
        assert_eq!(rebroadcast.sources, [SourceId(0), SourceId(2)]);
        assert!(plan.changes.contains(&"channel rebroadcast: sources has changed".to_owned()));
    }

    #[cfg(feature = "recording")]
    #[test]
    fn recording_is_changed_in_place_and_another_way_to_play_is_another_dial() {
        let plan =
            planned(|text| text.replace("url: 'ws://b'", "url: 'ws://b', record: {path: x}"));
        assert_eq!(plan.changes, ["source b: record has changed"]);
        assert!(plan.layout.redials.is_empty());
        let at_speed = |speed: &str| {
            let keys = format!("url: 'file:b', speed: {speed}, wait_for_clients: 1");
            parse(&OLD.replace("url: 'ws://b'", &keys)).unwrap()
        };
        let plan = super::plan(&at_speed("1"), &at_speed("max"), &seats());
        assert_eq!(plan.changes, ["source b: speed has changed, it is dialled anew"]);
        assert_eq!(plan.layout.redials, [SourceId(1)]);
    }

    #[test]
    fn changes_tell_no_secret() {
        let plan = planned(|text| text.replace("ws://b", "ws://u:hunter2@b/?hunter2"));
        assert!(!format!("{:?}", plan.changes).contains("hunter2"), "{:?}", plan.changes);
        let added = "  - {name: c, url: 'ws://u:hunter2@c/?k=hunter2', unix_socket_path: /c}\n";
        let plan = planned(|text| format!("{text}{added}"));
        assert!(!format!("{:?}", plan.changes).contains("hunter2"), "{:?}", plan.changes);
    }
}
