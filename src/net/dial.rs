//! Connecting: every address of a name is tried, IPv6 and IPv4 raced (RFC 8305), and if it is a
//! proxy's, the proxy asked to connect on.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::proxy::Tunnel;
use crate::reactor::table::{Key, Table};
use crate::reactor::target::Target;

/// All attempts of one dial together take no longer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An address has this start before the next is tried beside it.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// All dials under way. `T` says whom a dial is for.
#[derive(Debug)]
pub struct Dialer<T> {
    attempts: Table<Attempt<T>>,
    dials: Vec<Dial<T>>,
}

/// How a dial leaves this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// Where from; `None`: as the system thinks best.
    pub exit: Option<Exit>,
    /// The system ends a connection whose bytes were not acknowledged for so long (RFC 5482).
    pub user_timeout: Option<Duration>,
    /// What is said to a proxy, if the addresses are a proxy's.
    pub tunnel: Option<Tunnel>,
}

/// Where connections leave this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// From an address of it.
    Address(IpAddr),
    /// By a network interface of it, such as `eth0`.
    Interface(String),
}

/// Why nothing was reached.
#[derive(Debug)]
pub enum DialError {
    /// The name has no address.
    NoAddress,
    /// The name has no address of the kind of this one, from which it should be reached.
    NoneFrom(IpAddr),
    /// The proxy was reached, and says no, in these words.
    Proxy(String),
    /// No address answered in time.
    TimedOut,
    /// The last address to fail, and how.
    Failed(SocketAddr, io::Error),
}

#[derive(Debug)]
struct Dial<T> {
    tag: T,
    way: Way,
    untried: VecDeque<SocketAddr>,
    running: usize,
    next_at: Instant,
    until: Instant,
    last_error: Option<DialError>,
}

#[derive(Debug)]
struct Attempt<T> {
    tag: T,
    address: SocketAddr,
    stream: TcpStream,
    /// What is being said to the proxy, once it was reached.
    tunnel: Option<Tunnel>,
}

impl<T: Copy + Eq> Dialer<T> {
    /// No dial yet.
    pub fn new() -> Self {
        Self { attempts: Table::new(), dials: Vec::new() }
    }

    /// Begins to dial; a dial for the same is given up.
    pub fn start(&mut self, tag: T, addresses: Vec<SocketAddr>, way: Way, now: Instant) {
        self.cancel(tag);
        let mut untried = VecDeque::from(addresses);
        let mut last_error = None;
        if let Some(Exit::Address(exit)) = way.exit
            && !untried.is_empty()
        {
            untried.retain(|address| address.is_ipv4() == exit.is_ipv4());
            last_error = Some(DialError::NoneFrom(exit)).filter(|_| untried.is_empty());
        }
        self.dials.push(Dial {
            tag,
            way,
            untried,
            running: 0,
            next_at: now,
            until: now + CONNECT_TIMEOUT,
            last_error,
        });
    }

    /// Gives a dial up.
    pub fn cancel(&mut self, tag: T) {
        self.dials.retain(|dial| dial.tag != tag);
        self.drop_attempts(tag);
    }

    /// Learns that an attempt's socket is ready: it has connected, failed, or heard of its proxy. The
    /// connection, whom it is for and where it leads; it is registered under a token of the dialer's.
    pub fn ready(&mut self, key: Key, now: Instant) -> Option<(T, TcpStream, SocketAddr)> {
        let attempt = self.attempts.get_mut(key)?;
        let (tag, address) = (attempt.tag, attempt.address);
        if attempt.tunnel.is_none() {
            match outcome(&attempt.stream) {
                Ok(false) => return None,
                Ok(true) => self.reached(key),
                Err(error) => {
                    self.attempts.remove(key);
                    self.failed(tag, DialError::Failed(address, error), now);
                    return None;
                }
            }
        }
        let Attempt { tunnel, stream, .. } = self.attempts.get_mut(key)?;
        match tunnel.as_mut().map_or(Ok(true), |tunnel| tunnel.step(stream)) {
            Ok(false) => None,
            Ok(true) => {
                let stream = self.attempts.remove(key)?.stream;
                self.cancel(tag);
                Some((tag, stream, address))
            }
            Err(why) => {
                self.attempts.remove(key);
                self.failed(tag, DialError::Proxy(why), now);
                None
            }
        }
    }

    /// An attempt has connected: the others are given up. If that is a proxy, it is spoken to.
    fn reached(&mut self, key: Key) {
        let Some(winner) = self.attempts.get_mut(key) else { return };
        // Without it, small messages wait for the acknowledgement of those before.
        let _ = winner.stream.set_nodelay(true);
        let tag = winner.tag;
        let Some(dial) = self.dials.iter_mut().find(|dial| dial.tag == tag) else { return };
        winner.tunnel.clone_from(&dial.way.tunnel);
        dial.untried.clear();
        dial.running = 1;
        self.drop_attempts_but(tag, Some(key));
    }

    /// Begins the attempts that are due. The next dial that has ended without a connection.
    pub fn poll(&mut self, registry: &Registry, now: Instant) -> Option<(T, DialError)> {
        for n in 0..self.dials.len() {
            while self.dials[n].next_at <= now
                && let Some(address) = self.dials[n].untried.pop_front()
            {
                self.attempt(n, address, registry, now);
            }
        }
        let ended =
            |dial: &Dial<T>| dial.until <= now || (dial.untried.is_empty() && dial.running == 0);
        let place = self.dials.iter().position(ended)?;
        let Dial { tag, last_error, .. } = self.dials.swap_remove(place);
        let timed_out = self.drop_attempts(tag);
        let error = last_error.filter(|_| !timed_out);
        Some((
            tag,
            error.unwrap_or(if timed_out { DialError::TimedOut } else { DialError::NoAddress }),
        ))
    }

    /// When [`Self::poll`] has something to do at the latest.
    pub fn wake_at(&self) -> Option<Instant> {
        self.dials.iter().map(Dial::wake_at).min()
    }

    fn attempt(&mut self, n: usize, address: SocketAddr, registry: &Registry, now: Instant) {
        let dial = &mut self.dials[n];
        dial.next_at = now + ATTEMPT_DELAY;
        dial.running += 1;
        let tag = dial.tag;
        let registered = connect(address, &dial.way).map(|stream| {
            let key = self.attempts.insert(Attempt { tag, address, stream, tunnel: None });
            let attempt = self.attempts.get_mut(key).expect("just inserted");
            let token = Target::Dial(key).token();
            registry
                .register(&mut attempt.stream, token, Interest::READABLE | Interest::WRITABLE)
                .inspect_err(|_| drop(self.attempts.remove(key)))
        });
        if let Err(error) = registered.and_then(std::convert::identity) {
            self.failed(tag, DialError::Failed(address, error), now);
        }
    }

    /// Remembers the failure, and tries the next address at once.
    fn failed(&mut self, tag: T, error: DialError, now: Instant) {
        if let Some(dial) = self.dials.iter_mut().find(|dial| dial.tag == tag) {
            dial.running -= 1;
            dial.next_at = now;
            dial.last_error = Some(error);
        }
    }

    /// Closes what is under way for a dial. Says whether there was anything.
    fn drop_attempts(&mut self, tag: T) -> bool {
        self.drop_attempts_but(tag, None)
    }

    fn drop_attempts_but(&mut self, tag: T, winner: Option<Key>) -> bool {
        let of_dial = |key: &Key| {
            Some(*key) != winner && self.attempts.get(*key).is_some_and(|a| a.tag == tag)
        };
        let keys: Vec<_> = self.attempts.keys().filter(of_dial).collect();
        for key in &keys {
            self.attempts.remove(*key);
        }
        !keys.is_empty()
    }
}

impl<T: Copy + Eq> Default for Dialer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Dial<T> {
    fn wake_at(&self) -> Instant {
        if self.untried.is_empty() && self.running > 0 {
            self.until
        } else {
            self.next_at.min(self.until)
        }
    }
}

/// Begins to connect.
fn connect(address: SocketAddr, way: &Way) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if way.user_timeout.is_some() {
        socket.set_tcp_user_timeout(way.user_timeout)?;
    }
    let bound = match &way.exit {
        Some(Exit::Address(exit)) => socket.bind(&SocketAddr::new(*exit, 0).into()),
        Some(Exit::Interface(name)) => socket.bind_device(Some(name.as_bytes())),
        None => Ok(()),
    };
    if let (Err(error), Some(exit)) = (bound, &way.exit) {
        return Err(io::Error::other(format!("cannot leave by {exit}: {error}")));
    }
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        Ok(()) | Err(_) => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether a socket is connected by now.
fn outcome(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("the name has no address"),
            Self::NoneFrom(exit) => {
                let family = if exit.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(f, "the name has no {family} address to reach from {exit}, see `bind`")
            }
            Self::Proxy(why) => f.write_str(why),
            Self::TimedOut => write!(f, "no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            Self::Failed(address, error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(f, "{address}: connection refused")
            }
            Self::Failed(address, error) => write!(f, "{address}: {error}"),
        }
    }
}

impl std::error::Error for DialError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(_, error) => Some(error),
            Self::NoAddress | Self::NoneFrom(_) | Self::Proxy(_) | Self::TimedOut => None,
        }
    }
}
