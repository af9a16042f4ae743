//! Masking keys: fresh and unpredictable for every frame (RFC 6455, section 5.3).

use std::fmt;

/// Keys fetched from the system at once.
const KEYS: usize = 64;
const KEY_BYTES: usize = 4;

/// A supply of masking keys from the system's random source.
#[derive(Default)]
pub(super) struct Masks {
    random: Vec<u8>,
}

impl Masks {
    /// The next key; no two frames share one but by chance.
    pub(super) fn next(&mut self) -> [u8; KEY_BYTES] {
        if self.random.is_empty() {
            self.random.resize(KEYS * KEY_BYTES, 0);
            getrandom::fill(&mut self.random).expect("the system has a random source");
        }
        let rest = self.random.len() - KEY_BYTES;
        let key = self.random[rest..].try_into().expect("four bytes");
        self.random.truncate(rest);
        key
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masks({} left)", self.random.len() / KEY_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_differ() {
        let mut masks = Masks::default();
        let keys: HashSet<_> = (0..1000).map(|_| masks.next()).collect();
        assert!(keys.len() > 990);
    }
}
