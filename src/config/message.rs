//! Messages of ours as they are configured: a text, a map or list that is sent as JSON, or bytes.
//!
//! Their holes are filled when a source is dialled; what fills a text of JSON is escaped as JSON
//! wants it. Those of answers are filled by the message that is answered.

use std::fmt;
use std::path::PathBuf;

use super::problem::KeyPath;
use super::raw::Raw;
use super::section::Section;
use super::template::{Fillings, Fragment, Template, TemplateError};
use crate::codec::json::escaped;
use crate::codec::{Kind, base64};
use crate::relay::script::{Answer, Payload, Piece};

/// Bytes of a message as it is configured.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;

/// A message with holes. `Debug` does not show it: it may be secret.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageTemplate {
    kind: Kind,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
enum Part {
    /// These bytes.
    Plain(Vec<u8>),
    /// A text as it is.
    Text(Template),
    /// A text of JSON, quotes and all.
    Quoted(Template),
}

/// Whether a message may have holes that another message fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Matches {
    Allowed,
    Refused,
}

impl MessageTemplate {
    /// The message with its holes filled. Reads files, so it may block.
    pub(super) fn payload(&self, fillings: &Fillings) -> Result<Payload, TemplateError> {
        let Answer { kind, pieces } = self.answer(fillings)?;
        let bytes = pieces.into_iter().map(|piece| match piece {
            Piece::Plain(bytes) => bytes,
            // Refused when it was read.
            Piece::Value(_) | Piece::Inside(_) | Piece::InText(_) => Vec::new(),
        });
        Ok(Payload { kind, bytes: bytes.collect::<Vec<_>>().concat() })
    }

    /// The same, where the message that is answered fills what is left.
    pub(super) fn answer(&self, fillings: &Fillings) -> Result<Answer, TemplateError> {
        let mut pieces = Vec::new();
        for part in &self.parts {
            match part {
                Part::Plain(bytes) => pieces.push(Piece::Plain(bytes.clone())),
                Part::Text(template) => add_text(template, fillings, &mut pieces)?,
                Part::Quoted(template) => add_quoted(template, fillings, &mut pieces)?,
            }
        }
        Ok(Answer { kind: self.kind, pieces })
    }

    /// The files that fill its holes.
    pub(super) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.parts.iter().filter_map(Part::template).flat_map(Template::files)
    }
}

impl Part {
    fn template(&self) -> Option<&Template> {
        match self {
            Self::Plain(_) => None,
            Self::Text(template) | Self::Quoted(template) => Some(template),
        }
    }
}

impl fmt::Debug for MessageTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageTemplate({:?})", self.kind)
    }
}

fn add_text(
    template: &Template,
    fillings: &Fillings,
    pieces: &mut Vec<Piece>,
) -> Result<(), TemplateError> {
    pieces.extend(template.fragments(fillings)?.into_iter().map(|fragment| match fragment {
        Fragment::Text(text) => Piece::Plain(text.into_bytes()),
        Fragment::Match(pointer) => Piece::Inside(pointer),
    }));
    Ok(())
}

/// A text that is one hole for a message and nothing else becomes the value there, of its type.
fn add_quoted(
    template: &Template,
    fillings: &Fillings,
    pieces: &mut Vec<Piece>,
) -> Result<(), TemplateError> {
    let fragments = template.fragments(fillings)?;
    let is_empty = |fragment: &Fragment| *fragment == Fragment::Text(String::new());
    if let [before, Fragment::Match(pointer), after] = &*fragments
        && is_empty(before)
        && is_empty(after)
    {
        pieces.push(Piece::Value(pointer.clone()));
        return Ok(());
    }
    pieces.push(Piece::Plain(b"\"".to_vec()));
    pieces.extend(fragments.into_iter().map(|fragment| match fragment {
        Fragment::Text(text) => Piece::Plain(escaped(&text).into_bytes()),
        Fragment::Match(pointer) => Piece::InText(pointer),
    }));
    pieces.push(Piece::Plain(b"\"".to_vec()));
    Ok(())
}

impl Section<'_> {
    /// The message that stands at `send`, or in base64 at `binary`.
    pub(super) fn message(&mut self, matches: Matches) -> Option<MessageTemplate> {
        let (send, binary) = (self.take("send"), self.binary());
        if send.is_some() && binary.is_some() {
            self.refuse("has both send and binary: a message is one of them");
        }
        let Some((path, value)) = send else { return binary };
        self.message_of(path, value, matches)
    }

    /// A message that is a text, or a map or a list to be sent as JSON.
    pub(super) fn message_of(
        &mut self,
        path: KeyPath,
        value: Raw,
        matches: Matches,
    ) -> Option<MessageTemplate> {
        let mut draft = Draft { matches, parts: Vec::new(), bytes: 0 };
        let is_json = matches!(value, Raw::Map(_) | Raw::List(_));
        if is_json {
            draft.json(self, &path, value)?;
        } else {
            let template = self.template_of(path.clone(), value)?;
            draft.template(self, &path, template, Part::Text)?;
        }
        if draft.bytes > MAX_MESSAGE_BYTES {
            let limit = MAX_MESSAGE_BYTES / 1024;
            self.problem(path, format!("is a message of more than {limit} KiB"));
            return None;
        }
        Some(MessageTemplate { kind: Kind::Text, parts: draft.parts })
    }

    fn binary(&mut self) -> Option<MessageTemplate> {
        let decode = |text: &str| base64::decode(text.as_bytes());
        let bytes = self.unshown("binary", "bytes in base64", decode)?;
        if bytes.len() > MAX_MESSAGE_BYTES {
            let limit = MAX_MESSAGE_BYTES / 1024;
            self.refuse(&format!("has a message of more than {limit} KiB"));
        }
        Some(MessageTemplate { kind: Kind::Binary, parts: vec![Part::Plain(bytes)] })
    }
}

/// A message while it is read.
struct Draft {
    matches: Matches,
    parts: Vec<Part>,
    bytes: usize,
}

impl Draft {
    /// Writes a value as JSON, with no blanks, keys in the order of the file.
    fn json(&mut self, section: &mut Section<'_>, path: &KeyPath, value: Raw) -> Option<()> {
        match value {
            Raw::Nothing => self.plain("null"),
            Raw::Flag(flag) => self.plain(if flag { "true" } else { "false" }),
            Raw::Whole(number) => self.plain(&number),
            Raw::Fraction(number) if number.parse().is_ok_and(f64::is_finite) => {
                self.plain(&number);
            }
            Raw::Fraction(_) => {
                section.problem(path.clone(), "is a number that JSON does not have");
                return None;
            }
            Raw::Text(text) => {
                let template = section.template_of(path.clone(), Raw::Text(text))?;
                self.template(section, path, template, Part::Quoted)?;
            }
            Raw::List(items) => {
                self.plain("[");
                for (index, item) in items.into_iter().enumerate() {
                    self.plain(if index > 0 { "," } else { "" });
                    self.json(section, &path.index(index), item)?;
                }
                self.plain("]");
            }
            Raw::Map(entries) => {
                self.plain("{");
                for (index, (key, value)) in entries.into_iter().enumerate() {
                    self.plain(if index > 0 { "," } else { "" });
                    self.plain(&format!("\"{}\":", escaped(&key)));
                    self.json(section, &path.key(&key), value)?;
                }
                self.plain("}");
            }
        }
        Some(())
    }

    fn plain(&mut self, text: &str) {
        self.bytes += text.len();
        match self.parts.last_mut() {
            Some(Part::Plain(bytes)) => bytes.extend_from_slice(text.as_bytes()),
            Some(Part::Text(_) | Part::Quoted(_)) | None => {
                self.parts.push(Part::Plain(text.as_bytes().to_vec()));
            }
        }
    }

    fn template(
        &mut self,
        section: &mut Section<'_>,
        path: &KeyPath,
        template: Template,
        part: fn(Template) -> Part,
    ) -> Option<()> {
        if template.has_match() && self.matches == Matches::Refused {
            section.problem(path.clone(), "${match: stands in `send` of reply_to alone");
            return None;
        }
        self.bytes += template.text().len();
        self.parts.push(part(template));
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Problems;
    use super::super::{raw, section};
    use super::*;

    fn read(text: &str, matches: Matches) -> Result<MessageTemplate, String> {
        let mut problems = Problems::default();
        let tree = raw::parse(text).unwrap();
        let keys = &["send", "binary"];
        let taken = section::read(tree, KeyPath::default(), keys, &mut problems, |section| {
            section.message(matches)
        });
        let problems = problems.located(|_| None);
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        taken.flatten().filter(|_| told.is_empty()).ok_or(told)
    }

    fn sent(text: &str) -> String {
        let payload = read(text, Matches::Refused).unwrap().payload(&Fillings::default()).unwrap();
        assert_eq!(payload.kind, Kind::Text);
        String::from_utf8(payload.bytes).unwrap()
    }

    fn wrong(text: &str) -> String {
        read(text, Matches::Refused).unwrap_err()
    }

    #[test]
    fn texts_are_sent_as_they_are_and_maps_as_json() {
        assert_eq!(sent("send: ping"), "ping");
        assert_eq!(sent("send: '{\"a\": ${env:NO_SUCH:-1}}'"), "{\"a\": 1}");
        let map = "send: {op: subscribe, n: 10, half: 0.5, on: true, no: null, list: [a, '1', {}]}";
        let json =
            r#"{"op":"subscribe","n":10,"half":0.5,"on":true,"no":null,"list":["a","1",{}]}"#;
        assert_eq!(sent(map), json);
        assert_eq!(sent("send: [1, 'a\"b']"), r#"[1,"a\"b"]"#);
    }

    #[test]
    fn what_fills_a_text_of_json_is_escaped() {
        let path = std::env::temp_dir().join(format!("veylor-message-{}", std::process::id()));
        std::fs::write(&path, "a\"b\\\u{1}é").unwrap();
        let message = format!("send: {{key: 'x-${{file:{}}}', \"k\\\"\": 1}}", path.display());
        assert_eq!(sent(&message), "{\"key\":\"x-a\\\"b\\\\\\u0001é\",\"k\\\"\":1}");
        let template = read(&message, Matches::Refused).unwrap();
        assert_eq!(template.files().collect::<Vec<_>>(), std::slice::from_ref(&path));
        std::fs::write(&path, "rotated").unwrap();
        assert_eq!(
            template.payload(&Fillings::default()).unwrap().bytes,
            br#"{"key":"x-rotated","k\"":1}"#
        );
        std::fs::remove_file(&path).unwrap();
        assert!(template.payload(&Fillings::default()).is_err());
    }

    #[test]
    fn answers_take_what_the_message_has() {
        let answer = |text: &str, message: &str| {
            let answer =
                read(text, Matches::Allowed).unwrap().answer(&Fillings::default()).unwrap();
            String::from_utf8(answer.to(message.as_bytes()).unwrap().bytes).unwrap()
        };
        let number = r#"{"ping":17}"#;
        assert_eq!(answer("send: {pong: '${match:/ping}'}", number), r#"{"pong":17}"#);
        assert_eq!(answer("send: '{\"pong\":${match:/ping}}'", number), r#"{"pong":17}"#);
        let text = r#"{"ping":"a\"b"}"#;
        assert_eq!(answer("send: {pong: '${match:/ping}'}", text), r#"{"pong":"a\"b"}"#);
        assert_eq!(answer("send: {pong: 'x ${match:/ping}'}", text), r#"{"pong":"x a\"b"}"#);
    }

    #[test]
    fn wrong_messages_are_told_and_not_shown() {
        assert!(wrong("{send: a, binary: YQ==}").contains("has both send and binary"));
        assert!(wrong("binary: hunter2!").contains("expected bytes in base64"));
        assert!(!wrong("binary: hunter2!").contains("hunter2"));
        assert!(wrong("send: 1.10").contains("put it in quotes"));
        assert!(wrong("send: {a: .nan}").contains("send.a: is a number that JSON does not have"));
        assert!(wrong("send: '${match:/a}'").contains("reply_to alone"));
        assert!(wrong("send: {a: ['${hunter2}']}").contains("send.a[0]: ${ begins"));
        assert!(wrong(&format!("send: {}", "x".repeat(70_000))).contains("more than 64 KiB"));
        let bytes =
            read("binary: AP8=", Matches::Refused).unwrap().payload(&Fillings::default()).unwrap();
        assert_eq!((bytes.kind, bytes.bytes), (Kind::Binary, vec![0, 255]));
    }

    #[test]
    fn debug_shows_no_message() {
        let message = read("send: {key: hunter2}", Matches::Refused).unwrap();
        assert!(!format!("{message:?}").contains("hunter2"));
    }
}
