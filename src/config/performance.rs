//! Limits and patience: the defaults, and what sources and channels get of them.

use std::time::Duration;

use super::input::{MannersInput, PerformanceInput};
use super::problem::{KeyPath, Problems};
use crate::relay::settings::{ChannelSettings, SourceId, SourceSettings};

/// `performance` with its defaults filled in.
#[derive(Debug)]
pub(super) struct Performance {
    max_queue_size: usize,
    max_queue_bytes: usize,
    max_pause: Duration,
    /// How long a busy turn lingers.
    pub(super) coalesce: Duration,
    max_message_size: usize,
    max_client_message_size: usize,
    max_clients: usize,
    reconnect_delay: Duration,
    reconnect_max_delay: Duration,
    reconnect_max_attempts: u32,
}

impl Performance {
    /// The values of a file, or the defaults of the manual.
    pub(super) fn from(input: PerformanceInput, problems: &mut Problems) -> Self {
        let reconnect_delay = input.reconnect_delay.unwrap_or(Duration::from_secs(5));
        // An old file may wait longer than the default, which it cannot know.
        let default = Duration::from_mins(1).max(reconnect_delay);
        let reconnect_max_delay = input.reconnect_max_delay.unwrap_or(default);
        if reconnect_max_delay < reconnect_delay {
            let path = KeyPath::default().key("performance").key("reconnect_max_delay");
            problems.add(path, "is shorter than reconnect_delay, the first wait");
        }
        Self {
            max_queue_size: input.max_queue_size.unwrap_or(1000),
            max_queue_bytes: input.max_queue_bytes.unwrap_or(1 << 20),
            max_pause: input.max_pause.unwrap_or(Duration::from_millis(500)),
            coalesce: input.coalesce.unwrap_or(Duration::from_micros(200)),
            max_message_size: input.max_message_size.unwrap_or(16 << 20),
            max_client_message_size: input.max_client_message_size.unwrap_or(1 << 20),
            max_clients: input.max_clients.unwrap_or(1024),
            reconnect_delay,
            reconnect_max_delay,
            reconnect_max_attempts: input.reconnect_max_attempts.unwrap_or(0),
        }
    }

    /// A source with these limits.
    pub(super) fn source(&self, name: String) -> SourceSettings {
        SourceSettings {
            name,
            max_message_size: self.max_message_size,
            reconnect_delay: self.reconnect_delay,
            reconnect_max_delay: self.reconnect_max_delay,
            reconnect_max_attempts: self.reconnect_max_attempts,
        }
    }

    /// A channel with these limits and its own manners, without origins and subprotocols.
    pub(super) fn channel(
        &self,
        name: &str,
        sources: Vec<SourceId>,
        manners: MannersInput,
    ) -> ChannelSettings {
        ChannelSettings {
            name: name.to_owned(),
            sources,
            max_queue_size: self.max_queue_size,
            max_queue_bytes: self.max_queue_bytes,
            max_pause: self.max_pause,
            slow_client: manners.slow_client.unwrap_or_default(),
            on_source_loss: manners.on_source_loss.unwrap_or_default(),
            read_only: manners.read_only.unwrap_or(false),
            max_client_message_size: self.max_client_message_size,
            max_clients: manners.max_clients.unwrap_or(self.max_clients),
            allowed_origins: Vec::new(),
            subprotocols: Vec::new(),
            unix_message_type: manners.unix_message_type.unwrap_or_default(),
        }
    }
}
