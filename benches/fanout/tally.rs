//! What one receiver has got of one sender's messages, which are numbered from 0.

/// Counts messages, and those that did not come in their turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// The number that comes next.
    pub(crate) next: u64,
    pub(crate) received: u64,
    /// Messages that came after a later one, or twice.
    pub(crate) out_of_order: u64,
}

impl Tally {
    #[inline]
    pub(crate) fn see(&mut self, number: u64) {
        if number < self.next {
            self.out_of_order += 1;
            return;
        }
        self.next = number + 1;
        self.received += 1;
    }

    /// Takes it that so many came in their turn.
    pub(crate) fn trust(&mut self, messages: u64) {
        self.next += messages;
        self.received += messages;
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            next: self.next + other.next,
            received: self.received + other.received,
            out_of_order: self.out_of_order + other.out_of_order,
        }
    }
}
