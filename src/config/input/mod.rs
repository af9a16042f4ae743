//! The keys of a configuration file, and the values each may have. Defaults are `build`'s business.

mod approach;
mod feed;
mod latecomers;
mod session;
mod source;
mod words;

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::access;
use super::problem::{KeyPath, Problems};
use super::raw::Raw;
use super::section::{self, Section};
use super::settings::LogFormat;
use crate::codec::auth::Auth;
use crate::net::admission::Admission;
use crate::relay::settings::{OnSourceLoss, SlowClient, UnixMessageType};

#[cfg(test)]
pub(super) use self::feed::DEDUP_KEYS;
pub(super) use self::latecomers::LatecomersInput;
#[cfg(test)]
pub(super) use self::latecomers::{LAST_VALUE_KEYS, PROLOGUE_KEYS};
#[cfg(test)]
pub(super) use self::session::{COMMAND_KEYS, HEARTBEAT_KEYS, REPLY_KEYS, STEP_KEYS};
pub(super) use self::source::{SOURCE_KEYS, SourceInput, TrustInput};
pub(super) use self::words::name;
pub(super) use self::words::path;
use self::words::{is_origin, listening_host, port_number};

// A key that names a file to read ends with `_file`: so `named` finds it.
pub(super) const TOP_KEYS: &[&str] =
    &["sources", "rebroadcast", "listen", "admin", "log", "sandbox", "performance", "state_file"];
pub(super) const REBROADCAST_KEYS: &[&str] = &[
    "websocket",
    "unix_socket",
    "unix_message_type",
    "read_only",
    "slow_client",
    "on_source_loss",
    "max_clients",
    "max_clients_per_address",
    "max_client_message_rate",
    "max_client_byte_rate",
    "history",
    "replay",
    "prologue",
    "last_value",
    "max_filters",
];
pub(super) const LISTEN_KEYS: &[&str] = &["address", "tls", "allow", "deny"];
pub(super) const WEBSOCKET_KEYS: &[&str] =
    &["enabled", "host", "port", "tls", "allowed_origins", "auth", "allow", "deny"];
pub(super) const TLS_KEYS: &[&str] = &["cert_file", "key_file", "client_ca_file"];
pub(super) const UNIX_SOCKET_KEYS: &[&str] = &["enabled", "path", "mode", "users", "groups"];
pub(super) const ADMIN_KEYS: &[&str] =
    &["listen", "tls", "auth", "allow", "deny", "unix_socket_path"];
pub(super) const LOG_KEYS: &[&str] = &["level", "format", "file"];
pub(super) const PERFORMANCE_KEYS: &[&str] = &[
    "max_queue_size",
    "max_queue_bytes",
    "max_pause",
    "coalesce",
    "max_message_size",
    "max_client_message_size",
    "max_clients",
    "max_clients_per_address",
    "max_connection_rate",
    "max_client_message_rate",
    "max_client_byte_rate",
    "memory_limit",
    "reconnect_delay",
    "reconnect_max_delay",
    "reconnect_max_attempts",
];

const MAX_BYTES: usize = 1 << 30;
const MAX_QUEUE_SIZE: u64 = 10_000_000;
const MAX_CLIENTS: u64 = 1_000_000;
/// Things a second.
const MAX_RATE: u64 = 1_000_000_000;
/// Bytes of memory.
const MAX_MEMORY: usize = if usize::BITS == 64 { 1 << 40 } else { 1 << 31 };
const MAX_PAUSE: Duration = Duration::from_mins(10);
const MAX_COALESCE: Duration = Duration::from_millis(100);
// A shorter wait is a storm of dials at a service that is down.
const MIN_RECONNECT_DELAY: Duration = Duration::from_millis(10);
const MAX_RECONNECT_DELAY: Duration = Duration::from_hours(24);

/// Bytes of the longest path of a Unix socket: `sun_path` without its zero.
const MAX_SOCKET_PATH: usize = 107;

/// A file as it was written; what is absent is `None`.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) sources: Vec<SourceInput>,
    pub(super) rebroadcast: RebroadcastInput,
    pub(super) listen: Option<ListenInput>,
    pub(super) admin: AdminInput,
    pub(super) log: LogInput,
    pub(super) sandbox: Option<bool>,
    pub(super) state_file: Option<PathBuf>,
    pub(super) performance: PerformanceInput,
}

/// The files of an endpoint's `tls`.
#[derive(Debug, Default)]
pub(super) struct TlsInput {
    pub(super) cert: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
}

/// What a source with endpoints and `rebroadcast` have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MannersInput {
    pub(super) unix_message_type: Option<UnixMessageType>,
    pub(super) read_only: Option<bool>,
    pub(super) slow_client: Option<SlowClient>,
    pub(super) on_source_loss: Option<OnSourceLoss>,
    pub(super) crowd: CrowdInput,
}

/// How many clients there may be, and how much each may send.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CrowdInput {
    pub(super) clients: Option<usize>,
    pub(super) per_address: Option<usize>,
    pub(super) message_rate: Option<u64>,
    pub(super) byte_rate: Option<u64>,
}

/// `rebroadcast`.
#[derive(Debug, Default)]
pub(super) struct RebroadcastInput {
    pub(super) websocket: Option<WebSocketInput>,
    pub(super) unix_socket: Option<UnixSocketInput>,
    pub(super) manners: MannersInput,
    pub(super) latecomers: LatecomersInput,
}

/// `listen`: one endpoint for all channels.
#[derive(Debug)]
pub(super) struct ListenInput {
    pub(super) address: Option<(String, u16)>,
    pub(super) tls: Option<TlsInput>,
    pub(super) networks: Admission,
}

/// `rebroadcast.websocket`.
#[derive(Debug)]
pub(super) struct WebSocketInput {
    pub(super) enabled: Option<bool>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) tls: Option<TlsInput>,
    pub(super) allowed_origins: Vec<String>,
    pub(super) auth: Auth,
    pub(super) networks: Admission,
}

/// `rebroadcast.unix_socket`.
#[derive(Debug)]
pub(super) struct UnixSocketInput {
    pub(super) enabled: Option<bool>,
    pub(super) path: Option<PathBuf>,
    pub(super) mode: Option<u32>,
    pub(super) processes: Admission,
}

/// `admin`.
#[derive(Debug, Default)]
pub(super) struct AdminInput {
    pub(super) listen: Option<(String, u16)>,
    pub(super) tls: Option<TlsInput>,
    pub(super) auth: Auth,
    pub(super) networks: Admission,
    pub(super) unix_socket_path: Option<PathBuf>,
}

/// `log`.
#[derive(Debug, Default)]
pub(super) struct LogInput {
    pub(super) level: Option<LevelFilter>,
    pub(super) format: Option<LogFormat>,
    pub(super) file: Option<PathBuf>,
}

/// `performance`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerformanceInput {
    pub(super) max_queue_size: Option<usize>,
    pub(super) max_queue_bytes: Option<usize>,
    pub(super) max_pause: Option<Duration>,
    pub(super) coalesce: Option<Duration>,
    pub(super) max_message_size: Option<usize>,
    pub(super) max_client_message_size: Option<usize>,
    pub(super) crowd: CrowdInput,
    pub(super) max_connection_rate: Option<u64>,
    pub(super) memory_limit: Option<usize>,
    pub(super) reconnect_delay: Option<Duration>,
    pub(super) reconnect_max_delay: Option<Duration>,
    pub(super) reconnect_max_attempts: Option<u32>,
}

/// Takes the values out of a tree. What is wrong by itself is a problem; what is wrong together is
/// left to `build`.
pub(super) fn read(tree: Raw, problems: &mut Problems) -> Input {
    let input = section::read(tree, KeyPath::default(), TOP_KEYS, problems, |top| Input {
        sources: top.sections("sources", SOURCE_KEYS, source::source).unwrap_or_default(),
        rebroadcast: top.section("rebroadcast", REBROADCAST_KEYS, rebroadcast).unwrap_or_default(),
        listen: listen(top),
        admin: top.section("admin", ADMIN_KEYS, admin).unwrap_or_default(),
        log: top.section("log", LOG_KEYS, log).unwrap_or_default(),
        sandbox: top.flag("sandbox"),
        state_file: top.parsed("state_file", "a path", path),
        performance: top.section("performance", PERFORMANCE_KEYS, performance).unwrap_or_default(),
    });
    input.unwrap_or_default()
}

fn tls(section: &mut Section<'_>) -> Option<TlsInput> {
    section.section("tls", TLS_KEYS, |section| TlsInput {
        cert: section.parsed("cert_file", "a path", path),
        key: section.parsed("key_file", "a path", path),
        client_ca: section.parsed("client_ca_file", "a path", path),
    })
}

fn rebroadcast(section: &mut Section<'_>) -> RebroadcastInput {
    RebroadcastInput {
        websocket: section.section("websocket", WEBSOCKET_KEYS, |section| WebSocketInput {
            enabled: section.flag("enabled"),
            host: host(section, "host"),
            port: port(section, "port"),
            tls: tls(section),
            allowed_origins: allowed_origins(section),
            auth: access::auth(section),
            networks: access::networks(section),
        }),
        unix_socket: section.section("unix_socket", UNIX_SOCKET_KEYS, |section| UnixSocketInput {
            enabled: section.flag("enabled"),
            path: socket_path(section, "path"),
            mode: section.mode("mode"),
            processes: access::processes(section, "users", "groups"),
        }),
        manners: manners(section),
        latecomers: latecomers::latecomers(section),
    }
}

/// An address, or keys of which it is one.
fn listen(top: &mut Section<'_>) -> Option<ListenInput> {
    if top.has_map("listen") {
        return top.section("listen", LISTEN_KEYS, |section| {
            if !section.has("address") {
                section.refuse("has no address, such as 127.0.0.1:8765");
            }
            ListenInput {
                address: address(section, "address", "127.0.0.1:8765"),
                tls: tls(section),
                networks: access::networks(section),
            }
        });
    }
    let address = address(top, "listen", "127.0.0.1:8765")?;
    Some(ListenInput { address: Some(address), tls: None, networks: Admission::default() })
}

/// `HOST:PORT`.
fn address(section: &mut Section<'_>, key: &str, example: &str) -> Option<(String, u16)> {
    section.parsed(key, &format!("HOST:PORT, such as {example}"), |text| {
        let (host, port) = text.rsplit_once(':')?;
        Some((listening_host(host)?, port_number(port)?))
    })
}

fn admin(section: &mut Section<'_>) -> AdminInput {
    AdminInput {
        listen: address(section, "listen", "127.0.0.1:9464"),
        tls: tls(section),
        auth: access::auth(section),
        networks: access::networks(section),
        unix_socket_path: socket_path(section, "unix_socket_path"),
    }
}

fn log(section: &mut Section<'_>) -> LogInput {
    let levels = [
        ("error", LevelFilter::Error),
        ("warn", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
    ];
    LogInput {
        level: section.choice("level", &levels),
        format: section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]),
        file: section.parsed("file", "a path", path),
    }
}

fn performance(section: &mut Section<'_>) -> PerformanceInput {
    let reconnect = MIN_RECONNECT_DELAY..=MAX_RECONNECT_DELAY;
    let attempts = section.number("reconnect_max_attempts", "attempts", 0..=u64::from(u32::MAX));
    PerformanceInput {
        max_queue_size: count(section, "max_queue_size", "messages", MAX_QUEUE_SIZE),
        max_queue_bytes: section.size("max_queue_bytes", 1..=MAX_BYTES),
        max_pause: section.duration("max_pause", Duration::ZERO..=MAX_PAUSE),
        coalesce: section.duration("coalesce", Duration::ZERO..=MAX_COALESCE),
        max_message_size: section.size("max_message_size", 1..=MAX_BYTES),
        max_client_message_size: section.size("max_client_message_size", 1..=MAX_BYTES),
        crowd: crowd(section),
        max_connection_rate: rate(section, "max_connection_rate", "connections"),
        memory_limit: section.size("memory_limit", 1..=MAX_MEMORY),
        reconnect_delay: section.duration("reconnect_delay", reconnect.clone()),
        reconnect_max_delay: section.duration("reconnect_max_delay", reconnect),
        reconnect_max_attempts: attempts.and_then(|attempts| u32::try_from(attempts).ok()),
    }
}

fn manners(section: &mut Section<'_>) -> MannersInput {
    let message_types = [
        ("auto", UnixMessageType::Auto),
        ("text", UnixMessageType::Text),
        ("binary", UnixMessageType::Binary),
    ];
    let slow_client =
        [("disconnect", SlowClient::Disconnect), ("drop_oldest", SlowClient::DropOldest)];
    let source_loss = [("keep", OnSourceLoss::Keep), ("close", OnSourceLoss::Close)];
    MannersInput {
        unix_message_type: section.choice("unix_message_type", &message_types),
        read_only: section.flag("read_only"),
        slow_client: section.choice("slow_client", &slow_client),
        on_source_loss: section.choice("on_source_loss", &source_loss),
        crowd: crowd(section),
    }
}

fn crowd(section: &mut Section<'_>) -> CrowdInput {
    CrowdInput {
        clients: count(section, "max_clients", "clients", MAX_CLIENTS),
        per_address: count(section, "max_clients_per_address", "clients", MAX_CLIENTS),
        message_rate: rate(section, "max_client_message_rate", "messages"),
        byte_rate: section.size("max_client_byte_rate", 0..=MAX_BYTES).map(|bytes| bytes as u64),
    }
}

/// So many a second; 0 is any number.
fn rate(section: &mut Section<'_>, key: &str, things: &str) -> Option<u64> {
    section.number(key, &format!("{things} a second"), 0..=MAX_RATE)
}

fn count(section: &mut Section<'_>, key: &str, things: &str, most: u64) -> Option<usize> {
    let count = section.number(key, things, 1..=most);
    count.and_then(|count| usize::try_from(count).ok())
}

fn port(section: &mut Section<'_>, key: &str) -> Option<u16> {
    section.parsed(key, "a port from 1 to 65535", port_number)
}

fn host(section: &mut Section<'_>, key: &str) -> Option<String> {
    let expected = "an address or a name of this machine, such as 127.0.0.1 or 0.0.0.0 (all)";
    section.parsed(key, expected, listening_host)
}

fn allowed_origins(section: &mut Section<'_>) -> Vec<String> {
    let expected = "an origin without a path, such as https://example.com:8443, or null or *";
    let origin = |text: &str| is_origin(text).then(|| text.to_owned());
    section.list("allowed_origins", expected, origin).unwrap_or_default()
}

fn socket_path(section: &mut Section<'_>, key: &str) -> Option<PathBuf> {
    let expected = format!("a path of 1 to {MAX_SOCKET_PATH} bytes (the system's limit)");
    section.parsed(key, &expected, |text| path(text).filter(|_| text.len() <= MAX_SOCKET_PATH))
}
