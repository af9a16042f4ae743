//! Copies of a message that several connections of one feed bring.
//!
//! A set of what has passed would swallow a message that a service says twice on purpose. So copies
//! are *counted*: for each content, how many were passed on, and how many of these each leg has
//! brought itself. A leg's next copy is news if the leg has brought all that were passed on.
//!
//! From this follows the order. If two legs bring the same sequence, whoever is ahead brings what
//! is news, one after the other, and the other brings what was passed on already: what is passed
//! on is the sequence, whichever leg is ahead at each moment.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::settings::{DedupRule, MAX_DEDUP_WINDOW, MAX_URLS};
use crate::codec::{Kind, Message};

/// Legs of a feed at most.
pub(super) const MAX_LEGS: usize = 2 * MAX_URLS;
/// Copies that come further apart are two messages, unless a key says that they are one. Time in
/// which a leg is not read does not count.
pub(super) const MAX_SKEW: Duration = Duration::from_mins(1);

// They have a bit each, and counts of copies are this small.
const _: () = assert!(MAX_LEGS <= u16::BITS as usize);
const _: () = assert!(MAX_DEDUP_WINDOW <= u16::MAX as usize);

/// What has passed of a feed.
#[derive(Debug)]
pub(super) struct Dedup {
    /// Two of them: what is taken for a copy by mistake is lost, so 128 bits tell messages apart.
    hashers: [RandomState; 2],
    copies: HashMap<u128, Copies>,
    /// What was passed on and when, in that order, apart from what is known by a key.
    passed: VecDeque<(u128, Instant)>,
    /// The same of what is, which does not grow old.
    passed_keys: VecDeque<(u128, Instant)>,
}

/// By what a message is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    hash: u128,
    /// The message says itself which one it is.
    is_key: bool,
}

/// How often the same message has come.
#[derive(Clone, Copy, Debug, Default)]
struct Copies {
    passed: u16,
    /// How many of these each leg owes no more, since it has brought them or was not there.
    brought: [u16; MAX_LEGS],
    /// The legs that have brought one.
    by: Legs,
}

/// The legs of a feed, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Legs(pub(super) u16);

impl Legs {
    pub(super) fn has(self, leg: usize) -> bool {
        self.0 & (1 << leg) != 0
    }

    pub(super) fn add(&mut self, leg: usize) {
        self.0 |= 1 << leg;
    }

    fn remove(&mut self, leg: usize) {
        self.0 &= !(1 << leg);
    }
}

impl Dedup {
    pub(super) fn new() -> Self {
        let hashers = [RandomState::new(), RandomState::new()];
        let (passed, passed_keys) = (VecDeque::new(), VecDeque::new());
        Self { hashers, copies: HashMap::new(), passed, passed_keys }
    }

    /// By what a message is known.
    pub(super) fn print(&self, message: Message<'_>, rule: &DedupRule) -> Print {
        let key = rule.key.as_ref().and_then(|key| key.find_written(message.payload));
        let is_key = key.is_some();
        let bytes = key.map_or(message.payload, str::as_bytes);
        let is_text = !is_key && message.kind == Kind::Text;
        let [high, low] =
            [0, 1].map(|n: usize| u128::from(self.hashers[n].hash_one((is_key, is_text, bytes))));
        Print { hash: high << 64 | low, is_key }
    }

    /// Whether a message of a leg is a copy of what was passed on.
    pub(super) fn is_copy(&self, leg: usize, print: Print) -> bool {
        let copies = self.copies.get(&print.hash);
        copies.is_some_and(|copies| copies.brought[leg] < copies.passed || print.is_key)
    }

    /// Takes note of a copy of what was passed on. The legs that have brought it, this one included.
    pub(super) fn note_copy(&mut self, leg: usize, print: Print) -> Legs {
        let Some(copies) = self.copies.get_mut(&print.hash) else { return Legs::default() };
        copies.brought[leg] = (copies.brought[leg] + 1).min(copies.passed);
        copies.by.add(leg);
        let mut legs = Legs::default();
        let has_brought =
            |other: &usize| copies.by.has(*other) && copies.brought[*other] >= copies.brought[leg];
        (0..MAX_LEGS).filter(has_brought).for_each(|other| legs.add(other));
        legs
    }

    /// Takes note of what is passed on. Forgets what is old, and what is more than `window`.
    pub(super) fn note_new(&mut self, leg: usize, print: Print, window: usize, now: Instant) {
        while self.passed.len() + self.passed_keys.len() >= window.max(1) {
            self.forget_oldest();
        }
        let copies = self.copies.entry(print.hash).or_default();
        copies.passed += 1;
        copies.brought[leg] += 1;
        copies.by.add(leg);
        let passed = if print.is_key { &mut self.passed_keys } else { &mut self.passed };
        passed.push_back((print.hash, now));
    }

    /// Forgets what is so old that no copy of it comes any more.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((hash, _)) = self.passed.pop_front_if(|(_, at)| *at + MAX_SKEW <= now) {
            self.forget(hash);
        }
    }

    /// A leg has a new connection from now on: what has passed is not for it.
    pub(super) fn begin(&mut self, leg: usize) {
        for copies in self.copies.values_mut() {
            copies.brought[leg] = copies.passed;
            copies.by.remove(leg);
        }
    }

    /// The legs have other places from now on: for each, that which it had, if it was there.
    pub(super) fn rearrange(&mut self, before: &[Option<usize>]) {
        for copies in self.copies.values_mut() {
            let (old, by) = (copies.brought, std::mem::take(&mut copies.by));
            for (leg, brought) in copies.brought.iter_mut().enumerate() {
                let before = before.get(leg).copied().flatten();
                *brought = before.map_or(copies.passed, |before| old[before]);
                if before.is_some_and(|before| by.has(before)) {
                    copies.by.add(leg);
                }
            }
        }
    }

    /// Forgets everything, and gives its memory back.
    pub(super) fn clear(&mut self) {
        self.copies = HashMap::new();
        (self.passed, self.passed_keys) = (VecDeque::new(), VecDeque::new());
    }

    fn forget_oldest(&mut self) {
        let [oldest, oldest_key] =
            [&self.passed, &self.passed_keys].map(|passed| passed.front().map(|(_, at)| *at));
        let is_key = oldest.is_none_or(|at| oldest_key.is_some_and(|key| key < at));
        let passed = if is_key { &mut self.passed_keys } else { &mut self.passed };
        if let Some((hash, _)) = passed.pop_front() {
            self.forget(hash);
        }
    }

    /// Forgets one that was passed on.
    fn forget(&mut self, hash: u128) {
        let Some(copies) = self.copies.get_mut(&hash) else { return };
        copies.passed -= 1;
        copies.brought = copies.brought.map(|count| count.saturating_sub(1));
        if copies.passed == 0 {
            self.copies.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::pattern::Pointer;

    /// A window, and what has passed through it.
    struct Window {
        dedup: Dedup,
        rule: DedupRule,
        now: Instant,
        passed: Vec<String>,
    }

    impl Window {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        fn new(rule: DedupRule) -> Self {
            Self { dedup: Dedup::new(), rule, now: Instant::now(), passed: Vec::new() }
        }

        fn brings(&mut self, leg: usize, texts: &[&str]) {
            for text in texts {
                let message = Message { kind: Kind::Text, payload: text.as_bytes() };
                self.dedup.expire(self.now);
                let print = self.dedup.print(message, &self.rule);
                if self.dedup.is_copy(leg, print) {
                    self.dedup.note_copy(leg, print);
                } else {
                    self.dedup.note_new(leg, print, self.rule.window, self.now);
                    self.passed.push((*text).to_owned());
                }
            }
        }
    }

    fn window() -> Window {
        Window::new(DedupRule::default())
    }

    fn by_key() -> Window {
        Window::new(DedupRule { key: Pointer::parse("/id"), ..DedupRule::default() })
    }

    #[test]
    fn first_copy_of_each_message_passes_whoever_is_ahead() {
        let mut window = window();
        window.brings(0, &["a", "b"]);
        window.brings(1, &["a", "b", "c", "d"]);
        window.brings(0, &["c", "d", "e"]);
        window.brings(1, &["e"]);
        assert_eq!(window.passed, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn what_is_said_twice_is_heard_twice() {
        let mut window = window();
        window.brings(0, &["tick", "tick", "x"]);
        window.brings(1, &["tick", "tick", "x", "tick"]);
        window.brings(0, &["tick"]);
        assert_eq!(window.passed, ["tick", "tick", "x", "tick"]);
    }

    #[test]
    fn copies_that_come_in_another_order_are_copies() {
        let mut window = window();
        window.brings(0, &["a", "b", "c"]);
        window.brings(1, &["c", "a", "d", "b"]);
        assert_eq!(window.passed, ["a", "b", "c", "d"]);
    }

    #[test]
    fn text_and_binary_are_two_messages() {
        let window = window();
        let print = |kind| window.dedup.print(Message { kind, payload: b"x" }, &window.rule);
        assert_ne!(print(Kind::Text), print(Kind::Binary));
    }

    #[test]
    fn leg_that_returns_owes_nothing_of_what_it_has_missed() {
        let mut window = window();
        window.brings(0, &["tick", "tick", "tick"]);
        window.dedup.begin(1);
        window.brings(1, &["tick"]);
        window.brings(0, &["tick"]);
        assert_eq!(window.passed, ["tick"; 4]);
        window.brings(1, &["tick"]);
        assert_eq!(window.passed, ["tick"; 5], "the other is lost, and this goes on");
    }

    #[test]
    fn window_is_bounded_and_gives_its_places_back() {
        let mut window = Window::new(DedupRule { window: 3, ..DedupRule::default() });
        for round in 0..100 {
            window.brings(0, &[&round.to_string(), "tick"]);
        }
        assert_eq!(window.dedup.passed.len(), 3);
        assert_eq!(window.dedup.copies.len(), 2);
        window.brings(1, &["98", "99"]);
        assert_eq!(window.passed.last().unwrap(), "98", "98 was forgotten, 99 was not");
    }

    #[test]
    fn same_text_much_later_is_another_message_and_the_same_key_is_not() {
        let mut window = window();
        window.brings(0, &["tick"]);
        window.now += MAX_SKEW;
        window.brings(1, &["tick"]);
        assert_eq!(window.passed.len(), 2);
        let mut window = by_key();
        window.brings(0, &["{\"id\":1}"]);
        window.now += 2 * MAX_SKEW;
        window.brings(1, &["{\"id\":1,\"late\":true}"]);
        assert_eq!(window.passed.len(), 1);
    }

    #[test]
    fn what_has_a_key_keeps_nothing_else_from_growing_old() {
        let mut window = by_key();
        window.brings(0, &["{\"id\":1}", "halted"]);
        window.now += MAX_SKEW;
        window.brings(1, &["{\"id\":1}", "halted"]);
        assert_eq!(window.passed, ["{\"id\":1}", "halted", "halted"]);
    }

    #[test]
    fn oldest_goes_first_whether_it_has_a_key_or_not() {
        let rule = DedupRule { key: Pointer::parse("/id"), window: 2 };
        let mut window = Window::new(rule);
        for text in ["{\"id\":1}", "plain", "{\"id\":2}", "more"] {
            window.now += Duration::from_millis(1);
            window.brings(0, &[text]);
        }
        window.brings(1, &["{\"id\":2}", "more"]);
        assert_eq!(window.passed.len(), 4, "these two are known");
        window.brings(1, &["{\"id\":1}"]);
        assert_eq!(window.passed.len(), 5);
    }

    #[test]
    fn key_tells_messages_apart_and_what_has_none_is_compared_whole() {
        let mut window = by_key();
        window.brings(0, &["{\"id\":1,\"at\":\"a\"}", "{\"id\":\"1\"}", "no key", "no key"]);
        window.brings(1, &["{\"id\":1,\"at\":\"b\"}", "no key", "{\"id\":2}"]);
        window.brings(0, &["{\"id\":2,\"at\":\"a\"}", "{\"id\":1}"]);
        let expected =
            ["{\"id\":1,\"at\":\"a\"}", "{\"id\":\"1\"}", "no key", "no key", "{\"id\":2}"];
        assert_eq!(window.passed, expected);
    }

    #[test]
    fn who_has_brought_a_copy_is_known() {
        let mut window = window();
        window.brings(0, &["a"]);
        let print = window.dedup.print(Message { kind: Kind::Text, payload: b"a" }, &window.rule);
        let legs = window.dedup.note_copy(3, print);
        assert!(legs.has(0) && legs.has(3) && !legs.has(1), "{legs:?}");
        window.dedup.begin(0);
        let legs = window.dedup.note_copy(2, print);
        assert!(legs.has(2) && legs.has(3) && !legs.has(0), "{legs:?}");
    }
}
