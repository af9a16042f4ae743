//! Messages as an operator sees them pass: a JSON object a line.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::codec::Kind;
use crate::codec::base64::decode;
use crate::relay::tap::Tapped;

/// A line of `/api/sources/{name}/received` and of `/api/sources/{name}/forwarded`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TapEvent {
    /// A message has passed.
    Message(TappedMessage),
    /// Messages have passed that this reader was too slow for.
    Missed {
        /// How many.
        messages: u64,
    },
}

/// A message that has passed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TappedMessage {
    /// Seconds since 1970, by the system's clock.
    pub time: f64,
    /// `text` or `binary`.
    pub kind: Kind,
    /// Bytes of its payload.
    pub size: usize,
    /// The payload of a text; left out if it is too large to be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The payload of a binary message in Base64 (RFC 4648, section 4); left out if it is too large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl TappedMessage {
    /// A message that passed at a time.
    pub fn new(tapped: Tapped, time: f64) -> Self {
        let Tapped { kind, size, payload, .. } = tapped;
        let message = Self { time, kind, size, text: None, base64: None };
        match (kind, payload) {
            (_, None) => message,
            (Kind::Text, Some(payload)) => {
                // A text was checked when it came.
                Self { text: String::from_utf8(payload).ok(), ..message }
            }
            (Kind::Binary, Some(payload)) => {
                Self { base64: Some(BASE64.encode(&payload)), ..message }
            }
        }
    }

    /// Its payload, if it is there.
    pub fn into_payload(self) -> Option<Vec<u8>> {
        let Self { text, base64, .. } = self;
        text.map(String::into_bytes).or_else(|| decode(base64?.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::settings::SourceId;
    use crate::relay::tap::Way;

    #[test]
    fn line_tells_all_and_gives_the_payload_back() {
        for (kind, payload, expected) in [
            (
                Kind::Text,
                "sa\"y\n",
                r#"{"event":"message","time":1.5,"kind":"text","size":5,"text":"sa\"y\n"}"#,
            ),
            (
                Kind::Binary,
                "\u{0}1",
                r#"{"event":"message","time":1.5,"kind":"binary","size":2,"base64":"ADE="}"#,
            ),
        ] {
            let (source, way) = (SourceId(0), Way::Received);
            let payload = payload.as_bytes().to_vec();
            let (size, copy) = (payload.len(), Some(payload.clone()));
            let tapped = Tapped { source, way, kind, size, payload: copy };
            let line =
                serde_json::to_string(&TapEvent::Message(TappedMessage::new(tapped, 1.5))).unwrap();
            assert_eq!(line, expected);
            let TapEvent::Message(message) = serde_json::from_str(&line).unwrap() else {
                panic!("{line}")
            };
            assert_eq!(message.into_payload(), Some(payload));
        }
    }
}
