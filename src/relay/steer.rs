//! What an operator asks of a running relay.

use std::time::Instant;

use super::Relay;
use super::channel::Channel;
use super::conn::Goodbye;
use super::settings::SourceId;
use super::source::Source;
use crate::codec::Message;
use crate::net::stream::Socket;
use crate::reactor::table::Key;

impl<S: Socket> Relay<S> {
    /// Sees a client off, by the number that the log and the snapshot show. Says whether there is
    /// such a client.
    pub fn disconnect_client(&mut self, id: u64, now: Instant) -> bool {
        let has_id = |key: &Key| self.conns.get(*key).is_some_and(|conn| conn.id == id);
        let client = self.channels.iter().flat_map(Channel::clients).find(has_id);
        let Some(key) = client else { return false };
        self.dismiss(key, Goodbye::Operator, now);
        true
    }

    /// Puts a message on its way to a source, as a client's would be. Says whether the source is up
    /// and takes it.
    pub fn send_to_source(&mut self, id: SourceId, message: Message<'_>) -> bool {
        let id = self.speaker(id);
        let ready = self.sources[id.0].open_key().filter(|key| self.is_ready(*key));
        let conn = ready.and_then(|key| self.conns.get(key));
        let limit = self.max_forward_bytes(id);
        let takes_more = conn.is_some_and(|c| c.codec.takes_messages() && c.outbox.len() < limit);
        if takes_more {
            self.forward_to(id, message);
        }
        takes_more
    }

    /// Learns that a source's dials are counted in another way. Who waits because of them asks again.
    pub fn budget_changed(&mut self, id: SourceId, now: Instant) {
        if self.sources[id.0].is_over_budget {
            self.dial(id, now);
        }
    }

    /// The name of a source.
    pub fn source_name(&self, id: SourceId) -> &str {
        &self.sources[id.0].settings.name
    }

    /// The source of that name.
    pub fn source_named(&self, name: &str) -> Option<SourceId> {
        let is_it = |source: &Source| {
            source.settings.name == name && !source.is_removed() && source.is_head()
        };
        self.sources.iter().position(is_it).map(SourceId)
    }
}
