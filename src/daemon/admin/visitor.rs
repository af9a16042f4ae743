//! One visitor of the operator's doors: what it asks, what it is owed, and how long it may stay.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Access;
use crate::codec::auth::{Auth, Denial, Grant};
use crate::codec::http::is_fixed_host;
use crate::codec::request::{GO_ON, Refusal, Request, Response, Taken};
use crate::config::settings::MAX_VISITOR_OUTBOX_BYTES;
use crate::net::stream::Socket;
use crate::observe::tapped::TapEvent;
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;
use crate::relay::LINGER;
use crate::relay::tap::Way;

/// The first request is whole within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer that takes others' work is there within this time.
const WORK_TIMEOUT: Duration = Duration::from_mins(1);
/// An answer is taken, and the next request whole, within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes read from one visitor in one turn.
const READ_BYTES: usize = 64 * 1024;

/// The answer to who asks for another host.
const MISDIRECTED: Refusal = Refusal {
    status: 421,
    reason: "ask for an address or localhost: any other name may point here without being ours",
};

/// A connection at a door.
#[derive(Debug)]
pub(super) struct Visitor<S> {
    pub(super) stream: S,
    pub(super) access: Access,
    /// It came over TCP from this machine.
    is_near: bool,
    inbox: Inbox,
    outbox: Outbox,
    stage: Stage,
    /// The secret that it last showed, if it had to.
    grant: Option<Arc<Grant>>,
    /// It asked whether the body of its request may come, and was told.
    was_told_to_go_on: bool,
    /// It is in the list of those that are read, in this turn or in the next.
    pub(super) is_listed: bool,
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
    /// It has its answer. What it still says is read and forgotten, so that no reset overtakes that.
    Lingering,
}

/// Whose messages somebody looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Tap {
    pub(in crate::daemon) source: String,
    pub(in crate::daemon) way: Way,
    /// Messages that it was too slow for, and has not been told of.
    missed_messages: u64,
}

/// What a visitor that was ready brings.
#[derive(Debug)]
pub(super) enum Next {
    /// A request that is all there. There may be more behind it.
    Request(Request),
    /// More to read in the next turn: others have theirs first.
    Turn,
    /// Nothing before its socket tells of it, or its answer is there.
    Event,
}

impl<S: Socket> Visitor<S> {
    /// `is_near`: it came over TCP from this machine.
    pub(super) fn new(stream: S, access: Access, is_near: bool, now: Instant) -> Self {
        Self {
            stream,
            access,
            is_near,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            stage: Stage::Serving,
            grant: None,
            was_told_to_go_on: false,
            is_listed: false,
            until: now + REQUEST_TIMEOUT,
        }
    }

    /// Reads for one turn: until a request is whole, or it has had its share. Who may not look is
    /// told so. An error ends it.
    pub(super) fn next(&mut self, auth: &Auth, now: Instant) -> io::Result<Next> {
        let mut budget = READ_BYTES;
        loop {
            self.flush(now)?;
            match self.stage {
                // It is read on when it has its answer, and what it was told before.
                Stage::Waiting => return Ok(Next::Event),
                Stage::Serving if !self.outbox.is_empty() => return Ok(Next::Event),
                Stage::Serving => match self.take(auth) {
                    Ok(Some(request)) => return Ok(Next::Request(request)),
                    Ok(None) if !self.outbox.is_empty() => continue,
                    Ok(None) => {}
                    Err(refusal) => {
                        refusal.send(&mut self.outbox);
                        self.stage = Stage::Leaving;
                        continue;
                    }
                },
                // What it says is of no interest.
                Stage::Watching | Stage::Tapping(_) | Stage::Leaving | Stage::Lingering => {
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

    /// The next request of the inbox that may be answered. What is owed instead is in the outbox.
    fn take(&mut self, auth: &Auth) -> Result<Option<Request>, Refusal> {
        let request = match Request::take(&mut self.inbox)? {
            Taken::Whole(request) => request,
            Taken::AsksToGoOn if !self.was_told_to_go_on => {
                self.outbox.push(GO_ON);
                self.was_told_to_go_on = true;
                return Ok(None);
            }
            Taken::AsksToGoOn | Taken::Part => return Ok(None),
        };
        self.was_told_to_go_on = false;
        // A browser's page may have made its own name point to this machine.
        if self.is_near && has_foreign_host(&request) {
            return Err(MISDIRECTED);
        }
        if self.access == Access::Act {
            return Ok(Some(request));
        }
        match auth.admit(|| request.shown.clone()) {
            Ok(grant) => {
                self.grant = grant;
                Ok(Some(request))
            }
            Err(denial) => {
                // Each guess takes a connection.
                let request = Request { keeps_alive: false, ..request };
                denied(auth, denial).send(&request, &mut self.outbox);
                self.stage = Stage::Leaving;
                Ok(None)
            }
        }
    }

    /// Owes the answer to a request.
    pub(super) fn answer(&mut self, request: &Request, response: &Response, now: Instant) {
        response.send(request, &mut self.outbox);
        self.until = now + ANSWER_TIMEOUT;
        self.stage = if request.keeps_alive { Stage::Serving } else { Stage::Leaving };
    }

    /// Waits for the answer to its request.
    pub(super) fn wait(&mut self, now: Instant) {
        self.stage = Stage::Waiting;
        self.until = now + WORK_TIMEOUT;
    }

    /// Gets an answer that goes on with events.
    pub(super) fn watch(&mut self, response: &Response, now: Instant) {
        self.begin(response, Stage::Watching, now);
    }

    /// Gets an answer that goes on with messages.
    pub(super) fn tap(&mut self, response: &Response, tap: Tap, now: Instant) {
        self.begin(response, Stage::Tapping(tap), now);
    }

    fn begin(&mut self, response: &Response, stage: Stage, now: Instant) {
        response.begin(&mut self.outbox);
        self.outbox.push(&response.body);
        self.until = now + ANSWER_TIMEOUT;
        self.stage = stage;
    }

    /// Goes when it has what it is owed.
    pub(super) fn leave(&mut self) {
        if self.stage != Stage::Lingering {
            self.stage = Stage::Leaving;
        }
    }

    /// Whether it waits for an answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    pub(super) fn is_watching(&self) -> bool {
        self.stage == Stage::Watching
    }

    /// Whose messages it looks at.
    pub(super) fn tapped(&self) -> Option<&Tap> {
        match &self.stage {
            Stage::Tapping(tap) => Some(tap),
            Stage::Serving
            | Stage::Waiting
            | Stage::Watching
            | Stage::Leaving
            | Stage::Lingering => None,
        }
    }

    /// Whether it would be let in if it came with the same secret again.
    pub(super) fn is_welcome(&self, auth: &Auth) -> bool {
        self.access == Access::Act || auth.admits_again(self.grant.as_ref())
    }

    /// Owes an event. `false`: it reads too slowly for more.
    pub(super) fn tell(&mut self, line: &[u8], now: Instant) -> bool {
        if self.outbox.len() + line.len() > MAX_VISITOR_OUTBOX_BYTES {
            return false;
        }
        if self.outbox.is_empty() {
            self.until = now + ANSWER_TIMEOUT;
        }
        self.outbox.push(line);
        true
    }

    /// Owes a message if it looks at those of this source.
    pub(super) fn show(&mut self, source: &str, way: Way, line: &[u8]) {
        if let Stage::Tapping(tap) = &mut self.stage
            && tap.source == source
            && tap.way == way
        {
            tap.show(line, &mut self.outbox);
        }
    }

    /// Sends what it is owed, as far as it takes that. Who has everything and leaves is told that
    /// this was all.
    pub(super) fn flush(&mut self, now: Instant) -> io::Result<()> {
        match self.send() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if self.stage == Stage::Leaving {
            self.stage = Stage::Lingering;
            self.until = now + LINGER;
            return match self.stream.finish() {
                // The last words of TLS may wait for room; it goes when its time is up.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        Ok(())
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
    pub(super) fn deadline(&self) -> Option<Instant> {
        let may_stay = match &self.stage {
            Stage::Tapping(_) => true,
            Stage::Watching => self.outbox.is_empty(),
            Stage::Serving | Stage::Waiting | Stage::Leaving | Stage::Lingering => false,
        };
        (!may_stay).then_some(self.until)
    }
}

impl Tap {
    pub(in crate::daemon) fn new(source: String, way: Way) -> Self {
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
            outbox.push(&crate::daemon::answers::line(&TapEvent::Missed { messages }));
        }
        outbox.push(line);
    }
}

fn denied(auth: &Auth, denial: Denial) -> Response {
    Response { headers: auth.challenges(), ..Response::text(401, denial.words()) }
}

fn has_foreign_host(request: &Request) -> bool {
    !request.host.is_empty() && !is_fixed_host(&request.host)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io::{Read, Write};

    use super::*;

    /// What a visitor says, piece by piece, and what it is told.
    #[derive(Default)]
    struct Script {
        says: VecDeque<Vec<u8>>,
        heard: Vec<u8>,
        is_finished: bool,
    }

    impl Read for Script {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(mut piece) = self.says.pop_front() else {
                return Err(io::ErrorKind::WouldBlock.into());
            };
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            if count < piece.len() {
                self.says.push_front(piece.split_off(count));
            }
            Ok(count)
        }
    }

    impl Write for Script {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.heard.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Socket for Script {
        fn finish(&mut self) -> io::Result<()> {
            self.is_finished = true;
            Ok(())
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn now() -> Instant {
        Instant::now()
    }

    fn visitor(says: &[&str], access: Access) -> Visitor<Script> {
        let says = says.iter().map(|piece| piece.as_bytes().to_vec()).collect();
        Visitor::new(Script { says, ..Script::default() }, access, true, now())
    }

    fn heard(visitor: &Visitor<Script>) -> String {
        String::from_utf8(visitor.stream.heard.clone()).unwrap()
    }

    #[test]
    fn one_request_is_taken_in_a_turn_however_many_there_are() {
        let mut visitor = visitor(&["GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n"], Access::Act);
        for path in ["/a", "/b"] {
            let Next::Request(request) = visitor.next(&Auth::default(), now()).unwrap() else {
                panic!("no request")
            };
            assert_eq!(request.path, path);
            visitor.answer(&request, &Response::text(200, path), now());
        }
        assert!(matches!(visitor.next(&Auth::default(), now()), Ok(Next::Event)));
        assert_eq!(heard(&visitor).matches("HTTP/1.1 200 OK").count(), 2);
    }

    #[test]
    fn share_of_a_turn_is_64_kib() {
        let body = "x".repeat(200_000);
        let head = "POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\n";
        let mut visitor = visitor(&[head, &body], Access::Act);
        let mut turns = 1;
        while let Ok(Next::Turn) = visitor.next(&Auth::default(), now()) {
            turns += 1;
        }
        assert!((3..6).contains(&turns), "{turns}");
    }

    #[test]
    fn each_guess_takes_a_connection() {
        let auth = Auth::new([Grant::token("open-sesame", String::new(), true)]);
        let guess = "GET / HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n";
        let mut visitor = visitor(&[guess, guess], Access::Read);
        assert!(matches!(visitor.next(&auth, now()), Ok(Next::Event)));
        let heard = heard(&visitor);
        assert_eq!(heard.matches("HTTP/1.1 401 ").count(), 1, "{heard}");
        assert!(heard.contains("\r\nConnection: close\r\n") && visitor.stream.is_finished);
    }

    #[test]
    fn who_was_refused_is_heard_to_its_end_and_not_answered_again() {
        let request = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n";
        let mut visitor = visitor(&[request, "and much more", ""], Access::Read);
        let ended = visitor.next(&Auth::default(), now()).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(heard(&visitor).matches("HTTP/1.1 421 ").count(), 1);
        assert!(visitor.stream.is_finished);
    }

    #[test]
    fn watcher_whose_secret_is_withdrawn_is_not_welcome() {
        let auth = Auth::new([Grant::token("a", String::new(), true)]);
        let request = "GET / HTTP/1.1\r\nAuthorization: Bearer a\r\n\r\n";
        let mut visitor = visitor(&[request], Access::Read);
        assert!(matches!(visitor.next(&auth, now()), Ok(Next::Request(_))));
        visitor.watch(&Response::text(200, "first"), now());
        assert!(visitor.is_welcome(&auth) && visitor.is_welcome(&Auth::default()));
        assert!(!visitor.is_welcome(&Auth::new([Grant::token("b", String::new(), true)])));
    }
}
