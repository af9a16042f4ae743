//! What a configuration comes to: who is dialled, who is served, how much memory that may take.

use std::fmt;

use super::feed::{COPY_BYTES, WORST_COPY_BYTES, is_race};
use super::session::MAX_SCRIPT_BYTES;
use super::settings::{Endpoint, Guests, MAX_VISITOR_OUTBOX_BYTES, MAX_VISITORS, Settings, Source};
use super::template::Template;
pub use super::value::rounded_size;
use crate::codec::Gate;
use crate::codec::request::MAX_BODY_BYTES;
use crate::net::listener::Address;
use crate::net::url::percent_encoded;
use crate::relay::greeting::{MAX_LAST_VALUE_BYTES, MAX_PROLOGUE_BYTES};
use crate::relay::record::MAX_UNWRITTEN_BYTES;
use crate::relay::session::MAX_OVERTURE_BYTES;
use crate::relay::settings::{ChannelId, ChannelSettings, SourceId};
use crate::relay::{MAX_CLIENT_OUTBOX_BYTES, MAX_NEWCOMERS};

/// Bytes of the program without sources and clients: its code, as far as it is used, and the
/// system's libraries.
const PROGRAM_BYTES: u64 = 4 << 20;

/// Bytes that a backlog keeps of each message besides the message.
const MARK_BYTES: u64 = 32;

/// Forms of a channel that clients get at a port that speaks HTTP, besides plain WebSocket: numbered,
/// server-sent events, lines of JSON.
const OTHER_FORMS: usize = 3;

/// Bytes of a client that is quiet: its place in the table, its small buffers.
const CLIENT_BYTES: u64 = 1536;

/// Bytes that a quiet client has besides in TLS: its keys and what it may resume. Measured with 1000
/// clients of a release build, TLS 1.2 and 1.3: 8.5 KiB of RSS each, all in all
/// (`pytest -s tests/interop/test_tls.py -k idle`).
const TLS_CLIENT_BYTES: u64 = 8 * 1024;

/// The same at worst: what is encrypted ahead, and records or a handshake that came in part.
const WORST_TLS_BYTES: u64 = 160 * 1024;

/// Bytes of a source that is quiet: its read buffer, its TLS state, its share of the table.
const SOURCE_BYTES: u64 = 192 * 1024;

/// Bytes a client's outbox may grow to: answers, and the rest of a frame once begun.
const OUTBOX_BYTES: u64 = 4 * MAX_CLIENT_OUTBOX_BYTES as u64;

/// What is owed to a visitor of the admin doors, and its request; both buffers double when they grow.
const WORST_VISITOR_BYTES: u64 = 2 * (MAX_VISITOR_OUTBOX_BYTES + MAX_BODY_BYTES) as u64;

/// What a configuration comes to. `Display` tells it in some lines, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each source and where it lives.
    pub sources: Vec<String>,
    /// Each channel, then its endpoints.
    pub channels: Vec<(String, Vec<String>)>,
    /// What takes memory.
    pub shares: Vec<Share>,
    /// What works but should be known.
    pub warnings: Vec<String>,
}

/// Something that takes memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// What it is.
    pub what: String,
    /// Its bytes in steady running: backlogs full, all clients there and quiet.
    pub steady_bytes: u64,
    /// Its bytes at worst: every peer in the middle of its largest message.
    pub worst_bytes: u64,
}

impl Settings {
    /// What these settings come to.
    pub fn plan(&self) -> Plan {
        let channels = (0..).map(ChannelId).zip(&self.channels);
        let source = |source: &Source| {
            let urls = self.urls_of(&source.relay.name).into_iter().map(Template::redacted_url);
            format!("source {}: {}", source.relay.name, urls.collect::<Vec<_>>().join(", "))
        };
        let heads = self.sources.iter().filter(|source| source.is_head());
        Plan {
            sources: heads.map(source).collect(),
            channels: channels.map(|(id, channel)| self.channel_lines(id, channel)).collect(),
            shares: shares(self),
            warnings: self.warnings.clone(),
        }
    }

    fn channel_lines(&self, id: ChannelId, channel: &ChannelSettings) -> (String, Vec<String>) {
        let sources = self.source_names(channel).join(", ");
        let feed = format!("channel {}, fed by {sources}", channel.name);
        let shared = self.endpoints.iter().filter(|endpoint| endpoint.guests == Guests::Newcomers);
        let lines = self.endpoints_of(id).chain(shared).map(|e| endpoint_line(e, channel));
        (feed, lines.collect())
    }

    fn endpoints_of(&self, id: ChannelId) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| endpoint.channel() == Some(id))
    }

    /// Whether clients of a channel may come in by this kind of endpoint.
    fn has_gate(&self, id: ChannelId, gate: Gate) -> bool {
        let leads_there = |endpoint: &&Endpoint| {
            endpoint.guests == Guests::Newcomers || endpoint.channel() == Some(id)
        };
        self.endpoints.iter().filter(leads_there).any(|endpoint| endpoint.gate() == gate)
    }

    fn largest_message(&self, channel: &ChannelSettings) -> usize {
        let sizes = channel.sources.iter().map(|id| self.sources[id.0].relay.max_message_size);
        sizes.max().unwrap_or(0)
    }

    /// Bytes of clients' messages that are kept for a source before its clients wait.
    fn forward_queue(&self, id: SourceId) -> u64 {
        let channels = self.channels.iter().filter(|channel| channel.sources.contains(&id));
        bytes(channels.map(|channel| channel.max_queue_bytes).max().unwrap_or(0))
    }

    /// Bytes of the largest message that a client may forward to a source.
    fn largest_forward(&self, id: SourceId) -> usize {
        let writers = self.channels.iter().filter(|c| c.sources.contains(&id) && !c.read_only);
        writers.map(|channel| channel.max_client_message_size).max().unwrap_or(0)
    }
}

impl Plan {
    /// Bytes in steady running: backlogs full, all clients there and quiet.
    pub fn steady_bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.steady_bytes).sum()
    }

    /// The most memory that the settings allow: every backlog full and with the largest message on
    /// top, every source and every client in the middle of its largest message.
    pub fn worst_bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.worst_bytes).sum()
    }

    fn write_memory(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.shares.iter().map(|share| share.what.chars().count());
        let width = widths.max().unwrap_or(0).max("memory".len());
        writeln!(
            f,
            "{:width$}  {:>10}  {:>10}",
            "memory",
            "steady",
            "at worst",
            width = width + 2
        )?;
        for Share { what, steady_bytes, worst_bytes } in &self.shares {
            let (steady, worst) = (rounded_size(*steady_bytes), rounded_size(*worst_bytes));
            writeln!(f, "  {what:width$}  {steady:>10}  {worst:>10}")?;
        }
        let (steady, worst) = (rounded_size(self.steady_bytes()), rounded_size(self.worst_bytes()));
        write!(f, "  {:width$}  {steady:>10}  {worst:>10}", "in all")
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for source in &self.sources {
            writeln!(f, "{source}")?;
        }
        for (channel, endpoints) in &self.channels {
            writeln!(f, "{channel}")?;
            for endpoint in endpoints {
                writeln!(f, "  {endpoint}")?;
            }
        }
        self.write_memory(f)?;
        for warning in &self.warnings {
            write!(f, "\nwarning: {warning}")?;
        }
        Ok(())
    }
}

/// An endpoint, who may connect there, and how many.
fn endpoint_line(endpoint: &Endpoint, channel: &ChannelSettings) -> String {
    let Endpoint { address, admission, max_connection_rate, .. } = endpoint;
    let (is_tcp, mode) = match address {
        Address::Tcp { .. } => (true, None),
        Address::Unix { mode, .. } => (false, Some(mode)),
    };
    let (rate, byte_rate) = (channel.max_client_message_rate, channel.max_client_byte_rate);
    let per_address = channel.max_clients_per_address;
    let has_processes = !admission.users.is_empty() || !admission.groups.is_empty();
    let parts = [
        Some(match endpoint.guests {
            Guests::Newcomers => format!("{endpoint}/{}", percent_encoded(&channel.name)),
            Guests::Clients(_) | Guests::Operators => endpoint.to_string(),
        }),
        mode.map(|mode| format!("mode {mode:04o}")),
        Some(format!("at most {} clients", channel.max_clients)),
        (is_tcp && per_address < channel.max_clients)
            .then(|| format!("{per_address} from one address")),
        (*max_connection_rate > 0).then(|| format!("{max_connection_rate} new ones a second")),
        (rate > 0).then(|| format!("{rate} messages a second from each")),
        (byte_rate > 0).then(|| format!("{} a second from each", rounded_size(byte_rate))),
        (endpoint.gate() == Gate::Web && !channel.auth.is_open())
            .then(|| "with a token or a password".to_owned()),
        admission.has_networks().then(|| "from some networks".to_owned()),
        has_processes.then(|| "from some users".to_owned()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn shares(settings: &Settings) -> Vec<Share> {
    let mut shares = vec![Share {
        what: "the program itself".to_owned(),
        steady_bytes: PROGRAM_BYTES,
        worst_bytes: PROGRAM_BYTES,
    }];
    for (id, channel) in (0..).map(ChannelId).zip(&settings.channels) {
        shares.extend(backlog_shares(settings, id, channel));
    }
    for (id, source) in (0..).map(SourceId).zip(&settings.sources) {
        let message = bytes(source.relay.max_message_size);
        // An outbox doubles when it grows.
        let outbox = 2 * (settings.forward_queue(id) + bytes(settings.largest_forward(id)));
        let (held, read_buffer) = (message, message);
        // What is said to it is kept until it is said, and waits in the outbox then.
        let kept = 3 * MAX_SCRIPT_BYTES + 2 * MAX_OVERTURE_BYTES;
        let session = if source.session.is_empty() { 0 } else { bytes(kept) };
        shares.push(Share {
            what: format!("source {}", source.label()),
            steady_bytes: SOURCE_BYTES,
            worst_bytes: SOURCE_BYTES + held + read_buffer + outbox + session,
        });
        shares.extend(recording_share(source));
        shares.extend(copies_share(source));
    }
    for endpoint in &settings.endpoints {
        shares.extend(client_shares(settings, endpoint));
    }
    let doors = settings.endpoints.iter().filter(|endpoint| endpoint.guests == Guests::Operators);
    if let Some(tls) = doors.map(tls_bytes).max_by_key(|tls| tls.worst) {
        let visitors = bytes(MAX_VISITORS);
        shares.push(Share {
            what: format!("{visitors} visitors of the admin doors"),
            steady_bytes: visitors * (CLIENT_BYTES + tls.steady),
            worst_bytes: visitors * (WORST_VISITOR_BYTES + tls.worst),
        });
    }
    shares
}

/// What is kept of a channel: once for each form that its clients get.
fn backlog_shares(settings: &Settings, id: ChannelId, channel: &ChannelSettings) -> Vec<Share> {
    let (name, largest) = (&channel.name, bytes(settings.largest_message(channel)));
    let marks = bytes(channel.max_queue_size) * MARK_BYTES;
    let steady_bytes = bytes(channel.max_queue_bytes) + marks;
    // Messages that just do not fit twice into a segment leave half of each empty.
    let worst_bytes = 2 * bytes(channel.max_queue_bytes) + largest + marks;
    let gates = [(Gate::Web, "WebSocket"), (Gate::Unix, "Unix"), (Gate::Tcp, "TCP")];
    let spoken = gates.into_iter().filter(|(gate, _)| settings.has_gate(id, *gate));
    let share = |(_, wire)| {
        let what = format!("backlog of {name} ({wire})");
        Share { what, steady_bytes, worst_bytes }
    };
    let mut shares: Vec<_> = spoken.map(share).collect();
    if settings.has_gate(id, Gate::Web) {
        let forms = bytes(OTHER_FORMS + channel.max_filters);
        shares.push(Share {
            what: format!("{forms} other forms of {name} that clients may ask for"),
            steady_bytes: 0,
            worst_bytes: forms * worst_bytes,
        });
    }
    if channel.history > 0 {
        shares.push(Share { what: format!("history of {name}"), steady_bytes, worst_bytes });
    }
    let greeting = greeting_bytes(channel);
    if greeting > 0 {
        shares.push(Share {
            what: format!("what new clients of {name} get first"),
            steady_bytes: greeting,
            worst_bytes: 2 * greeting,
        });
    }
    shares
}

/// Bytes that are kept of a channel to be given to each new client.
fn greeting_bytes(channel: &ChannelSettings) -> u64 {
    let prologues = channel.prologue.as_ref().map_or(0, |_| channel.sources.len());
    let last_values = channel.last_value.as_ref().map_or(0, |_| MAX_LAST_VALUE_BYTES);
    bytes(prologues * MAX_PROLOGUE_BYTES + last_values)
}

/// The clients of an endpoint, those of each channel that it is for.
fn client_shares(settings: &Settings, endpoint: &Endpoint) -> Vec<Share> {
    let tls = tls_bytes(endpoint);
    let share = |clients: usize, what: String, worst: u64| Share {
        what,
        steady_bytes: bytes(clients) * (CLIENT_BYTES + tls.steady),
        worst_bytes: bytes(clients) * (worst + tls.worst),
    };
    match endpoint.guests {
        Guests::Clients(ChannelId(channel)) => {
            let channel = &settings.channels[channel];
            let clients = channel.max_clients;
            let what = format!("{clients} clients of {endpoint}");
            vec![share(clients, what, worst_client_bytes(channel))]
        }
        Guests::Newcomers => {
            let of_channel = |channel: &ChannelSettings| {
                let (clients, name) = (channel.max_clients, percent_encoded(&channel.name));
                let what = format!("{clients} clients of {endpoint}/{name}");
                share(clients, what, worst_client_bytes(channel))
            };
            let newcomers = share(
                MAX_NEWCOMERS,
                format!("{MAX_NEWCOMERS} newcomers of {endpoint}"),
                CLIENT_BYTES,
            );
            // Clients of a port of the channel's own are the same crowd.
            let has_port = |id: ChannelId| {
                let mut own = settings.endpoints_of(id).filter(|own| own.gate() == Gate::Web);
                own.any(|own| own.tls.is_some() || endpoint.tls.is_none())
            };
            let channels = (0..).map(ChannelId).zip(&settings.channels);
            let others = channels.filter(|(id, _)| !has_port(*id));
            others.map(|(_, channel)| of_channel(channel)).chain([newcomers]).collect()
        }
        Guests::Operators => Vec::new(),
    }
}

/// What is remembered of a feed to know copies of its messages.
fn copies_share(source: &Source) -> Option<Share> {
    let leg = source.relay.leg.as_ref().filter(|_| source.is_head())?;
    let window = bytes(leg.dedup.window);
    Some(Share {
        what: format!("copies of {}", source.relay.name),
        // Others than races know them while one connection takes another's place alone.
        steady_bytes: if is_race(source) { window * COPY_BYTES } else { 0 },
        worst_bytes: window * WORST_COPY_BYTES,
    })
}

/// What a recording takes that is made, or played: its buffers double when they grow.
fn recording_share(source: &Source) -> Option<Share> {
    let (name, message) = (&source.relay.name, bytes(source.relay.max_message_size));
    let unwritten = bytes(MAX_UNWRITTEN_BYTES).max(message);
    let of_record = source.record.as_ref().map_or(0, |_| 2 * unwritten);
    let of_replay = source.replay.map_or(0, |_| SOURCE_BYTES + 2 * message);
    let steady_bytes =
        if of_record > 0 { SOURCE_BYTES } else { 0 } + if of_replay > 0 { SOURCE_BYTES } else { 0 };
    let worst_bytes = of_record + of_replay;
    (worst_bytes > 0).then(|| Share {
        what: format!("recording of {name}"),
        steady_bytes,
        worst_bytes,
    })
}

/// Bytes of one guest's TLS.
struct TlsBytes {
    steady: u64,
    worst: u64,
}

fn tls_bytes(endpoint: &Endpoint) -> TlsBytes {
    match endpoint.tls {
        None => TlsBytes { steady: 0, worst: 0 },
        Some(_) => TlsBytes { steady: TLS_CLIENT_BYTES, worst: WORST_TLS_BYTES },
    }
}

/// A client in the middle of its largest message, that does not read what it is answered.
fn worst_client_bytes(channel: &ChannelSettings) -> u64 {
    // The outbox doubles when it grows.
    let greeting = 2 * greeting_bytes(channel);
    CLIENT_BYTES + bytes(channel.max_client_message_size) + OUTBOX_BYTES + greeting
}

fn bytes(size: usize) -> u64 {
    size as u64
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    const MIB: u64 = 1 << 20;

    const TEXT: &str = "
sources:
  - name: a
    url: ws://user:secret@example.com/x?token=secret
    websocket_port: 8765
    websocket_host: 127.0.0.1
    unix_socket_path: /tmp/a.sock
    max_clients: 100
  - {name: b, url: 'ws://b'}
rebroadcast: {unix_socket: {path: /tmp/all.sock}, read_only: true, max_clients: 10}
";

    #[test]
    fn worst_case_counts_backlogs_sources_and_clients() {
        let settings = parse(TEXT).unwrap();
        let marks = 1000 * MARK_BYTES;
        let forms = 3 + (bytes(OTHER_FORMS) + 16);
        let backlogs = forms * (2 * MIB + 16 * MIB + marks);
        let outboxes = 2 * (MIB + MIB) + 2 * MIB;
        let sources = 2 * (SOURCE_BYTES + 2 * 16 * MIB) + outboxes;
        let clients = (100 + 100 + 10) * (CLIENT_BYTES + MIB + OUTBOX_BYTES);
        let plan = settings.plan();
        assert_eq!(plan.worst_bytes(), PROGRAM_BYTES + backlogs + sources + clients);
        let steady = PROGRAM_BYTES + 3 * (MIB + marks) + 2 * SOURCE_BYTES + 210 * CLIENT_BYTES;
        assert_eq!(plan.steady_bytes(), steady);
    }

    #[test]
    fn visitors_of_the_admin_doors_count_once() {
        let settings = |admin: &str| parse(&format!("{TEXT}admin: {{{admin}}}\n")).unwrap().plan();
        let both = settings("listen: 127.0.0.1:9464, unix_socket_path: /tmp/admin.sock");
        assert_eq!(both.shares.last().unwrap().what, "64 visitors of the admin doors");
        let more = both.worst_bytes() - parse(TEXT).unwrap().plan().worst_bytes();
        assert_eq!(more, 64 * 2 * (4 + 1) * MIB);
    }

    #[test]
    fn plan_reads_as_a_table_and_keeps_secrets() {
        let expected = "\
source a: ws://example.com/x?…
source b: ws://b
channel a, fed by a
  ws://127.0.0.1:8765, at most 100 clients, 1000 new ones a second
  unix:/tmp/a.sock, mode 0660, at most 100 clients, 1000 new ones a second
channel rebroadcast, fed by a, b
  unix:/tmp/all.sock, mode 0660, at most 10 clients, 1000 new ones a second
memory                                              steady    at worst
  the program itself                                 4 MiB       4 MiB
  backlog of a (WebSocket)                           1 MiB      18 MiB
  backlog of a (Unix)                                1 MiB      18 MiB
  19 other forms of a that clients may ask for         0 B     343 MiB
  backlog of rebroadcast (Unix)                      1 MiB      18 MiB
  source a                                         192 KiB    36.2 MiB
  source b                                         192 KiB    34.2 MiB
  100 clients of ws://127.0.0.1:8765               150 KiB     125 MiB
  100 clients of unix:/tmp/a.sock                  150 KiB     125 MiB
  10 clients of unix:/tmp/all.sock                  15 KiB    12.5 MiB
  in all                                           7.8 MiB     734 MiB";
        assert_eq!(parse(TEXT).unwrap().plan().to_string(), expected);
    }

    #[test]
    fn endpoint_tells_who_may_connect_and_how_many() {
        let more = "    auth: {tokens: [hunter2]}\n    allow: [127.0.0.1]\n    \
                    unix_socket_groups: [0]\n    max_clients_per_address: 3\n    \
                    max_client_message_rate: 5\n    max_client_byte_rate: 2KiB\n";
        let text = TEXT.replace("    max_clients: 100\n", &format!("    max_clients: 100\n{more}"));
        let text = text + "performance: {max_connection_rate: 0, max_client_message_size: 20KiB}\n";
        let plan = parse(&text).unwrap().plan();
        let lines = [
            "ws://127.0.0.1:8765, at most 100 clients, 3 from one address, 5 messages a second \
             from each, 2 KiB a second from each, with a token or a password, from some networks",
            "unix:/tmp/a.sock, mode 0660, at most 100 clients, 5 messages a second from each, \
             2 KiB a second from each, from some users",
        ];
        assert_eq!(plan.channels[0].1, lines);
        assert!(!plan.to_string().contains("hunter2"));
    }

    #[test]
    fn warnings_close_the_plan() {
        let text = "sources: [{url: 'ws://h', websocket_port: 8765}]";
        let plan = parse(text).unwrap().plan().to_string();
        assert!(plan.contains("\nwarning: everyone who reaches this machine may"), "{plan}");
    }
}
