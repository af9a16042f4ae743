//! A configuration that was checked and can be used.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::template::Template;
use crate::net::listener::Address;
use crate::relay::settings::{ChannelId, ChannelSettings, SourceSettings};

/// All that a configuration asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file they were read from, to be read again; `None` if they came from elsewhere.
    pub file: Option<PathBuf>,
    /// The services to dial; `SourceId(n)` is the n-th.
    pub sources: Vec<Source>,
    /// Who gets what; `ChannelId(n)` is the n-th.
    pub channels: Vec<ChannelSettings>,
    /// Where clients connect.
    pub endpoints: Vec<Endpoint>,
    /// Where operators look (TCP) and steer (Unix).
    pub admin: Vec<Address>,
    /// What is said, and where.
    pub log: Log,
    /// How long a busy turn lingers before it reads; zero: never.
    pub coalesce: Duration,
    /// What works but should be known, a sentence each.
    pub warnings: Vec<String>,
}

/// What is said, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least important lines that are still said.
    pub level: LevelFilter,
    /// How a line looks.
    pub format: LogFormat,
    /// Where it goes; `None` is stderr.
    pub file: Option<PathBuf>,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object with `time`, `level` and `message`.
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LevelFilter::Info, format: LogFormat::Text, file: None }
    }
}

/// One service to dial.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its limits and its patience.
    pub relay: SourceSettings,
    /// Its address, resolved anew at every dial.
    pub url: Template,
    /// Headers of its opening handshake, resolved anew at every dial.
    pub headers: Vec<(String, Template)>,
    /// Subprotocols to offer, best first.
    pub subprotocols: Vec<String>,
    /// A PEM file of private authorities, trusted besides the built-in roots.
    pub ca_file: Option<PathBuf>,
}

/// One address where clients of a channel connect.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The channel they get.
    pub channel: ChannelId,
    /// Where to listen.
    pub address: Address,
}
