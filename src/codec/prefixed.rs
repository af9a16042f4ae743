//! Length and payload: the wire of Unix sockets, as the Python Veylor spoke it.
//!
//! ```text
//! | length: 4 bytes, big-endian | payload |
//! ```
//!
//! There is no handshake, no ping and no goodbye: the end of the stream is the end. A client's
//! message has at least one byte; the relay's may have none.

use super::wire::MAX_HEADER_BYTES;
use super::{Error, Event, Kind, Message};
use crate::reactor::inbox::Inbox;

/// Bytes in front of a payload.
const PREFIX_BYTES: usize = 4;

/// As what a client's messages go to the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageType {
    /// Text when the bytes are valid UTF-8, else binary.
    #[default]
    Auto,
    /// Text; a message that is not valid UTF-8 ends the connection.
    Text,
    /// Binary.
    Binary,
}

/// A peer that speaks length and payload.
#[derive(Debug)]
pub struct Codec {
    opened: bool,
    message_type: MessageType,
    max_message_size: usize,
}

impl Codec {
    /// A peer whose messages have at most `max_message_size` bytes.
    pub fn new(message_type: MessageType, max_message_size: usize) -> Self {
        Self { opened: false, message_type, max_message_size }
    }

    pub(super) fn set_max_message_size(&mut self, max_message_size: usize) {
        self.max_message_size = max_message_size;
    }

    pub(super) fn set_message_type(&mut self, message_type: MessageType) {
        self.message_type = message_type;
    }

    /// See [`super::Codec::poll_event`].
    pub fn poll_event<'a>(&mut self, inbox: &'a mut Inbox) -> Result<Option<Event<'a>>, Error> {
        if !self.opened {
            self.opened = true;
            return Ok(Some(Event::Opened));
        }
        let Some(prefix) = inbox.bytes().first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix);
        if length == 0 {
            return Err(Error::Protocol("a length of 0"));
        }
        let size = usize::try_from(length).unwrap_or(usize::MAX);
        if size > self.max_message_size {
            let size = u64::from(length);
            return Err(Error::TooLarge { size, limit: self.max_message_size });
        }
        if inbox.len() < PREFIX_BYTES + size {
            inbox.expect(PREFIX_BYTES + size);
            return Ok(None);
        }
        let payload = &inbox.take(PREFIX_BYTES + size)[PREFIX_BYTES..];
        let kind = self.kind(payload)?;
        Ok(Some(Event::Message(Message { kind, payload })))
    }

    fn kind(&self, payload: &[u8]) -> Result<Kind, Error> {
        let is_text = || std::str::from_utf8(payload).is_ok();
        match self.message_type {
            MessageType::Binary => Ok(Kind::Binary),
            MessageType::Auto if !is_text() => Ok(Kind::Binary),
            MessageType::Text if !is_text() => Err(Error::NotUtf8),
            MessageType::Auto | MessageType::Text => Ok(Kind::Text),
        }
    }
}

/// Writes the prefix of a message and says how long it is.
pub(super) fn write_header(message: Message<'_>, header: &mut [u8; MAX_HEADER_BYTES]) -> usize {
    // `max_message_size` is far below 4 GiB: the configuration sees to it.
    let length = u32::try_from(message.payload.len()).unwrap_or(u32::MAX);
    header[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    PREFIX_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(codec: &mut Codec, bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, Error> {
        let mut inbox = Inbox::default();
        let mut messages = Vec::new();
        for byte in bytes {
            inbox.push(&[*byte]);
            while let Some(event) = codec.poll_event(&mut inbox)? {
                if let Event::Message(message) = event {
                    messages.push((message.kind, message.payload.to_vec()));
                }
            }
        }
        Ok(messages)
    }

    #[test]
    fn messages_are_text_when_they_can_be() {
        let mut codec = Codec::new(MessageType::Auto, 100);
        let bytes = [0, 0, 0, 2, b'h', b'i', 0, 0, 0, 1, 0xff];
        let expected = vec![(Kind::Text, b"hi".to_vec()), (Kind::Binary, vec![0xff])];
        assert_eq!(events(&mut codec, &bytes), Ok(expected));
    }

    #[test]
    fn asked_for_type_is_kept() {
        let mut binary = Codec::new(MessageType::Binary, 100);
        assert_eq!(events(&mut binary, &[0, 0, 0, 1, b'x']), Ok(vec![(Kind::Binary, vec![b'x'])]));
        let mut text = Codec::new(MessageType::Text, 100);
        assert_eq!(events(&mut text, &[0, 0, 0, 1, 0xff]), Err(Error::NotUtf8));
    }

    #[test]
    fn wrong_lengths_end_the_connection_before_any_payload() {
        let mut codec = Codec::new(MessageType::Auto, 8);
        assert!(matches!(events(&mut codec, &[0, 0, 0, 0]), Err(Error::Protocol(_))));
        let mut codec = Codec::new(MessageType::Auto, 8);
        let too_large = Err(Error::TooLarge { size: 9, limit: 8 });
        assert_eq!(events(&mut codec, &[0, 0, 0, 9]), too_large);
    }
}
