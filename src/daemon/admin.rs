//! The operator's doors: HTTP/1.1 over TCP, which only reads, and over a Unix socket, which also acts.
//!
//! Here are the sockets and their buffers; what is answered is `answers`' business. A visitor costs
//! the relay nothing it can feel: few are let in, and one that does not read is let go.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use mio::Registry;

use crate::codec::request::{Request, Response};
use crate::config::settings::{MAX_VISITOR_OUTBOX_BYTES, MAX_VISITORS};
use crate::net::listener::Accepted;
use crate::net::stream::Stream;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;
use crate::reactor::table::{Key, Table};
use crate::reactor::target::Target;

/// A request is whole, and a connection used again, within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is taken within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read from one visitor in one turn.
const READ_BYTES: usize = 64 * 1024;

/// What a visitor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Look.
    Read,
    /// Look and act.
    Act,
}

/// All visitors.
#[derive(Debug, Default)]
pub(super) struct Admin {
    visitors: Table<Visitor>,
    /// Visitors whose sockets have something, or to whom something is owed.
    ready: Vec<Key>,
}

#[derive(Debug)]
struct Visitor {
    stream: Stream,
    access: Access,
    inbox: Inbox,
    outbox: Outbox,
    stage: Stage,
    until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests come and are answered.
    Serving,
    /// It gets events until it goes.
    Watching,
    /// It goes when it has its answer.
    Leaving,
}

impl Admin {
    /// Lets somebody in.
    pub(super) fn enter(&mut self, accepted: Accepted, registry: &Registry, now: Instant) {
        if self.visitors.len() == MAX_VISITORS {
            log::warn!("admin: {MAX_VISITORS} visitors are there already, one is sent away");
            return;
        }
        let (access, stream) = match accepted {
            Accepted::Tcp(stream, _) => (Access::Read, stream),
            Accepted::Unix(stream) => (Access::Act, stream),
        };
        let key = self.visitors.insert(Visitor::new(stream, access, now));
        let visitor = self.visitors.get_mut(key).expect("just inserted");
        if visitor.stream.register(registry, Target::Visitor(key).token()).is_err() {
            self.visitors.remove(key);
        }
        self.ready.push(key);
    }

    /// Learns that a visitor's socket is ready.
    pub(super) fn ready(&mut self, key: Key) {
        self.ready.push(key);
    }

    /// Reads those who are ready. The next whole request, and who asks it.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<(Key, Access, Request)> {
        while let Some(key) = self.ready.last().copied() {
            if let Some(visitor) = self.visitors.get_mut(key) {
                match visitor.next_request(now) {
                    Ok(Some(request)) => return Some((key, visitor.access, request)),
                    Ok(None) => {}
                    Err(_) => drop(self.visitors.remove(key)),
                }
            }
            self.ready.pop();
            self.flush(key);
        }
        None
    }

    /// Answers a request.
    pub(super) fn answer(
        &mut self,
        key: Key,
        request: &Request,
        response: &Response,
        now: Instant,
    ) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        response.send(request, &mut visitor.outbox);
        visitor.until = now + ANSWER_TIMEOUT;
        if !request.keeps_alive {
            visitor.stage = Stage::Leaving;
        }
    }

    /// Answers a request with events from now on.
    pub(super) fn watch(&mut self, key: Key, response: &Response, now: Instant) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        visitor.until = now + ANSWER_TIMEOUT;
        response.begin(&mut visitor.outbox);
        visitor.outbox.push(&response.body);
        visitor.stage = Stage::Watching;
    }

    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.visitors.iter().any(|visitor| visitor.stage == Stage::Watching)
    }

    /// Sends an event to all who watch.
    pub(super) fn tell(&mut self, line: &[u8], now: Instant) {
        let keys: Vec<_> = self.visitors.keys().collect();
        for key in keys {
            let Some(visitor) = self.visitors.get_mut(key) else { continue };
            if visitor.stage != Stage::Watching {
                continue;
            }
            if visitor.outbox.len() + line.len() > MAX_VISITOR_OUTBOX_BYTES {
                log::warn!("admin: somebody watches and reads too slowly, let go");
                self.visitors.remove(key);
                continue;
            }
            if visitor.outbox.is_empty() {
                visitor.until = now + ANSWER_TIMEOUT;
            }
            visitor.outbox.push(line);
            self.flush(key);
        }
    }

    /// Lets those go whose time is up.
    pub(super) fn expire(&mut self, now: Instant) {
        let deadline = |key: &Key| self.visitors.get(*key).and_then(Visitor::deadline);
        let is_late = |key: &Key| deadline(key).is_some_and(|deadline| deadline <= now);
        let late: Vec<_> = self.visitors.keys().filter(is_late).collect();
        for key in late {
            self.visitors.remove(key);
        }
    }

    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() {
            return Some(now);
        }
        self.visitors.iter().filter_map(Visitor::deadline).min()
    }

    /// Sees everyone off.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    fn flush(&mut self, key: Key) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        let is_sent = visitor.flush();
        if is_sent.is_err() || (visitor.stage == Stage::Leaving && visitor.outbox.is_empty()) {
            self.visitors.remove(key);
        }
    }
}

impl Visitor {
    fn new(stream: Stream, access: Access, now: Instant) -> Self {
        Self {
            stream,
            access,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            stage: Stage::Serving,
            until: now + REQUEST_TIMEOUT,
        }
    }

    fn next_request(&mut self, now: Instant) -> io::Result<Option<Request>> {
        let mut budget = READ_BYTES;
        loop {
            self.flush()?;
            if self.stage == Stage::Serving && self.outbox.is_empty() {
                match Request::take(&mut self.inbox) {
                    Ok(Some(request)) => return Ok(Some(request)),
                    Ok(None) => {}
                    Err(refusal) => {
                        refusal.send(&mut self.outbox);
                        self.stage = Stage::Leaving;
                        continue;
                    }
                }
            }
            match self.inbox.fill(&mut self.stream) {
                Ok(0) if self.outbox.is_empty() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // It says no more, and still hears the answer.
                Ok(0) => {
                    self.stage = Stage::Leaving;
                    return Ok(None);
                }
                Ok(count) => budget = budget.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if self.stage != Stage::Serving {
                // What a watcher says is of no interest.
                self.inbox.take(self.inbox.len());
            } else if self.outbox.is_empty() {
                self.until = now + REQUEST_TIMEOUT;
            }
            if budget == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(self.outbox.bytes()) {
                Ok(count) => self.outbox.consume(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// When it is let go, unless something happens. Who watches and takes what it gets may stay.
    fn deadline(&self) -> Option<Instant> {
        let is_idle_watcher = self.stage == Stage::Watching && self.outbox.is_empty();
        (!is_idle_watcher).then_some(self.until)
    }
}
