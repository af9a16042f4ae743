//! Changing who is there while messages pass.
//!
//! A source and a channel keep their place, and with it their id, for as long as they are there.
//! Who is removed leaves its place to its last connections, and then to whoever is added next; so
//! an id never means somebody else to a connection that is still there.

use std::time::Instant;

use super::channel::Channel;
use super::conn::{Goodbye, Paces, Role, Stage, Wait};
use super::feed::{Feed, Leg};
use super::settings::{ChannelId, ChannelSettings, SourceId, SourceSettings};
use super::source::{Source, State};
use super::{Command, LINGER, Relay};
use crate::codec::Gate;
use crate::net::stream::Socket;
use crate::reactor::table::Key;

/// What a relay shall be. Who has a place keeps it; who is new takes a free one, or one behind all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The source of each place; no shorter than it was.
    pub sources: Vec<Option<SourceSettings>>,
    /// The channel of each place; no shorter than it was.
    pub channels: Vec<Option<ChannelSettings>>,
    /// Sources that stay and are reached in another way, so that they are dialled anew.
    pub redials: Vec<SourceId>,
    /// Kinds of endpoints of channels that stay, at which nobody can connect any more.
    pub closed: Vec<(ChannelId, Gate)>,
    /// Whether there is an endpoint of all channels.
    pub is_shared: bool,
}

/// Who has which place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seats {
    /// By `SourceId`.
    pub sources: Vec<Seat>,
    /// By `ChannelId`.
    pub channels: Vec<Seat>,
}

/// The place of a source or a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// Who has this name is there.
    Taken(String),
    /// Who was there is removed, and connections of it are left.
    Leaving,
    /// Whoever comes may have it.
    Free,
}

impl<S: Socket> Relay<S> {
    /// Becomes what a layout asks for. What it does not change goes on undisturbed.
    pub fn reload(&mut self, layout: Layout, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        let Layout { sources, channels, redials, closed, is_shared } = layout;
        let fed = feeds(&channels, sources.len());
        for n in 0..self.feeds.len() {
            if !self.stays_the_same(&self.feeds[n], &sources, &fed) {
                self.settle_feed(n, now);
            }
        }
        for (id, channel) in (0..self.channels.len()).map(ChannelId).zip(&channels) {
            let stays = |source: &SourceId| {
                channel.as_ref().is_some_and(|channel| channel.sources.contains(source))
            };
            self.part_with_sources(id, stays, now);
        }
        for (id, settings) in (0..).map(ChannelId).zip(channels) {
            self.place_channel(id, settings, now);
        }
        // Who comes is there before anybody goes: the channels know the new ones already.
        let mut removed = Vec::new();
        for ((id, settings), fed) in (0..).map(SourceId).zip(sources).zip(fed) {
            match settings {
                Some(settings) => self.place_source(id, settings, fed, now),
                None => removed.push(id),
            }
        }
        for id in removed {
            self.remove_source(id, now);
        }
        self.regroup(now);
        for id in redials {
            self.redial(id, now);
        }
        // Some were not read for the sake of others that have gone.
        for id in (0..self.sources.len()).map(SourceId) {
            self.read_source_on(id);
        }
        for (id, gate) in closed {
            self.dismiss_clients(id, |of_client| of_client == gate, now);
        }
        if !is_shared {
            self.dismiss_newcomers(now);
        }
        self.end_if_all_gave_up(now);
    }

    /// Who has which place at this moment.
    pub fn seats(&self) -> Seats {
        let seat = |name: &str, is_removed: bool, has_connections: bool| match is_removed {
            false => Seat::Taken(name.to_owned()),
            true if has_connections => Seat::Leaving,
            true => Seat::Free,
        };
        let roles: Vec<Role> = self.conns.iter().map(|conn| conn.role).collect();
        let sources = (0..).map(SourceId).zip(&self.sources).map(|(id, source)| {
            let has_connections = roles.contains(&Role::Source(id));
            seat(&source.settings.name, source.is_removed(), has_connections)
        });
        let channels = (0..).map(ChannelId).zip(&self.channels).map(|(id, channel)| {
            let has_connections = roles.contains(&Role::Client(id));
            seat(&channel.settings.name, channel.is_removed, has_connections)
        });
        Seats { sources: sources.collect(), channels: channels.collect() }
    }

    /// Whether a feed has the same legs in a layout, which feed the same channels.
    fn stays_the_same(
        &self,
        feed: &Feed,
        sources: &[Option<SourceSettings>],
        channels: &[Vec<ChannelId>],
    ) -> bool {
        let of_feed = |settings: &&SourceSettings| {
            settings.leg.as_ref().is_some_and(|leg| leg.feed == feed.name)
        };
        let stays = |leg: &Leg| {
            let (id, own) = (leg.source.0, &self.sources[leg.source.0]);
            let settings = sources.get(id).and_then(Option::as_ref);
            settings.is_some_and(|settings| settings.leg == own.settings.leg)
                && channels.get(id) == Some(&own.channels)
        };
        feed.legs.iter().all(stays)
            && sources.iter().flatten().filter(of_feed).count() == feed.legs.len()
    }

    /// Delivers what sources hold that leave a channel: nobody else would.
    fn part_with_sources(
        &mut self,
        id: ChannelId,
        stays: impl Fn(&SourceId) -> bool,
        now: Instant,
    ) {
        let channel = &mut self.channels[id.0];
        let leaving: Vec<_> =
            channel.settings.sources.iter().copied().filter(|source| !stays(source)).collect();
        for source in leaving {
            if let Some(held) = &self.sources[source.0].held {
                channel.push_last(source, held.message(), now);
            }
        }
    }

    fn place_channel(&mut self, id: ChannelId, settings: Option<ChannelSettings>, now: Instant) {
        let number = self.numbering.at(now);
        match (self.channels.get_mut(id.0), settings) {
            (None, Some(settings)) => self.channels.push(Channel::new(settings, number)),
            (Some(channel), Some(settings)) if channel.is_removed => {
                *channel = Channel::new(settings, number);
            }
            (Some(channel), Some(settings)) if channel.settings != settings => {
                channel.adopt(settings);
                self.limit_clients(id, now);
            }
            (Some(channel), None) if !channel.is_removed => {
                channel.retire();
                self.dismiss_clients(id, |_| true, now);
            }
            (Some(_), Some(_) | None) | (None, None) => {}
        }
    }

    fn place_source(
        &mut self,
        id: SourceId,
        settings: SourceSettings,
        fed: Vec<ChannelId>,
        now: Instant,
    ) {
        let seed = self.seed.wrapping_add(id.0 as u64);
        match self.sources.get_mut(id.0) {
            None => {
                self.sources.push(Source::new(settings, fed, seed));
                self.begin_source(id, now);
            }
            Some(source) if source.is_removed() => {
                *source = Source::new(settings, fed, seed);
                self.begin_source(id, now);
            }
            Some(source) => {
                source.channels = fed;
                if source.settings != settings {
                    source.adopt(settings, now);
                    self.limit_source(id, now);
                }
            }
        }
    }

    /// Dials a source that is new. Whether a leg is dialled is its feed's choice.
    fn begin_source(&mut self, id: SourceId, now: Instant) {
        if self.sources[id.0].settings.leg.is_some() {
            self.sources[id.0].enter(State::Idle, now);
        } else {
            self.dial(id, now);
        }
    }

    /// Applies what a channel allows its clients to those who are connected.
    fn limit_clients(&mut self, id: ChannelId, now: Instant) {
        for key in self.connections_of(Role::Client(id)) {
            let settings = &self.channels[id.0].settings;
            let Some(conn) = self.conns.get_mut(key) else { continue };
            conn.codec.set_max_message_size(settings.max_client_message_size);
            conn.codec.set_message_type(settings.unix_message_type);
            // What it may send from now on counts from now on.
            conn.paces = Paces::default();
            let has_waited = conn.wait == Some(Wait::Time);
            let is_welcome = !conn.is_following() || conn.renew(settings);
            if has_waited {
                self.read_on(key);
            }
            // It gets nothing more, and nothing of it is heard.
            if !is_welcome {
                self.say_goodbye(key, Goodbye::Unwelcome, now);
            }
        }
    }

    /// Applies what a source is allowed to its connection. One that has given up may try again.
    fn limit_source(&mut self, id: SourceId, now: Instant) {
        let source = &self.sources[id.0];
        let limit = source.settings.max_message_size;
        if let Some(conn) = source.key().and_then(|key| self.conns.get_mut(key)) {
            conn.codec.set_max_message_size(limit);
        }
        if let Some(key) = self.sources[id.0].open_key() {
            self.schedule_session(key, id);
        }
        if self.sources[id.0].state == State::GivenUp {
            self.redial(id, now);
        }
    }

    /// Dials a source anew, as if it had never failed. Its connection goes first.
    pub fn redial(&mut self, id: SourceId, now: Instant) {
        if self.ending.is_some() {
            return;
        }
        let source = &mut self.sources[id.0];
        source.backoff.reset();
        match source.state {
            // It is waited for already: it goes first.
            State::Waiting(_) if source.leaving.is_some() => {}
            State::Waiting(_) | State::GivenUp | State::Ended => self.dial(id, now),
            State::Dialing => {
                self.forget_dial(id);
                self.dial(id, now);
            }
            State::Opening(key) | State::Open { key, .. } => {
                log::info!("source {}: disconnected, to be dialled anew", source.label());
                self.replace(id, key, Goodbye::Reconfigured, now);
            }
            State::Idle | State::Removed => {}
        }
    }

    /// Ends the connection of a source in peace, and dials it anew at once.
    pub(super) fn replace(&mut self, id: SourceId, key: Key, goodbye: Goodbye, now: Instant) {
        let source = &mut self.sources[id.0];
        source.backoff.reset();
        if source.open_key().is_some() {
            source.down_since.get_or_insert(now);
        }
        source.enter(State::Waiting(now + LINGER), now);
        source.last_error = None;
        self.see_off_source(id, key, goodbye, now);
    }

    fn remove_source(&mut self, id: SourceId, now: Instant) {
        let source = &mut self.sources[id.0];
        if source.is_removed() {
            return;
        }
        let key = source.key();
        log::info!("source {}: removed, {} in all", source.label(), source.tally);
        source.enter(State::Removed, now);
        source.held = None;
        if let Some(key) = key {
            self.see_off_source(id, key, Goodbye::Reconfigured, now);
        }
        self.forget_dial(id);
        self.sources[id.0].channels.clear();
    }

    /// Says goodbye on a connection that its source has parted with.
    pub(super) fn see_off_source(
        &mut self,
        id: SourceId,
        key: Key,
        goodbye: Goodbye,
        now: Instant,
    ) {
        self.sources[id.0].leaving = Some(key);
        self.sources[id.0].has_delivered = false;
        match self.conns.get(key).map(|conn| conn.stage) {
            Some(Stage::Opening) => self.linger(key, now),
            Some(Stage::Open) => {
                self.dismiss(key, goodbye, now);
                self.tell_clients_of_loss(id, now);
            }
            Some(Stage::Draining { .. } | Stage::Lingering { .. }) | None => {}
        }
        self.release_waiting(id);
    }

    fn forget_dial(&mut self, id: SourceId) {
        self.commands
            .retain(|command| *command != Command::Dial(id) && *command != Command::Follow(id));
    }

    /// Sees clients of some endpoints off, also those whose handshake is under way.
    fn dismiss_clients(&mut self, id: ChannelId, is_meant: impl Fn(Gate) -> bool, now: Instant) {
        for key in self.connections_of(Role::Client(id)) {
            if self.conns.get(key).is_some_and(|conn| is_meant(conn.gate)) {
                self.dismiss(key, Goodbye::EndpointRemoved, now);
            }
        }
    }

    /// Sees those off who have come in by an endpoint of all channels and not named theirs.
    fn dismiss_newcomers(&mut self, now: Instant) {
        for key in self.connections_of(Role::Newcomer) {
            self.dismiss(key, Goodbye::EndpointRemoved, now);
        }
    }

    fn connections_of(&self, role: Role) -> Vec<Key> {
        let is_meant = |key: &Key| self.conns.get(*key).is_some_and(|conn| conn.role == role);
        self.conns.keys().filter(is_meant).collect()
    }
}

/// The channels that each source feeds.
fn feeds(channels: &[Option<ChannelSettings>], sources: usize) -> Vec<Vec<ChannelId>> {
    let fed_by = |id| {
        let feeds = |channel: &ChannelSettings| channel.sources.contains(&id);
        let is_fed = |channel: &Option<ChannelSettings>| channel.as_ref().is_some_and(feeds);
        let fed = (0..).map(ChannelId).zip(channels).filter(|(_, channel)| is_fed(channel));
        fed.map(|(id, _)| id).collect()
    };
    (0..sources).map(SourceId).map(fed_by).collect()
}
