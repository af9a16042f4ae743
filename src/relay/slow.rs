//! Clients that do not keep up.
//!
//! A message that would evict what a client is entitled to is held, and with it its source is read
//! no further: TCP pushes back, nothing is lost. Who holds the sources back while another client
//! of the channel has everything loses patience by the clock; when `max_pause` of it is gone the
//! channel's `slow_client` policy strikes. If everyone is behind, the source is simply faster than
//! its readers, and waiting costs nobody. A recording of the source always has everything.

use std::time::{Duration, Instant};

use super::Relay;
use super::backlog::Cursor;
use super::channel::{Channel, Pause};
use super::conn::{Conn, Patience, Role};
use super::settings::{ChannelId, SlowClient, SourceId};
use super::source::Held;
use super::view::{Room, Stamp, View};
use crate::codec::Message;
use crate::net::stream::Socket;
use crate::reactor::table::{Key, Table};

impl<S: Socket> Relay<S> {
    /// Finds out whom a source's message is for, and makes room for it in all channels, at the cost
    /// of nobody who is entitled to what must go. Says whether there is room.
    pub(super) fn make_room(
        &mut self,
        source: SourceId,
        message: Message<'_>,
        now: Instant,
    ) -> bool {
        let mut room = Room::Free;
        for channel in &self.sources[source.0].channels {
            room = room.max(self.channels[channel.0].prepare(message));
        }
        if room == Room::OfDropping {
            self.skip_all_dropping(source, now);
        }
        room != Room::None
    }

    /// Lets all who are dropping lose what that message evicts.
    #[cold]
    fn skip_all_dropping(&mut self, source: SourceId, now: Instant) {
        for n in 0..self.sources[source.0].channels.len() {
            let channel = self.sources[source.0].channels[n];
            for view in 0..self.channels[channel.0].views.len() {
                self.skip_dropping(channel, view, now);
            }
        }
    }

    /// The same of one view.
    fn skip_dropping(&mut self, id: ChannelId, view: usize, now: Instant) {
        // By place, since who cannot skip is disconnected and leaves the list.
        let mut place = 0;
        while let Some(&key) = self.channels[id.0].views[view].dropping.get(place) {
            let of_channel = &self.channels[id.0].views[view];
            if !of_channel.is_meant {
                return;
            }
            let start = of_channel.start;
            if self.skip_to(key, id, view, start) {
                place += 1;
            } else {
                self.disconnect_slow(key, id, now);
            }
        }
    }

    /// Lets a client that is dropping lose what lies in front of a position. A frame once begun is
    /// still finished; says whether that is possible.
    fn skip_to(&mut self, key: Key, id: ChannelId, view: usize, start: Cursor) -> bool {
        let backlog = self.channels[id.0].backlog(view);
        let Some(conn) = self.conns.get_mut(key).filter(|conn| conn.cursor < start) else {
            return true;
        };
        if !conn.carry_rest(backlog) {
            return false;
        }
        let lost = backlog.count_before(start).saturating_sub(backlog.count_before(conn.cursor));
        conn.tally.dropped_messages += lost;
        conn.cursor = conn.cursor.max(start);
        true
    }

    /// Deals with a client whose patience is used up.
    fn strike(&mut self, key: Key, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Role::Client(id) = conn.role else { return };
        let channel = &mut self.channels[id.0];
        match channel.settings.slow_client {
            SlowClient::Disconnect => self.disconnect_slow(key, id, now),
            SlowClient::DropOldest => {
                conn.patience = Patience { is_dropping: true, ..conn.patience };
                conn.tally.dropped_before_spell = conn.tally.dropped_messages;
                let label = conn.label(&channel.settings.name);
                log::warn!(
                    "client {label}: too slow, loses the oldest messages until it has caught up"
                );
                channel.views[conn.view].dropping.push(key);
            }
        }
    }

    /// Gives a client that has everything its patience back.
    pub(super) fn caught_up(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Role::Client(id) = conn.role else { return };
        let channel = &mut self.channels[id.0];
        let patience = std::mem::take(&mut conn.patience);
        if patience.is_dropping {
            channel.views[conn.view].dropping.retain(|other| *other != key);
            let label = conn.label(&channel.settings.name);
            let dropped = conn.tally.dropped_messages - conn.tally.dropped_before_spell;
            log::warn!("client {label}: has caught up, {dropped} messages were dropped");
        }
    }

    /// Counts the time that clients have held their channel's sources back, and strikes those
    /// whose patience has ended.
    pub(super) fn count_patience(&mut self, now: Instant) {
        for id in (0..self.channels.len()).map(ChannelId) {
            let Some(mut pause) = self.channels[id.0].pause else { continue };
            let elapsed = pause.elapsed(now);
            pause.counted_until = now;
            self.channels[id.0].pause = Some(pause);
            if elapsed.is_zero() {
                continue;
            }
            for key in self.all_holders(id) {
                let max_pause = self.channels[id.0].settings.max_pause;
                let Some(conn) = self.conns.get_mut(key) else { continue };
                conn.patience.held += elapsed;
                if conn.patience.held >= max_pause {
                    self.strike(key, now);
                }
            }
        }
    }

    /// Whether a message waits for room in a channel.
    pub(super) fn is_asked(&self, id: ChannelId) -> bool {
        let mut sources = self.channels[id.0].settings.sources.iter();
        sources.any(|source| self.sources[source.0].held.is_some())
    }

    /// Finds out, after all was written that could be, which channels still hold their sources
    /// back, and reads the other sources on.
    pub(super) fn review_pauses(&mut self, now: Instant) {
        for id in (0..self.channels.len()).map(ChannelId) {
            let is_asked = self.is_asked(id);
            if is_asked && self.channels[id.0].settings.max_pause.is_zero() {
                self.strike_at_once(id, now);
            }
            let pause = if is_asked { self.pause(id, now) } else { None };
            let was_paused = std::mem::replace(&mut self.channels[id.0].pause, pause).is_some();
            if was_paused && self.channels[id.0].pause.is_none() {
                self.read_sources_on(id);
            }
        }
        for id in (0..self.sources.len()).map(SourceId) {
            let source = &self.sources[id.0];
            let is_paused = |channel: &ChannelId| self.channels[channel.0].pause.is_some();
            if source.held.is_some() && !source.channels.iter().any(is_paused) {
                self.resume_source(id, now);
            }
        }
    }

    /// Reads all sources of a channel on: one may have been paused for another's sake.
    fn read_sources_on(&mut self, id: ChannelId) {
        for n in 0..self.channels[id.0].settings.sources.len() {
            self.read_source_on(self.channels[id.0].settings.sources[n]);
        }
    }

    /// Strikes those who are in the way of a held message in a channel that never pauses.
    fn strike_at_once(&mut self, id: ChannelId, now: Instant) {
        self.survey(id);
        for key in self.all_holders(id) {
            self.strike(key, now);
        }
    }

    fn survey(&mut self, id: ChannelId) {
        for view in 0..self.channels[id.0].views.len() {
            self.channels[id.0].survey(view, &self.conns);
        }
    }

    /// The pause of a channel whose sources hold a message, `None` if they need not.
    fn pause(&mut self, id: ChannelId, now: Instant) -> Option<Pause> {
        self.survey(id);
        let holders = self.all_holders(id);
        let held = holders.iter().filter_map(|key| Some(self.conns.get(*key)?.patience.held));
        let longest_held = held.max()?;
        let counted_until = self.channels[id.0].pause.map_or(now, |pause| pause.counted_until);
        let is_starving = self.is_starving(id);
        let patience = self.channels[id.0].settings.max_pause.saturating_sub(longest_held);
        let deadline = is_starving.then_some(counted_until + patience);
        Some(Pause { counted_until, is_starving, deadline })
    }

    /// Whether somebody has everything: a client, in this channel or in another that its sources feed,
    /// or a recording of one of these.
    fn is_starving(&self, id: ChannelId) -> bool {
        let sources = self.channels[id.0].settings.sources.iter();
        if sources.clone().any(|source| self.ledgers.has(self.head(*source))) {
            return true;
        }
        let mut fed = sources.flat_map(|source| &self.sources[source.0].channels);
        fed.any(|channel| {
            let channel = &self.channels[channel.0];
            channel
                .clients()
                .filter_map(|key| self.conns.get(key))
                .any(|conn| conn.has_all(channel.backlog(conn.view)))
        })
    }

    /// The clients of a channel for whose sake its sources are held back: those that are in the way
    /// of a held message, or of a backlog that is half empty, so that the sources are read on for
    /// more than one message.
    fn all_holders(&mut self, id: ChannelId) -> Vec<Key> {
        let Self { channels, sources, conns, .. } = self;
        let Channel { settings, views, next_number, held_changes, .. } = &mut channels[id.0];
        let stamp = Stamp { changes: *held_changes, number: *next_number };
        let mut holders = Vec::new();
        for view in views {
            let held = settings.sources.iter().filter_map(|id| sources[id.0].held.as_ref());
            let Some(bytes) = view.asked_bytes(held.map(Held::message), stamp) else { continue };
            let start = view.backlog.start_after(bytes);
            // Who never pauses needs no relief that lasts.
            let start = match settings.max_pause {
                Duration::ZERO => start,
                _ => start.max(view.backlog.start_of_recent_half()),
            };
            if start > view.entitled {
                holders.extend(entitled(view, start, conns));
            }
        }
        holders
    }

    /// Has a message of a source wait for room.
    pub(super) fn hold(&mut self, id: SourceId, message: Message<'_>) {
        self.sources[id.0].held = Some(Held::new(message));
        self.note_held(id);
    }

    /// Has what waits for room in the channels of a source looked at anew.
    pub(super) fn note_held(&mut self, id: SourceId) {
        for channel in &self.sources[id.0].channels {
            self.channels[channel.0].held_changes += 1;
        }
    }

    fn resume_source(&mut self, id: SourceId, now: Instant) {
        let Some(held) = self.sources[id.0].held.take() else { return };
        if !self.make_room(id, held.message(), now) {
            self.sources[id.0].held = Some(held);
            return;
        }
        self.note_held(id);
        self.broadcast(id, held.message(), now);
        for channel in &self.sources[id.0].channels {
            self.channels[channel.0].stir();
        }
        let reaches = |channel: &ChannelId| self.channels[channel.0].clients().next().is_some();
        if self.ending.is_some() && !self.sources[id.0].channels.iter().any(reaches) {
            let name = self.sources[id.0].label();
            log::warn!("source {name}: its last message reached nobody");
        }
        self.read_feed_on(id);
    }
}

/// The clients of a view that are entitled to something in front of a position.
fn entitled<S: Socket>(
    view: &View,
    start: Cursor,
    conns: &Table<Conn<S>>,
) -> impl Iterator<Item = Key> {
    let holds = move |key: &&Key| {
        let conn = conns.get(**key);
        conn.is_some_and(|conn| conn.cursor < start && !conn.patience.is_dropping)
    };
    view.clients.iter().filter(holds).copied()
}
