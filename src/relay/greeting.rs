//! What a new client gets before what comes live: how each connection of a source began, and the
//! latest message of each key.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::settings::{LastValue, PrologueRule, SourceId};
use crate::codec::pattern::Pointer;
use crate::codec::{Kind, Message};

/// Payload bytes that are kept of the beginning of a connection; it ends where they are reached.
pub const MAX_PROLOGUE_BYTES: usize = 256 * 1024;
/// Messages that are kept of it.
pub const MAX_PROLOGUE_MESSAGES: usize = 1000;
/// Bytes of keys and payloads that are kept as latest messages, and of what is kept with each.
pub const MAX_LAST_VALUE_BYTES: usize = 1024 * 1024;
/// What each of these takes besides its key and payload: its place in a table that is half full.
const VALUE_BYTES: usize = 192;

/// A message that is kept for itself.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    kind: Kind,
    payload: Vec<u8>,
}

/// The first messages of a source's connection.
#[derive(Debug)]
pub(super) struct Prologue {
    pub(super) source: SourceId,
    messages: Vec<Kept>,
    bytes: usize,
    /// Since when; `None`: it is complete.
    since: Option<Instant>,
}

/// The latest message of each key.
#[derive(Debug, Default)]
pub(super) struct LastValues {
    by_key: HashMap<String, Kept>,
    bytes: usize,
    /// The log has said that there is no room for more.
    has_complained: bool,
}

impl Kept {
    fn new(message: Message<'_>, number: u64) -> Self {
        Self { number, kind: message.kind, payload: message.payload.to_vec() }
    }

    /// Becomes another message, in the same storage, unless that was for a much larger one.
    fn renew(&mut self, message: Message<'_>, number: u64) {
        self.number = number;
        self.kind = message.kind;
        self.payload.clear();
        self.payload.shrink_to(2 * message.payload.len());
        self.payload.extend_from_slice(message.payload);
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn message(&self) -> Message<'_> {
        Message { kind: self.kind, payload: &self.payload }
    }
}

impl Prologue {
    /// That of a connection that was just opened.
    pub(super) fn new(source: SourceId, now: Instant) -> Self {
        Self { source, messages: Vec::new(), bytes: 0, since: Some(now) }
    }

    /// Keeps a message, if the connection still begins.
    pub(super) fn note(
        &mut self,
        rule: &PrologueRule,
        message: Message<'_>,
        number: u64,
        now: Instant,
    ) {
        let Some(since) = self.since else { return };
        let is_late = |span: Duration| now.saturating_duration_since(since) > span;
        let bytes = self.bytes + message.payload.len();
        if bytes > MAX_PROLOGUE_BYTES || matches!(rule, PrologueRule::Time(span) if is_late(*span))
        {
            self.since = None;
            return;
        }
        self.bytes = bytes;
        self.messages.push(Kept::new(message, number));
        let is_last = match rule {
            PrologueRule::Messages(count) => self.messages.len() >= *count,
            PrologueRule::Time(_) => false,
            PrologueRule::Until(pattern) => pattern.matches(message.payload),
        };
        if is_last || self.messages.len() >= MAX_PROLOGUE_MESSAGES {
            self.since = None;
        }
    }

    /// Its messages, oldest first.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Kept> {
        self.messages.iter()
    }
}

impl LastValues {
    /// Keeps a message that has a key. `channel` is named in the log.
    pub(super) fn note(
        &mut self,
        rule: &LastValue,
        message: Message<'_>,
        number: u64,
        channel: &str,
    ) {
        let LastValue { key, max_keys } = rule;
        let Some(key) = Pointer::find(key, message.payload) else { return };
        let known = self.by_key.get(&*key).map(|kept| kept.payload.len());
        let bytes = match known {
            Some(before) => self.bytes - before + message.payload.len(),
            None => self.bytes + value_bytes(&key, message.payload),
        };
        let is_full = known.is_none() && self.by_key.len() >= *max_keys;
        if is_full || bytes > MAX_LAST_VALUE_BYTES {
            // A value that is there and not the latest any more would be a lie.
            if let Some(old) = self.by_key.remove(&*key) {
                self.bytes -= value_bytes(&key, &old.payload);
            }
            self.complain(*max_keys, channel);
            return;
        }
        self.bytes = bytes;
        match self.by_key.get_mut(&*key) {
            Some(kept) => kept.renew(message, number),
            None => {
                self.by_key.insert(key.into_owned(), Kept::new(message, number));
            }
        }
    }

    /// The latest messages, in any order.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Kept> {
        self.by_key.values()
    }

    fn complain(&mut self, max_keys: usize, channel: &str) {
        if !std::mem::replace(&mut self.has_complained, true) {
            let (keys, mebibytes) = (self.by_key.len(), MAX_LAST_VALUE_BYTES >> 20);
            log::warn!(
                "channel {channel}: last_value keeps {keys} keys and no more (max_keys is \
                 {max_keys}, and {mebibytes} MiB in all): new clients do not get the others"
            );
        }
    }
}

/// What a latest message takes.
fn value_bytes(key: &str, payload: &[u8]) -> usize {
    key.len() + payload.len() + VALUE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::pattern::Pattern;

    fn text(payload: &str) -> Message<'_> {
        Message { kind: Kind::Text, payload: payload.as_bytes() }
    }

    fn payloads<'a>(kept: impl IntoIterator<Item = &'a Kept>) -> Vec<String> {
        let payload = |kept: &Kept| String::from_utf8(kept.payload.clone()).unwrap();
        kept.into_iter().map(payload).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn prologue(rule: &PrologueRule, sent: &[(u64, &str)]) -> Vec<String> {
        let start = Instant::now();
        let mut prologue = Prologue::new(SourceId(0), start);
        for (number, (second, payload)) in (0..).zip(sent) {
            prologue.note(rule, text(payload), number, start + Duration::from_secs(*second));
        }
        payloads(prologue.messages())
    }

    #[test]
    fn beginning_ends_by_count_by_time_or_by_a_message() {
        let sent = [(0, "a"), (1, "b"), (3, "c"), (1, "d")];
        assert_eq!(prologue(&PrologueRule::Messages(2), &sent), ["a", "b"]);
        assert_eq!(prologue(&PrologueRule::Time(Duration::from_secs(2)), &sent), ["a", "b"]);
        let until = PrologueRule::Until(Pattern::Equals("c".into()));
        assert_eq!(prologue(&until, &sent), ["a", "b", "c"]);
    }

    #[test]
    fn beginning_that_never_ends_has_a_limit() {
        let endless = PrologueRule::Until(Pattern::Equals(String::new()));
        let large = "x".repeat(MAX_PROLOGUE_BYTES / 2);
        assert_eq!(prologue(&endless, &[(0, &large), (0, &large), (0, "x"), (0, "")]).len(), 2);
        let many = vec![(0, "x"); MAX_PROLOGUE_MESSAGES + 1];
        assert_eq!(prologue(&endless, &many).len(), MAX_PROLOGUE_MESSAGES);
    }

    fn rule(max_keys: usize) -> LastValue {
        LastValue { key: Pointer::parse("/s").unwrap(), max_keys }
    }

    #[test]
    fn latest_of_each_key_is_kept() {
        let mut values = LastValues::default();
        let sent = [r#"{"s":"a","p":1}"#, r#"{"s":"b","p":2}"#, "no key", r#"{"s":"a","p":30}"#];
        for (number, payload) in (0..).zip(sent) {
            values.note(&rule(10), text(payload), number, "test");
        }
        let mut kept: Vec<_> = values.messages().collect();
        kept.sort_unstable_by_key(|kept| kept.number);
        assert_eq!(payloads(kept), [sent[1], sent[3]]);
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_never_out_of_date() {
        let mut values = LastValues::default();
        for (number, payload) in (0..).zip([r#"{"s":"a"}"#, r#"{"s":"b"}"#, r#"{"s":"a","p":1}"#]) {
            values.note(&rule(1), text(payload), number, "test");
        }
        assert_eq!(payloads(values.messages()), [r#"{"s":"a","p":1}"#]);
        let large = format!(r#"{{"s":"a","p":"{}"}}"#, "x".repeat(MAX_LAST_VALUE_BYTES));
        values.note(&rule(1), text(&large), 3, "test");
        assert_eq!(values.messages().count(), 0);
        assert_eq!(values.bytes, 0);
    }

    #[test]
    fn values_that_were_large_once_and_many_small_ones_take_no_more_than_is_said() {
        let mut values = LastValues::default();
        let padding = "x".repeat(MAX_LAST_VALUE_BYTES / 2);
        for number in 0..20 {
            let large = format!(r#"{{"s":"{number}","p":"{padding}"}}"#);
            values.note(&rule(100), text(&large), number, "test");
            values.note(&rule(100), text(&format!(r#"{{"s":"{number}"}}"#)), number, "test");
        }
        let taken: usize = values.by_key.values().map(|kept| kept.payload.capacity()).sum();
        assert_eq!(values.by_key.len(), 20);
        assert!(taken <= MAX_LAST_VALUE_BYTES, "{taken}");

        let mut values = LastValues::default();
        for number in 0..50_000 {
            let small = format!(r#"{{"s":{number}}}"#);
            values.note(&rule(100_000), text(&small), number, "test");
        }
        assert!(values.by_key.len() * VALUE_BYTES <= MAX_LAST_VALUE_BYTES);
    }
}
