//! What is going on, as data. Looked at, never kept: nothing here is on the way of a message.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Relay;
use super::channel::{Channel, is_plain};
use super::conn::{Conn, Role};
use super::settings::ChannelId;
use super::source::{Source, State};
use crate::net::stream::Socket;

/// A source and what has passed through it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceStats {
    /// Its name.
    pub name: String,
    /// `dialing`, `opening` (also while `on_connect` is not done), `open`, `waiting`, `given_up` or
    /// `ended`.
    pub state: String,
    /// Seconds in this state.
    pub state_seconds: f64,
    /// Seconds until the next dial, if it waits for that.
    pub redial_seconds: Option<f64>,
    /// Where it was reached, if it is.
    pub peer: Option<String>,
    /// Seconds between the last ping and its answer.
    pub round_trip_seconds: Option<f64>,
    /// Connections that were opened so far.
    pub connects: u64,
    /// Attempts and connections that failed since one proved stable.
    pub failures: u32,
    /// Why it was lost, or not reached, the last time.
    pub last_error: Option<String>,
    /// Whether it does not want us as we are: 401, 403, close code 1008.
    #[serde(default)]
    pub is_refused: bool,
    /// Whether its next dial waits for its budget.
    #[serde(default)]
    pub is_over_budget: bool,
    /// The subprotocol that it has chosen, if it has one.
    #[serde(default)]
    pub subprotocol: Option<String>,
    /// Messages it sent.
    pub received_messages: u64,
    /// Their payload bytes.
    pub received_bytes: u64,
    /// The largest of them, in bytes.
    pub largest_bytes: u64,
    /// Clients' messages that were sent to it, or are on their way.
    pub forwarded_messages: u64,
    /// Their payload bytes.
    pub forwarded_bytes: u64,
    /// Clients' messages that it did not get.
    pub dropped_messages: u64,
    /// Messages that the relay itself sent: of `on_connect`, heartbeats, replies.
    #[serde(default)]
    pub own_messages: u64,
    /// Bytes of messages that it has not taken yet.
    pub outbox_bytes: u64,
    /// Whether it is not read because a channel is full.
    pub is_paused: bool,
    /// What is written down of it, if it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<RecordingStats>,
    /// Its connections, if there may be several: what stands above is of all of them, or of the one
    /// that serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<LegStats>,
}

/// One of several connections of a source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegStats {
    /// What the log calls it.
    pub name: String,
    /// Its address, without user, password and query.
    pub url: String,
    /// As that of a source, or `standby` if others serve.
    pub state: String,
    /// Seconds in this state.
    pub state_seconds: f64,
    /// Whether clients' messages go to it.
    pub is_serving: bool,
    /// Seconds until the next dial, if it waits for that.
    pub redial_seconds: Option<f64>,
    /// Where it was reached, if it is.
    pub peer: Option<String>,
    /// Connections that were opened so far.
    pub connects: u64,
    /// Attempts and connections that failed since one proved stable.
    pub failures: u32,
    /// Why it was lost, or not reached, the last time.
    pub last_error: Option<String>,
    /// Messages that it was the first to bring.
    pub won_messages: u64,
    /// Messages that another connection had brought already: they were dropped.
    pub duplicate_messages: u64,
}

/// What is written down of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingStats {
    /// Messages that are in the file.
    pub messages: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Messages that are not, since the disk was too slow or the file could not be written.
    pub missed_messages: u64,
}

/// A channel and what has passed through it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelStats {
    /// Its name.
    pub name: String,
    /// The sources that feed it.
    pub sources: Vec<String>,
    /// Clients that follow it now.
    pub clients: u64,
    /// Clients that have ever followed it.
    pub clients_ever: u64,
    /// Messages delivered, each counted once for each client.
    pub sent_messages: u64,
    /// Bytes sent to clients, handshakes and pings included.
    pub sent_bytes: u64,
    /// Messages its clients sent.
    pub received_messages: u64,
    /// Messages that clients did not get: dropped, or kept for one that went.
    pub dropped_messages: u64,
    /// The lag of the client that is furthest behind, in messages.
    pub max_lag_messages: u64,
    /// Whether it holds its sources back.
    pub is_paused: bool,
    /// What its backlogs hold, one for each wire.
    pub backlogs: Vec<BacklogStats>,
    /// Clients that have gone, by reason.
    pub departures: Departures,
}

/// What a backlog holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BacklogStats {
    /// `websocket`, `prefixed`, `numbered`, `sse`, `ndjson` or `lines`.
    pub wire: String,
    /// Messages that some client has not got.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages it may hold.
    pub max_messages: u64,
    /// Bytes it may hold.
    pub max_bytes: u64,
}

/// Clients that have gone, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Departures {
    /// They said goodbye, or ended the connection.
    pub closed: u64,
    /// The connection broke.
    pub broken: u64,
    /// They did not answer a ping.
    pub silent: u64,
    /// They were too slow.
    pub slow: u64,
    /// They broke the protocol.
    pub protocol: u64,
    /// We said goodbye: the source was lost, the relay ended, the operator asked.
    pub dismissed: u64,
}

/// A client that follows a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientStats {
    /// Its number, unique in the relay's life.
    pub id: u64,
    /// The channel it follows.
    pub channel: String,
    /// `websocket`, `prefixed`, `numbered`, `sse`, `ndjson` or `lines`.
    pub wire: String,
    /// What it wants of the channel; `None`: everything.
    #[serde(default)]
    pub filter: Option<String>,
    /// Its address, or its process for a Unix socket.
    pub peer: String,
    /// The name of the token or password that it came with.
    pub name: Option<String>,
    /// What it calls itself, if it does.
    pub user_agent: Option<String>,
    /// Seconds since it opened.
    pub connected_seconds: f64,
    /// Messages it has not got yet.
    pub lag_messages: u64,
    /// Bytes it has not got yet.
    pub lag_bytes: u64,
    /// Seconds that the oldest of them has waited.
    pub lag_seconds: f64,
    /// Messages it got.
    pub sent_messages: u64,
    /// Bytes sent to it.
    pub sent_bytes: u64,
    /// Messages it sent.
    pub received_messages: u64,
    /// Messages it lost.
    pub dropped_messages: u64,
    /// Whether its socket takes nothing at the moment.
    pub is_blocked: bool,
}

/// How many there are, for a line that says it all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Sources whose messages come.
    pub open_sources: usize,
    /// All sources.
    pub sources: usize,
    /// Clients that follow a channel.
    pub clients: usize,
}

impl<S: Socket> Relay<S> {
    /// Counts sources and clients.
    pub fn census(&self) -> Census {
        let present =
            || self.sources.iter().filter(|source| !source.is_removed() && source.is_head());
        let is_open = |source: &&Source| {
            let source = self.serving(source);
            source.open_key().is_some_and(|key| self.is_ready(key))
        };
        Census {
            open_sources: present().filter(is_open).count(),
            sources: present().count(),
            clients: self.channels.iter().flat_map(Channel::clients).count(),
        }
    }

    /// Every source that is there, by its place.
    pub fn source_stats(&self, now: Instant) -> Vec<SourceStats> {
        let present = self.sources.iter().filter(|source| !source.is_removed() && source.is_head());
        present
            .map(|source| match source.place {
                None => self.of_source(source, now),
                Some(place) => self.of_feed(place, now),
            })
            .collect()
    }

    /// Every channel that is there, by its place.
    pub fn channel_stats(&self, now: Instant) -> Vec<ChannelStats> {
        let present = self.channels.iter().filter(|channel| !channel.is_removed);
        present.map(|channel| self.of_channel(channel, now)).collect()
    }

    /// Every client that follows a channel.
    pub fn client_stats(&self, now: Instant) -> Vec<ClientStats> {
        let clients = self.channels.iter().flat_map(Channel::clients);
        clients.filter_map(|key| self.of_client(self.conns.get(key)?, now)).collect()
    }

    pub(super) fn state_name(&self, source: &Source) -> &'static str {
        match source.open_key() {
            Some(key) if !self.is_ready(key) => "opening",
            Some(_) | None => state_name(source.state),
        }
    }

    /// How long a source has been in its state: what it begins with lasts from the relay's start.
    pub(super) fn seconds_in_state(&self, source: &Source, now: Instant) -> f64 {
        seconds(now, source.state_since.or(self.numbering.since).unwrap_or(now))
    }

    pub(super) fn of_source(&self, source: &Source, now: Instant) -> SourceStats {
        let conn = source.key().and_then(|key| self.conns.get(key));
        let tally = &source.tally;
        SourceStats {
            name: source.settings.name.clone(),
            state: self.state_name(source).to_owned(),
            state_seconds: self.seconds_in_state(source, now),
            redial_seconds: source.redial_at().map(|until| seconds(until, now)),
            peer: conn.map(|conn| conn.peer.to_string()),
            round_trip_seconds: conn
                .and_then(|conn| conn.round_trip)
                .map(|time| time.as_secs_f64()),
            connects: tally.connects,
            failures: source.backoff.failures(),
            last_error: source.last_error.clone(),
            is_refused: source.is_refused(),
            is_over_budget: source.is_over_budget,
            subprotocol: conn.and_then(|conn| conn.codec.subprotocol()).map(str::to_owned),
            received_messages: tally.received_messages,
            received_bytes: tally.received_bytes,
            largest_bytes: tally.largest_bytes,
            forwarded_messages: tally.forwarded_messages,
            forwarded_bytes: tally.forwarded_bytes,
            dropped_messages: tally.dropped_messages,
            own_messages: tally.own_messages,
            outbox_bytes: conn.map_or(0, |conn| conn.outbox.len() as u64),
            is_paused: source.held.is_some(),
            recording: None,
            legs: Vec::new(),
        }
    }

    fn of_channel(&self, channel: &Channel, now: Instant) -> ChannelStats {
        let is_head = |id: &&super::SourceId| self.sources[id.0].is_head();
        let name_of = |id: &super::SourceId| self.sources[id.0].settings.name.clone();
        let clients = channel.clients().filter_map(|key| self.conns.get(key));
        let mut stats = ChannelStats {
            name: channel.settings.name.clone(),
            sources: channel.settings.sources.iter().filter(is_head).map(name_of).collect(),
            clients_ever: channel.clients_ever,
            is_paused: channel.pause.is_some(),
            backlogs: self.of_backlogs(channel, now),
            departures: channel.departures,
            ..channel.past.clone()
        };
        for client in clients.filter_map(|conn| self.of_client(conn, now)) {
            stats.clients += 1;
            stats.sent_messages += client.sent_messages;
            stats.sent_bytes += client.sent_bytes;
            stats.received_messages += client.received_messages;
            stats.dropped_messages += client.dropped_messages;
            stats.max_lag_messages = stats.max_lag_messages.max(client.lag_messages);
        }
        stats
    }

    /// The backlogs of each wire that somebody follows or most clients want: their sum, where
    /// clients have asked for parts.
    fn of_backlogs(&self, channel: &Channel, now: Instant) -> Vec<BacklogStats> {
        let mut backlogs: Vec<BacklogStats> = Vec::new();
        for (place, view) in channel.views.iter().enumerate() {
            if view.clients.is_empty() && !is_plain(place) {
                continue;
            }
            let cursors = view.clients.iter().filter_map(|key| self.conns.get(*key));
            // What everyone has got may still be there, and is of no interest.
            let slowest = cursors.map(|conn| conn.cursor).min();
            let lag = view.backlog.lag(slowest.unwrap_or_else(|| view.backlog.end()), now);
            let name = view.wire.name();
            let known = backlogs.iter().position(|backlog| backlog.wire == name);
            let place = known.unwrap_or_else(|| {
                backlogs.push(BacklogStats { wire: name.to_owned(), ..BacklogStats::default() });
                backlogs.len() - 1
            });
            let backlog = &mut backlogs[place];
            backlog.messages += lag.messages;
            backlog.bytes += lag.bytes;
            backlog.max_messages += channel.settings.max_queue_size as u64;
            backlog.max_bytes += channel.settings.max_queue_bytes as u64;
        }
        backlogs
    }

    fn of_client(&self, conn: &Conn<S>, now: Instant) -> Option<ClientStats> {
        let Role::Client(ChannelId(channel)) = conn.role else { return None };
        if !conn.is_following() {
            return None;
        }
        let channel = &self.channels[channel];
        let backlog = channel.backlog(conn.view);
        let lag = backlog.lag(conn.cursor, now);
        Some(ClientStats {
            id: conn.id,
            channel: channel.settings.name.clone(),
            wire: conn.wire().name().to_owned(),
            filter: channel.views[conn.view].filter.as_ref().map(ToString::to_string),
            peer: conn.peer.to_string(),
            name: conn.codec.grant().map(|g| g.name.clone()).filter(|name| !name.is_empty()),
            user_agent: conn.codec.user_agent().map(str::to_owned),
            connected_seconds: seconds(now, conn.opened_at),
            lag_messages: lag.messages,
            lag_bytes: lag.bytes,
            lag_seconds: lag.age.as_secs_f64(),
            sent_messages: conn.sent_messages(backlog),
            sent_bytes: conn.tally.sent_bytes,
            received_messages: conn.tally.received_messages,
            dropped_messages: conn.tally.dropped_messages,
            is_blocked: conn.is_blocked,
        })
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { open_sources, sources, clients } = self;
        let plural = if *clients == 1 { "" } else { "s" };
        write!(f, "{open_sources} of {sources} sources up, {clients} client{plural}")
    }
}

pub(super) fn seconds(later: Instant, earlier: Instant) -> f64 {
    later.checked_duration_since(earlier).unwrap_or(Duration::ZERO).as_secs_f64()
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Dialing => "dialing",
        State::Opening(_) => "opening",
        State::Open { .. } => "open",
        State::Waiting(_) => "waiting",
        State::GivenUp => "given_up",
        State::Ended => "ended",
        State::Idle => "standby",
        State::Removed => "removed",
    }
}
