//! The keys that say what clients get who come late, come back, or want a part.

use std::time::Duration;

use super::count;
use crate::codec::pattern::Pointer;
use crate::config::pattern::pattern;
use crate::config::section::Section;
use crate::relay::greeting::MAX_PROLOGUE_MESSAGES;
use crate::relay::settings::{ChannelSettings, LastValue, PrologueRule};

pub(in crate::config) const PROLOGUE_KEYS: &[&str] = &["messages", "seconds", "until"];
pub(in crate::config) const LAST_VALUE_KEYS: &[&str] = &["key", "max_keys"];

/// Keys of which the latest message is kept, if nothing is said.
const DEFAULT_KEYS: usize = 1000;
const MAX_KEYS: u64 = 100_000;
const MAX_MESSAGES: u64 = 10_000_000;
const MAX_FILTERS: u64 = 1000;
/// A beginning that takes longer is none.
const MAX_PROLOGUE: Duration = Duration::from_hours(1);

/// What these keys ask for; what is absent is `None`.
#[derive(Debug, Default)]
pub(in crate::config) struct LatecomersInput {
    pub(in crate::config) history: Option<usize>,
    pub(in crate::config) replay: Option<usize>,
    prologue: Option<PrologueRule>,
    last_value: Option<LastValue>,
    max_filters: Option<usize>,
}

impl LatecomersInput {
    /// A channel with these manners.
    pub(in crate::config) fn apply(self, channel: ChannelSettings) -> ChannelSettings {
        let replay = self.replay.unwrap_or(channel.replay);
        ChannelSettings {
            history: self.history.unwrap_or(channel.history).max(replay),
            replay,
            prologue: self.prologue,
            last_value: self.last_value,
            max_filters: self.max_filters.unwrap_or(channel.max_filters),
            ..channel
        }
    }
}

/// The values of these keys.
pub(super) fn latecomers(section: &mut Section<'_>) -> LatecomersInput {
    LatecomersInput {
        history: number(section, "history", "messages", MAX_MESSAGES),
        replay: number(section, "replay", "messages", MAX_MESSAGES),
        prologue: section.section("prologue", PROLOGUE_KEYS, prologue).flatten(),
        last_value: section.section("last_value", LAST_VALUE_KEYS, last_value).flatten(),
        max_filters: number(section, "max_filters", "filters", MAX_FILTERS),
    }
}

fn number(section: &mut Section<'_>, key: &str, things: &str, most: u64) -> Option<usize> {
    let number = section.number(key, things, 0..=most);
    number.and_then(|number| usize::try_from(number).ok())
}

fn prologue(section: &mut Section<'_>) -> Option<PrologueRule> {
    let given = PROLOGUE_KEYS.iter().filter(|key| section.has(key)).count();
    if given != 1 {
        section.refuse("expected one of messages, seconds and until");
    }
    let most = MAX_PROLOGUE_MESSAGES as u64;
    let rules = [
        count(section, "messages", "messages", most).map(PrologueRule::Messages),
        section
            .duration("seconds", Duration::from_millis(1)..=MAX_PROLOGUE)
            .map(PrologueRule::Time),
        pattern(section, "until").map(PrologueRule::Until),
    ];
    rules.into_iter().flatten().next().filter(|_| given == 1)
}

fn last_value(section: &mut Section<'_>) -> Option<LastValue> {
    if !section.has("key") {
        section.refuse("has no key, such as /symbol");
    }
    let key = section.parsed("key", "a JSON pointer, such as /symbol", Pointer::parse);
    let max_keys = count(section, "max_keys", "keys", MAX_KEYS);
    Some(LastValue { key: key?, max_keys: max_keys.unwrap_or(DEFAULT_KEYS) })
}

#[cfg(test)]
mod tests {
    use crate::config::parse;
    use crate::relay::settings::{ChannelSettings, PrologueRule};
    use std::time::Duration;

    fn channel(keys: &str) -> Result<ChannelSettings, String> {
        let source = format!("url: 'ws://h', websocket_port: 1, websocket_host: '::1', {keys}");
        let settings = parse(&format!("sources: [{{{source}}}]"));
        settings.map(|settings| settings.channels[0].clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn history_is_at_least_what_a_new_client_gets() {
        let kept = |keys| channel(keys).map(|channel| (channel.history, channel.replay));
        assert_eq!(kept("history: 100"), Ok((100, 0)));
        assert_eq!(kept("replay: 5"), Ok((5, 5)));
        assert_eq!(kept("replay: 5, history: 3"), Ok((5, 5)));
        let wrong = kept("history: 1001").unwrap_err();
        assert!(wrong.contains("history: is above performance.max_queue_size (1000)"), "{wrong}");
    }

    #[test]
    fn prologue_has_one_end() {
        let rule = |keys: &str| channel(&format!("prologue: {keys}")).map(|c| c.prologue.unwrap());
        assert_eq!(rule("{messages: 3}"), Ok(PrologueRule::Messages(3)));
        assert_eq!(rule("{seconds: 0.5}"), Ok(PrologueRule::Time(Duration::from_millis(500))));
        assert!(matches!(rule("{until: {contains: end}}"), Ok(PrologueRule::Until(_))));
        for wrong in ["{}", "{messages: 3, seconds: 1}"] {
            let error = rule(wrong).unwrap_err();
            assert!(error.contains("prologue: expected one of messages, seconds and until"));
        }
        assert!(rule("{messages: 0}").is_err());
    }

    #[test]
    fn last_value_needs_a_pointer() {
        let last = |keys: &str| channel(&format!("last_value: {keys}")).map(|c| c.last_value);
        let value = last("{key: /s, max_keys: 5}").unwrap().unwrap();
        assert_eq!((value.key.to_string(), value.max_keys), ("/s".to_owned(), 5));
        assert!(last("{key: s}").unwrap_err().contains("expected a JSON pointer"));
        assert!(last("{}").unwrap_err().contains("last_value: has no key"));
    }
}
