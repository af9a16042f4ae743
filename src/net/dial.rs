//! Connecting: every address of a name is tried, IPv6 and IPv4 raced (RFC 8305).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry};

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

/// Why nothing was reached.
#[derive(Debug)]
pub enum DialError {
    /// The name has no address.
    NoAddress,
    /// No address answered in time.
    TimedOut,
    /// The last address to fail, and how.
    Failed(SocketAddr, io::Error),
}

#[derive(Debug)]
struct Dial<T> {
    tag: T,
    untried: VecDeque<SocketAddr>,
    running: usize,
    next_at: Instant,
    until: Instant,
    last_error: Option<(SocketAddr, io::Error)>,
}

#[derive(Debug)]
struct Attempt<T> {
    tag: T,
    address: SocketAddr,
    stream: TcpStream,
}

impl<T: Copy + Eq> Dialer<T> {
    /// No dial yet.
    pub fn new() -> Self {
        Self { attempts: Table::new(), dials: Vec::new() }
    }

    /// Begins to dial; a dial for the same is given up.
    pub fn start(&mut self, tag: T, addresses: Vec<SocketAddr>, now: Instant) {
        self.cancel(tag);
        self.dials.push(Dial {
            tag,
            untried: addresses.into(),
            running: 0,
            next_at: now,
            until: now + CONNECT_TIMEOUT,
            last_error: None,
        });
    }

    /// Gives a dial up.
    pub fn cancel(&mut self, tag: T) {
        self.dials.retain(|dial| dial.tag != tag);
        self.drop_attempts(tag);
    }

    /// Learns that an attempt's socket is ready: it has connected, or failed. The connection, whom
    /// it is for and where it leads; it is registered under a token of the dialer's.
    pub fn ready(&mut self, key: Key, now: Instant) -> Option<(T, TcpStream, SocketAddr)> {
        let attempt = self.attempts.get(key)?;
        match outcome(&attempt.stream) {
            Ok(false) => None,
            Ok(true) => {
                let Attempt { tag, address, stream } = self.attempts.remove(key)?;
                self.cancel(tag);
                // Without it, small messages wait for the acknowledgement of those before.
                let _ = stream.set_nodelay(true);
                Some((tag, stream, address))
            }
            Err(error) => {
                let Attempt { tag, address, .. } = self.attempts.remove(key)?;
                self.failed(tag, address, error, now);
                None
            }
        }
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
        let error = match last_error {
            _ if timed_out => DialError::TimedOut,
            Some((address, error)) => DialError::Failed(address, error),
            None => DialError::NoAddress,
        };
        Some((tag, error))
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
        let registered = TcpStream::connect(address).map(|stream| {
            let key = self.attempts.insert(Attempt { tag, address, stream });
            let attempt = self.attempts.get_mut(key).expect("just inserted");
            let token = Target::Dial(key).token();
            registry
                .register(&mut attempt.stream, token, Interest::READABLE | Interest::WRITABLE)
                .inspect_err(|_| drop(self.attempts.remove(key)))
        });
        if let Err(error) = registered.and_then(std::convert::identity) {
            self.failed(tag, address, error, now);
        }
    }

    /// Remembers the failure, and tries the next address at once.
    fn failed(&mut self, tag: T, address: SocketAddr, error: io::Error, now: Instant) {
        if let Some(dial) = self.dials.iter_mut().find(|dial| dial.tag == tag) {
            dial.running -= 1;
            dial.next_at = now;
            dial.last_error = Some((address, error));
        }
    }

    /// Closes what is under way for a dial. Says whether there was anything.
    fn drop_attempts(&mut self, tag: T) -> bool {
        let of_dial = |key: &Key| self.attempts.get(*key).is_some_and(|a| a.tag == tag);
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

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress => f.write_str("the name has no address"),
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
            Self::NoAddress | Self::TimedOut => None,
        }
    }
}
