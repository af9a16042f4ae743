//! The session of a source's connection: what is said to it after the handshake, and while it is
//! open.
//!
//! A script says it all (`script`); a session is how far one connection has come with it (`progress`). Before
//! its last step it is not ready: clients' messages wait, so that a login comes first. A wait that
//! fails is a failed connection. While we do not read the source, since a channel is full, no
//! deadline of what it should say runs.

use std::fmt::Display;
use std::time::{Duration, Instant};

use log::Level;

use super::conn::Goodbye;
use super::farewell::Reason;
use super::progress::{Due, Progress, Session};
use super::script::{Overture, Payload, Script, Step};
use super::settings::SourceId;
use super::source::State;
use super::tap::Way;
use super::{Command, LINGER, Relay, Role, SPENT_TIMERS, Stage};
use crate::codec::{Kind, Message};
use crate::net::stream::Socket;
use crate::reactor::table::Key;

/// Bytes that are kept of what a source says before `on_connect_command` is run.
pub const MAX_OVERTURE_BYTES: usize = 256 * 1024;
/// Messages that `on_connect_command` may print.
pub const MAX_PROMPTED_MESSAGES: usize = 100;
/// A source with unread bytes may have said already what it is late with: it is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Whom a message of a source is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    ForClients,
    /// For clients, and for the script of its connection, which has waited for it.
    Awaited,
    /// It is answered, and clients do not get it.
    ForUs,
}

impl<S: Socket> Relay<S> {
    /// Says what shall be said on a connection to a source that has just been taken in.
    pub fn instruct(&mut self, key: Key, script: Script) {
        if let Some(session) = self.session_mut(key) {
            session.script = script;
        }
    }

    /// What a source has said that `on_connect_command` is asked about, a text in each line. To be
    /// taken once, when [`Command::Prompt`] asks for it.
    pub fn take_overture(&mut self, key: Key) -> Option<(SourceId, Vec<u8>, Duration)> {
        let id = self.current_source(key)?;
        let session = self.session_mut(key)?;
        let timeout = session.script.prompt.as_ref()?.timeout;
        let Progress::Prompted { heard, .. } = &mut session.stage else { return None };
        Some((id, std::mem::take(heard), timeout))
    }

    /// Learns what `on_connect_command` has printed for a connection, a message in each line, or
    /// why it has failed. An answer for a connection that has ended is ignored.
    pub fn prompted(&mut self, key: Key, answer: Result<&[u8], &str>, now: Instant) {
        let Some(id) = self.current_source(key) else { return };
        let Some(session) = self.session_mut(key) else { return };
        if !matches!(session.stage, Progress::Prompted { .. }) {
            return;
        }
        match answer.map_err(str::to_owned).and_then(lines) {
            Ok(lines) => {
                for line in lines {
                    self.say(key, id, &Payload::text(line));
                }
                self.go_on(key, id, now);
            }
            Err(why) => self.fail_session(key, &format_args!("on_connect_command {why}"), now),
        }
    }

    /// Whether a connection still waits for what `on_connect_command` prints.
    pub fn awaits_prompt(&self, key: Key) -> bool {
        let session = self.conns.get(key).and_then(|conn| conn.session.as_deref());
        self.current_source(key).is_some()
            && session.is_some_and(|session| matches!(session.stage, Progress::Prompted { .. }))
    }

    /// Whether all is said that comes before clients' messages.
    pub(super) fn is_ready(&self, key: Key) -> bool {
        let session = self.conns.get(key).and_then(|conn| conn.session.as_ref());
        session.is_none_or(|session| session.is_ready())
    }

    /// Whether a connection is ready when its handshake is done.
    pub(super) fn has_nothing_to_say(&self, key: Key) -> bool {
        let session = self.conns.get(key).and_then(|conn| conn.session.as_deref());
        session.is_none_or(|session| {
            session.script.prompt.is_none() && session.script.steps.is_empty()
        })
    }

    /// The handshake is done: what shall be said is said.
    pub(super) fn begin_session(&mut self, key: Key, id: SourceId, now: Instant) {
        let has_nothing_to_say = self.has_nothing_to_say(key);
        let Some(session) = self.session_mut(key) else { return };
        session.opened_at = now;
        session.last_message = now;
        session.steps = std::mem::take(&mut session.script.steps).into_iter();
        if has_nothing_to_say {
            session.become_ready(now);
            self.schedule_session(key, id);
            return;
        }
        let Some(prompt) = &session.script.prompt else { return self.go_on(key, id, now) };
        let is_ripe = prompt.overture == Overture::Nothing;
        let until = now + prompt.timeout;
        session.stage = Progress::Listening { until, heard: Vec::new() };
        if is_ripe {
            self.ask(key, id, now);
        }
        self.schedule_session(key, id);
    }

    /// Takes note of a message of a source. Says whom it is for.
    pub(super) fn converse(
        &mut self,
        key: Key,
        id: SourceId,
        message: Message<'_>,
        now: Instant,
    ) -> Heard {
        let Some(session) = self.session_mut(key) else { return Heard::ForClients };
        let reply = session.reply_to(message);
        if reply.is_none() {
            session.last_message = now;
            if session.is_ready() {
                return Heard::ForClients;
            }
        }
        let forward = reply.is_none_or(|number| self.reply(key, id, number, message));
        let is_awaited = self.hear(key, id, message, now);
        match (forward, is_awaited) {
            (false, _) => Heard::ForUs,
            (true, true) => Heard::Awaited,
            (true, false) => Heard::ForClients,
        }
    }

    /// Notes whether a source is read: what it should say is not waited for while it is not.
    pub(super) fn note_pause(&mut self, key: Key, id: SourceId, is_paused: bool, now: Instant) {
        let Some(session) = self.session_mut(key) else { return };
        match (session.held_since, is_paused) {
            (None, true) => session.held_since = Some(now),
            (Some(since), false) => {
                session.held_since = None;
                session.put_off(now.saturating_duration_since(since));
                self.put_off_copies(id, since, now);
                self.schedule_session(key, id);
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// Looks at the sessions that have something to do.
    pub(super) fn expire_sessions(&mut self, now: Instant) {
        while let Some((at, key)) = self.sessions.pop_due(now) {
            let Some(id) = self.current_source(key) else { continue };
            match self.session_mut(key) {
                Some(session) if session.look_at == Some(at) => session.look_at = None,
                Some(_) | None => continue,
            }
            self.check_session(key, id, now);
        }
    }

    /// Promises a look at a session when its next deadline comes.
    pub(super) fn schedule_session(&mut self, key: Key, id: SourceId) {
        let settings = &self.sources[id.0].settings;
        let Some(session) = self.conns.get(key).and_then(|conn| conn.session.as_deref()) else {
            return;
        };
        // The handshake has a deadline of its own.
        if matches!(session.stage, Progress::Opening) {
            return;
        }
        let Some((at, _)) = session.deadline(settings) else { return };
        // An earlier look will find it.
        if session.look_at.is_none_or(|look_at| look_at > at) {
            self.promise_look(key, at);
        }
    }

    fn promise_look(&mut self, key: Key, at: Instant) {
        if let Some(session) = self.session_mut(key) {
            session.look_at = Some(at);
            self.sessions.schedule(key, at);
        }
        if self.sessions.len() > 4 * self.sources.len() + SPENT_TIMERS {
            let Self { sessions, conns, .. } = self;
            sessions.retain(|at, key| {
                let session = conns.get(key).and_then(|conn| conn.session.as_ref());
                session.is_some_and(|session| session.look_at == Some(at))
            });
        }
    }

    fn check_session(&mut self, key: Key, id: SourceId, now: Instant) {
        let settings = &self.sources[id.0].settings;
        let idle_timeout = settings.idle_timeout.unwrap_or_default();
        let Some(conn) = self.conns.get(key) else { return };
        let Some(session) = conn.session.as_deref() else { return };
        let due = session.deadline(settings).filter(|(at, _)| *at <= now);
        let is_heard = !conn.listed.to_read;
        match due {
            None => self.schedule_session(key, id),
            Some((_, Due::Beat)) => {
                self.beat(key, id, now);
                self.schedule_session(key, id);
            }
            // That does not depend on what it has said.
            Some((_, Due::Age)) => self.retire(key, id, now),
            Some(_) if !is_heard => self.promise_look(key, now + LOOK_AGAIN),
            Some((_, Due::Wait)) => {
                let why = session.lack();
                self.fail_session(key, &why, now);
            }
            Some((_, Due::Idle)) => {
                let seconds = idle_timeout.as_secs_f64();
                let why = format_args!("no message for {seconds} s, see idle_timeout");
                self.fail_session(key, &why, now);
            }
        }
    }

    /// A connection has reached its `max_age`: another takes its place, and that is no failure.
    fn retire(&mut self, key: Key, id: SourceId, now: Instant) {
        if self.age_leg(id) {
            if let Some(session) = self.session_mut(key) {
                session.is_aged = true;
            }
            return self.schedule_session(key, id);
        }
        let name = self.sources[id.0].label();
        log::info!("source {name}: max_age is reached, to be dialled anew");
        self.replace(id, key, Goodbye::MaxAge, now);
    }

    /// Ends a connection on which something was waited for in vain.
    fn fail_session(&mut self, key: Key, why: &dyn Display, now: Instant) {
        self.part(key, Reason::Silent, why, now);
        let Some(conn) = self.conns.get_mut(key) else { return };
        let goodbye = Goodbye::Unanswered;
        conn.codec.close(goodbye.code(), goodbye.reason(), &mut conn.outbox);
        self.linger(key, now + LINGER);
    }

    /// Sends the heartbeat. A source that takes nothing gets no heap of them: what waits for it
    /// already will say as well that we live.
    fn beat(&mut self, key: Key, id: SourceId, now: Instant) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(session) = conn.session.as_deref_mut() else { return };
        let Some(heartbeat) = session.script.heartbeat.clone() else { return };
        session.next_beat = Some(now + heartbeat.every);
        if !conn.is_blocked || conn.outbox.is_empty() {
            self.say(key, id, &heartbeat.send);
        }
    }

    /// Answers a message as an item of `reply_to` wants it. Says whether clients get the message.
    fn reply(&mut self, key: Key, id: SourceId, number: usize, message: Message<'_>) -> bool {
        let Some(session) = self.session_mut(key) else { return true };
        let Some(reply) = session.script.replies.get(number) else { return true };
        let forward = reply.forward;
        if let Some(answer) = reply.answer.to(message.payload) {
            self.say(key, id, &answer);
            return forward;
        }
        if !std::mem::replace(&mut session.is_failed_reply_told, true) {
            let (name, number) = (self.sources[id.0].label(), number + 1);
            log::warn!(
                "source {name}: item {number} of reply_to sends nothing: what its ${{match:…}} \
                 names is not in the message, or too large; clients get the message"
            );
        }
        // What is not answered was meant for somebody else.
        true
    }

    /// Goes on with the script if a message is what was waited for; says whether it is.
    fn hear(&mut self, key: Key, id: SourceId, message: Message<'_>, now: Instant) -> bool {
        let Some(session) = self.session_mut(key) else { return false };
        match &mut session.stage {
            Progress::Waiting { wait, .. } if wait.pattern.matches(message.payload) => {
                self.go_on(key, id, now);
                true
            }
            Progress::Listening { heard, .. } if message.kind == Kind::Text => {
                let has_room = heard.len() + message.payload.len() < MAX_OVERTURE_BYTES;
                if has_room {
                    push_line(heard, message.payload);
                }
                let overture = session.script.prompt.as_ref().map(|prompt| &prompt.overture);
                let is_ripe = match overture {
                    Some(Overture::Until(pattern)) => pattern.matches(message.payload),
                    Some(Overture::First | Overture::Nothing) | None => true,
                };
                if !has_room {
                    let limit = MAX_OVERTURE_BYTES / 1024;
                    let why = format_args!("more than {limit} KiB for on_connect_command");
                    self.fail_session(key, &why, now);
                } else if is_ripe {
                    self.ask(key, id, now);
                }
                is_ripe
            }
            Progress::Listening { .. }
            | Progress::Waiting { .. }
            | Progress::Opening
            | Progress::Prompted { .. }
            | Progress::Ready => false,
        }
    }

    /// Asks for the program's answer, which has its own time.
    fn ask(&mut self, key: Key, id: SourceId, now: Instant) {
        let Some(session) = self.session_mut(key) else { return };
        let Some(timeout) = session.script.prompt.as_ref().map(|prompt| prompt.timeout) else {
            return;
        };
        if let Progress::Listening { heard, .. } = &mut session.stage {
            // Who runs it has the same deadline, and says more when it is over.
            let (until, heard) = (now + timeout + LINGER, std::mem::take(heard));
            session.stage = Progress::Prompted { until, heard };
            self.commands.push_back(Command::Prompt(key));
            self.schedule_session(key, id);
        }
    }

    /// Takes the next steps, until one waits or none is left.
    fn go_on(&mut self, key: Key, id: SourceId, now: Instant) {
        loop {
            let Some(session) = self.session_mut(key) else { return };
            let Some(Step { send, wait }) = session.steps.next() else {
                self.session_ready(key, id, now);
                break;
            };
            session.step += 1;
            let has_sent = send.is_some();
            let is_waiting = wait.is_some();
            if let Some(wait) = wait {
                let until = now + wait.timeout;
                session.stage = Progress::Waiting { until, wait, has_sent };
            }
            if let Some(payload) = send {
                self.say(key, id, &payload);
            }
            if is_waiting {
                break;
            }
        }
        self.schedule_session(key, id);
    }

    fn session_ready(&mut self, key: Key, id: SourceId, now: Instant) {
        let Some(session) = self.session_mut(key) else { return };
        session.become_ready(now);
        let sent_messages = session.sent_messages;
        let source = &mut self.sources[id.0];
        source.enter(State::Open { key, since: now }, now);
        let down_since = source.down_since.take();
        let name = source.label();
        match down_since {
            None => log::info!("source {name}: ready ({sent_messages} messages sent)"),
            Some(since) => {
                let seconds = now.saturating_duration_since(since).as_secs_f64();
                // As loud as its loss was.
                let level = if source.place.is_some() { Level::Info } else { Level::Warn };
                log::log!(
                    level,
                    "source {name}: ready again ({sent_messages} messages sent) after {seconds:.1} s"
                );
            }
        }
        self.release_waiting(id);
    }

    /// Owes a source a message of ours.
    fn say(&mut self, key: Key, id: SourceId, payload: &Payload) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.stage != Stage::Open {
            return;
        }
        conn.codec.send(payload.message(), &mut conn.outbox);
        if let Some(session) = conn.session.as_deref_mut() {
            session.sent_messages += 1;
        }
        self.sources[id.0].tally.own_messages += 1;
        self.tap.note(self.head(id), Way::Forwarded, payload.message());
        self.queue(key);
    }

    fn session_mut(&mut self, key: Key) -> Option<&mut Session> {
        self.conns.get_mut(key)?.session.as_deref_mut()
    }

    /// The source whose connection of now this is, open or opening.
    fn current_source(&self, key: Key) -> Option<SourceId> {
        match self.conns.get(key)?.role {
            Role::Source(id) if self.sources[id.0].key() == Some(key) => Some(id),
            Role::Source(_) | Role::Newcomer | Role::Client(_) => None,
        }
    }
}

/// Appends a text as one line: its own line breaks become blanks.
fn push_line(heard: &mut Vec<u8>, text: &[u8]) {
    heard.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    heard.push(b'\n');
}

/// The messages that a program has printed. Empty lines are none.
fn lines(printed: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(printed).map_err(|_| "printed what is no text (UTF-8)")?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.len() > MAX_PROMPTED_MESSAGES {
        return Err(format!("printed more than {MAX_PROMPTED_MESSAGES} lines"));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_that_a_program_prints_is_a_message() {
        assert_eq!(lines(b"one\r\n\ntwo").unwrap(), ["one", "two"]);
        assert_eq!(lines(b"").unwrap(), [""; 0]);
        assert!(lines(b"\xff").unwrap_err().contains("no text"));
        let many = "x\n".repeat(MAX_PROMPTED_MESSAGES + 1);
        assert!(lines(many.as_bytes()).unwrap_err().contains("more than 100 lines"));
    }

    #[test]
    fn what_a_program_reads_has_a_line_for_each_text() {
        let mut heard = Vec::new();
        push_line(&mut heard, b"{\r\n}");
        push_line(&mut heard, b"b");
        assert_eq!(heard, b"{  }\nb\n");
    }
}
