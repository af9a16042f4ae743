//! A source: what it sends, what of that must have been received, and what it hears.

use std::collections::HashMap;

use tungstenite::handshake::derive_accept_key;
use veylor::relay::SourceTally;

use super::story::Manner;
use crate::frames;
use crate::peer::response;
use crate::pipe::Far;

/// One source, over all its connections.
#[derive(Debug)]
pub(super) struct Source {
    number: usize,
    pub(super) manner: Manner,
    /// Whether a connection has ever ended, or none has come about.
    pub(super) was_lost: bool,
    conn: Option<Conn>,
    /// The numbers that the relay received over connections of the past.
    log: Vec<usize>,
    next_number: usize,
    /// The clients' messages that it heard, in order.
    heard: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct Conn {
    far: Far,
    heard: Vec<u8>,
    is_open: bool,
    is_reading: bool,
    /// It has sent bytes that may be anything: what follows may not be understood.
    is_tainted: bool,
    /// The numbers sent, and how many messages the relay had counted before.
    sent: Vec<usize>,
    counted_before: u64,
}

impl Source {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            manner: Manner::Accepting,
            was_lost: false,
            conn: None,
            log: Vec::new(),
            next_number: 0,
            heard: Vec::new(),
        }
    }

    /// The relay has dialled.
    pub(super) fn connect(&mut self, far: Far, tally: SourceTally) {
        self.was_lost |= self.conn.is_some();
        self.log = self.log_with(tally);
        self.conn = Some(Conn {
            far,
            heard: Vec::new(),
            is_open: false,
            is_reading: true,
            is_tainted: false,
            sent: Vec::new(),
            counted_before: tally.received_messages,
        });
    }

    /// Sends the next message, whole or in two fragments around a ping.
    pub(super) fn send(&mut self, length: usize, is_split: bool) {
        let number = self.next_number;
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.is_open && !conn.is_tainted) else {
            return;
        };
        let text = format!("source {}:{number}:", self.number);
        let text = format!("{text:x<length$}");
        let opcode = if Self::is_text(number) { 1 } else { 2 };
        if is_split {
            let (first, last) = text.as_bytes().split_at(text.len() / 3);
            conn.far.say(&frames::write(opcode, false, None, first));
            conn.far.say(&frames::write(9, true, None, b"?"));
            conn.far.say(&frames::write(0, true, None, last));
        } else {
            conn.far.say(&frames::write(opcode, true, None, text.as_bytes()));
        }
        conn.sent.push(number);
        self.next_number += 1;
    }

    /// Sends anything. Nothing numbered follows on this connection.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        if let Some(conn) = &mut self.conn {
            conn.is_tainted = true;
            conn.far.say(bytes);
        }
    }

    pub(super) fn close(&mut self) {
        self.say(&frames::write(8, true, None, &1000_u16.to_be_bytes()));
    }

    pub(super) fn reset(&mut self) {
        if let Some(conn) = &mut self.conn {
            conn.is_tainted = true;
            conn.far.reset();
        }
    }

    pub(super) fn stall(&mut self, bytes: usize) {
        if let Some(conn) = &mut self.conn {
            conn.is_reading = false;
            conn.far.set_capacity(bytes);
        }
    }

    pub(super) fn resume(&mut self) {
        if let Some(conn) = &mut self.conn {
            conn.is_reading = true;
            conn.far.set_capacity(usize::MAX);
        }
    }

    /// How many numbered messages the relay has received in all.
    pub(super) fn received(&self, tally: SourceTally) -> usize {
        self.log.len() + self.conn.as_ref().map_or(0, |conn| conn.received_of(tally))
    }

    /// Their numbers, and those that are still on their way.
    pub(super) fn log(&self) -> Vec<usize> {
        let sent = self.conn.iter().flat_map(|conn| &conn.sent);
        self.log.iter().chain(sent).copied().collect()
    }

    fn log_with(&self, tally: SourceTally) -> Vec<usize> {
        let mut log = self.log();
        log.truncate(self.received(tally));
        log
    }

    /// The source and number of a message, `None` if nobody has numbered it.
    pub(super) fn number_of(payload: &[u8]) -> Option<(usize, usize)> {
        numbered(payload, "source ")
    }

    pub(super) fn is_text(number: usize) -> bool {
        number.is_multiple_of(2)
    }

    /// Hears what has come. Says whether there was anything.
    pub(super) fn listen(&mut self) -> bool {
        let Some(conn) = self.conn.as_mut().filter(|conn| conn.is_reading) else { return false };
        let bytes = conn.far.take();
        conn.heard.extend(&bytes);
        self.was_lost |= conn.far.is_finished();
        if !conn.is_open && !conn.is_tainted {
            conn.answer(self.manner);
        }
        while conn.is_open
            && let Some((frame, length)) = frames::parse(&conn.heard)
        {
            conn.heard.drain(..length);
            assert!(frame.was_masked && frame.is_final, "a frame that we do not send");
            match frame.opcode {
                1 | 2 => self.heard.extend(numbered(&frame.payload, "client ")),
                8 => {
                    conn.is_tainted = true;
                    conn.far.say(&frames::write(8, true, None, &[]));
                    conn.far.end();
                }
                9 => conn.far.say(&frames::write(10, true, None, &frame.payload)),
                10 => {}
                other => panic!("opcode {other}"),
            }
        }
        !bytes.is_empty()
    }

    /// How many messages of a client it has heard, `None` if some may be lost on their way.
    pub(super) fn heard_of(&self, client: usize) -> Option<usize> {
        let is_steady = !self.was_lost && self.conn.as_ref().is_some_and(|conn| conn.is_open);
        is_steady.then(|| self.heard.iter().filter(|(from, _)| *from == client).count())
    }

    /// Each client's messages came in order, none twice.
    pub(super) fn check(&self, is_read_only: bool) {
        assert!(!is_read_only || self.heard.is_empty(), "a message passed a read-only channel");
        let mut last = HashMap::new();
        for (client, number) in &self.heard {
            let before = last.insert(client, number);
            assert!(before.is_none_or(|before| before < number), "{client}: {number} after it");
        }
    }
}

impl Conn {
    /// Numbered messages come first, so what was counted is these, and then others.
    fn received_of(&self, tally: SourceTally) -> usize {
        let counted = tally.received_messages - self.counted_before;
        self.sent.len().min(usize::try_from(counted).expect("few messages"))
    }

    fn answer(&mut self, manner: Manner) {
        if !self.heard.ends_with(b"\r\n\r\n") {
            return;
        }
        let request = String::from_utf8(std::mem::take(&mut self.heard)).expect("text");
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let accept = derive_accept_key(key.expect("a key").as_bytes());
        match manner {
            Manner::Accepting => {
                self.far.say(response(&accept).as_bytes());
                self.is_open = true;
            }
            Manner::Refusing => self.far.say(b"HTTP/1.1 503 Busy\r\n\r\n"),
            Manner::Silent | Manner::Unreachable => {}
        }
    }
}

/// Who sent a message, and its number.
fn numbered(payload: &[u8], who: &str) -> Option<(usize, usize)> {
    let text = std::str::from_utf8(payload).ok()?.strip_prefix(who)?;
    let mut parts = text.splitn(3, ':');
    let found = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let padding = parts.next()?;
    assert!(padding.bytes().all(|byte| byte == b'x'), "a damaged message: {text}");
    Some(found)
}
