//! The operator's doors: HTTP/1.1 over TCP, which only reads, and over a Unix socket, which also acts.
//!
//! Here are the sockets and their buffers; what is answered is `answers`' business. A visitor costs
//! the relay nothing it can feel: few are let in, and one that does not read is let go.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use mio::Registry;

use crate::codec::auth::{Auth, Denial};
use crate::codec::http::is_fixed_host;
use crate::codec::request::{GO_ON, Refusal, Request, Response, Taken};
use crate::config::settings::{MAX_VISITOR_OUTBOX_BYTES, MAX_VISITORS};
use crate::net::listener::{Accepted, Address};
use crate::net::stream::{Socket, Stream};
use crate::observe::tapped::TapEvent;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;
use crate::reactor::table::{Key, Table};
use crate::reactor::target::Target;
use crate::relay::tap::Way;

/// The first request is whole within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that takes others' work is there within this time.
const WORK_TIMEOUT: Duration = Duration::from_mins(1);
/// An answer is taken, and the next request whole, within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Handshakes of TLS that are read in one turn.
const SECURED_PER_TURN: usize = 4;
/// Bytes read from one visitor in one turn.
const READ_BYTES: usize = 64 * 1024;

/// The answer to who asks for another host.
const MISDIRECTED: Refusal = Refusal {
    status: 421,
    reason: "ask for an address or localhost: any other name may point here without being ours",
};

/// What a visitor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Look.
    Read,
    /// Look and act.
    Act,
}

impl Access {
    /// What may be done at a door: TCP has no password, a Unix socket has its mode.
    pub(super) fn at(address: &Address) -> Self {
        match address {
            Address::Tcp { .. } => Self::Read,
            Address::Unix { .. } => Self::Act,
        }
    }
}

/// All visitors.
#[derive(Debug, Default)]
pub(super) struct Admin {
    visitors: Table<Visitor>,
    /// Visitors whose sockets have something, or to whom something is owed.
    ready: Vec<Key>,
    /// Those of them who have had their share of this turn.
    next_turn: Vec<Key>,
    secured_this_turn: usize,
}

#[derive(Debug)]
struct Visitor {
    stream: Stream,
    access: Access,
    /// It came over TCP from this machine.
    is_near: bool,
    inbox: Inbox,
    outbox: Outbox,
    stage: Stage,
    /// It asked whether the body of its request may come.
    was_told_to_go_on: bool,
    until: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Requests come and are answered.
    Serving,
    /// The answer to a request is being worked on; what follows waits.
    Waiting,
    /// It gets events until it goes.
    Watching,
    /// It gets messages until it goes.
    Tapping(Tap),
    /// It goes when it has its answer.
    Leaving,
}

/// Whose messages somebody looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    pub(super) source: String,
    pub(super) way: Way,
    /// Messages that it was too slow for, and has not been told of.
    missed_messages: u64,
}

/// How sending to a visitor went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    /// Nothing is left to send.
    All,
    /// It takes no more now.
    Blocked,
}

/// What a visitor that was ready brings.
enum Next {
    /// A request that is all there.
    Request(Request),
    /// More to read in the next turn: others have theirs first.
    Turn,
    /// Nothing before its socket tells of it, or its answer is there.
    Event,
}

impl Admin {
    /// Lets somebody in.
    pub(super) fn enter(&mut self, accepted: Accepted, registry: &Registry, now: Instant) {
        if self.visitors.len() == MAX_VISITORS {
            log::warn!("admin: {MAX_VISITORS} visitors are there already, one is sent away");
            return;
        }
        let key = self.visitors.insert(Visitor::new(accepted, now));
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
    ///
    /// Who comes over TCP and may not look is told so.
    pub(super) fn next_request(&mut self, auth: &Auth) -> Option<(Key, Access, Request)> {
        while let Some(key) = self.ready.last().copied() {
            if let Some(visitor) = self.visitors.get_mut(key) {
                let is_securing = visitor.stream.is_securing();
                self.secured_this_turn += usize::from(is_securing);
                if is_securing && self.secured_this_turn > SECURED_PER_TURN {
                    self.ready.pop();
                    if !self.next_turn.contains(&key) {
                        self.next_turn.push(key);
                    }
                    continue;
                }
                match visitor.next(auth) {
                    Ok(Next::Request(request)) => return Some((key, visitor.access, request)),
                    Ok(Next::Turn) => self.next_turn.push(key),
                    Ok(Next::Event) => {}
                    Err(error) => {
                        if is_refusal(&error) {
                            log::debug!("admin: a visitor was not let in ({error})");
                        }
                        self.visitors.remove(key);
                    }
                }
            }
            self.ready.pop();
            self.flush(key);
        }
        std::mem::swap(&mut self.ready, &mut self.next_turn);
        self.secured_this_turn = 0;
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
        if visitor.stage == Stage::Waiting {
            self.ready.push(key);
        }
        visitor.stage = if request.keeps_alive { Stage::Serving } else { Stage::Leaving };
    }

    /// Keeps whoever asked waiting for its answer.
    pub(super) fn keep_waiting(&mut self, key: Key, now: Instant) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        visitor.stage = Stage::Waiting;
        visitor.until = now + WORK_TIMEOUT;
    }

    /// Sees those off who came by doors that are closed now, or look at a source that is gone. Who
    /// waits for an answer gets it first.
    pub(super) fn keep_only(
        &mut self,
        is_open: impl Fn(Access) -> bool,
        has_source: impl Fn(&str) -> bool,
    ) {
        let keys: Vec<_> = self.visitors.keys().collect();
        for key in keys {
            let Some(visitor) = self.visitors.get_mut(key) else { continue };
            let stays = match &visitor.stage {
                Stage::Waiting => true,
                Stage::Tapping(tap) => is_open(visitor.access) && has_source(&tap.source),
                Stage::Serving | Stage::Watching | Stage::Leaving => is_open(visitor.access),
            };
            if !stays {
                visitor.stage = Stage::Leaving;
                self.flush(key);
            }
        }
    }

    /// Answers a request with events from now on.
    pub(super) fn watch(&mut self, key: Key, response: &Response, now: Instant) {
        self.begin(key, response, Stage::Watching, now);
    }

    /// Answers a request with messages from now on.
    pub(super) fn tap(&mut self, key: Key, response: &Response, tap: Tap, now: Instant) {
        self.begin(key, response, Stage::Tapping(tap), now);
    }

    fn begin(&mut self, key: Key, response: &Response, stage: Stage, now: Instant) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        visitor.until = now + ANSWER_TIMEOUT;
        response.begin(&mut visitor.outbox);
        visitor.outbox.push(&response.body);
        visitor.stage = stage;
    }

    /// Whose messages somebody looks at.
    pub(super) fn taps(&self) -> impl Iterator<Item = &Tap> {
        self.visitors.iter().filter_map(|visitor| match &visitor.stage {
            Stage::Tapping(tap) => Some(tap),
            Stage::Serving | Stage::Waiting | Stage::Watching | Stage::Leaving => None,
        })
    }

    /// Shows a message to all who look at those of its source. It leaves with [`Self::flush_taps`].
    pub(super) fn show(&mut self, source: &str, way: Way, line: &[u8]) {
        for visitor in self.visitors.iter_mut() {
            if let Stage::Tapping(tap) = &mut visitor.stage
                && tap.source == source
                && tap.way == way
            {
                tap.show(line, &mut visitor.outbox);
            }
        }
    }

    /// Sends what was shown.
    pub(super) fn flush_taps(&mut self) {
        let keys: Vec<_> = self.visitors.keys().collect();
        for key in keys {
            self.flush(key);
        }
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
        let flushed = visitor.flush();
        let is_leaving = visitor.stage == Stage::Leaving;
        if flushed.is_err() || (is_leaving && matches!(flushed, Ok(Flushed::All))) {
            // Tells a visitor in TLS that it has heard all.
            let _ = visitor.stream.finish();
            self.visitors.remove(key);
        }
    }
}

impl Visitor {
    fn new(accepted: Accepted, now: Instant) -> Self {
        let (stream, access, is_near) = match accepted {
            Accepted::Tcp(stream, peer) => (stream, Access::Read, peer.ip().is_loopback()),
            Accepted::Unix(stream, _) => (stream, Access::Act, false),
        };
        Self {
            stream,
            access,
            is_near,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            stage: Stage::Serving,
            was_told_to_go_on: false,
            until: now + REQUEST_TIMEOUT,
        }
    }

    fn next(&mut self, auth: &Auth) -> io::Result<Next> {
        let mut budget = READ_BYTES;
        loop {
            self.flush()?;
            match self.stage {
                // It is read on when it has its answer, and what it was told before.
                Stage::Waiting => return Ok(Next::Event),
                Stage::Serving if !self.outbox.is_empty() => return Ok(Next::Event),
                Stage::Serving => match Request::take(&mut self.inbox) {
                    // A browser's page may have made its own name point to this machine.
                    Ok(Taken::Whole(request)) if self.is_near && has_foreign_host(&request) => {
                        MISDIRECTED.send(&mut self.outbox);
                        self.stage = Stage::Leaving;
                        continue;
                    }
                    Ok(Taken::Whole(request)) => {
                        self.was_told_to_go_on = false;
                        if self.access == Access::Read
                            && let Err(denial) = auth.admit(|| request.shown.clone())
                        {
                            denied(auth, denial).send(&request, &mut self.outbox);
                            continue;
                        }
                        return Ok(Next::Request(request));
                    }
                    Ok(Taken::AsksToGoOn) if !self.was_told_to_go_on => {
                        self.outbox.push(GO_ON);
                        self.was_told_to_go_on = true;
                        continue;
                    }
                    Ok(Taken::AsksToGoOn | Taken::Part) => {}
                    Err(refusal) => {
                        refusal.send(&mut self.outbox);
                        self.stage = Stage::Leaving;
                        continue;
                    }
                },
                // What it says is of no interest.
                Stage::Watching | Stage::Tapping(_) | Stage::Leaving => {
                    self.inbox.take(self.inbox.len());
                }
            }
            if budget == 0 {
                return Ok(Next::Turn);
            }
            match self.inbox.fill(&mut self.stream) {
                Ok(0) if self.outbox.is_empty() => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // It says no more, and still hears the answer.
                Ok(0) => {
                    self.stage = Stage::Leaving;
                    return Ok(Next::Event);
                }
                Ok(count) => budget = budget.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Event),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Next::Turn),
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<Flushed> {
        match self.send() {
            Ok(()) => Ok(Flushed::All),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Flushed::Blocked),
            Err(error) => Err(error),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let count = self.stream.write(self.outbox.bytes())?;
            self.outbox.consume(count);
        }
        // A TLS stream may have taken our bytes and still hold ciphertext that the socket refused.
        self.stream.flush()
    }

    /// When it is let go, unless something happens. Who watches and takes what it gets may stay, and
    /// who looks at messages misses some instead.
    fn deadline(&self) -> Option<Instant> {
        let may_stay = match &self.stage {
            Stage::Tapping(_) => true,
            Stage::Watching => self.outbox.is_empty(),
            Stage::Serving | Stage::Waiting | Stage::Leaving => false,
        };
        (!may_stay).then_some(self.until)
    }
}

fn denied(auth: &Auth, denial: Denial) -> Response {
    Response { headers: auth.challenges(), ..Response::text(401, denial.words()) }
}

/// Whether a stream says that its handshake has failed.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied)
}

fn has_foreign_host(request: &Request) -> bool {
    !request.host.is_empty() && !is_fixed_host(&request.host)
}

impl Tap {
    pub(super) fn new(source: String, way: Way) -> Self {
        Self { source, way, missed_messages: 0 }
    }

    /// Owes a message, or counts it if too much is owed already.
    fn show(&mut self, line: &[u8], outbox: &mut Outbox) {
        if !outbox.is_empty() && outbox.len() + line.len() > MAX_VISITOR_OUTBOX_BYTES {
            self.missed_messages += 1;
            return;
        }
        let messages = std::mem::take(&mut self.missed_messages);
        if messages > 0 {
            outbox.push(&super::answers::line(&TapEvent::Missed { messages }));
        }
        outbox.push(line);
    }
}
