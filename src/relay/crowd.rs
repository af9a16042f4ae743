//! How many connections came in by one kind of endpoint, and from where.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use super::MAX_REFUSALS;
use super::conn::Peer;
use super::settings::ChannelSettings;
use crate::codec::ws::Closed;

/// The connections of a channel that came in by one kind of endpoint, also those who are coming
/// or going.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) population: usize,
    /// How many of them come from each address, or network of IPv6.
    from: HashMap<IpAddr, usize>,
    /// Clients were turned away since there was room.
    pub(super) is_full: bool,
}

/// Whether there is room for another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is.
    Free,
    /// There is for a few to whom it is said that there is not.
    ToRefuse(Closed),
    /// There is not.
    None,
}

impl Crowd {
    /// Counts a connection that comes.
    pub(super) fn enter(&mut self, peer: Peer) {
        self.population += 1;
        if let Some(network) = peer.network() {
            *self.from.entry(network).or_default() += 1;
        }
    }

    /// Counts a connection that is gone.
    pub(super) fn exit(&mut self, peer: Peer) {
        self.population -= 1;
        if let Some(network) = peer.network()
            && let Entry::Occupied(mut count) = self.from.entry(network)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Whether somebody may come, too.
    pub(super) fn room(&self, settings: &ChannelSettings, peer: Peer) -> Room {
        let from_there = peer.network().and_then(|network| self.from.get(&network).copied());
        let limits = [
            (settings.max_clients, self.population, Closed::Full),
            (settings.max_clients_per_address, from_there.unwrap_or_default(), Closed::Crowded),
        ];
        let rooms = limits.map(|(most, there, why)| match there.checked_sub(most) {
            None => Room::Free,
            Some(above) if above < MAX_REFUSALS => Room::ToRefuse(why),
            Some(_) => Room::None,
        });
        match rooms {
            [Room::Free, Room::Free] => Room::Free,
            [Room::None, _] | [_, Room::None] => Room::None,
            [Room::ToRefuse(why), _] | [Room::Free, Room::ToRefuse(why)] => Room::ToRefuse(why),
        }
    }
}
