//! The open endpoints: accepting, within limits, also when descriptors run out.

use std::io;
use std::time::{Duration, Instant};

use mio::Registry;

use super::Error;
use crate::codec::Wire;
use crate::config::settings::Settings;
use crate::net::listener::{Accepted, Listener};
use crate::net::stream::Stream;
use crate::reactor::target::Target;
use crate::relay::Peer;
use crate::relay::settings::ChannelId;

/// Connections accepted in one turn, at most.
const ACCEPTS_PER_TURN: usize = 64;
/// The pause after the system had no descriptor left: no event will tell when it has.
const RETRY: Duration = Duration::from_secs(1);

/// All endpoints.
#[derive(Debug)]
pub(super) struct Listening {
    endpoints: Vec<Endpoint>,
    accepted_this_turn: usize,
    next_place: usize,
}

/// A new client, and what it came for.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: Stream,
    pub(super) peer: Peer,
    pub(super) channel: ChannelId,
    pub(super) wire: Wire,
}

#[derive(Debug)]
struct Endpoint {
    listener: Listener,
    channel: ChannelId,
    wire: Wire,
    /// Connections may wait to be accepted.
    is_ready: bool,
    /// No descriptor was left; tried again at this instant.
    retry_at: Option<Instant>,
    /// The log has said so, and not yet that it is over.
    has_complained: bool,
}

impl Listening {
    /// Opens every endpoint, or none.
    pub(super) fn open(settings: &Settings, registry: &Registry) -> Result<Self, Error> {
        let mut endpoints = Vec::new();
        for endpoint in &settings.endpoints {
            for mut listener in Listener::bind(&endpoint.address).map_err(Error::Bind)? {
                let token = Target::Listener(endpoints.len()).token();
                listener.register(registry, token).map_err(Error::System)?;
                endpoints.push(Endpoint::new(listener, endpoint.channel));
            }
        }
        Ok(Self { endpoints, accepted_this_turn: 0, next_place: 0 })
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (ChannelId, String)> {
        self.endpoints.iter().map(|endpoint| (endpoint.channel, endpoint.listener.local_address()))
    }

    /// Learns that somebody has connected.
    pub(super) fn ready(&mut self, place: usize) {
        if let Some(endpoint) = self.endpoints.get_mut(place) {
            endpoint.is_ready = true;
        }
    }

    /// The next who has connected, `None` if nobody has or enough came in this turn.
    pub(super) fn accept(&mut self, now: Instant) -> Option<Arrival> {
        let count = self.endpoints.len();
        // Who was accepted from last is asked last, so that no endpoint keeps another waiting.
        for place in (self.next_place..count).chain(0..self.next_place.min(count)) {
            if self.accepted_this_turn == ACCEPTS_PER_TURN {
                break;
            }
            if let Some(arrival) = self.endpoints[place].accept(now) {
                self.accepted_this_turn += 1;
                self.next_place = place + 1;
                return Some(arrival);
            }
        }
        self.accepted_this_turn = 0;
        None
    }

    /// When connections may wait that no event will tell of.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.endpoints.iter().filter(|endpoint| endpoint.is_ready);
        waiting.map(|endpoint| endpoint.retry_at.unwrap_or(now)).min()
    }

    /// Accepts nobody from now on; socket files go.
    pub(super) fn close(&mut self) {
        self.endpoints.clear();
    }
}

impl Endpoint {
    fn new(listener: Listener, channel: ChannelId) -> Self {
        let wire = match listener {
            Listener::Tcp(_) => Wire::WebSocket,
            Listener::Unix(..) => Wire::Prefixed,
        };
        Self { listener, channel, wire, is_ready: true, retry_at: None, has_complained: false }
    }

    fn accept(&mut self, now: Instant) -> Option<Arrival> {
        while self.is_ready && self.retry_at.is_none_or(|at| at <= now) {
            match self.listener.accept() {
                Ok(accepted) => {
                    self.retry_at = None;
                    return Some(self.arrival(accepted));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_ready = false;
                    self.descriptors_are_back();
                }
                // Whoever it was has gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.wait_for_descriptors(&error, now),
            }
        }
        None
    }

    fn wait_for_descriptors(&mut self, error: &io::Error, now: Instant) {
        if !std::mem::replace(&mut self.has_complained, true) {
            let (address, seconds) = (self.listener.local_address(), RETRY.as_secs());
            log::error!(
                "{address}: cannot accept ({error}), retried every {seconds} s; those who are \
                 connected are served on; see LimitNOFILE or ulimit -n"
            );
        }
        self.retry_at = Some(now + RETRY);
    }

    /// Everyone who waited has been accepted.
    fn descriptors_are_back(&mut self) {
        self.retry_at = None;
        if std::mem::take(&mut self.has_complained) {
            log::info!("{}: accepts again", self.listener.local_address());
        }
    }

    fn arrival(&self, accepted: Accepted) -> Arrival {
        let (stream, peer) = match accepted {
            Accepted::Tcp(stream, address) => (stream, Peer::Tcp(address)),
            Accepted::Unix(stream) => (stream, Peer::Unix),
        };
        Arrival { stream, peer, channel: self.channel, wire: self.wire }
    }
}
