//! Everything an operator can see, at one moment. Serialised, it is what `/api/status` answers and
//! what `/api/events` sends once a second.

use serde::{Deserialize, Serialize};

use crate::relay::stats::{ChannelStats, ClientStats, SourceStats};

/// Everything at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The program's version.
    pub version: String,
    /// Seconds since 1970, by the system's clock.
    pub time: f64,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// The process as the system sees it.
    pub process: Process,
    /// Every source, with its url (without user, password and query).
    pub sources: Vec<SourceStatus>,
    /// Every channel, with its endpoints.
    pub channels: Vec<ChannelStatus>,
    /// Clients that follow a channel: those that are furthest behind, if there are very many.
    pub clients: Vec<ClientStats>,
    /// How long the loop's turns take, in seconds.
    pub turns: Histogram,
    /// How long messages take from the read to the last write of their turn, in seconds.
    pub deliveries: Histogram,
}

/// The process as the system sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Resident memory.
    pub resident_bytes: u64,
    /// CPU time used, user and system.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Descriptors that may be open.
    pub max_descriptors: u64,
}

/// A source and where it lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its address, without user, password and query.
    pub url: String,
    /// Its life and its counters.
    #[serde(flatten)]
    pub stats: SourceStats,
}

/// A channel and where its clients connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Addresses such as `ws://127.0.0.1:8765` and `unix:/run/x.sock`.
    pub endpoints: Vec<String>,
    /// Its counters.
    #[serde(flatten)]
    pub stats: ChannelStats,
}

/// Counts of durations in buckets, as Prometheus has them: each bucket counts what is at most its
/// bound, and so contains those before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Upper bound in seconds and cumulative count.
    pub buckets: Vec<(f64, u64)>,
    /// All that was counted.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
}

/// A line of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// `error`, `warn`, `info` or `debug`.
    pub level: String,
    /// When, as in the log: RFC 3339.
    pub time: String,
    /// What.
    pub text: String,
}

/// A line of `/api/events`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Everything, once a second.
    Snapshot(Box<Snapshot>),
    /// A line of the log, as it comes.
    Log(LogLine),
}
