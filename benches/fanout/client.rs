//! One of the clients: what it has received, and what it is to send.

use std::net::TcpStream;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::contender::Address;
use crate::failure::Failure;
use crate::frame::{self, Form, Item, Mask, Stamp, Wire};
use crate::meter::{Histogram, now_ns};
use crate::tally::Tally;
use crate::text::{self, SYMBOLS, Stream};
use crate::{PATIENCE, handshake};

/// Who comes, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Company {
    pub(crate) count: usize,
    /// The last of them, who never read.
    pub(crate) stalled: usize,
    pub(crate) wire: Wire,
    pub(crate) form: Form,
    pub(crate) payload_bytes: usize,
    pub(crate) ask: Ask,
}

/// What clients ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// All messages, as frames.
    Everything,
    /// All messages, in a stream of HTTP.
    Stream(Stream),
    /// The messages of one symbol each, the first client those of the first, and so on.
    Symbol,
}

/// A connection to the relay.
pub(crate) struct Client {
    pub(crate) fd: OwnedFd,
    walker: Walker,
    /// In place of the walker.
    count: Option<Count>,
    part: Part,
    pub(crate) tally: Tally,
    pub(crate) habit: Habit,
    /// The relay has ended the connection.
    pub(crate) is_cut: bool,
    /// Frames to send, and how much of them is sent.
    outgoing: Vec<u8>,
    sent_bytes: usize,
}

enum Walker {
    Frames(frame::Walker),
    Stream(text::Walker),
}

/// Counts messages by their bytes, which stay in the kernel.
struct Count {
    message_bytes: usize,
    /// The bytes of a message that is not complete.
    begun_bytes: usize,
}

/// The messages that are for a client: each whose number leaves this rest.
#[derive(Clone, Copy, Debug)]
struct Part {
    parts: u64,
    rest: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    Reads,
    /// Never takes a byte from its socket.
    Stalls,
}

impl Company {
    /// Clients that read, in frames, all messages of a size.
    pub(crate) fn plain(count: usize, payload_bytes: usize) -> Self {
        let (wire, form, ask) = (Wire::WebSocket, Form::Bytes, Ask::Everything);
        Self { count, stalled: 0, wire, form, payload_bytes, ask }
    }
}

impl Client {
    pub(crate) fn connect(
        address: &Address,
        company: &Company,
        index: usize,
        habit: Habit,
    ) -> Result<Self, Failure> {
        let mut walker = Walker::new(company);
        let part = company.ask.part(index);
        let fd = match address {
            Address::WebSocket(address) => {
                let stream = TcpStream::connect(address).map_err(Failure::during("connecting"))?;
                stream
                    .set_nodelay(true)
                    .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
                    .map_err(Failure::during("a client's socket"))?;
                let (host, target) = (address.to_string(), company.ask.target(index));
                let rest = match company.ask {
                    Ask::Everything | Ask::Symbol => handshake::ask(&stream, &host, &target),
                    Ask::Stream(_) => handshake::ask_stream(&stream, &host, &target),
                }?;
                walker.walk(&rest, |_| {})?;
                stream.set_nonblocking(true).map_err(Failure::during("a client's socket"))?;
                OwnedFd::from(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).map_err(Failure::during("connecting"))?;
                stream.set_nonblocking(true).map_err(Failure::during("a client's socket"))?;
                OwnedFd::from(stream)
            }
        };
        Ok(Self {
            fd,
            walker,
            count: None,
            part,
            tally: Tally::default(),
            habit,
            is_cut: false,
            outgoing: Vec::new(),
            sent_bytes: 0,
        })
    }

    pub(crate) fn is_awaited(&self, goal: u64) -> bool {
        self.habit == Habit::Reads && !self.is_cut && self.tally.next < self.part.below(goal)
    }

    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        latencies: &mut Histogram,
        now: &mut u64,
    ) -> Result<(), Failure> {
        while !self.is_cut {
            let taken = match self.count {
                Some(_) => recv(&self.fd, &mut *buffer, RecvFlags::TRUNC).map(|(_, taken)| taken),
                None => rustix::io::read(&self.fd, &mut *buffer),
            };
            let received = match taken {
                Err(Errno::AGAIN) => return Ok(()),
                Ok(0) | Err(_) => {
                    self.is_cut = true;
                    return Ok(());
                }
                Ok(received) => received,
            };
            *now = now_ns();
            match &mut self.count {
                Some(count) => self.tally.trust(count.add(received)),
                None => self.take_in(&buffer[..received], latencies, *now)?,
            }
            // A short read has emptied the socket: what comes next is a new event.
            if received < buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn take_in(
        &mut self,
        bytes: &[u8],
        latencies: &mut Histogram,
        now: u64,
    ) -> Result<(), Failure> {
        let Self { fd, walker, part, tally, is_cut, .. } = self;
        walker.walk(bytes, |item| match item {
            Item::Message(stamp) => {
                match part.place(stamp.number) {
                    Some(place) => tally.see(place),
                    None => tally.out_of_order += 1,
                }
                latencies.record(now.saturating_sub(stamp.mark));
            }
            // A pong is small: if it does not fit, the relay is owed an answer that it will miss.
            Item::Ping(payload) => {
                let _ = rustix::io::write(&*fd, &frame::pong(payload, Mask::Client));
            }
            Item::Close(_) => *is_cut = true,
        })
    }

    /// From now on counts what comes over TCP, which all has to be messages, and looks at none.
    ///
    /// Nothing may be under way.
    pub(crate) fn count_bytes(&mut self) {
        let message_bytes = self.walker.message_bytes();
        self.count = Some(Count { message_bytes, begun_bytes: 0 });
    }

    /// Messages that did not come in their turn, and bytes that are no message.
    pub(crate) fn out_of_order(&self) -> u64 {
        let is_amiss = self.count.as_ref().is_some_and(|count| count.begun_bytes > 0);
        self.tally.out_of_order + u64::from(is_amiss)
    }

    /// Has messages of these numbers sent, with a mark that tells the client.
    pub(crate) fn prepare(&mut self, payload_bytes: usize, mark: u64, numbers: Range<u64>) {
        self.outgoing.clear();
        self.sent_bytes = 0;
        for number in numbers {
            frame::push_masked(&mut self.outgoing, payload_bytes, Stamp { number, mark });
        }
    }

    pub(crate) fn send(&mut self) {
        while self.sent_bytes < self.outgoing.len() && !self.is_cut {
            match rustix::io::write(&self.fd, &self.outgoing[self.sent_bytes..]) {
                Ok(sent) => self.sent_bytes += sent,
                Err(Errno::AGAIN) => return,
                Err(_) => self.is_cut = true,
            }
        }
    }
}

impl Ask {
    /// What the client of an index asks for in its request.
    fn target(self, index: usize) -> String {
        match self {
            Self::Everything => "/".to_owned(),
            Self::Stream(Stream::Events) => "/sse".to_owned(),
            Self::Stream(Stream::Lines) => "/ndjson".to_owned(),
            Self::Symbol => format!("/?match=/s={}", self.part(index).rest),
        }
    }

    fn part(self, index: usize) -> Part {
        let parts = if self == Self::Symbol { SYMBOLS } else { 1 };
        Part { parts, rest: index as u64 % parts }
    }
}

impl Part {
    /// The place of a message among those of the part, `None` if it is none of them.
    #[inline]
    fn place(self, number: u64) -> Option<u64> {
        if self.parts == 1 {
            return Some(number);
        }
        (number % self.parts == self.rest).then_some(number / self.parts)
    }

    /// How many messages of the part are below a number.
    #[inline]
    fn below(self, goal: u64) -> u64 {
        if goal == u64::MAX || self.parts == 1 {
            return goal;
        }
        (goal + self.parts - 1 - self.rest) / self.parts
    }
}

impl Walker {
    fn new(company: &Company) -> Self {
        let Company { wire, form, payload_bytes, ask, .. } = *company;
        match ask {
            Ask::Everything | Ask::Symbol => {
                Self::Frames(frame::Walker::new(wire, form, payload_bytes))
            }
            Ask::Stream(stream) => Self::Stream(text::Walker::new(stream, payload_bytes)),
        }
    }

    fn walk(&mut self, bytes: &[u8], see: impl FnMut(Item<'_>)) -> Result<(), Failure> {
        match self {
            Self::Frames(walker) => walker.walk(bytes, see),
            Self::Stream(walker) => walker.walk(bytes, see),
        }
    }

    /// What a message takes on the wire.
    fn message_bytes(&self) -> usize {
        match self {
            Self::Frames(walker) => walker.frame_bytes(),
            Self::Stream(walker) => walker.message_bytes(),
        }
    }
}

impl Count {
    /// How many messages so many bytes complete.
    fn add(&mut self, bytes: usize) -> u64 {
        let bytes = self.begun_bytes + bytes;
        self.begun_bytes = bytes % self.message_bytes;
        (bytes / self.message_bytes) as u64
    }
}
