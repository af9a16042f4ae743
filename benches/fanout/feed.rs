//! The source that the relay dials: a WebSocket server for one connection, on a thread of its own.
//!
//! It does one thing at a time, as ordered: sends a burst of messages, or collects what the clients
//! send. Between orders it answers pings.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::cpu::Cpus;
use crate::failure::Failure;
use crate::frame::{self, Form, Item, Mask, SMALLEST_MESSAGE, Stamp, Walker, Wire};
use crate::meter::{nanoseconds, now_ns, sleep_until};
use crate::tally::Tally;
use crate::{PATIENCE, handshake};

/// Small messages leave in batches of about this size when they are sent flat out.
const BATCH_BYTES: usize = 64 * 1024;
const PING_CHECK: Duration = Duration::from_millis(250);
/// A paced burst that falls behind by more than this is given up: the figures would mean nothing.
const MAX_DELAY: Duration = Duration::from_secs(2);

/// Messages to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst {
    pub(crate) form: Form,
    pub(crate) payload_bytes: usize,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as the relay takes them.
    FlatOut,
    /// Each at its time, in a write of its own.
    PerSecond(u64),
    /// So many in one write, and so many writes a second.
    Bursts { messages: u64, per_second: u64 },
}

impl Pace {
    /// A pace at which a part of the messages comes, and all else is as it was.
    pub(crate) fn of_part(self, parts: u64) -> Self {
        match self {
            Self::FlatOut => Self::FlatOut,
            Self::PerSecond(rate) => Self::PerSecond(rate / parts),
            Self::Bursts { messages, per_second } => {
                Self::Bursts { messages: messages / parts, per_second }
            }
        }
    }

    /// Messages a second; `None`: as many as the relay takes.
    fn rate(self) -> Option<u64> {
        match self {
            Self::FlatOut => None,
            Self::PerSecond(rate) => Some(rate),
            Self::Bursts { messages, per_second } => Some(messages * per_second),
        }
    }

    /// Messages of `frame_bytes` that leave in one write.
    fn batch(self, frame_bytes: usize) -> usize {
        match self {
            Self::FlatOut => (BATCH_BYTES / frame_bytes).max(1),
            Self::PerSecond(_) => 1,
            Self::Bursts { messages, .. } => usize::try_from(messages).unwrap_or(1),
        }
    }
}

/// Messages of the clients to wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Harvest {
    pub(crate) payload_bytes: usize,
    pub(crate) clients: usize,
    /// How many come from each client.
    pub(crate) each: u64,
}

/// What came of a harvest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Crop {
    pub(crate) received: u64,
    pub(crate) out_of_order: u64,
    /// When the last one came, in nanoseconds.
    pub(crate) last_ns: u64,
}

/// The generator's handle of the source.
#[derive(Debug)]
pub(crate) struct Feed {
    address: SocketAddr,
    orders: Option<Sender<Order>>,
    reports: Receiver<Result<Report, Failure>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Send(Burst),
    Collect(Harvest),
}

#[derive(Debug)]
enum Report {
    Open,
    Sent,
    Collected(Crop),
}

struct Server {
    stream: TcpStream,
    /// Meets the clients' messages, and the relay's pings.
    walker: Walker,
    tallies: Vec<Tally>,
    buffer: Vec<u8>,
}

impl Feed {
    pub(crate) fn listen(cpus: &Cpus) -> Result<Self, Failure> {
        let listener =
            TcpListener::bind("127.0.0.1:0").map_err(Failure::during("the source's listener"))?;
        let address = listener.local_addr().map_err(Failure::during("the source's listener"))?;
        let (orders, inbox) = mpsc::channel();
        let (outbox, reports) = mpsc::channel();
        let cpus = *cpus;
        let thread = thread::Builder::new()
            .name("feed".to_owned())
            .spawn(move || {
                let served = cpus.take_any().and_then(|()| serve(&listener, &inbox, &outbox));
                if let Err(failure) = served {
                    let _ = outbox.send(Err(failure));
                }
            })
            .map_err(Failure::during("starting the source"))?;
        Ok(Self { address, orders: Some(orders), reports, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the relay has connected.
    pub(crate) fn wait_until_open(&self) -> Result<(), Failure> {
        self.report("to be dialled").map(drop)
    }

    /// Begins to send; [`Self::wait_until_sent`] must follow.
    pub(crate) fn send(&self, burst: Burst) -> Result<(), Failure> {
        self.order(Order::Send(burst))
    }

    pub(crate) fn wait_until_sent(&self) -> Result<(), Failure> {
        self.report("to send its messages").map(drop)
    }

    /// Begins to collect; [`Self::wait_for_crop`] must follow.
    pub(crate) fn collect(&self, harvest: Harvest) -> Result<(), Failure> {
        self.order(Order::Collect(harvest))
    }

    /// What has come, as soon as it is all or nothing has come for a while; `None` when it is too
    /// early.
    pub(crate) fn crop(&self) -> Result<Option<Crop>, Failure> {
        match self.reports.try_recv() {
            Ok(report) => match report? {
                Report::Collected(crop) => Ok(Some(crop)),
                Report::Open | Report::Sent => Ok(None),
            },
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(Failure::new("the source has ended")),
        }
    }

    fn order(&self, order: Order) -> Result<(), Failure> {
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(order).is_ok());
        if sent { Ok(()) } else { Err(self.last_words()) }
    }

    fn report(&self, what: &str) -> Result<Report, Failure> {
        match self.reports.recv_timeout(PATIENCE * 2) {
            Ok(report) => report,
            Err(RecvTimeoutError::Disconnected) => Err(Failure::new("the source has ended")),
            Err(RecvTimeoutError::Timeout) => {
                Err(Failure::new(format!("waited in vain for the source {what}")))
            }
        }
    }

    fn last_words(&self) -> Failure {
        let words = self.reports.try_iter().find_map(Result::err);
        words.unwrap_or_else(|| Failure::new("the source has ended"))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The thread ends when it has no more orders to come, or its relay hangs up in the
        // handshake.
        self.orders = None;
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: &TcpListener,
    orders: &Receiver<Order>,
    reports: &Sender<Result<Report, Failure>>,
) -> Result<(), Failure> {
    let stream = accept(listener)?;
    stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| stream.set_write_timeout(Some(PATIENCE)))
        .map_err(Failure::during("the source's socket"))?;
    handshake::serve(&stream)?;
    let mut server = Server {
        stream,
        walker: Walker::new(Wire::WebSocket, Form::Bytes, SMALLEST_MESSAGE),
        tallies: Vec::new(),
        buffer: vec![0; 256 * 1024],
    };
    let mut report = Report::Open;
    loop {
        if reports.send(Ok(report)).is_err() {
            return Ok(());
        }
        let order = loop {
            match orders.recv_timeout(PING_CHECK) {
                Ok(order) => break order,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => server.answer_pings()?,
            }
        };
        report = match order {
            Order::Send(burst) => {
                server.send(burst)?;
                Report::Sent
            }
            Order::Collect(harvest) => Report::Collected(server.collect(harvest)?),
        };
    }
}

fn accept(listener: &TcpListener) -> Result<TcpStream, Failure> {
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
    match poll(&mut fds, Some(&timeout)).map_err(Failure::during("awaiting the relay"))? {
        0 => Err(Failure::new("the relay has not dialled the source within 10 s")),
        _ => Ok(listener.accept().map_err(Failure::during("accepting the relay"))?.0),
    }
}

impl Server {
    fn send(&mut self, burst: Burst) -> Result<(), Failure> {
        let frame = frame::blank(burst.form, burst.payload_bytes);
        let per_batch = burst.pace.batch(frame.len());
        let mut batch = frame.repeat(per_batch);
        let began_ns = now_ns();
        let mut pings_checked_ns = began_ns;
        let mut sent = 0;
        while sent < burst.count {
            if let Some(rate) = burst.pace.rate() {
                let due_ns = began_ns + sent * 1_000_000_000 / rate;
                sleep_until(due_ns);
                if now_ns() - due_ns > nanoseconds(MAX_DELAY) {
                    return Err(Failure::new("the relay does not keep the source's pace"));
                }
            }
            let wanted = usize::try_from(burst.count - sent).unwrap_or(usize::MAX).min(per_batch);
            let mark = now_ns();
            let batch = &mut batch[..wanted * frame.len()];
            for (number, frame) in (burst.first + sent..).zip(batch.chunks_mut(frame.len())) {
                frame::stamp(burst.form, frame, Stamp { number, mark });
            }
            self.stream.write_all(batch).map_err(|error| stuck("sending", error))?;
            sent += wanted as u64;
            if mark - pings_checked_ns > nanoseconds(PING_CHECK) {
                pings_checked_ns = mark;
                self.answer_pings()?;
            }
        }
        Ok(())
    }

    fn collect(&mut self, harvest: Harvest) -> Result<Crop, Failure> {
        let wanted = harvest.clients as u64 * harvest.each;
        if self.tallies.is_empty() {
            self.walker = Walker::new(Wire::WebSocket, Form::Bytes, harvest.payload_bytes);
            self.tallies.resize(harvest.clients, Tally::default());
        }
        let before = self.total();
        let mut crop = Crop::default();
        while crop.received < wanted {
            let received = match self.stream.read(&mut self.buffer) {
                Ok(0) => return Err(Failure::new("the relay has hung up")),
                Ok(received) => received,
                // What is missing now is lost.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(stuck("collecting", error)),
            };
            crop.last_ns = now_ns();
            self.take_in(received)?;
            let total = self.total();
            crop.received = total.received - before.received;
            crop.out_of_order = total.out_of_order - before.out_of_order;
        }
        Ok(crop)
    }

    fn answer_pings(&mut self) -> Result<(), Failure> {
        loop {
            match rustix::net::recv(&self.stream, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Failure::new("the relay has hung up")),
                Ok((received, _)) => self.take_in(received)?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(Failure::during("awaiting pings")(error)),
            }
        }
    }

    fn take_in(&mut self, received: usize) -> Result<(), Failure> {
        let Self { stream, walker, tallies, buffer } = self;
        let mut outcome = Ok(());
        walker.walk(&buffer[..received], |item| match item {
            Item::Message(stamp) => {
                let client = usize::try_from(stamp.mark).unwrap_or(usize::MAX);
                if let Some(tally) = tallies.get_mut(client) {
                    tally.see(stamp.number);
                }
            }
            Item::Ping(payload) => outcome = stream.write_all(&frame::pong(payload, Mask::Server)),
            Item::Close(code) => {
                outcome = Err(io::Error::other(format!("the relay has closed with {code}")));
            }
        })?;
        outcome.map_err(|error| stuck("answering", error))
    }

    fn total(&self) -> Tally {
        self.tallies.iter().fold(Tally::default(), |sum, tally| sum.plus(tally))
    }
}

fn stuck(what: &str, error: io::Error) -> Failure {
    if error.kind() == ErrorKind::WouldBlock {
        return Failure::new(format!("the relay has taken nothing for {PATIENCE:?}"));
    }
    Failure::during(format_args!("the source was {what}"))(error)
}
