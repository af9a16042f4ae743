//! Finds the line and column of a path.
//!
//! The YAML library tells places only to errors: the text is read once more, down the path, and the
//! reading fails on purpose where the path ends. Slow, but there is something to say already.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess};
use serde::de::{SeqAccess, Visitor};

use super::error::Location;
use super::problem::{KeyPath, Step};

/// The place of the last key of a path, or of the last list item; if it is not in the text (a
/// missing key, or a merged one), the place of what should hold it.
pub(super) fn locate(text: &str, path: &KeyPath) -> Option<Location> {
    let steps = path.steps();
    (0..=steps.len()).rev().find_map(|depth| place(text, &steps[..depth]))
}

fn place(text: &str, steps: &[Step]) -> Option<Location> {
    let found = Descent { steps }.deserialize(serde_yaml::Deserializer::from_str(text));
    let place = found.err()?.location()?;
    Some(Location { line: place.line(), column: place.column() })
}

/// Fails where the steps end; succeeds if they lead nowhere.
struct Descent<'a> {
    steps: &'a [Step],
}

impl<'de> DeserializeSeed<'de> for Descent<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Descent<'_> {
    type Value = ();

    // Scalars fail by themselves: whatever the path wants below one, it is the nearest place.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the end of the path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom("here"));
        };
        while let Some(matches) = entries.next_key_seed(Key { wanted, last: rest.is_empty() })? {
            if matches {
                entries.next_value_seed(Descent { steps: rest })?;
            } else {
                entries.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*wanted {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Descent { steps: rest })?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Whether a key is the wanted one; fails on it if the path ends there.
struct Key<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.last => Err(E::custom("here")),
            matches => Ok(matches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# a remark
sources:
  - name: a
    url: ws://a
  - {name: b, url: 'ws://b'}
performance:
  coalesce:
  max_pause: [1,
    2]
";

    fn at(path: &KeyPath) -> (usize, usize) {
        let place = locate(TEXT, path).unwrap();
        (place.line, place.column)
    }

    #[test]
    fn keys_are_found_at_their_first_character() {
        let top = KeyPath::default();
        assert_eq!(at(&top.key("sources")), (2, 1));
        assert_eq!(at(&top.key("sources").index(0).key("url")), (4, 5));
        assert_eq!(at(&top.key("sources").index(1).key("url")), (5, 15));
        assert_eq!(at(&top.key("performance").key("coalesce")), (7, 3));
    }

    #[test]
    fn items_are_found_where_they_begin() {
        let top = KeyPath::default();
        assert_eq!(at(&top.key("sources").index(0)), (3, 5));
        assert_eq!(at(&top.key("sources").index(1)), (5, 5));
        assert_eq!(at(&top.key("performance").key("max_pause").index(1)), (9, 5));
    }

    #[test]
    fn missing_key_is_sought_in_what_should_hold_it() {
        let top = KeyPath::default();
        assert_eq!(at(&top.key("sources").index(0).key("headers").key("X")), (3, 5));
        assert_eq!(at(&top.key("sources").index(7).key("url")), (2, 1));
        assert_eq!(at(&top.key("rebroadcast")), (2, 1));
    }

    #[test]
    fn merged_key_is_ascribed_to_the_entry_that_merges() {
        let text = "a: &a\n  x: 1\nb:\n  <<: *a\n  y: 2\n";
        let path = KeyPath::default().key("b").key("x");
        assert_eq!(locate(text, &path), Some(Location { line: 3, column: 1 }));
    }
}
