//! Deadlines, kept lazily.
//!
//! An entry is a promise to *look at* a key no later than an instant, not a claim that the key is
//! due: its owner may have found more time since. So nothing is ever cancelled; who is looked at
//! too early is scheduled again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::table::Key;

/// The instants at which keys want to be looked at.
#[derive(Debug, Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Timers {
    /// Promises a look at `key` no later than `at`.
    pub fn schedule(&mut self, key: Key, at: Instant) {
        self.heap.push(Reverse((at, key)));
    }

    /// The first promised look.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Forgets the entries that nobody counts on any more.
    pub fn retain(&mut self, mut counts: impl FnMut(Instant, Key) -> bool) {
        self.heap.retain(|Reverse((at, key))| counts(*at, *key));
    }

    /// The number of entries, also of those that nobody counts on.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Takes out a key whose look is due, with the instant that was promised.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, Key)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::reactor::table::Table;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    fn keys_come_out_in_the_order_of_their_deadlines_and_never_early() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut table = Table::new();
        let [a, b] = [table.insert('a'), table.insert('b')];
        let mut timers = Timers::default();
        timers.schedule(a, after(20));
        timers.schedule(b, after(10));

        assert_eq!(timers.next(), Some(after(10)));
        assert_eq!(timers.pop_due(after(9)), None);
        assert_eq!(timers.pop_due(after(30)), Some((after(10), b)));
        assert_eq!(timers.pop_due(after(30)), Some((after(20), a)));
        assert_eq!(timers.pop_due(after(30)), None);
    }
}
