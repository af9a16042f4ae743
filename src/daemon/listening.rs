//! The open endpoints, of clients and of operators: accepting, within limits, also when descriptors
//! run out.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use mio::Registry;

use super::Error;
use super::admin::Access;
use crate::codec::Gate;
use crate::config::settings::{self, Guests, Settings};
use crate::net::listener::{Accepted, Address, Listener, Place};
use crate::net::passed::Passed;
use crate::net::stream::Socket;
use crate::reactor::pace::Pace;
use crate::reactor::target::Target;

/// Connections accepted in one turn, at most.
const ACCEPTS_PER_TURN: usize = 64;
/// The pause after the system had no descriptor left: no event will tell when it has.
const RETRY: Duration = Duration::from_secs(1);

/// The answer to an address that may not connect, whatever it has asked for.
const NOT_ADMITTED: &[u8] = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 49\r\n\r\n\
    403 Forbidden: your address may not connect here\n";

/// All endpoints.
#[derive(Debug)]
pub(super) struct Listening {
    /// By the place that tokens name; those of closed ones are free.
    endpoints: Vec<Option<Endpoint>>,
    accepted_this_turn: usize,
    next_place: usize,
}

/// Who has connected, and where.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) accepted: Accepted,
    pub(super) guests: Guests,
    pub(super) gate: Gate,
}

/// What came of somebody's knock.
#[derive(Debug)]
enum Knock {
    LetIn(Arrival),
    TurnedAway,
}

#[derive(Debug)]
struct Endpoint {
    settings: settings::Endpoint,
    /// The address as it is configured, which may stand for several listeners.
    place: Place,
    listener: Listener,
    /// Connections may wait to be accepted.
    is_ready: bool,
    /// How many it has let in.
    pace: Pace,
    /// When the next may be accepted: no descriptor was left, or so many have come in a second.
    retry_at: Option<Instant>,
    /// The log has said so, and not yet that it is over.
    has_complained: bool,
}

impl Listening {
    /// Opens every endpoint, or none.
    pub(super) fn open(
        settings: &Settings,
        passed: &mut Passed,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let mut listening = Self { endpoints: Vec::new(), accepted_this_turn: 0, next_place: 0 };
        for endpoint in &settings.endpoints {
            let place = endpoint.address.resolve().map_err(Error::Bind)?;
            let listeners = passed.bind(&place).map_err(Error::Bind)?;
            listening.seat(listeners, endpoint, &place, registry)?;
        }
        Ok(listening)
    }

    /// Listens where it is wanted from now on, and nowhere else; or changes nothing. What is open
    /// stays open, what is new opens before the rest closes. `places` has all the addresses.
    pub(super) fn reload(
        &mut self,
        wanted: &[settings::Endpoint],
        places: &[Place],
        registry: &Registry,
    ) -> Result<(), Error> {
        let mut moved = Moved::default();
        let result = self.open_missing(wanted, places, &mut moved, registry);
        if let Err(error) = result.and_then(|()| self.set_modes(wanted)) {
            self.undo(moved, registry);
            return Err(error);
        }
        for slot in &mut self.endpoints {
            let Some(endpoint) = slot else { continue };
            let Some(wanted) = endpoint.wanted(wanted) else {
                *slot = None;
                continue;
            };
            endpoint.settings.renew(wanted);
            if let Some(place) = place_of(&wanted.address, places) {
                endpoint.place = place.clone();
            }
        }
        Ok(())
    }

    /// Who is let in at each open socket, and its address.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (Guests, String)> {
        let open = self.endpoints.iter().flatten();
        open.map(|endpoint| (endpoint.settings.guests, endpoint.url()))
    }

    /// What may be done at the open doors of operators.
    pub(super) fn doors(&self) -> impl Iterator<Item = Access> {
        let open = self.endpoints.iter().flatten();
        let doors = open.filter(|endpoint| endpoint.settings.guests == Guests::Operators);
        doors.map(|endpoint| Access::at(&endpoint.settings.address))
    }

    /// Learns that somebody has connected.
    pub(super) fn ready(&mut self, place: usize) {
        if let Some(Some(endpoint)) = self.endpoints.get_mut(place) {
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
            let Some(endpoint) = &mut self.endpoints[place] else { continue };
            while self.accepted_this_turn < ACCEPTS_PER_TURN
                && let Some(knock) = endpoint.accept(now)
            {
                self.accepted_this_turn += 1;
                if let Knock::LetIn(arrival) = knock {
                    self.next_place = place + 1;
                    return Some(arrival);
                }
            }
        }
        self.accepted_this_turn = 0;
        None
    }

    /// When connections may wait that no event will tell of.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let waiting = self.endpoints.iter().flatten().filter(|endpoint| endpoint.is_ready);
        waiting.map(|endpoint| endpoint.retry_at.unwrap_or(now)).min()
    }

    /// Accepts nobody from now on; socket files go.
    pub(super) fn close(&mut self) {
        self.endpoints.clear();
    }

    /// Opens all listeners of an address, or none. The tokens they got.
    fn open_at(
        &mut self,
        endpoint: &settings::Endpoint,
        place: &Place,
        registry: &Registry,
    ) -> Result<Vec<usize>, Error> {
        let listeners = place.bind().map_err(Error::Bind)?;
        self.seat(listeners, endpoint, place, registry)
    }

    /// Gives open sockets their places in the list.
    fn seat(
        &mut self,
        mut listeners: Vec<Listener>,
        endpoint: &settings::Endpoint,
        place: &Place,
        registry: &Registry,
    ) -> Result<Vec<usize>, Error> {
        let free = (0..self.endpoints.len()).filter(|n| self.endpoints[*n].is_none());
        let slots: Vec<_> = free.chain(self.endpoints.len()..).take(listeners.len()).collect();
        for (listener, slot) in listeners.iter_mut().zip(&slots) {
            let token = Target::Listener(*slot).token();
            listener.register(registry, token).map_err(Error::System)?;
        }
        for (listener, slot) in listeners.into_iter().zip(&slots) {
            if *slot == self.endpoints.len() {
                self.endpoints.push(None);
            }
            let endpoint = Endpoint::new(endpoint.clone(), place.clone(), listener);
            self.endpoints[*slot] = Some(endpoint);
        }
        Ok(slots)
    }

    /// Opens what is wanted and not open; notes in `moved` what was done.
    fn open_missing(
        &mut self,
        wanted: &[settings::Endpoint],
        places: &[Place],
        moved: &mut Moved,
        registry: &Registry,
    ) -> Result<(), Error> {
        let mut blocked = Vec::new();
        for endpoint in wanted {
            if self.is_open(&endpoint.address) {
                continue;
            }
            let Some(place) = place_of(&endpoint.address, places) else { continue };
            match self.open_at(endpoint, place, registry) {
                Ok(opened) => moved.opened.extend(opened),
                Err(_) if self.is_in_the_way(&endpoint.address, wanted) => {
                    blocked.push((endpoint, place));
                }
                Err(error) => return Err(error),
            }
        }
        // All interfaces and one of them cannot have the same port: the old one goes first here.
        for (endpoint, place) in blocked {
            self.close_in_the_way(place.address(), wanted, moved);
            moved.opened.extend(self.open_at(endpoint, place, registry)?);
        }
        Ok(())
    }

    fn is_open(&self, address: &Address) -> bool {
        self.endpoints
            .iter()
            .flatten()
            .any(|endpoint| endpoint.place.address().is_same_place(address))
    }

    /// Whether a listener that is to close anyway has the port.
    fn is_in_the_way(&self, address: &Address, wanted: &[settings::Endpoint]) -> bool {
        let mut open = self.endpoints.iter().flatten();
        open.any(|endpoint| endpoint.is_leaving(wanted) && endpoint.has_port_of(address))
    }

    fn close_in_the_way(
        &mut self,
        address: &Address,
        wanted: &[settings::Endpoint],
        moved: &mut Moved,
    ) {
        for slot in &mut self.endpoints {
            let blocks = |open: &mut Endpoint| open.is_leaving(wanted) && open.has_port_of(address);
            if let Some(Endpoint { settings, place, .. }) = slot.take_if(blocks)
                && !moved.closed.iter().any(|(closed, _)| closed.address == settings.address)
            {
                moved.closed.push((settings, place));
            }
        }
    }

    /// Gives the socket files that stay the wanted rights, or all the ones they had.
    fn set_modes(&self, wanted: &[settings::Endpoint]) -> Result<(), Error> {
        for endpoint in self.endpoints.iter().flatten() {
            let (Address::Unix { mode: old, .. }, Some(new)) =
                (endpoint.place.address(), endpoint.wanted_mode(wanted))
            else {
                continue;
            };
            if new != *old
                && let Err(error) = endpoint.listener.set_mode(new)
            {
                self.restore_modes();
                return Err(Error::Mode(endpoint.url(), error));
            }
        }
        Ok(())
    }

    fn restore_modes(&self) {
        for endpoint in self.endpoints.iter().flatten() {
            if let Address::Unix { mode, .. } = endpoint.place.address() {
                // Who refuses this refused the change, too.
                let _ = endpoint.listener.set_mode(*mode);
            }
        }
    }

    /// Closes what was opened and opens what was closed.
    fn undo(&mut self, moved: Moved, registry: &Registry) {
        for slot in moved.opened {
            self.endpoints[slot] = None;
        }
        for (endpoint, place) in moved.closed {
            if let Err(error) = self.open_at(&endpoint, &place, registry) {
                log::error!("{error}; it was open until now");
            }
        }
    }
}

/// What a reload has done so far.
#[derive(Debug, Default)]
struct Moved {
    /// Slots of new listeners.
    opened: Vec<usize>,
    /// What had to be closed first.
    closed: Vec<(settings::Endpoint, Place)>,
}

fn place_of<'a>(address: &Address, places: &'a [Place]) -> Option<&'a Place> {
    places.iter().find(|place| place.address() == address)
}

impl Endpoint {
    fn new(settings: settings::Endpoint, place: Place, listener: Listener) -> Self {
        Self {
            settings,
            place,
            listener,
            is_ready: true,
            pace: Pace::default(),
            retry_at: None,
            has_complained: false,
        }
    }

    /// The address of its listener, for people to connect to.
    fn url(&self) -> String {
        format!("{}{}", self.settings.scheme(), self.listener.local_address())
    }

    /// This endpoint among those that are wanted.
    fn wanted<'a>(&self, all: &'a [settings::Endpoint]) -> Option<&'a settings::Endpoint> {
        all.iter().find(|wanted| wanted.address.is_same_place(self.place.address()))
    }

    fn is_leaving(&self, wanted: &[settings::Endpoint]) -> bool {
        self.wanted(wanted).is_none()
    }

    fn has_port_of(&self, other: &Address) -> bool {
        match (self.place.address(), other) {
            (Address::Tcp { port, .. }, Address::Tcp { port: other, .. }) => port == other,
            (Address::Unix { .. }, _) | (_, Address::Unix { .. }) => false,
        }
    }

    fn wanted_mode(&self, wanted: &[settings::Endpoint]) -> Option<u32> {
        match self.wanted(wanted)?.address {
            Address::Unix { mode, .. } => Some(mode),
            Address::Tcp { .. } => None,
        }
    }

    fn accept(&mut self, now: Instant) -> Option<Knock> {
        while self.is_ready && self.retry_at.is_none_or(|at| at <= now) {
            match self.listener.accept() {
                Ok(accepted) => {
                    // Who is turned away takes nothing of what others may have.
                    if !self.settings.admission.admits(&accepted) {
                        self.turn_away(accepted);
                        return Some(Knock::TurnedAway);
                    }
                    self.retry_at = self.next_at(now);
                    let accepted = match &self.settings.tls {
                        Some(tls) => accepted.secured(&tls.acceptor),
                        None => accepted,
                    };
                    let (guests, gate) = (self.settings.guests, self.settings.gate());
                    return Some(Knock::LetIn(Arrival { accepted, guests, gate }));
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

    /// When the next may be accepted, if that is not now.
    fn next_at(&mut self, now: Instant) -> Option<Instant> {
        match self.settings.max_connection_rate {
            0 => None,
            rate => {
                self.pace.spend(1, rate, now);
                self.pace.ready_at(now)
            }
        }
    }

    /// Says why somebody may not stay, as far as that goes without waiting for it.
    fn turn_away(&self, accepted: Accepted) {
        match accepted {
            Accepted::Tcp(mut stream, peer) => {
                let address = peer.ip();
                log::info!("{}: {address} may not connect, see allow and deny", self.url());
                // In TLS, words would be garbage.
                if self.settings.tls.is_none() {
                    let _ = stream.write(NOT_ADMITTED);
                    let _ = stream.finish();
                }
            }
            Accepted::Unix(_, Some(credentials)) => {
                log::info!("{}: {credentials} may not connect, see users and groups", self.url());
            }
            Accepted::Unix(_, None) => {
                log::info!("{}: a process of no known user may not connect", self.url());
            }
        }
    }

    fn wait_for_descriptors(&mut self, error: &io::Error, now: Instant) {
        if !std::mem::replace(&mut self.has_complained, true) {
            let (address, seconds) = (self.url(), RETRY.as_secs());
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
            log::info!("{}: accepts again", self.url());
        }
    }
}
