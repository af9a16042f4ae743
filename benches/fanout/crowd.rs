//! The clients, thousands of them, on one loop.
//!
//! Every message of every client is seen: its number tells whether it came in its turn, its send
//! time how long it took. Nothing is kept. Where wires are compared, most clients count bytes
//! instead: how long a client takes to read another form of the same messages decides how full its
//! socket is, and that is not the relay's.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::PATIENCE;
use crate::client::{Client, Company, Habit};
use crate::contender::{Address, Relay};
use crate::failure::Failure;
use crate::meter::{Histogram, nanoseconds, now_ns, sleep};

const READ_BUFFER_BYTES: usize = 128 * 1024;
/// How often a watch looks, and the longest wait.
const GLANCE: Duration = Duration::from_millis(5);
/// A pause that is longer counts as a stall of the whole crowd.
const STALL: Duration = Duration::from_millis(50);

/// Everybody who listens to one relay.
pub(crate) struct Crowd {
    poll: Poll,
    clients: Vec<Client>,
    buffer: Box<[u8]>,
    pub(crate) latencies: Histogram,
    /// When the last message came, in nanoseconds.
    last_ns: u64,
    stalls: Vec<Stall>,
}

/// A time in which nobody received anything although messages were to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) began_ns: u64,
    pub(crate) ended_ns: u64,
}

/// What the clients have got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Census {
    pub(crate) received: u64,
    pub(crate) out_of_order: u64,
    /// Clients whose connection the relay has ended.
    pub(crate) cut: usize,
}

/// What a watch is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Glimpse {
    pub(crate) now_ns: u64,
    /// How many of those who never read were cut, as their sockets tell.
    pub(crate) stalled_and_cut: usize,
}

impl Crowd {
    /// Connects all clients, the first of them as soon as the relay listens.
    pub(crate) fn connect(relay: &mut Relay, company: &Company) -> Result<Self, Failure> {
        let Company { count, stalled, .. } = *company;
        let mut crowd = Self {
            poll: Poll::new().map_err(Failure::during("polling"))?,
            clients: Vec::with_capacity(count),
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
            latencies: Histogram::new(),
            last_ns: now_ns(),
            stalls: Vec::new(),
        };
        wait_for_listener(relay)?;
        for index in 0..count {
            let habit = if index < count - stalled { Habit::Reads } else { Habit::Stalls };
            let client = Client::connect(relay.address(), company, index, habit)
                .map_err(|failure| Failure::new(format!("client {index}: {failure}")))?;
            crowd.register(&client, Token(index), Interest::READABLE)?;
            crowd.clients.push(client);
        }
        Ok(crowd)
    }

    /// Receives until all who read and live have got the messages below `goal`.
    ///
    /// `watch` is called every few milliseconds. Gives up, without an error, when nothing has come
    /// for a while: the census tells what is missing.
    pub(crate) fn receive(
        &mut self,
        goal: u64,
        mut watch: impl FnMut(Glimpse) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        let mut waiting = self.behind(goal);
        self.last_ns = now_ns();
        let mut watched_ns = self.last_ns;
        while waiting > 0 {
            self.wait(&mut events, GLANCE)?;
            let mut now = now_ns();
            let began_ns = now;
            for event in &events {
                let Token(index) = event.token();
                if self.serve(index, event, goal, &mut now)? {
                    waiting -= 1;
                }
            }
            if now - watched_ns >= nanoseconds(GLANCE) {
                watched_ns = now;
                watch(self.glimpse(now))?;
            }
            if began_ns.saturating_sub(self.last_ns) > nanoseconds(PATIENCE) {
                break;
            }
        }
        Ok(())
    }

    /// Goes on for `time` whatever comes.
    pub(crate) fn linger(
        &mut self,
        time: Duration,
        mut watch: impl FnMut(Glimpse) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let mut events = Events::with_capacity(1024);
        let end_ns = now_ns() + nanoseconds(time);
        loop {
            self.wait(&mut events, GLANCE)?;
            let mut now = now_ns();
            for event in &events {
                self.serve(event.token().0, event, u64::MAX, &mut now)?;
            }
            if now > end_ns || watch(self.glimpse(now))? {
                return Ok(());
            }
        }
    }

    /// Makes every client send `each` messages, numbered from `first`, while [`Self::linger`] runs.
    pub(crate) fn prepare(&mut self, payload_bytes: usize, first: u64, each: u64) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            client.prepare(payload_bytes, index as u64, first..first + each);
        }
    }

    pub(crate) fn start_sending(&mut self) -> Result<(), Failure> {
        for (index, client) in self.clients.iter().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll
                .registry()
                .reregister(&mut SourceFd(&client.fd.as_raw_fd()), Token(index), interest)
                .map_err(Failure::during("polling"))?;
        }
        Ok(())
    }

    /// What those have got who read.
    pub(crate) fn census(&self) -> Census {
        let readers = self.clients.iter().filter(|client| client.habit == Habit::Reads);
        readers.fold(Census::default(), |census, client| Census {
            received: census.received + client.tally.received,
            out_of_order: census.out_of_order + client.out_of_order(),
            cut: census.cut + usize::from(client.is_cut),
        })
    }

    pub(crate) fn stalls(&self) -> &[Stall] {
        &self.stalls
    }

    pub(crate) fn last_ns(&self) -> u64 {
        self.last_ns
    }

    /// From now on only the first so many clients look at messages; the others count their bytes.
    pub(crate) fn check_only(&mut self, count: usize) {
        self.clients.iter_mut().skip(count).for_each(Client::count_bytes);
    }

    pub(crate) fn forget_latencies(&mut self) {
        self.latencies.clear();
        self.stalls.clear();
    }

    fn register(&self, client: &Client, token: Token, interest: Interest) -> Result<(), Failure> {
        let fd = client.fd.as_raw_fd();
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), token, interest).map_err(Failure::during("polling"))
    }

    fn glimpse(&self, now_ns: u64) -> Glimpse {
        let cut = self.clients.iter().filter(|client| client.is_cut);
        let stalled_and_cut = cut.filter(|client| client.habit == Habit::Stalls).count();
        Glimpse { now_ns, stalled_and_cut }
    }

    fn behind(&self, goal: u64) -> usize {
        self.clients.iter().filter(|client| client.is_awaited(goal)).count()
    }

    fn wait(&mut self, events: &mut Events, timeout: Duration) -> Result<(), Failure> {
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            outcome => outcome.map_err(Failure::during("polling")),
        }
    }

    /// Serves one client; true if it was awaited before and is no longer.
    fn serve(
        &mut self,
        index: usize,
        event: &Event,
        goal: u64,
        now: &mut u64,
    ) -> Result<bool, Failure> {
        let Self { clients, buffer, latencies, last_ns, stalls, .. } = self;
        let client = &mut clients[index];
        let was_awaited = client.is_awaited(goal);
        if client.habit == Habit::Stalls {
            client.is_cut |= event.is_read_closed() || event.is_write_closed() || event.is_error();
            return Ok(false);
        }
        if event.is_writable() {
            client.send();
        }
        let received_before = client.tally.received;
        if event.is_readable() {
            client
                .read(buffer, latencies, now)
                .map_err(|failure| Failure::new(format!("client {index}: {failure}")))?;
        }
        if client.tally.received > received_before {
            if *now - *last_ns > nanoseconds(STALL) {
                stalls.push(Stall { began_ns: *last_ns, ended_ns: *now });
            }
            *last_ns = *now;
        }
        Ok(was_awaited && !client.is_awaited(goal))
    }
}

/// Waits until connections are accepted.
fn wait_for_listener(relay: &mut Relay) -> Result<(), Failure> {
    let deadline_ns = now_ns() + nanoseconds(PATIENCE);
    loop {
        relay.check_alive()?;
        let attempt = match relay.address() {
            Address::WebSocket(address) => TcpStream::connect(address).map(drop),
            Address::Unix(path) => UnixStream::connect(path).map(drop),
        };
        let Err(error) = attempt else { return Ok(()) };
        let is_early = matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound);
        if !is_early || now_ns() > deadline_ns {
            return Err(Failure::during("awaiting the relay's endpoint")(error));
        }
        sleep(GLANCE);
    }
}
