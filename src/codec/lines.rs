//! A message a line: what a bare TCP port speaks, and `nc` with it.
//!
//! There is no handshake, no ping and no goodbye: the end of the stream is the end. A client's line
//! is a text without its line break, `\n` or `\r\n`; empty lines mean nothing. A browser's page can
//! make any port hear a request, with lines of its own in it; so who begins like HTTP is not heard.

use super::{Error, Event, Kind, Message};
use crate::reactor::inbox::Inbox;

/// A peer that speaks lines.
#[derive(Debug)]
pub struct Codec {
    opened: bool,
    /// Its first line has come.
    has_begun: bool,
    max_message_size: usize,
    /// Bytes of the line that has not come whole in which no end was found.
    searched: usize,
}

impl Codec {
    /// A peer whose lines have at most `max_message_size` bytes.
    pub fn new(max_message_size: usize) -> Self {
        Self { opened: false, has_begun: false, max_message_size, searched: 0 }
    }

    pub(super) fn set_max_message_size(&mut self, max_message_size: usize) {
        self.max_message_size = max_message_size;
    }

    /// See [`super::Codec::poll_event`].
    pub fn poll_event<'a>(&mut self, inbox: &'a mut Inbox) -> Result<Option<Event<'a>>, Error> {
        if !self.opened {
            self.opened = true;
            return Ok(Some(Event::Opened));
        }
        loop {
            let bytes = inbox.bytes();
            let end = bytes[self.searched..].iter().position(|byte| *byte == b'\n');
            let length = end.map_or(bytes.len(), |at| self.searched + at);
            if length > self.max_message_size + 1 {
                let (size, limit) = (length as u64, self.max_message_size);
                return Err(Error::TooLarge { size, limit });
            }
            if end.is_none() {
                self.searched = length;
                return Ok(None);
            }
            self.searched = 0;
            if matches!(&bytes[..length], b"" | b"\r") {
                inbox.take(length + 1);
                continue;
            }
            let line = &inbox.take(length + 1)[..length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if std::str::from_utf8(line).is_err() {
                return Err(Error::NotUtf8);
            }
            if !std::mem::replace(&mut self.has_begun, true) && is_request(line) {
                return Err(Error::Protocol("a request of HTTP where lines are spoken"));
            }
            return Ok(Some(Event::Message(Message { kind: Kind::Text, payload: line })));
        }
    }
}

/// Whether a line begins a request (RFC 9112, section 3).
fn is_request(line: &[u8]) -> bool {
    let last_word = line.rsplit(|byte| *byte == b' ').next();
    last_word.is_some_and(|word| word.len() < line.len() && word.starts_with(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8], at_once: usize) -> Result<Vec<String>, Error> {
        let (mut codec, mut inbox, mut lines) = (Codec::new(8), Inbox::default(), Vec::new());
        for part in bytes.chunks(at_once) {
            inbox.push(part);
            while let Some(event) = codec.poll_event(&mut inbox)? {
                if let Event::Message(message) = event {
                    lines.push(String::from_utf8(message.payload.to_vec()).unwrap());
                }
            }
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_messages_however_they_come() {
        let bytes = "one\r\n\n\r\ntwo\né\nrest".as_bytes();
        for at_once in [1, 2, 5, 100] {
            assert_eq!(lines(bytes, at_once), Ok(["one", "two", "é"].map(str::to_owned).into()));
        }
    }

    #[test]
    fn line_has_a_limit_also_when_it_never_ends() {
        assert!(lines(b"12345678\r\n", 1).is_ok());
        for (bytes, at_once) in [(&b"1234567890"[..], 1), (b"1234567890\n", 100)] {
            assert!(matches!(lines(bytes, at_once), Err(Error::TooLarge { limit: 8, .. })));
        }
    }

    #[test]
    fn browser_s_request_is_not_heard() {
        let request = "POST / HTTP/1.1\r\nHost: a\r\n\r\n{\"op\":\"buy\"}\n";
        let (mut codec, mut inbox) = (Codec::new(100), Inbox::default());
        inbox.push(request.as_bytes());
        assert_eq!(codec.poll_event(&mut inbox), Ok(Some(Event::Opened)));
        assert!(matches!(codec.poll_event(&mut inbox), Err(Error::Protocol(_))));
        let (mut codec, mut inbox) = (Codec::new(100), Inbox::default());
        inbox.push(b"HTTP/1.1\nsay HTTP/1.1\n");
        for _ in 0..3 {
            assert!(matches!(codec.poll_event(&mut inbox), Ok(Some(_))), "these are words");
        }
    }

    #[test]
    fn line_that_is_no_text_ends_the_connection() {
        assert_eq!(lines(b"\xff\n", 1), Err(Error::NotUtf8));
    }
}
