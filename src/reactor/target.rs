//! What a readiness event is about, packed into the poller's token.

use mio::Token;

use super::table::Key;

/// Bits of a token that say what kind of thing it names.
const KIND_BITS: u32 = 3;
/// Bits for the place in a table: 2³⁰ places on 64-bit machines, 2¹⁸ on 32-bit ones.
const INDEX_BITS: u32 = if usize::BITS == 64 { 30 } else { 18 };
const STAMP_BITS: u32 = usize::BITS - KIND_BITS - INDEX_BITS;

/// The part of a key's stamp that survives the way through a token.
pub(super) const STAMP_MASK: u32 = (1 << STAMP_BITS) - 1;
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;

/// What a readiness event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The mailbox has mail.
    Mailbox,
    /// A listener, by its place in the list.
    Listener(usize),
    /// A connection attempt.
    Dial(Key),
    /// A connection.
    Conn(Key),
    /// An operator's connection.
    Visitor(Key),
}

impl Target {
    /// The token to register it under.
    pub fn token(self) -> Token {
        let (kind, index, stamp) = match self {
            Self::Mailbox => (0, 0, 0),
            Self::Listener(index) => (1, index, 0),
            Self::Dial(key) => (2, key.index as usize, key.stamp),
            Self::Conn(key) => (3, key.index as usize, key.stamp),
            Self::Visitor(key) => (4, key.index as usize, key.stamp),
        };
        let stamp = (stamp & STAMP_MASK) as usize;
        Token((stamp << (KIND_BITS + INDEX_BITS)) | ((index & INDEX_MASK) << KIND_BITS) | kind)
    }

    /// What a token names.
    pub fn of(Token(bits): Token) -> Self {
        let index = (bits >> KIND_BITS) & INDEX_MASK;
        let key = || Key {
            index: u32::try_from(index).expect("an index has at most 30 bits"),
            stamp: u32::try_from(bits >> (KIND_BITS + INDEX_BITS))
                .expect("a stamp has at most 31 bits"),
        };
        match bits & ((1 << KIND_BITS) - 1) {
            0 => Self::Mailbox,
            1 => Self::Listener(index),
            2 => Self::Dial(key()),
            3 => Self::Conn(key()),
            _ => Self::Visitor(key()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::table::Table;

    #[test]
    fn token_names_what_it_was_made_of() {
        let mut table = Table::new();
        for n in 0..100 {
            let key = table.insert(n);
            if n % 3 == 0 {
                table.remove(key);
            }
            let keyed = [Target::Conn(key), Target::Dial(key), Target::Visitor(key)];
            for target in keyed.into_iter().chain([Target::Listener(n)]) {
                assert_eq!(Target::of(target.token()), target);
            }
        }
        assert_eq!(Target::of(Target::Mailbox.token()), Target::Mailbox);
    }
}
