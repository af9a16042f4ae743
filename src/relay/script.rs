//! What shall be said to a source after the handshake and while it is open. Made anew for each dial.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::codec::pattern::{Pattern, Pointer};
use crate::codec::{Kind, Message, json};

/// Bytes that an answer takes from a message at most.
pub const MAX_ECHO_BYTES: usize = 4 * 1024;

/// What shall be said on one connection. `Debug` shows none of it: it may be secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// A program is asked for the first messages.
    pub prompt: Option<Prompt>,
    /// What is said then, one after the other.
    pub steps: Vec<Step>,
    /// What is said again and again, once all that is done.
    pub heartbeat: Option<Heartbeat>,
    /// What is answered, from the first message on.
    pub replies: Vec<Reply>,
}

/// A message of ours. `Debug` does not show its payload.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    /// Text or binary.
    pub kind: Kind,
    /// Valid UTF-8 if the kind is text.
    pub bytes: Vec<u8>,
}

/// A program that is asked what to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// What the source says before that.
    pub overture: Overture,
    /// The source has this long for it, and so has the program.
    pub timeout: Duration,
}

/// What the source says before a program is asked: the program gets it. `Debug` shows no pattern.
#[derive(Clone, PartialEq, Eq)]
pub enum Overture {
    /// Nothing is waited for.
    Nothing,
    /// One text.
    First,
    /// All texts up to the one that matches.
    Until(Pattern),
}

/// Something is sent, or waited for, or both in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What is sent.
    pub send: Option<Payload>,
    /// What is waited for then.
    pub wait: Option<Wait>,
}

/// A message of the source must come in time. `Debug` does not show which.
#[derive(Clone, PartialEq, Eq)]
pub struct Wait {
    /// What it must be like.
    pub pattern: Pattern,
    /// How long it may take.
    pub timeout: Duration,
}

/// A message that is sent again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The time between two.
    pub every: Duration,
    /// The message.
    pub send: Payload,
}

/// A message that is answered. `Debug` does not show which.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// What it is like.
    pub pattern: Pattern,
    /// What is sent then.
    pub answer: Answer,
    /// Whether clients get the message that is answered, too.
    pub forward: bool,
}

/// What is sent in return for a message, with parts of it. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Text or binary.
    pub kind: Kind,
    /// What it is made of.
    pub pieces: Vec<Piece>,
}

/// A part of an answer.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Plain(Vec<u8>),
    /// A value of the message, as it is written there: a text in its quotes.
    Value(Pointer),
    /// The same without the quotes of a text, to be put between others.
    Inside(Pointer),
    /// The same between others in a text of JSON: what is no text is escaped for it.
    InText(Pointer),
}

impl Script {
    /// Bytes of all that is sent, without what answers take from messages.
    pub fn bytes(&self) -> usize {
        let steps = self.steps.iter().filter_map(|step| step.send.as_ref());
        let payloads = steps.chain(self.heartbeat.as_ref().map(|heartbeat| &heartbeat.send));
        let answers = self.replies.iter().map(|reply| reply.answer.bytes());
        payloads.map(|payload| payload.bytes.len()).chain(answers).sum()
    }
}

impl Payload {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Kind::Text, bytes: text.into().into_bytes() }
    }

    /// The message that it is.
    pub fn message(&self) -> Message<'_> {
        Message { kind: self.kind, payload: &self.bytes }
    }
}

impl Answer {
    /// The answer to a message. `None`: it has not what is needed for that, or a value there is
    /// larger than [`MAX_ECHO_BYTES`].
    pub fn to(&self, payload: &[u8]) -> Option<Payload> {
        let value = |pointer: &Pointer| {
            pointer.find_written(payload).filter(|value| value.len() <= MAX_ECHO_BYTES)
        };
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Plain(plain) => bytes.extend_from_slice(plain),
                Piece::Value(pointer) => bytes.extend_from_slice(value(pointer)?.as_bytes()),
                Piece::Inside(pointer) => {
                    let value = value(pointer)?;
                    bytes.extend_from_slice(unquoted(value).unwrap_or(value).as_bytes());
                }
                Piece::InText(pointer) => {
                    let value = value(pointer)?;
                    let escaped = || Cow::Owned(json::escaped(value));
                    let text = unquoted(value).map_or_else(escaped, Cow::Borrowed);
                    bytes.extend_from_slice(text.as_bytes());
                }
            }
        }
        Some(Payload { kind: self.kind, bytes })
    }

    fn bytes(&self) -> usize {
        let plain = |piece: &Piece| match piece {
            Piece::Plain(bytes) => bytes.len(),
            Piece::Value(_) | Piece::Inside(_) | Piece::InText(_) => 0,
        };
        self.pieces.iter().map(plain).sum()
    }
}

/// What stands in the quotes of a text; `None`: it is none.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script")
            .field("has_prompt", &self.prompt.is_some())
            .field("steps", &self.steps.len())
            .field("has_heartbeat", &self.heartbeat.is_some())
            .field("replies", &self.replies.len())
            .finish()
    }
}

impl fmt::Debug for Overture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::First => "First",
            Self::Until(_) => "Until(…)",
        })
    }
}

impl fmt::Debug for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("forward", &self.forward).finish_non_exhaustive()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({:?}, {} bytes)", self.kind, self.bytes.len())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({:?}, {} bytes and more)", self.kind, self.bytes())
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(bytes) => write!(f, "Plain({} bytes)", bytes.len()),
            Self::Value(pointer) => write!(f, "Value({pointer})"),
            Self::Inside(pointer) => write!(f, "Inside({pointer})"),
            Self::InText(pointer) => write!(f, "InText({pointer})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(pieces: Vec<Piece>) -> Answer {
        Answer { kind: Kind::Text, pieces }
    }

    fn at(pointer: &str) -> Pointer {
        Pointer::parse(pointer).unwrap()
    }

    #[test]
    fn answer_takes_values_of_the_message_as_they_are_written() {
        let plain = |text: &str| Piece::Plain(text.as_bytes().to_vec());
        let whole = answer(vec![plain("{\"pong\":"), Piece::Value(at("/ping")), plain("}")]);
        let sent = |message: &str| whole.to(message.as_bytes()).map(|payload| payload.bytes);
        assert_eq!(sent("{\"ping\":12}").unwrap(), b"{\"pong\":12}");
        assert_eq!(sent("{\"ping\":\"a\\\"b\"}").unwrap(), b"{\"pong\":\"a\\\"b\"}");
        assert_eq!(sent("{\"pong\":12}"), None);
        let large = format!("{{\"ping\":\"{}\"}}", "x".repeat(MAX_ECHO_BYTES));
        assert_eq!(sent(&large), None);
        let inside = answer(vec![plain("{\"id\":\"x-"), Piece::Inside(at("/id")), plain("\"}")]);
        let sent = |message: &str| inside.to(message.as_bytes()).unwrap().bytes;
        assert_eq!(sent("{\"id\":\"a\\\"b\"}"), b"{\"id\":\"x-a\\\"b\"}");
        assert_eq!(sent("{\"id\":7}"), b"{\"id\":\"x-7\"}");
        let text = answer(vec![plain("{\"id\":\"x-"), Piece::InText(at("/id")), plain("\"}")]);
        let sent = |message: &str| text.to(message.as_bytes()).unwrap().bytes;
        assert_eq!(sent("{\"id\":\"a\\\"b\"}"), b"{\"id\":\"x-a\\\"b\"}");
        assert_eq!(sent("{\"id\":7}"), b"{\"id\":\"x-7\"}");
        assert_eq!(sent("{\"id\":{\"a\":\"b\"}}"), b"{\"id\":\"x-{\\\"a\\\":\\\"b\\\"}\"}");
    }

    #[test]
    fn debug_shows_no_payload() {
        let answer = answer(vec![Piece::Plain(b"hunter2".to_vec())]);
        let pattern = Pattern::Equals("hunter2".into());
        let script = Script {
            steps: vec![Step {
                send: Some(Payload::text("hunter2")),
                wait: Some(Wait { pattern: pattern.clone(), timeout: Duration::ZERO }),
            }],
            replies: vec![Reply { pattern, answer: answer.clone(), forward: true }],
            ..Script::default()
        };
        let parts = (&script.steps, &script.replies, &answer, &answer.pieces);
        let shown = format!("{script:?}{parts:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("104"), "{shown}");
        assert_eq!(script.bytes(), 14);
    }
}
