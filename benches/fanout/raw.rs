//! The raw fan-out: what forwarding costs when nothing is parsed, limited or counted.
//!
//! Upstream bytes are sent on as they come, one write for each client and batch. A client whose
//! socket is full has the rest kept for it, without limit; only reading upstream stops while a
//! client is owed more than [`MAX_OWED_BYTES`], for a source that writes as fast as it can would
//! fill the memory.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;

use crate::failure::Failure;
use crate::handshake;

const READ_BUFFER_BYTES: usize = 64 * 1024;
const MAX_OWED_BYTES: usize = 4 * 1024 * 1024;
const LISTENER: Token = Token(0);
const UPSTREAM: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// Where clients are accepted.
#[derive(Debug)]
enum Listener {
    WebSocket(TcpListener),
    Unix(UnixListener),
}

struct Client {
    fd: OwnedFd,
    is_open: bool,
    request: Vec<u8>,
    owed: VecDeque<u8>,
}

struct Fanout {
    poll: Poll,
    listener: Listener,
    upstream: TcpStream,
    upstream_is_readable: bool,
    upstream_is_over: bool,
    clients: Vec<Option<Client>>,
    /// How many clients are owed more than [`MAX_OWED_BYTES`].
    far_behind: usize,
    buffer: Box<[u8]>,
}

/// Dials `upstream`, prints the address where WebSocket clients are accepted, and relays until the
/// upstream ends. With a `socket` clients are accepted there, without a handshake.
pub(crate) fn run(upstream: SocketAddr, socket: Option<&Path>) -> Result<(), Failure> {
    let mut fanout = Fanout::new(upstream, socket)?;
    fanout.announce()?;
    let mut events = Events::with_capacity(1024);
    while !fanout.upstream_is_over {
        fanout.turn(&mut events)?;
    }
    Ok(())
}

impl Fanout {
    fn new(upstream: SocketAddr, socket: Option<&Path>) -> Result<Self, Failure> {
        let listener = match socket {
            None => TcpListener::bind("127.0.0.1:0").map(Listener::WebSocket),
            Some(path) => UnixListener::bind(path).map(Listener::Unix),
        }
        .map_err(Failure::during("listening"))?;
        let upstream = TcpStream::connect(upstream).map_err(Failure::during("dialling"))?;
        handshake::ask(&upstream, "bench", "/")?;
        upstream.set_nodelay(true).map_err(Failure::during("the upstream socket"))?;
        upstream.set_nonblocking(true).map_err(Failure::during("the upstream socket"))?;
        let poll = Poll::new().map_err(Failure::during("polling"))?;
        let fanout = Self {
            poll,
            listener,
            upstream,
            upstream_is_readable: true,
            upstream_is_over: false,
            clients: Vec::new(),
            far_behind: 0,
            buffer: vec![0; READ_BUFFER_BYTES].into_boxed_slice(),
        };
        fanout.register(fanout.upstream.as_raw_fd(), UPSTREAM)?;
        fanout.register(fanout.listener.open()?, LISTENER)?;
        Ok(fanout)
    }

    fn announce(&self) -> Result<(), Failure> {
        let Listener::WebSocket(listener) = &self.listener else { return announce("unix") };
        let address = listener.local_addr().map_err(Failure::during("listening"))?;
        announce(&address.to_string())
    }

    fn register(&self, fd: i32, token: Token) -> Result<(), Failure> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut SourceFd(&fd), token, interest).map_err(Failure::during("polling"))
    }

    fn turn(&mut self, events: &mut Events) -> Result<(), Failure> {
        let may_read = self.upstream_is_readable && self.far_behind == 0;
        match self.poll.poll(events, may_read.then_some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome.map_err(Failure::during("polling"))?,
        }
        for event in &*events {
            match event.token() {
                LISTENER => self.accept()?,
                UPSTREAM => self.upstream_is_readable |= event.is_readable(),
                Token(token) => self.serve(token - FIRST_CLIENT, event),
            }
        }
        if self.upstream_is_readable && self.far_behind == 0 {
            self.broadcast()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Failure> {
        while let Some(fd) = self.listener.accept()? {
            let token = Token(self.clients.len() + FIRST_CLIENT);
            self.register(fd.as_raw_fd(), token)?;
            let is_open = matches!(self.listener, Listener::Unix(_));
            let client = Client { fd, is_open, request: Vec::new(), owed: VecDeque::new() };
            self.clients.push(Some(client));
        }
        Ok(())
    }

    fn serve(&mut self, index: usize, event: &Event) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let was_far_behind = client.is_far_behind();
        let mut lives = true;
        if event.is_writable() {
            lives = client.flush().is_ok();
        }
        if lives && event.is_readable() {
            lives = client.read(&mut self.buffer).is_ok();
        }
        let is_far_behind = lives && client.is_far_behind();
        self.far_behind =
            self.far_behind - usize::from(was_far_behind) + usize::from(is_far_behind);
        if !lives {
            self.clients[index] = None;
        }
    }

    fn broadcast(&mut self) -> Result<(), Failure> {
        let received = match self.upstream.read(&mut self.buffer) {
            Ok(0) => {
                self.upstream_is_over = true;
                return Ok(());
            }
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(Failure::during("reading upstream")(error)),
        };
        // A short read has emptied the socket: what comes next is a new event.
        self.upstream_is_readable = received == self.buffer.len();
        for slot in &mut self.clients {
            let Some(client) = slot.as_mut().filter(|client| client.is_open) else { continue };
            let was_far_behind = client.is_far_behind();
            let lives = client.send(&self.buffer[..received]).is_ok();
            let is_far_behind = lives && client.is_far_behind();
            self.far_behind =
                self.far_behind - usize::from(was_far_behind) + usize::from(is_far_behind);
            if !lives {
                *slot = None;
            }
        }
        Ok(())
    }
}

impl Listener {
    fn open(&self) -> Result<i32, Failure> {
        match self {
            Self::WebSocket(listener) => {
                listener.set_nonblocking(true).map(|()| listener.as_raw_fd())
            }
            Self::Unix(listener) => listener.set_nonblocking(true).map(|()| listener.as_raw_fd()),
        }
        .map_err(Failure::during("listening"))
    }

    fn accept(&self) -> Result<Option<OwnedFd>, Failure> {
        let accepted = match self {
            Self::WebSocket(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Ok(OwnedFd::from(stream))
            }),
            Self::Unix(listener) => listener.accept().and_then(|(stream, _)| {
                stream.set_nonblocking(true)?;
                Ok(OwnedFd::from(stream))
            }),
        };
        match accepted {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Failure::during("accepting")(error)),
        }
    }
}

impl Client {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let mut written = 0;
        if self.owed.is_empty() {
            written = write(&self.fd, bytes)?;
        }
        self.owed.extend(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Errno> {
        while !self.owed.is_empty() {
            let (front, _) = self.owed.as_slices();
            let wanted = front.len();
            let written = write(&self.fd, front)?;
            self.owed.drain(..written);
            if written < wanted {
                break;
            }
        }
        Ok(())
    }

    /// Answers the handshake; what a client sends after it is of no interest.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Errno> {
        loop {
            let received = match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) => return Err(Errno::CONNRESET),
                Err(Errno::AGAIN) => return Ok(()),
                outcome => outcome?,
            };
            if self.is_open {
                continue;
            }
            self.request.extend_from_slice(&buffer[..received]);
            if self.request.ends_with(b"\r\n\r\n") {
                let request = std::mem::take(&mut self.request);
                let answer = handshake::answer(&request).ok_or(Errno::PROTO)?;
                self.send(answer.as_bytes())?;
                self.is_open = true;
            }
        }
    }

    fn is_far_behind(&self) -> bool {
        self.owed.len() > MAX_OWED_BYTES
    }
}

fn write(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::io::write(fd, bytes) {
        Err(Errno::AGAIN) => Ok(0),
        outcome => outcome,
    }
}

/// Tells the generator, which reads our standard output, where clients may come.
pub(crate) fn announce(address: &str) -> Result<(), Failure> {
    let mut out = io::stdout();
    writeln!(out, "{address}").and_then(|()| out.flush()).map_err(Failure::during("announcing"))
}

/// Reads what [`announce`] wrote; waits for it as long as the pipe stands.
pub(crate) fn announcement(out: impl Read) -> Result<String, Failure> {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).map_err(Failure::during("the child's address"))?;
    Ok(line.trim().to_owned())
}
