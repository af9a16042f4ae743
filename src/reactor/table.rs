//! A slab whose keys go stale instead of dangling.

use slab::Slab;

/// Names one entry of a [`Table`] for as long as it is there.
///
/// The place of a removed entry is let again, under another stamp: an old key finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub(super) index: u32,
    pub(super) stamp: u32,
}

/// Entries under stable keys; every operation takes constant time.
#[derive(Debug)]
pub struct Table<T> {
    slots: Slab<(u32, T)>,
    next_stamp: u32,
}

impl<T> Table<T> {
    /// An empty table; it allocates nothing.
    pub fn new() -> Self {
        Self { slots: Slab::new(), next_stamp: 0 }
    }

    /// Adds an entry.
    pub fn insert(&mut self, value: T) -> Key {
        let stamp = self.next_stamp;
        self.next_stamp = self.next_stamp.wrapping_add(1);
        let index = self.slots.insert((stamp, value));
        Key { index: u32::try_from(index).expect("descriptors run out before 32 bits do"), stamp }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        self.slots.try_remove(key.index as usize).map(|(_, value)| value)
    }

    /// The entry of a key.
    pub fn get(&self, key: Key) -> Option<&T> {
        let (stamp, value) = self.slots.get(key.index as usize)?;
        same_stamp(*stamp, key.stamp).then_some(value)
    }

    /// The entry of a key, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (stamp, value) = self.slots.get_mut(key.index as usize)?;
        same_stamp(*stamp, key.stamp).then_some(value)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, (_, value))| value)
    }

    /// All entries, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|(_, (_, value))| value)
    }

    /// The keys of all entries.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.slots.iter().map(|(index, (stamp, _))| Key {
            index: u32::try_from(index).expect("checked when it was inserted"),
            stamp: *stamp,
        })
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A key that went through a token has only the low bits of its stamp.
fn same_stamp(stored: u32, asked: u32) -> bool {
    stored & super::target::STAMP_MASK == asked & super::target::STAMP_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_a_removed_entry_finds_nothing_when_its_place_is_let_again() {
        let mut table = Table::new();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));

        let new = table.insert("new");
        assert_eq!(new.index, old.index);
        assert_eq!(table.get(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table.get(new), Some(&"new"));
    }
}
