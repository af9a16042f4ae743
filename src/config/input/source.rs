//! The keys of an item of `sources`.

use std::path::PathBuf;
use std::time::Duration;

use super::approach::approach;
use super::feed::{self, FeedInput};
use super::latecomers::{LatecomersInput, latecomers};
use super::session;
use super::words::{listening_host, name, path};
use super::{MannersInput, TlsInput, allowed_origins, host, manners, port, socket_path, tls};
use crate::codec::auth::Auth;
use crate::config::access;
use crate::config::approach::Approach;
use crate::config::problem::KeyPath;
use crate::config::recording::{self, RecordInput, ReplayInput};
use crate::config::section::Section;
use crate::config::session::SessionTemplate;
use crate::config::target;
use crate::config::template::Template;
use crate::net::admission::Admission;
use crate::net::certificate::Fingerprint;
use crate::relay::settings::TcpFraming;

pub(in crate::config) const SOURCE_KEYS: &[&str] = &[
    "name",
    "url",
    "urls",
    "strategy",
    "dedup",
    "headers",
    "subprotocols",
    "ca_file",
    "cert_file",
    "key_file",
    "server_name",
    "fingerprint",
    "speed",
    "loop",
    "wait_for_clients",
    "record",
    "websocket_port",
    "websocket_host",
    "tls",
    "unix_socket_path",
    "unix_socket_mode",
    "unix_message_type",
    "read_only",
    "slow_client",
    "on_source_loss",
    "allowed_origins",
    "auth",
    "allow",
    "deny",
    "unix_socket_users",
    "unix_socket_groups",
    "max_clients",
    "max_clients_per_address",
    "max_client_message_rate",
    "max_client_byte_rate",
    "token_command",
    "token_timeout",
    "proxy",
    "bind",
    "tcp_user_timeout",
    "on_connect",
    "on_connect_command",
    "heartbeat",
    "reply_to",
    "idle_timeout",
    "max_age",
    "dial_budget",
    "tcp_port",
    "tcp_host",
    "tcp_framing",
    "history",
    "replay",
    "prologue",
    "last_value",
    "max_filters",
];

const FRAMINGS: [(&str, TcpFraming); 2] =
    [("newline", TcpFraming::Newline), ("length", TcpFraming::Length)];

/// An item of `sources`.
#[derive(Debug)]
pub(in crate::config) struct SourceInput {
    /// Where it was written.
    pub(in crate::config) path: KeyPath,
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) url: Option<Template>,
    pub(in crate::config) feed: FeedInput,
    pub(in crate::config) headers: Vec<(String, Template)>,
    pub(in crate::config) subprotocols: Vec<String>,
    pub(in crate::config) trust: TrustInput,
    pub(in crate::config) approach: Approach,
    pub(in crate::config) replay: ReplayInput,
    pub(in crate::config) record: Option<RecordInput>,
    pub(in crate::config) websocket_port: Option<u16>,
    pub(in crate::config) websocket_host: Option<String>,
    pub(in crate::config) tls: Option<TlsInput>,
    pub(in crate::config) tcp_port: Option<u16>,
    pub(in crate::config) tcp_host: Option<String>,
    pub(in crate::config) tcp_framing: Option<TcpFraming>,
    pub(in crate::config) unix_socket_path: Option<PathBuf>,
    pub(in crate::config) unix_socket_mode: Option<u32>,
    pub(in crate::config) allowed_origins: Vec<String>,
    pub(in crate::config) auth: Auth,
    pub(in crate::config) networks: Admission,
    pub(in crate::config) processes: Admission,
    pub(in crate::config) manners: MannersInput,
    pub(in crate::config) latecomers: LatecomersInput,
    pub(in crate::config) session: SessionTemplate,
    pub(in crate::config) idle_timeout: Option<Duration>,
    pub(in crate::config) max_age: Option<Duration>,
}

/// How a source is recognised, and what it is shown.
#[derive(Debug, Default)]
pub(in crate::config) struct TrustInput {
    pub(in crate::config) ca_file: Option<PathBuf>,
    pub(in crate::config) cert_file: Option<PathBuf>,
    pub(in crate::config) key_file: Option<PathBuf>,
    pub(in crate::config) server_name: Option<String>,
    pub(in crate::config) fingerprint: Option<Fingerprint>,
}

/// An item, whatever is in it.
pub(super) fn source(section: &mut Section<'_>) -> SourceInput {
    SourceInput {
        path: section.path(),
        name: section.parsed("name", "a name of 1 to 64 plain characters", name),
        url: section.template("url"),
        feed: feed::feed(section),
        headers: section.templates("headers").unwrap_or_default(),
        subprotocols: subprotocols(section),
        trust: trust(section),
        approach: approach(section),
        replay: recording::replay_input(section),
        record: recording::record_input(section),
        websocket_port: port(section, "websocket_port"),
        websocket_host: host(section, "websocket_host"),
        tls: tls(section),
        tcp_port: port(section, "tcp_port"),
        tcp_host: host(section, "tcp_host"),
        tcp_framing: section.choice("tcp_framing", &FRAMINGS),
        unix_socket_path: socket_path(section, "unix_socket_path"),
        unix_socket_mode: section.mode("unix_socket_mode"),
        allowed_origins: allowed_origins(section),
        auth: access::auth(section),
        networks: access::networks(section),
        processes: access::processes(section, "unix_socket_users", "unix_socket_groups"),
        manners: manners(section),
        latecomers: latecomers(section),
        session: session::session(section),
        idle_timeout: session::idle_timeout(section),
        max_age: session::max_age(section),
    }
}

fn trust(section: &mut Section<'_>) -> TrustInput {
    let pin = "a SHA-256 in hexadecimal, such as \"AB:CD:…\" of 32 bytes, in quotes";
    TrustInput {
        ca_file: section.parsed("ca_file", "a path", path),
        cert_file: section.parsed("cert_file", "a path", path),
        key_file: section.parsed("key_file", "a path", path),
        server_name: section.parsed("server_name", "a name or an IP address", listening_host),
        fingerprint: section.parsed("fingerprint", pin, Fingerprint::parse),
    }
}

fn subprotocols(section: &mut Section<'_>) -> Vec<String> {
    let expected = "a subprotocol, such as v1.json";
    let token = |text: &str| target::is_token(text).then(|| text.to_owned());
    section.list("subprotocols", expected, token).unwrap_or_default()
}
