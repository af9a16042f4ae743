//! A configuration that was checked and can be used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::approach::Approach;
use super::recording::{Record, Replay};
use super::session::SessionTemplate;
use super::template::Template;
use crate::codec::Gate;
use crate::codec::auth::Auth;
use crate::net::admission::Admission;
use crate::net::certificate::{Guard, Trust};
use crate::net::listener::Address;
use crate::net::tls::TlsAcceptor;
use crate::relay::settings::{ChannelId, ChannelSettings, SourceSettings};

/// Visitors of the admin doors at most, at all of them together.
pub const MAX_VISITORS: usize = 64;
/// Of them, those who come over TCP: the others find a place also when strangers take all of these.
pub const MAX_TCP_VISITORS: usize = 48;
/// Bytes owed to a visitor of the admin doors, at most: a watcher that reads more slowly is let go.
pub const MAX_VISITOR_OUTBOX_BYTES: usize = 4 * 1024 * 1024;

/// All that a configuration asks for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file they were read from, to be read again; `None` if they came from elsewhere.
    pub file: Option<PathBuf>,
    /// The services to dial; `SourceId(n)` is the n-th.
    pub sources: Vec<Source>,
    /// Who gets what; `ChannelId(n)` is the n-th.
    pub channels: Vec<ChannelSettings>,
    /// Where clients and operators connect.
    pub endpoints: Vec<Endpoint>,
    /// Which operators may look who come over TCP.
    pub admin_auth: Auth,
    /// What is said, and where.
    pub log: Log,
    /// Whether the relay gives up what it does not need, where the kernel allows it.
    pub sandbox: bool,
    /// Where is kept what a restart shall not forget, if it is.
    pub state_file: Option<PathBuf>,
    /// How long a busy turn lingers before it reads; zero: never.
    pub coalesce: Duration,
    /// What works but should be known, a sentence each.
    pub warnings: Vec<String>,
}

impl Settings {
    /// The paths of all Unix sockets.
    pub fn socket_paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.endpoints.iter().filter_map(|endpoint| match &endpoint.address {
            Address::Unix { path, .. } => Some(path),
            Address::Tcp { .. } => None,
        })
    }

    /// The files in which sources are recorded.
    pub fn recording_paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.sources.iter().filter_map(|source| Some(&source.record.as_ref()?.path))
    }
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
    /// How it is recognised if its url is `wss`, and what it is shown.
    pub trust: Trust,
    /// How it is come by.
    pub approach: Approach,
    /// What is said to it, resolved anew at every dial.
    pub session: SessionTemplate,
    /// How it is played, if it is a recording.
    pub replay: Option<Replay>,
    /// How it is recorded, if it is.
    pub record: Option<Record>,
}

/// One address to connect to.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Who is let in.
    pub guests: Guests,
    /// Where to listen.
    pub address: Address,
    /// Whether messages are spoken there without HTTP.
    pub is_bare: bool,
    /// How guests are met; `None`: without TLS. Unix sockets have none.
    pub tls: Option<EndpointTls>,
    /// Which of them may stay, by where they come from.
    pub admission: Admission,
    /// Connections that are accepted in a second, on average; further ones wait. 0: any number.
    pub max_connection_rate: u64,
}

/// How the guests of an endpoint are met in TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointTls {
    /// The files.
    pub guard: Guard,
    /// What was read from them.
    pub acceptor: TlsAcceptor,
}

/// Who is let in at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guests {
    /// Clients of a channel.
    Clients(ChannelId),
    /// Clients, which name their channel.
    Newcomers,
    /// Operators, who look (TCP) and steer (Unix).
    Operators,
}

impl Endpoint {
    /// The channel that its guests get, if they are clients.
    pub fn channel(&self) -> Option<ChannelId> {
        match self.guests {
            Guests::Clients(channel) => Some(channel),
            Guests::Newcomers | Guests::Operators => None,
        }
    }

    /// Of which kind it is if its guests are clients.
    pub fn gate(&self) -> Gate {
        match self.address {
            Address::Tcp { .. } if self.is_bare => Gate::Tcp,
            Address::Tcp { .. } => Gate::Web,
            Address::Unix { .. } => Gate::Unix,
        }
    }

    /// What comes before an address of this endpoint to make it a URL.
    pub fn scheme(&self) -> &'static str {
        match (&self.address, self.guests, &self.tls) {
            (Address::Unix { .. }, _, _) => "",
            (Address::Tcp { .. }, Guests::Clients(_), None) if self.is_bare => "tcp://",
            (Address::Tcp { .. }, Guests::Clients(_), Some(_)) if self.is_bare => "tls://",
            (Address::Tcp { .. }, Guests::Clients(_) | Guests::Newcomers, None) => "ws://",
            (Address::Tcp { .. }, Guests::Clients(_) | Guests::Newcomers, Some(_)) => "wss://",
            (Address::Tcp { .. }, Guests::Operators, None) => "http://",
            (Address::Tcp { .. }, Guests::Operators, Some(_)) => "https://",
        }
    }

    /// Becomes what is wanted. TLS that is the same keeps the sessions it remembers.
    pub fn renew(&mut self, wanted: &Self) {
        let tls = self.tls.take().filter(|tls| Some(tls) == wanted.tls.as_ref());
        *self = wanted.clone();
        if tls.is_some() {
            self.tls = tls;
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.scheme(), self.address)
    }
}
