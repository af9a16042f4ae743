//! The formats in which clients get messages.

use data_encoding::BASE64;
use memchr::memchr2;

use super::json::is_json;
use super::{Kind, Message, prefixed, ws};

/// The largest header of a frame whose payload stands on the wire as it is.
pub(super) const MAX_HEADER_BYTES: usize = 10;

/// A format for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Unmasked WebSocket frames (RFC 6455, section 5).
    WebSocket,
    /// Four length bytes, big-endian, then the payload.
    Prefixed,
    /// WebSocket frames that say the message's number: a text is the JSON `{"seq":7,"data":…}`,
    /// a binary message begins with eight bytes of number, big-endian.
    Numbered,
    /// Server-sent events whose ids are the messages' numbers (HTML Standard, section 9.2).
    Sse,
    /// A line of JSON each: a text that is JSON as it is, another as a string, binary as
    /// `{"base64":"…"}`.
    Ndjson,
    /// A line each: text as it is, binary that is not UTF-8 in Base64. Line breaks inside are
    /// spaces.
    Lines,
}

/// The kind of endpoint that a client came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// A port that speaks HTTP: WebSocket, server-sent events, lines of JSON.
    Web,
    /// A Unix socket.
    Unix,
    /// A bare TCP port.
    Tcp,
}

/// A message as it stands on a wire.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    head: Head,
    payload: &'a [u8],
}

/// The bytes in front of a payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    bytes: [u8; MAX_HEADER_BYTES],
    len: u8,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::WebSocket, Self::Prefixed, Self::Numbered, Self::Sse, Self::Ndjson, Self::Lines];

    /// The frame of a message, the same bytes for every client. `None`: on this wire the payload
    /// does not stand as it is, see [`Self::encode`].
    pub fn frame(self, message: Message<'_>) -> Option<Frame<'_>> {
        let mut head = Head::default();
        self.write_head(message, &mut head).then_some(Frame { head, payload: message.payload })
    }

    /// Writes what stands in front of the payload in that frame; `false`: nothing does, since the
    /// payload does not stand as it is.
    pub fn write_head(self, message: Message<'_>, head: &mut Head) -> bool {
        let len = match self {
            Self::WebSocket => ws::frame::write_header(message, None, &mut head.bytes),
            Self::Prefixed => prefixed::write_header(message, &mut head.bytes),
            Self::Numbered | Self::Sse | Self::Ndjson | Self::Lines => 0,
        };
        head.len = u8::try_from(len).expect("a header is short");
        len > 0
    }

    /// Appends the whole frame of a message, whatever the wire.
    pub fn encode(self, message: Message<'_>, number: u64, out: &mut Vec<u8>) {
        match self {
            Self::WebSocket | Self::Prefixed => {
                let frame = self.frame(message).expect("these take payloads as they are");
                out.extend_from_slice(frame.header());
                out.extend_from_slice(frame.payload());
            }
            Self::Numbered => numbered(message, number, out),
            Self::Sse => event(message, number, out),
            Self::Ndjson => {
                json(message, out);
                out.push(b'\n');
            }
            Self::Lines => line(message, out),
        }
    }

    /// Appends what the relay itself has to say, a text of JSON: on [`Self::Sse`] an event of this
    /// type without an id, elsewhere a message without a number.
    pub fn encode_notice(self, event: &str, json: &str, out: &mut Vec<u8>) {
        let text = Message { kind: Kind::Text, payload: json.as_bytes() };
        match self {
            Self::Sse => {
                out.extend_from_slice(format!("event: {event}\ndata: {json}\n\n").as_bytes());
            }
            Self::WebSocket | Self::Numbered => Self::WebSocket.encode(text, 0, out),
            Self::Prefixed | Self::Ndjson | Self::Lines => self.encode(text, 0, out),
        }
    }

    /// What it is called in the status and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Prefixed => "prefixed",
            Self::Numbered => "numbered",
            Self::Sse => "sse",
            Self::Ndjson => "ndjson",
            Self::Lines => "lines",
        }
    }
}

impl Head {
    /// How many bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether nothing stands there.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<'a> Frame<'a> {
    /// A frame that was encoded whole.
    pub fn encoded(bytes: &'a [u8]) -> Self {
        Self { head: Head::default(), payload: bytes }
    }

    /// A frame of a payload and what stands in front of it.
    pub fn new(head: Head, payload: &'a [u8]) -> Self {
        Self { head, payload }
    }

    /// The bytes in front of the payload.
    pub fn header(&self) -> &[u8] {
        &self.head.bytes[..usize::from(self.head.len)]
    }

    /// The payload.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Bytes of header and payload together.
    pub fn len(&self) -> usize {
        usize::from(self.head.len) + self.payload.len()
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The frame's header comes last, when the length of what follows is known.
fn numbered(message: Message<'_>, number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let payload_at = start + MAX_HEADER_BYTES;
    out.resize(payload_at, 0);
    match message.kind {
        Kind::Text => {
            out.extend_from_slice(b"{\"seq\":");
            push_number(number, out);
            out.extend_from_slice(b",\"data\":");
            json(message, out);
            out.push(b'}');
        }
        Kind::Binary => {
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(message.payload);
        }
    }
    let mut header = [0; MAX_HEADER_BYTES];
    let numbered = Message { kind: message.kind, payload: &out[payload_at..] };
    let header_len = ws::frame::write_header(numbered, None, &mut header);
    out[payload_at - header_len..payload_at].copy_from_slice(&header[..header_len]);
    out.drain(start..payload_at - header_len);
}

/// One event. A binary message is one of the type `binary`, in Base64.
fn event(message: Message<'_>, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"id: ");
    push_number(number, out);
    out.push(b'\n');
    match message.kind {
        Kind::Text => {
            for line in text_lines(message.payload) {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
        Kind::Binary => {
            out.extend_from_slice(b"event: binary\ndata: ");
            push_base64(message.payload, out);
            out.push(b'\n');
        }
    }
    out.push(b'\n');
}

/// The lines of a text, however they end: the format knows all three ways.
fn text_lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = memchr2(b'\n', b'\r', text) else {
            rest = None;
            return Some(text);
        };
        let width = if text[at..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = Some(&text[at + width..]);
        Some(&text[..at])
    })
}

fn is_break(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + BASE64.encode_len(bytes.len()), 0);
    BASE64.encode_mut(bytes, &mut out[start..]);
}

/// A message as a JSON value without line breaks. What only looks like JSON is a string: it would
/// break the line that it stands in, or say what is not true of the message.
fn json(message: Message<'_>, out: &mut Vec<u8>) {
    match message.kind {
        Kind::Text if is_json(message.payload) => push_on_a_line(message.payload, out),
        Kind::Text => {
            let text = String::from_utf8_lossy(message.payload);
            serde_json::to_writer(out, &text).expect("a text is JSON, and memory takes it");
        }
        Kind::Binary => {
            out.extend_from_slice(b"{\"base64\":\"");
            push_base64(message.payload, out);
            out.extend_from_slice(b"\"}");
        }
    }
}

fn line(message: Message<'_>, out: &mut Vec<u8>) {
    match message.kind {
        Kind::Binary if std::str::from_utf8(message.payload).is_err() => {
            push_base64(message.payload, out);
        }
        Kind::Text | Kind::Binary => push_on_a_line(message.payload, out),
    }
    out.push(b'\n');
}

/// Appends a text without the line breaks at its end, and with spaces for those inside: in JSON
/// they are no more than that.
fn push_on_a_line(text: &[u8], out: &mut Vec<u8>) {
    let end = text.iter().rposition(|byte| !is_break(*byte)).map_or(0, |at| at + 1);
    let start = out.len();
    out.extend_from_slice(&text[..end]);
    for byte in &mut out[start..] {
        *byte = if is_break(*byte) { b' ' } else { *byte };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(wire: Wire, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        wire.encode(Message { kind, payload }, 7, &mut out);
        out
    }

    fn text(wire: Wire, payload: &str) -> String {
        String::from_utf8(encoded(wire, Kind::Text, payload.as_bytes())).unwrap()
    }

    #[test]
    fn plain_wires_take_payloads_as_they_are() {
        let message = Message { kind: Kind::Text, payload: b"hi" };
        for wire in [Wire::WebSocket, Wire::Prefixed] {
            let frame = wire.frame(message).unwrap();
            let whole = [frame.header(), frame.payload()].concat();
            assert_eq!(whole, encoded(wire, Kind::Text, b"hi"));
            assert_eq!(whole.len(), frame.len());
        }
        for wire in [Wire::Numbered, Wire::Sse, Wire::Ndjson, Wire::Lines] {
            assert!(wire.frame(message).is_none());
        }
    }

    #[test]
    fn numbered_messages_say_their_number() {
        let json = encoded(Wire::Numbered, Kind::Text, b"{\"a\":1}");
        assert_eq!(&json[2..], b"{\"seq\":7,\"data\":{\"a\":1}}");
        let other = encoded(Wire::Numbered, Kind::Text, b"say \"hi\"\n");
        assert_eq!(&other[2..], br#"{"seq":7,"data":"say \"hi\"\n"}"#);
        // What looks like JSON and is none could say anything of itself.
        let forged = encoded(Wire::Numbered, Kind::Text, br#"{},"seq":1,"x":{}"#);
        assert_eq!(&forged[2..], br#"{"seq":7,"data":"{},\"seq\":1,\"x\":{}"}"#);
        let binary = encoded(Wire::Numbered, Kind::Binary, b"\xff");
        assert_eq!(binary, b"\x82\x09\0\0\0\0\0\0\0\x07\xff");
    }

    #[test]
    fn events_have_ids_and_a_line_of_data_for_each_line() {
        assert_eq!(text(Wire::Sse, "{}"), "id: 7\ndata: {}\n\n");
        assert_eq!(text(Wire::Sse, ""), "id: 7\ndata: \n\n");
        let lines = "id: 7\ndata: a\ndata: b\ndata: \ndata: c\n\n";
        assert_eq!(text(Wire::Sse, "a\r\nb\r\rc"), lines);
        let binary = encoded(Wire::Sse, Kind::Binary, b"\xff\xfe");
        assert_eq!(binary, b"id: 7\nevent: binary\ndata: //4=\n\n");
    }

    #[test]
    fn lines_of_json_are_json_and_lines() {
        assert_eq!(text(Wire::Ndjson, "{\n \"a\": 1\n}\n"), "{  \"a\": 1 }\n");
        assert_eq!(text(Wire::Ndjson, " 1.5"), " 1.5\n");
        assert_eq!(text(Wire::Ndjson, "hello\n"), "\"hello\\n\"\n");
        assert_eq!(text(Wire::Ndjson, ""), "\"\"\n");
        assert_eq!(encoded(Wire::Ndjson, Kind::Binary, b"\xff"), b"{\"base64\":\"/w==\"}\n");
    }

    #[test]
    fn lines_are_texts_without_line_breaks() {
        assert_eq!(text(Wire::Lines, "!AIVDM,1\r\n"), "!AIVDM,1\n");
        assert_eq!(text(Wire::Lines, "a\nb"), "a b\n");
        assert_eq!(encoded(Wire::Lines, Kind::Binary, b"plain"), b"plain\n");
        assert_eq!(encoded(Wire::Lines, Kind::Binary, b"\xff\n"), b"/wo=\n");
    }
}
