//! A snapshot as Prometheus reads it: its text format, version 0.0.4.
//!
//! Labels name what the configuration names (`source`, its `leg`, `channel`) or what is a handful for ever
//! (`wire`, `reason`), so that the number of series is bounded. Clients have none.

use std::fmt::{self, Write};

use super::snapshot::{ChannelStatus, Histogram, Process, Snapshot, SourceStatus};
use crate::relay::stats::{BacklogStats, Departures, LegStats, RecordingStats};

/// The media type of what `render` makes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The snapshot in Prometheus' text format, each metric with its help and type.
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = Exposition { text: String::with_capacity(16 * 1024) };
    text.build(snapshot);
    text.process(&snapshot.process);
    for metric in &SOURCE_METRICS {
        text.of_sources(metric, &snapshot.sources);
    }
    for metric in &LEG_METRICS {
        text.of_legs(metric, &snapshot.sources);
    }
    for metric in &CHANNEL_METRICS {
        text.of_channels(metric, &snapshot.channels);
    }
    text.departures(&snapshot.channels);
    for metric in &BACKLOG_METRICS {
        text.of_backlogs(metric, &snapshot.channels);
    }
    text.histogram(
        "veylor_turn_duration_seconds",
        "How long the turns of the loop take.",
        &snapshot.turns,
    );
    text.histogram(
        "veylor_delivery_duration_seconds",
        "How long messages take from the read to the last write of their turn.",
        &snapshot.deliveries,
    );
    text.text
}

/// A text that grows by metrics.
struct Exposition {
    text: String,
}

/// A metric, and where its value is found in a `T`.
struct Metric<T> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&T) -> Value,
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A value as its metric has it; `Unknown` makes no sample.
#[derive(Clone, Copy)]
enum Value {
    Whole(u64),
    Float(f64),
    Unknown,
}

/// A label's value, escaped.
struct Escaped<'a>(&'a str);

const SOURCE_METRICS: [Metric<SourceStatus>; 19] = [
    gauge("veylor_source_up", "Whether the source is connected.", |source| {
        Value::from(source.stats.state == "open")
    }),
    gauge(
        "veylor_source_state",
        "Where the source is in its life: 0 given up or ended, 1 waiting, 2 dialing, 3 opening, 4 open.",
        |source| state(&source.stats.state),
    ),
    counter("veylor_source_connects_total", "Connections that were opened.", |source| {
        Value::Whole(source.stats.connects)
    }),
    counter(
        "veylor_source_reconnects_total",
        "Connections that were opened after the first.",
        |source| Value::Whole(source.stats.connects.saturating_sub(1)),
    ),
    gauge(
        "veylor_source_consecutive_failures",
        "Attempts and connections that failed since one proved stable.",
        |source| Value::Whole(source.stats.failures.into()),
    ),
    gauge(
        "veylor_source_refused",
        "Whether the source does not want us as we are (401, 403, close code 1008).",
        |source| Value::from(source.stats.is_refused),
    ),
    counter("veylor_source_received_messages_total", "Messages the source sent.", |source| {
        Value::Whole(source.stats.received_messages)
    }),
    counter(
        "veylor_source_received_bytes_total",
        "Payload bytes of the messages the source sent.",
        |source| Value::Whole(source.stats.received_bytes),
    ),
    gauge(
        "veylor_source_largest_message_bytes",
        "Payload bytes of the largest message the source sent.",
        |source| Value::Whole(source.stats.largest_bytes),
    ),
    counter(
        "veylor_source_forwarded_messages_total",
        "Clients' messages that were sent to the source, or are on their way.",
        |source| Value::Whole(source.stats.forwarded_messages),
    ),
    counter(
        "veylor_source_forwarded_bytes_total",
        "Payload bytes of clients' messages that were sent to the source, or are on their way.",
        |source| Value::Whole(source.stats.forwarded_bytes),
    ),
    counter(
        "veylor_source_dropped_messages_total",
        "Clients' messages that the source did not get.",
        |source| Value::Whole(source.stats.dropped_messages),
    ),
    counter(
        "veylor_source_recorded_messages_total",
        "Messages of the source that are in its recording, if it is recorded.",
        |source| of_recording(source, |recording| recording.messages),
    ),
    counter(
        "veylor_source_recorded_bytes_total",
        "Bytes of the records of these messages.",
        |source| of_recording(source, |recording| recording.bytes),
    ),
    counter(
        "veylor_source_unrecorded_messages_total",
        "Messages that are not: the disk was too slow, or the file could not be written.",
        |source| of_recording(source, |recording| recording.missed_messages),
    ),
    counter(
        "veylor_source_own_messages_total",
        "Messages that the relay itself sent: of on_connect, heartbeats, replies.",
        |source| Value::Whole(source.stats.own_messages),
    ),
    gauge(
        "veylor_source_outbox_bytes",
        "Bytes of messages that the source has not taken yet.",
        |source| Value::Whole(source.stats.outbox_bytes),
    ),
    gauge(
        "veylor_source_paused",
        "Whether the source is not read because a channel is full.",
        |source| Value::from(source.stats.is_paused),
    ),
    gauge(
        "veylor_source_round_trip_seconds",
        "Time between the last ping to the source and its answer.",
        |source| source.stats.round_trip_seconds.map_or(Value::Unknown, Value::Float),
    ),
];

/// Of sources that have several connections.
const LEG_METRICS: [Metric<LegStats>; 4] = [
    gauge("veylor_leg_up", "Whether this connection of the source is there.", |leg| {
        Value::from(leg.state == "open")
    }),
    gauge("veylor_leg_serving", "Whether clients' messages go to this connection.", |leg| {
        Value::from(leg.is_serving)
    }),
    counter(
        "veylor_leg_won_messages_total",
        "Messages that this connection was the first to bring.",
        |leg| Value::Whole(leg.won_messages),
    ),
    counter(
        "veylor_leg_duplicate_messages_total",
        "Messages that another connection had brought already, and that were dropped.",
        |leg| Value::Whole(leg.duplicate_messages),
    ),
];

const CHANNEL_METRICS: [Metric<ChannelStatus>; 8] = [
    gauge("veylor_channel_clients", "Clients that follow the channel.", |channel| {
        Value::Whole(channel.stats.clients)
    }),
    counter(
        "veylor_channel_connects_total",
        "Clients that have ever followed the channel.",
        |channel| Value::Whole(channel.stats.clients_ever),
    ),
    counter(
        "veylor_channel_sent_messages_total",
        "Messages delivered, each counted once for each client.",
        |channel| Value::Whole(channel.stats.sent_messages),
    ),
    counter(
        "veylor_channel_sent_bytes_total",
        "Bytes sent to clients, handshakes and pings included.",
        |channel| Value::Whole(channel.stats.sent_bytes),
    ),
    counter(
        "veylor_channel_received_messages_total",
        "Messages the channel's clients sent.",
        |channel| Value::Whole(channel.stats.received_messages),
    ),
    counter(
        "veylor_channel_dropped_messages_total",
        "Messages that clients did not get: dropped, or kept for one that went.",
        |channel| Value::Whole(channel.stats.dropped_messages),
    ),
    gauge(
        "veylor_channel_max_lag_messages",
        "Messages that the client furthest behind has not got yet.",
        |channel| Value::Whole(channel.stats.max_lag_messages),
    ),
    gauge("veylor_channel_paused", "Whether the channel holds its sources back.", |channel| {
        Value::from(channel.stats.is_paused)
    }),
];

const BACKLOG_METRICS: [Metric<BacklogStats>; 4] = [
    gauge(
        "veylor_backlog_messages",
        "Messages of the backlog that some client has not got.",
        |backlog| Value::Whole(backlog.messages),
    ),
    gauge("veylor_backlog_bytes", "Bytes that some client has not got.", |backlog| {
        Value::Whole(backlog.bytes)
    }),
    gauge("veylor_backlog_limit_messages", "Messages the backlog may hold.", |backlog| {
        Value::Whole(backlog.max_messages)
    }),
    gauge("veylor_backlog_limit_bytes", "Bytes the backlog may hold.", |backlog| {
        Value::Whole(backlog.max_bytes)
    }),
];

impl Exposition {
    fn build(&mut self, snapshot: &Snapshot) {
        self.family("veylor_build_info", Kind::Gauge, "The program that runs; always 1.");
        self.sample("veylor_build_info", &[("version", &snapshot.version)], Value::Whole(1));
        // Two clocks make it; whole seconds keep their jitter out of sight.
        let started = (snapshot.time - snapshot.uptime_seconds).round();
        self.single(
            "process_start_time_seconds",
            Kind::Gauge,
            "When the process started, in seconds since 1970.",
            Value::Float(started),
        );
    }

    fn process(&mut self, process: &Process) {
        self.single(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory.",
            Value::Whole(process.resident_bytes),
        );
        self.single(
            "process_cpu_seconds_total",
            Kind::Counter,
            "CPU time used, user and system.",
            Value::Float(process.cpu_seconds),
        );
        self.single(
            "process_open_fds",
            Kind::Gauge,
            "Open file descriptors.",
            Value::Whole(process.descriptors),
        );
        self.single(
            "process_max_fds",
            Kind::Gauge,
            "File descriptors that may be open.",
            Value::Whole(process.max_descriptors),
        );
    }

    fn of_sources(&mut self, metric: &Metric<SourceStatus>, sources: &[SourceStatus]) {
        self.family(metric.name, metric.kind, metric.help);
        for source in sources {
            let labels = [("source", source.stats.name.as_str())];
            self.sample(metric.name, &labels, (metric.value)(source));
        }
    }

    fn of_legs(&mut self, metric: &Metric<LegStats>, sources: &[SourceStatus]) {
        self.family(metric.name, metric.kind, metric.help);
        for SourceStatus { stats, .. } in sources {
            for leg in &stats.legs {
                let labels = [("source", stats.name.as_str()), ("leg", &leg.name)];
                self.sample(metric.name, &labels, (metric.value)(leg));
            }
        }
    }

    fn of_channels(&mut self, metric: &Metric<ChannelStatus>, channels: &[ChannelStatus]) {
        self.family(metric.name, metric.kind, metric.help);
        for channel in channels {
            let labels = [("channel", channel.stats.name.as_str())];
            self.sample(metric.name, &labels, (metric.value)(channel));
        }
    }

    fn of_backlogs(&mut self, metric: &Metric<BacklogStats>, channels: &[ChannelStatus]) {
        self.family(metric.name, metric.kind, metric.help);
        for ChannelStatus { stats, .. } in channels {
            for backlog in &stats.backlogs {
                let labels = [("channel", stats.name.as_str()), ("wire", &backlog.wire)];
                self.sample(metric.name, &labels, (metric.value)(backlog));
            }
        }
    }

    fn departures(&mut self, channels: &[ChannelStatus]) {
        let name = "veylor_channel_disconnects_total";
        self.family(name, Kind::Counter, "Clients that have gone, by reason.");
        for ChannelStatus { stats, .. } in channels {
            let Departures { closed, broken, silent, slow, protocol, dismissed } = stats.departures;
            let reasons = [
                ("closed", closed),
                ("broken", broken),
                ("silent", silent),
                ("slow", slow),
                ("protocol", protocol),
                ("dismissed", dismissed),
            ];
            for (reason, count) in reasons {
                let labels = [("channel", stats.name.as_str()), ("reason", reason)];
                self.sample(name, &labels, Value::Whole(count));
            }
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, Kind::Histogram, help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in &histogram.buckets {
            self.sample(&bucket, &[("le", &bound.to_string())], Value::Whole(*count));
        }
        self.sample(&bucket, &[("le", "+Inf")], Value::Whole(histogram.count));
        self.sample(&format!("{name}_sum"), &[], Value::Float(histogram.sum_seconds));
        self.sample(&format!("{name}_count"), &[], Value::Whole(histogram.count));
    }

    fn single(&mut self, name: &str, kind: Kind, help: &str, value: Value) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: Value) {
        let value: &dyn fmt::Display = match &value {
            Value::Whole(whole) => whole,
            Value::Float(float) => float,
            Value::Unknown => return,
        };
        if labels.is_empty() {
            return self.line(format_args!("{name} {value}"));
        }
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", Escaped(value))).collect();
        self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string takes everything");
    }
}

impl From<bool> for Value {
    fn from(is_so: bool) -> Self {
        Self::Whole(is_so.into())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                _ => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

const fn counter<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Metric<T> {
    Metric { name, kind: Kind::Counter, help, value }
}

const fn gauge<T>(name: &'static str, help: &'static str, value: fn(&T) -> Value) -> Metric<T> {
    Metric { name, kind: Kind::Gauge, help, value }
}

/// A number of a recording, if there is one.
fn of_recording(source: &SourceStatus, number: fn(&RecordingStats) -> u64) -> Value {
    source
        .stats
        .recording
        .as_ref()
        .map_or(Value::Unknown, |recording| Value::Whole(number(recording)))
}

/// A number for a state, the higher the nearer to the goal.
fn state(name: &str) -> Value {
    let name = if name == "ended" { "given_up" } else { name };
    let states = ["given_up", "waiting", "dialing", "opening", "open"];
    let number = (0..).zip(states).find(|(_, state)| *state == name);
    number.map_or(Value::Unknown, |(number, _)| Value::Whole(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::stats::{ChannelStats, SourceStats};

    #[test]
    fn small_snapshot_renders_to_this_text() {
        let text = render(&snapshot());
        let golden = include_str!("golden.prom");
        for (rendered, expected) in text.lines().zip(golden.lines()) {
            assert_eq!(rendered, expected);
        }
        assert_eq!(text, golden);
    }

    #[test]
    fn label_values_are_escaped() {
        let mut snapshot = snapshot();
        "a \"b\" \\ c\nd".clone_into(&mut snapshot.sources[0].stats.name);
        let text = render(&snapshot);
        assert!(text.contains("veylor_source_up{source=\"a \\\"b\\\" \\\\ c\\nd\"} 1\n"), "{text}");
    }

    #[test]
    fn histogram_is_cumulative_and_ends_with_infinity() {
        let text = render(&snapshot());
        let buckets: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("veylor_turn_duration_seconds_b"))
            .collect();
        assert_eq!(
            buckets,
            [
                "veylor_turn_duration_seconds_bucket{le=\"0.0001\"} 7",
                "veylor_turn_duration_seconds_bucket{le=\"0.001\"} 9",
                "veylor_turn_duration_seconds_bucket{le=\"+Inf\"} 10",
            ]
        );
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let mut snapshot = snapshot();
        snapshot.sources[0].stats.round_trip_seconds = None;
        let text = render(&snapshot);
        assert!(!text.contains("veylor_source_round_trip_seconds{"), "{text}");
    }

    #[test]
    fn every_state_has_its_number() {
        for (name, number) in
            [("given_up", 0), ("ended", 0), ("waiting", 1), ("opening", 3), ("open", 4)]
        {
            let mut snapshot = snapshot();
            name.clone_into(&mut snapshot.sources[0].stats.state);
            let text = render(&snapshot);
            let line = format!("veylor_source_state{{source=\"trades\"}} {number}\n");
            assert!(text.contains(&line), "{text}");
            let up = format!("veylor_source_up{{source=\"trades\"}} {}\n", u8::from(number == 4));
            assert!(text.contains(&up), "{text}");
        }
    }

    #[test]
    fn every_metric_is_introduced_once_and_before_its_samples() {
        let text = render(&snapshot());
        let mut introduced = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap();
                assert!(!introduced.contains(&name), "{name} twice");
                introduced.push(name);
            } else if !line.starts_with('#') {
                let last = introduced.last().unwrap();
                assert!(line.starts_with(last), "{line} below {last}");
            }
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            version: "2.0.0".to_owned(),
            time: 1_700_000_100.25,
            uptime_seconds: 100.25,
            process: Process {
                resident_bytes: 6_291_456,
                cpu_seconds: 1.5,
                descriptors: 12,
                max_descriptors: 1024,
            },
            sources: vec![source()],
            channels: vec![channel()],
            clients: Vec::new(),
            turns: Histogram {
                buckets: vec![(0.0001, 7), (0.001, 9)],
                count: 10,
                sum_seconds: 0.0125,
            },
            deliveries: Histogram::default(),
        }
    }

    fn source() -> SourceStatus {
        let stats = SourceStats {
            name: "trades".to_owned(),
            state: "open".to_owned(),
            round_trip_seconds: Some(0.0125),
            connects: 3,
            failures: 1,
            received_messages: 1000,
            recording: Some(RecordingStats { messages: 990, bytes: 139_587, missed_messages: 10 }),
            received_bytes: 128_000,
            largest_bytes: 512,
            forwarded_messages: 4,
            forwarded_bytes: 64,
            dropped_messages: 2,
            own_messages: 3,
            outbox_bytes: 5,
            legs: vec![LegStats {
                name: "trades/1".to_owned(),
                state: "open".to_owned(),
                is_serving: true,
                won_messages: 1000,
                duplicate_messages: 7,
                ..LegStats::default()
            }],
            ..SourceStats::default()
        };
        SourceStatus { url: "wss://example.com/stream".to_owned(), stats }
    }

    fn channel() -> ChannelStatus {
        let backlog = BacklogStats {
            wire: "websocket".to_owned(),
            messages: 17,
            bytes: 2176,
            max_messages: 1000,
            max_bytes: 1_048_576,
        };
        let stats = ChannelStats {
            name: "trades".to_owned(),
            clients: 2,
            clients_ever: 5,
            sent_messages: 1990,
            sent_bytes: 260_000,
            received_messages: 6,
            dropped_messages: 8,
            max_lag_messages: 17,
            is_paused: true,
            backlogs: vec![
                backlog.clone(),
                BacklogStats { wire: "prefixed".to_owned(), ..backlog },
            ],
            departures: Departures { closed: 2, slow: 1, ..Departures::default() },
            ..ChannelStats::default()
        };
        ChannelStatus { endpoints: vec!["ws://127.0.0.1:8765".to_owned()], stats }
    }
}
