//! Sources that are recordings: how they come, and how they end.

use std::time::{Duration, Instant};

use super::channel::Channel;
use super::conn::{Peer, Role};
use super::settings::SourceId;
use super::source::{Source, State};
use super::{Outcome, Relay};
use crate::codec::{CloseReason, Codec, recording};
use crate::net::stream::Socket;
use crate::reactor::outbox::Outbox;
use crate::reactor::table::Key;

/// When the last recording has ended, clients have this long to take what is kept for them. Those
/// that are cut off then lose messages, and the log says so.
pub const LAST_WAIT: Duration = Duration::from_mins(1);

impl<S: Socket> Relay<S> {
    /// Takes in a recording that was asked for by a dial.
    pub fn open_recording(&mut self, stream: S, source: SourceId, now: Instant) -> Key {
        let codec = Codec::Recording(recording::Codec::default());
        let role = Role::Source(source);
        let key = self.open(stream, codec, role, Peer::Recording, Outbox::default(), now);
        // What it will drop is told anew, and is not for want of a connection.
        self.sources[source.0].dropped_messages = 0;
        self.sources[source.0].enter(State::Opening(key), now);
        key
    }

    /// Clients that follow what a source feeds.
    pub fn audience(&self, source: SourceId) -> usize {
        let channels = self.sources[source.0].channels.iter();
        channels.map(|channel| self.channels[channel.0].clients().count()).sum()
    }

    /// A recording was played to its end, or no further.
    pub(super) fn recording_ended(
        &mut self,
        key: Key,
        id: SourceId,
        reason: &CloseReason,
        now: Instant,
    ) {
        let source = &mut self.sources[id.0];
        let name = &source.settings.name;
        if reason.text.is_empty() {
            log::info!("source {name}: the recording has ended");
            source.enter(State::Ended, now);
        } else {
            let why = format!("cannot be played on ({})", reason.text);
            log::error!("source {name}: {why}");
            source.last_error = Some(why);
            source.enter(State::GivenUp, now);
        }
        self.linger(key, now);
        self.tell_clients_of_loss(id, now);
        self.end_if_all_gave_up(now);
    }

    /// Drops a client's message to a recording.
    pub(super) fn refuse_to_record(source: &mut Source) {
        if source.dropped_messages == 0 {
            let name = &source.settings.name;
            log::warn!("source {name}: is a recording, messages of clients to it are dropped");
        }
        source.dropped_messages += 1;
        source.tally.dropped_messages += 1;
    }

    /// Ends when all recordings have, and everyone has got what was kept.
    pub(super) fn end_if_all_was_played(&mut self, now: Instant) {
        let since = *self.played_since.get_or_insert(now);
        if !self.has_everyone_everything() && now < since + LAST_WAIT {
            return;
        }
        log::info!("every recording has ended, nothing is left to relay");
        self.drain(Outcome::Played, now);
    }

    fn has_everyone_everything(&self) -> bool {
        let has_all = |channel: &Channel| {
            let clients = channel.clients().filter_map(|key| self.conns.get(key));
            clients.into_iter().all(|conn| conn.has_all(channel.backlog(conn.view)))
        };
        self.channels.iter().all(has_all)
    }

    /// When clients that are still behind are waited for no longer.
    pub(super) fn last_wait_ends_at(&self) -> Option<Instant> {
        self.played_since.filter(|_| self.ending.is_none()).map(|since| since + LAST_WAIT)
    }
}
