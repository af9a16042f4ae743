//! A connected socket, whatever carries it.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use super::tls::TlsStream;

/// Bytes to a client that the system takes and has not sent yet, at most. More would hide how far
/// the client is behind, and stand in the way of our last words.
const UNSENT_BYTES: u32 = 512 * 1024;
/// The same for last words.
const RESERVE_BYTES: u32 = 2 * 1024 * 1024;
/// A client's connection on which nothing passes is asked by the system after so long,
const KEEP_ALIVE_AFTER: Duration = Duration::from_mins(1);
/// then this often,
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// and has vanished if it is silent so many times.
const KEEP_ALIVE_RETRIES: u32 = 4;

/// What the relay needs of a connection; tests have one in memory.
pub trait Socket: Read + Write {
    /// Says that nothing more will be written. Reading goes on.
    fn finish(&mut self) -> io::Result<()>;

    /// Lets the system take more than it usually does from now on: last words to a peer that is
    /// slow to read, which the system then delivers when we have gone. Not every kind has one.
    fn open_reserve(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether what the peer says next takes much computing: a client's TLS handshake. Not every
    /// kind has one.
    fn is_securing(&self) -> bool {
        false
    }
}

/// A non-blocking connection.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    /// A client's TCP connection. Its options are a matter of speed and fairness: without them it
    /// works, too.
    pub fn client(stream: TcpStream) -> Self {
        // Small messages do not wait for the acknowledgement of those before.
        let _ = stream.set_nodelay(true);
        let socket = SockRef::from(&stream);
        let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
        // Streams and bare TCP have no pings: the system notices a peer that has vanished.
        let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE_AFTER);
        let keep_alive = keep_alive.with_interval(KEEP_ALIVE_INTERVAL);
        let _ = socket.set_tcp_keepalive(&keep_alive.with_retries(KEEP_ALIVE_RETRIES));
        Self::Tcp(stream)
    }

    /// Asks to be told of readiness in both directions.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.source().register(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Exchanges the token of a stream that is registered already.
    pub fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.source().reregister(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Tls(stream) => stream.socket_mut(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(parts),
            Self::Unix(stream) => stream.write_vectored(parts),
            Self::Tls(stream) => stream.write_vectored(parts),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Socket for Stream {
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.finish(),
        }
    }

    fn open_reserve(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => SockRef::from(&*stream).set_tcp_notsent_lowat(RESERVE_BYTES),
            Self::Unix(_) => Ok(()),
            Self::Tls(stream) => {
                SockRef::from(stream.socket()).set_tcp_notsent_lowat(RESERVE_BYTES)
            }
        }
    }

    fn is_securing(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Tls(stream) => stream.is_securing(),
        }
    }
}
