//! The operator's doors: HTTP/1.1 over TCP, which only reads, and over a Unix socket, which also acts.
//!
//! Here are the visitors; what they are answered is `answers`' business. One visitor has one request
//! answered, and few bytes read, in a turn: who asks much waits, and nobody else does.

mod visitor;

use std::io::{self, Write};
use std::time::Instant;

use mio::Registry;

use self::visitor::Next;
pub(super) use self::visitor::Tap;
use crate::codec::auth::Auth;
use crate::codec::request::{Refusal, Request, Response};
use crate::config::settings::{MAX_TCP_VISITORS, MAX_VISITORS};
use crate::net::listener::{Accepted, Address};
use crate::net::stream::{Socket, Stream};
use crate::reactor::outbox::Outbox;
use crate::reactor::table::{Key, Table};
use crate::reactor::target::Target;
use crate::relay::MAX_SECURED_PER_TURN;
use crate::relay::tap::Way;

type Visitor = visitor::Visitor<Stream>;

/// The answer to who comes when all places are taken.
const FULL: Refusal =
    Refusal { status: 503, reason: "the operator's doors have all the visitors they may have" };

/// What a visitor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Look.
    Read,
    /// Look and act.
    Act,
}

impl Access {
    /// What may be done at a door: at a Unix socket, whose mode says who comes, everything.
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
    /// Visitors whose sockets have something, or who may have more to say than they had a turn for.
    ready: Vec<Key>,
    /// Those of them who have had this turn.
    next_turn: Vec<Key>,
    secured_this_turn: usize,
}

impl Admin {
    /// Lets somebody in.
    pub(super) fn enter(&mut self, accepted: Accepted, registry: &Registry, now: Instant) {
        let (mut stream, access, is_near) = match accepted {
            Accepted::Tcp(stream, peer) => {
                (stream, Access::Read, peer.ip().to_canonical().is_loopback())
            }
            Accepted::Unix(stream, _) => (stream, Access::Act, false),
        };
        if !self.has_room(access) {
            log::warn!("admin: all places for visitors are taken, one is sent away");
            refuse(&mut stream);
            return;
        }
        let key = self.visitors.insert(Visitor::new(stream, access, is_near, now));
        let visitor = self.visitors.get_mut(key).expect("just inserted");
        if visitor.stream.register(registry, Target::Visitor(key).token()).is_err() {
            self.visitors.remove(key);
        }
        self.ready(key);
    }

    /// Whoever may act finds a place when all others are taken.
    fn has_room(&self, access: Access) -> bool {
        let lookers = self.visitors.iter().filter(|visitor| visitor.access == Access::Read);
        match access {
            Access::Read => lookers.count() < MAX_TCP_VISITORS,
            Access::Act => self.visitors.len() < MAX_VISITORS,
        }
    }

    /// Learns that a visitor's socket is ready.
    pub(super) fn ready(&mut self, key: Key) {
        if let Some(visitor) = self.visitors.get_mut(key).filter(|visitor| !visitor.is_listed) {
            visitor.is_listed = true;
            self.ready.push(key);
        }
    }

    /// Reads those who are ready. The next whole request, and who asks it: one of each visitor in a
    /// turn, which ends with `None`.
    pub(super) fn next_request(
        &mut self,
        auth: &Auth,
        now: Instant,
    ) -> Option<(Key, Access, Request)> {
        while let Some(key) = self.ready.pop() {
            let Some(visitor) = self.visitors.get_mut(key) else { continue };
            let is_securing = visitor.stream.is_securing();
            self.secured_this_turn += usize::from(is_securing);
            if is_securing && self.secured_this_turn > MAX_SECURED_PER_TURN {
                self.next_turn.push(key);
                continue;
            }
            visitor.is_listed = false;
            match visitor.next(auth, now) {
                Ok(Next::Request(request)) => {
                    let access = visitor.access;
                    self.list_for_next_turn(key);
                    return Some((key, access, request));
                }
                Ok(Next::Turn) => self.list_for_next_turn(key),
                Ok(Next::Event) => {}
                Err(error) => {
                    if is_refusal(&error) {
                        log::debug!("admin: a visitor was not let in ({error})");
                    }
                    self.visitors.remove(key);
                }
            }
        }
        std::mem::swap(&mut self.ready, &mut self.next_turn);
        self.secured_this_turn = 0;
        None
    }

    fn list_for_next_turn(&mut self, key: Key) {
        if let Some(visitor) = self.visitors.get_mut(key) {
            visitor.is_listed = true;
            self.next_turn.push(key);
        }
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
        visitor.answer(request, response, now);
        // What it has said meanwhile was left unread.
        self.ready(key);
        self.flush(key, now);
    }

    /// Keeps whoever asked waiting for its answer.
    pub(super) fn keep_waiting(&mut self, key: Key, now: Instant) {
        if let Some(visitor) = self.visitors.get_mut(key) {
            visitor.wait(now);
        }
    }

    /// Sees those off who came by doors that are closed now, show a secret that is withdrawn, or
    /// look at a source that is gone. Who waits for an answer gets it first.
    pub(super) fn keep_only(
        &mut self,
        is_open: impl Fn(Access) -> bool,
        auth: &Auth,
        has_source: impl Fn(&str) -> bool,
        now: Instant,
    ) {
        let keys: Vec<_> = self.visitors.keys().collect();
        for key in keys {
            let Some(visitor) = self.visitors.get_mut(key) else { continue };
            let sees = visitor.tapped().is_none_or(|tap| has_source(&tap.source));
            let may_watch = !visitor.is_watching() || visitor.is_welcome(auth);
            let stays = is_open(visitor.access) && sees && may_watch;
            if !stays && !visitor.is_waiting() {
                visitor.leave();
                self.flush(key, now);
            }
        }
    }

    /// Answers a request with events from now on.
    pub(super) fn watch(&mut self, key: Key, response: &Response, now: Instant) {
        if let Some(visitor) = self.visitors.get_mut(key) {
            visitor.watch(response, now);
            self.flush(key, now);
        }
    }

    /// Answers a request with messages from now on.
    pub(super) fn tap(&mut self, key: Key, response: &Response, tap: Tap, now: Instant) {
        if let Some(visitor) = self.visitors.get_mut(key) {
            visitor.tap(response, tap, now);
            self.flush(key, now);
        }
    }

    /// Whose messages somebody looks at.
    pub(super) fn taps(&self) -> impl Iterator<Item = &Tap> {
        self.visitors.iter().filter_map(Visitor::tapped)
    }

    /// Shows a message to all who look at those of its source. It leaves with [`Self::flush_taps`].
    pub(super) fn show(&mut self, source: &str, way: Way, line: &[u8]) {
        for visitor in self.visitors.iter_mut() {
            visitor.show(source, way, line);
        }
    }

    /// Sends what was shown.
    pub(super) fn flush_taps(&mut self, now: Instant) {
        let keys: Vec<_> = self.visitors.keys().collect();
        for key in keys {
            self.flush(key, now);
        }
    }

    /// Whether somebody watches.
    pub(super) fn is_watched(&self) -> bool {
        self.visitors.iter().any(Visitor::is_watching)
    }

    /// Sends an event to all who watch.
    pub(super) fn tell(&mut self, line: &[u8], now: Instant) {
        let keys: Vec<_> = self.visitors.keys().collect();
        for key in keys {
            let Some(visitor) = self.visitors.get_mut(key) else { continue };
            if !visitor.is_watching() {
                continue;
            }
            if visitor.tell(line, now) {
                self.flush(key, now);
            } else {
                log::warn!("admin: somebody watches and reads too slowly, let go");
                self.visitors.remove(key);
            }
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

    fn flush(&mut self, key: Key, now: Instant) {
        if self.visitors.get_mut(key).is_some_and(|visitor| visitor.flush(now).is_err()) {
            self.visitors.remove(key);
        }
    }
}

/// Says that there is no place, as far as that goes without waiting for it.
fn refuse(stream: &mut Stream) {
    let mut outbox = Outbox::default();
    FULL.send(&mut outbox);
    let _ = stream.write(outbox.bytes());
    let _ = stream.finish();
}

/// Whether a stream says that its handshake has failed.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::PermissionDenied)
}
