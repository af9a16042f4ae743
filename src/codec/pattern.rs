//! What a message must be like to be meant, and how a value is found in it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What a message must be like to be meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// These bytes are somewhere in it.
    Contains(String),
    /// It is this and nothing else.
    Equals(String),
    /// It is JSON, and each of these has one of its values: texts as they are, numbers as they
    /// are written, `true`, `false` and `null` by their names.
    Json(Vec<(Pointer, Vec<String>)>),
}

/// A way into a JSON document (RFC 6901): `/data/0/symbol`. The empty one is the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pointer(Vec<String>);

/// Places of a message whose values are remembered without an allocation.
const CHEAP_PLACES: usize = 4;

/// A message that several patterns look at: what is at a place of it is found once.
#[derive(Debug)]
pub struct Reading<'p, 'f> {
    payload: &'p [u8],
    /// The first places that were asked for, and then all others.
    first: [Option<Found<'p, 'f>>; CHEAP_PLACES],
    others: Vec<Found<'p, 'f>>,
}

/// A place, and the value there if there is one.
type Found<'p, 'f> = (&'f Pointer, Option<Cow<'p, str>>);

impl Pattern {
    /// Whether a message is meant.
    pub fn matches(&self, payload: &[u8]) -> bool {
        self.matches_reading(&mut Reading::new(payload))
    }

    /// The same, where other patterns look at the message, too.
    pub fn matches_reading<'f>(&'f self, reading: &mut Reading<'_, 'f>) -> bool {
        match self {
            Self::Contains(part) => contains(reading.payload, part),
            Self::Equals(whole) => reading.payload == whole.as_bytes(),
            Self::Json(wanted) => wanted.iter().all(|(pointer, values)| {
                let found = reading.value(pointer);
                found.is_some_and(|found| values.iter().any(|value| value == found))
            }),
        }
    }
}

impl<'p, 'f> Reading<'p, 'f> {
    /// Begins with a message.
    pub fn new(payload: &'p [u8]) -> Self {
        Self { payload, first: [const { None }; CHEAP_PLACES], others: Vec::new() }
    }

    /// See [`Pointer::find`].
    fn value(&mut self, pointer: &'f Pointer) -> Option<&str> {
        for place in &mut self.first {
            let (known, value) = place.get_or_insert_with(|| (pointer, pointer.find(self.payload)));
            if *known == pointer {
                return value.as_deref();
            }
        }
        let known = self.others.iter().position(|(known, _)| *known == pointer);
        let place = known.unwrap_or_else(|| {
            self.others.push((pointer, pointer.find(self.payload)));
            self.others.len() - 1
        });
        self.others[place].1.as_deref()
    }
}

impl Pointer {
    /// A pointer as it is written, `None` if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let steps = text.strip_prefix('/')?.split('/').map(|step| {
            let is_escaped = |rest: &str| rest.starts_with(['0', '1']);
            let is_right = step.split('~').skip(1).all(is_escaped);
            is_right.then(|| step.replace("~1", "/").replace("~0", "~"))
        });
        steps.collect::<Option<_>>().map(Self)
    }

    /// The text, number, truth value or `null` there, without quotes. `None`: there is none, or
    /// the payload is not JSON.
    pub fn find<'p>(&self, payload: &'p [u8]) -> Option<Cow<'p, str>> {
        let found = self.find_written(payload)?;
        match found.as_bytes().first()? {
            b'{' | b'[' => None,
            b'"' => match serde_json::from_str::<&str>(found) {
                Ok(plain) => Some(Cow::Borrowed(plain)),
                Err(_) => serde_json::from_str(found).ok().map(Cow::Owned),
            },
            _ => Some(Cow::Borrowed(found)),
        }
    }

    /// The value there, whatever it is, as it is written: a text in its quotes. `None`: there is
    /// none, or the payload is not JSON.
    pub fn find_written<'p>(&self, payload: &'p [u8]) -> Option<&'p str> {
        // What has no parts is not read: to find that out by an error costs an allocation.
        let has_parts = matches!(payload.trim_ascii_start().first(), Some(b'{' | b'['));
        if !has_parts && !self.0.is_empty() {
            return None;
        }
        let mut document = serde_json::Deserializer::from_slice(payload);
        let found = Walk(&self.0).deserialize(&mut document).ok()??;
        document.end().ok()?;
        Some(found.get())
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = |step: &String| step.replace('~', "~0").replace('/', "~1");
        self.0.iter().try_for_each(|step| write!(f, "/{}", escaped(step)))
    }
}

/// The steps that are left to a value.
#[derive(Clone, Copy)]
struct Walk<'s>(&'s [String]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            serde::Deserialize::deserialize(value).map(Some)
        } else {
            value.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(is_it) = entries.next_key_seed(Key(step))? {
            // The last of several counts, as for most who read JSON.
            if is_it {
                found = entries.next_value_seed(Walk(rest))?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.0.split_first() else { return Ok(None) };
        let mut found = None;
        if let Some(wanted) = place(step) {
            for _ in 0..wanted {
                if items.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = items.next_element_seed(Walk(rest))?.flatten();
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a key is the wanted one.
struct Key<'s>(&'s str);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// A place in a list: digits alone, and no zero in front of others (RFC 6901, section 4).
fn place(step: &str) -> Option<usize> {
    let is_number = step.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = step == "0" || !step.starts_with('0');
    step.parse().ok().filter(|_| is_number && is_plain)
}

/// Takes a time that the payload's length bounds, whatever part a client asks for. A part is text, so
/// it is never in what is none.
fn contains(payload: &[u8], part: &str) -> bool {
    match std::str::from_utf8(payload) {
        Ok(text) => text.contains(part),
        Err(_) => payload.utf8_chunks().any(|chunk| chunk.valid().contains(part)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADE: &str = r#"{"s":"BTC","p":1.50,"a":[{"b":true},null],"q\"":"\u00e9","x/y":7}"#;

    fn found(pointer: &str) -> Option<String> {
        let found = Pointer::parse(pointer).unwrap().find(TRADE.as_bytes());
        found.map(Cow::into_owned)
    }

    #[test]
    fn values_are_found_by_keys_and_places() {
        assert_eq!(found("/s").as_deref(), Some("BTC"));
        assert_eq!(found("/p").as_deref(), Some("1.50"), "as it is written");
        assert_eq!(found("/a/0/b").as_deref(), Some("true"));
        assert_eq!(found("/a/1").as_deref(), Some("null"));
        assert_eq!(found("/q\"").as_deref(), Some("é"));
        assert_eq!(found("/x~1y").as_deref(), Some("7"));
        let wrong = ["/a/2", "/a/x", "/a/+1", "/a/01", "/none", "/s/x", "/p/0", "/a/1/x"];
        for nothing in wrong.into_iter().chain(["", "/a", "/a/0"]) {
            assert_eq!(found(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn values_are_found_as_they_are_written() {
        let written =
            |pointer: &str| Pointer::parse(pointer).unwrap().find_written(TRADE.as_bytes());
        assert_eq!(written("/p"), Some("1.50"));
        assert_eq!(written("/q\""), Some(r#""\u00e9""#));
        assert_eq!(written("/a"), Some(r#"[{"b":true},null]"#));
        assert_eq!(written(""), Some(TRADE));
        assert_eq!(written("/none"), None);
    }

    #[test]
    fn last_of_several_keys_counts() {
        let pointer = Pointer::parse("/a/b").unwrap();
        let find = |text: &'static str| pointer.find(text.as_bytes());
        assert_eq!(find(r#"{"a":{"b":1},"a":{"b":2}}"#).as_deref(), Some("2"));
        assert_eq!(find(r#"{"a":{"b":1},"a":3}"#), None);
    }

    #[test]
    fn what_is_no_json_has_no_values() {
        let pointer = Pointer::parse("/a").unwrap();
        for payload in ["", "a", r#"{"a":1"#, r#"{"a":1}}"#, r#"{"a":1} x"#] {
            assert_eq!(pointer.find(payload.as_bytes()), None, "{payload}");
        }
        assert_eq!(pointer.find(b"{\"a\":\"\xff\"}"), None);
        assert_eq!(pointer.find(&vec![b'['; 1 << 20]), None, "deep nesting is refused");
    }

    #[test]
    fn pointers_begin_with_a_slash() {
        for wrong in ["a", "a/b", "/~", "/~2", "/a~"] {
            assert_eq!(Pointer::parse(wrong), None, "{wrong}");
        }
        for right in ["", "/", "/a/b", "/x~1y/~0"] {
            assert_eq!(Pointer::parse(right).unwrap().to_string(), right);
        }
    }

    #[test]
    fn patterns_match_parts_wholes_and_values() {
        let trade = TRADE.as_bytes();
        assert!(Pattern::Contains("BTC".into()).matches(trade));
        assert!(Pattern::Contains("7}".into()).matches(trade));
        assert!(!Pattern::Contains("7}}".into()).matches(trade));
        assert!(Pattern::Contains(String::new()).matches(b""));
        let binary = [&b"\xff\xe2\x82BTC\xff"[..], "é\u{fffd}".as_bytes()].concat();
        for part in ["", "BTC", "é", "\u{fffd}"] {
            assert!(Pattern::Contains(part.into()).matches(&binary), "{part}");
        }
        assert!(!Pattern::Contains("BTC\u{fffd}".into()).matches(&binary));
        let zeros = vec![b'0'; 4 << 20];
        let none = Pattern::Contains("0".repeat(15_000) + "1");
        assert!(!none.matches(&zeros), "and soon");
        assert!(Pattern::Equals("ping".into()).matches(b"ping"));
        assert!(!Pattern::Equals("ping".into()).matches(b"ping "));
        let json = |wanted: &[(&str, &[&str])]| {
            let values = |values: &[&str]| values.iter().map(ToString::to_string).collect();
            let wanted = wanted.iter().map(|(p, v)| (Pointer::parse(p).unwrap(), values(v)));
            Pattern::Json(wanted.collect()).matches(trade)
        };
        assert!(json(&[("/s", &["ETH", "BTC"])]));
        assert!(json(&[("/s", &["BTC"]), ("/a/0/b", &["true"])]));
        assert!(!json(&[("/s", &["BTC"]), ("/a/0/b", &["false"])]));
        assert!(!json(&[("/none", &["null"])]));
    }
}
