//! What a channel and a source are asked to be. Built by `config`, and by tests.

use std::time::Duration;

use crate::codec::auth::Auth;
use crate::codec::pattern::{Pattern, Pointer};
pub use crate::codec::prefixed::MessageType as UnixMessageType;

/// Names a channel: its place in the list the relay was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub usize);

/// Names a source: its place in the list the relay was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub usize);

/// What happens to a client that has held the sources back for `max_pause`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowClient {
    /// It is closed with 1013.
    #[default]
    Disconnect,
    /// It loses the oldest messages, which are counted.
    DropOldest,
}

/// What happens to a channel's clients when its last open source is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSourceLoss {
    /// They stay and wait for the source to return.
    #[default]
    Keep,
    /// They are closed with 1012, after they got everything that had arrived.
    Close,
}

/// Which messages of each new connection of a source are kept for new clients: from the first on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrologueRule {
    /// So many. At least 1.
    Messages(usize),
    /// Those that come within this time.
    Time(Duration),
    /// Those up to this one.
    Until(Pattern),
}

/// Of which messages the latest is kept for new clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastValue {
    /// Where a message says what it is about.
    pub key: Pointer,
    /// Keys that are kept at most.
    pub max_keys: usize,
}

/// What a bare TCP port speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcpFraming {
    /// A line a message.
    #[default]
    Newline,
    /// Four length bytes, then the payload, as Unix sockets do.
    Length,
}

/// One channel: its sources, its limits, its manners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSettings {
    /// Shown in logs.
    pub name: String,
    /// The sources that feed it and that its clients' messages go to.
    pub sources: Vec<SourceId>,
    /// Messages a backlog holds at most. At least 1.
    pub max_queue_size: usize,
    /// Bytes a backlog holds at most; a single larger message is still held. At least 1.
    pub max_queue_bytes: usize,
    /// How long a client may hold the sources back while others starve.
    pub max_pause: Duration,
    /// What happens to it then.
    pub slow_client: SlowClient,
    /// What happens to the clients when no source is left.
    pub on_source_loss: OnSourceLoss,
    /// Whether clients' messages are refused instead of forwarded.
    pub read_only: bool,
    /// Bytes of the largest message a client may send.
    pub max_client_message_size: usize,
    /// Clients of one endpoint at most.
    pub max_clients: usize,
    /// Clients from one address at most, at one endpoint; `usize::MAX`: as many as there may be.
    pub max_clients_per_address: usize,
    /// Messages that a client may send in a second, on average; further ones wait. 0: any number.
    pub max_client_message_rate: u64,
    /// Their payload bytes. 0: any number.
    pub max_client_byte_rate: u64,
    /// Who may connect by WebSocket.
    pub auth: Auth,
    /// Browser origins that may connect besides the endpoint's own; `*` allows all.
    pub allowed_origins: Vec<String>,
    /// Subprotocols to agree to when a client offers them, the source's own.
    pub subprotocols: Vec<String>,
    /// The type of the messages that Unix clients send.
    pub unix_message_type: UnixMessageType,
    /// What its bare TCP port speaks.
    pub tcp_framing: TcpFraming,
    /// Messages that are kept for clients that come back; no less than `replay`.
    pub history: usize,
    /// Messages that a new client gets before those that come live.
    pub replay: usize,
    /// How connections of the sources begin, for new clients.
    pub prologue: Option<PrologueRule>,
    /// The latest messages, for new clients.
    pub last_value: Option<LastValue>,
    /// Parts of the channel that clients may ask for, at most, each on one wire.
    pub max_filters: usize,
}

/// The manual's defaults, without name and sources.
impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            sources: Vec::new(),
            max_queue_size: 1000,
            max_queue_bytes: 1 << 20,
            max_pause: Duration::from_millis(500),
            slow_client: SlowClient::default(),
            on_source_loss: OnSourceLoss::default(),
            read_only: false,
            max_client_message_size: 1 << 20,
            max_clients: 1024,
            max_clients_per_address: usize::MAX,
            max_client_message_rate: 0,
            max_client_byte_rate: 0,
            auth: Auth::default(),
            allowed_origins: Vec::new(),
            subprotocols: Vec::new(),
            unix_message_type: UnixMessageType::default(),
            tcp_framing: TcpFraming::default(),
            history: 0,
            replay: 0,
            prologue: None,
            last_value: None,
            max_filters: 16,
        }
    }
}

/// One source: its limits and its patience. Where it lives is the dialler's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceSettings {
    /// Shown in logs; unique.
    pub name: String,
    /// Bytes of the largest message it may send.
    pub max_message_size: usize,
    /// The first wait before a redial; it doubles.
    pub reconnect_delay: Duration,
    /// The longest wait before a redial.
    pub reconnect_max_delay: Duration,
    /// Consecutive failures after which it has given up; 0: never.
    pub reconnect_max_attempts: u32,
    /// It is lost if no message came for so long, whatever answers pings.
    pub idle_timeout: Option<Duration>,
    /// A connection this old is closed, and another is dialled.
    pub max_age: Option<Duration>,
    /// Its place among the connections of one feed, if there are several.
    pub leg: Option<Leg>,
}

/// The place of a source that is one of several connections of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// The name of the feed. Its first leg is called so, too.
    pub feed: String,
    /// What it is called in the log.
    pub label: String,
    /// The place of its url, counted from 0. Two legs of one place take turns.
    pub rank: usize,
    /// How the feed's legs share the work; the same for all of them.
    pub strategy: Strategy,
    /// How copies of a message are known; the same for all of them.
    pub dedup: DedupRule,
}

/// How the legs of a feed share the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// The first that can be reached serves.
    #[default]
    Failover,
    /// All serve, and the first copy of each message counts.
    Race,
}

/// How copies of a message are known that several legs bring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DedupRule {
    /// Where a message says which one it is; without it, and in a message that does not say it, all
    /// of its bytes count.
    pub key: Option<Pointer>,
    /// Messages that are remembered. At most [`MAX_DEDUP_WINDOW`].
    pub window: usize,
}

/// Urls of a feed at most; each has two legs at most.
pub const MAX_URLS: usize = 8;
/// Messages of a feed that are remembered at most.
pub const MAX_DEDUP_WINDOW: usize = 50_000;

impl Default for DedupRule {
    fn default() -> Self {
        Self { key: None, window: 10_000 }
    }
}

/// The manual's defaults, without a name.
impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            max_message_size: 16 << 20,
            reconnect_delay: Duration::from_secs(5),
            reconnect_max_delay: Duration::from_mins(1),
            reconnect_max_attempts: 0,
            idle_timeout: None,
            max_age: None,
            leg: None,
        }
    }
}
