//! Limits and patience: the defaults, and what sources and channels get of them.

use std::time::Duration;

use super::input::{MannersInput, PerformanceInput};
use super::problem::{KeyPath, Problems};
use crate::relay::settings::{ChannelSettings, SourceId, SourceSettings};

/// `performance` with its defaults filled in.
#[derive(Debug)]
pub(super) struct Performance {
    /// How long a busy turn lingers.
    pub(super) coalesce: Duration,
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
            coalesce: input.coalesce.unwrap_or(Duration::from_micros(200)),
            channel: ChannelSettings {
                max_queue_size: input.max_queue_size.unwrap_or(channel.max_queue_size),
                max_queue_bytes: input.max_queue_bytes.unwrap_or(channel.max_queue_bytes),
                max_pause: input.max_pause.unwrap_or(channel.max_pause),
                max_client_message_size: input
                    .max_client_message_size
                    .unwrap_or(channel.max_client_message_size),
                max_clients: input.max_clients.unwrap_or(channel.max_clients),
                ..channel
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
        let defaults = self.channel.clone();
        ChannelSettings {
            name: name.to_owned(),
            sources,
            slow_client: manners.slow_client.unwrap_or(defaults.slow_client),
            on_source_loss: manners.on_source_loss.unwrap_or(defaults.on_source_loss),
            read_only: manners.read_only.unwrap_or(defaults.read_only),
            max_clients: manners.max_clients.unwrap_or(defaults.max_clients),
            unix_message_type: manners.unix_message_type.unwrap_or(defaults.unix_message_type),
            ..defaults
        }
    }
}
