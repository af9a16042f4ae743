//! Limits and patience: the defaults, and what sources and channels get of them.

use std::time::Duration;

use super::input::{CrowdInput, MannersInput, PerformanceInput};
use super::plan::rounded_size;
use super::problem::{KeyPath, Problems};
use crate::relay::settings::{ChannelSettings, SourceId, SourceSettings};

/// Connections that an endpoint accepts in a second, unless the file says otherwise.
const MAX_CONNECTION_RATE: u64 = 1000;

/// Seconds that a client's largest message may take at its `max_client_byte_rate`.
const MAX_SECONDS_OF_A_MESSAGE: u64 = 10;

/// `performance` with its defaults filled in.
#[derive(Debug)]
pub(super) struct Performance {
    /// How long a busy turn lingers.
    pub(super) coalesce: Duration,
    /// Connections that an endpoint accepts in a second.
    pub(super) max_connection_rate: u64,
    /// Bytes that the worst case may come to.
    pub(super) memory_limit: Option<u64>,
    /// What every channel begins with.
    channel: ChannelSettings,
    /// What every source begins with.
    source: SourceSettings,
}

impl Performance {
    /// The values of a file, or the defaults of the manual.
    pub(super) fn from(input: PerformanceInput, problems: &mut Problems) -> Self {
        let channel = ChannelSettings::default();
        let source = SourceSettings::default();
        let reconnect_delay = input.reconnect_delay.unwrap_or(source.reconnect_delay);
        // An old file may wait longer than the default, which it cannot know.
        let longest = source.reconnect_max_delay.max(reconnect_delay);
        let reconnect_max_delay = input.reconnect_max_delay.unwrap_or(longest);
        if reconnect_max_delay < reconnect_delay {
            let path = KeyPath::default().key("performance").key("reconnect_max_delay");
            problems.add(path, "is shorter than reconnect_delay, the first wait");
        }
        Self {
            max_connection_rate: input.max_connection_rate.unwrap_or(MAX_CONNECTION_RATE),
            memory_limit: input.memory_limit.map(|bytes| bytes as u64),
            coalesce: input.coalesce.unwrap_or(Duration::from_micros(200)),
            channel: ChannelSettings {
                max_queue_size: input.max_queue_size.unwrap_or(channel.max_queue_size),
                max_queue_bytes: input.max_queue_bytes.unwrap_or(channel.max_queue_bytes),
                max_pause: input.max_pause.unwrap_or(channel.max_pause),
                max_client_message_size: input
                    .max_client_message_size
                    .unwrap_or(channel.max_client_message_size),
                ..with_crowd(channel, input.crowd)
            },
            source: SourceSettings {
                max_message_size: input.max_message_size.unwrap_or(source.max_message_size),
                reconnect_delay,
                reconnect_max_delay,
                reconnect_max_attempts: input
                    .reconnect_max_attempts
                    .unwrap_or(source.reconnect_max_attempts),
                ..source
            },
        }
    }

    /// Messages of a backlog.
    pub(super) fn max_queue_size(&self) -> usize {
        self.channel.max_queue_size
    }

    /// A source with these limits.
    pub(super) fn source(&self, name: String) -> SourceSettings {
        SourceSettings { name, ..self.source.clone() }
    }

    /// A channel with these limits and its own manners, without origins and subprotocols.
    pub(super) fn channel(
        &self,
        name: &str,
        sources: Vec<SourceId>,
        manners: MannersInput,
    ) -> ChannelSettings {
        let defaults = with_crowd(self.channel.clone(), manners.crowd);
        ChannelSettings {
            name: name.to_owned(),
            sources,
            slow_client: manners.slow_client.unwrap_or(defaults.slow_client),
            on_source_loss: manners.on_source_loss.unwrap_or(defaults.on_source_loss),
            read_only: manners.read_only.unwrap_or(defaults.read_only),
            unix_message_type: manners.unix_message_type.unwrap_or(defaults.unix_message_type),
            ..defaults
        }
    }
}

/// A channel with limits of its own for its clients.
fn with_crowd(channel: ChannelSettings, crowd: CrowdInput) -> ChannelSettings {
    ChannelSettings {
        max_clients: crowd.clients.unwrap_or(channel.max_clients),
        max_clients_per_address: crowd.per_address.unwrap_or(channel.max_clients_per_address),
        max_client_message_rate: crowd.message_rate.unwrap_or(channel.max_client_message_rate),
        max_client_byte_rate: crowd.byte_rate.unwrap_or(channel.max_client_byte_rate),
        ..channel
    }
}

/// Refuses a rate at which one message may keep its client unheard for long: its pings, and its end.
pub(super) fn check_byte_rate(channel: &ChannelSettings, problems: &mut Problems) {
    let (rate, size) = (channel.max_client_byte_rate, channel.max_client_message_size as u64);
    if rate > 0 && size > MAX_SECONDS_OF_A_MESSAGE * rate {
        let path = KeyPath::default().key("performance").key("max_client_message_size");
        let message = format!(
            "a client of channel {} may send messages of {}, which would take {} s at its \
             max_client_byte_rate: lower this to {}, or raise the rate",
            channel.name,
            rounded_size(size),
            size / rate,
            rounded_size(MAX_SECONDS_OF_A_MESSAGE * rate),
        );
        problems.add(path, message);
    }
}
