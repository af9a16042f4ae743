//! The file as it was written: a tree of values whose types nobody has checked.
//!
//! Only this file and `locate` know the YAML library.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _};
use serde::de::{MapAccess, SeqAccess, Visitor};

use super::error::{Location, Problem};

/// The key that takes the entries of other mappings in.
const MERGE_KEY: &str = "<<";

/// One value and all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Raw {
    /// A key without a value, or `null`.
    Nothing,
    /// `true` or `false`.
    Flag(bool),
    /// An integer, in decimal.
    Whole(String),
    /// Any other number. Its text is not what was written: `1.10` is `1.1`.
    Fraction(String),
    /// A string.
    Text(String),
    /// A sequence.
    List(Vec<Self>),
    /// A mapping, in the order of the file; no key occurs twice.
    Map(Vec<(String, Self)>),
}

/// Reads a text. Syntax errors, keys given twice, tags and wrong merges are its only problems.
pub(super) fn parse(text: &str) -> Result<Raw, Problem> {
    serde_yaml::from_str(text).map_err(|error| problem(&error))
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    // A text without any document.
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Flag(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Whole(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Whole(value.to_string()))
    }

    // Larger ones, up to 38 digits: numbers of orders, in messages.
    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Whole(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Whole(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Fraction(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        let mut merged = Vec::new();
        while let Some(key) = entries.next_key_seed(NewKey { map: &map })? {
            if key == MERGE_KEY {
                merged.extend(entries.next_value::<Merge>()?.0);
            } else {
                map.push((key, entries.next_value()?));
            }
        }
        for (key, value) in merged {
            if !has_key(&map, &key) {
                map.push((key, value));
            }
        }
        Ok(Raw::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Raw, A::Error> {
        Err(A::Error::custom("YAML tags (!name) mean nothing here"))
    }
}

/// A key that is not in the map yet. Refused while it is read, for then the error knows its place.
struct NewKey<'a> {
    map: &'a [(String, Raw)],
}

impl<'de> DeserializeSeed<'de> for NewKey<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for NewKey<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text as the key: put it in quotes")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<String, E> {
        if has_key(self.map, key) {
            return Err(E::custom(format_args!("key {key:?} is given twice")));
        }
        Ok(key.to_owned())
    }
}

/// What follows a merge key: a mapping, or a list of them.
struct Merge(Vec<(String, Raw)>);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || D::Error::custom("<< takes a mapping or a list of mappings");
        match Raw::deserialize(deserializer)? {
            Raw::Map(map) => Ok(Self(map)),
            Raw::List(items) => {
                let maps = items.into_iter().map(|item| match item {
                    Raw::Map(map) => Ok(map),
                    Raw::Nothing
                    | Raw::Flag(_)
                    | Raw::Whole(_)
                    | Raw::Fraction(_)
                    | Raw::Text(_)
                    | Raw::List(_) => Err(wrong()),
                });
                Ok(Self(maps.collect::<Result<Vec<_>, _>>()?.concat()))
            }
            Raw::Nothing | Raw::Flag(_) | Raw::Whole(_) | Raw::Fraction(_) | Raw::Text(_) => {
                Err(wrong())
            }
        }
    }
}

fn has_key(map: &[(String, Raw)], key: &str) -> bool {
    map.iter().any(|(known, _)| known == key)
}

/// The library puts the place into its message, too; ours is in front.
fn problem(error: &serde_yaml::Error) -> Problem {
    let location =
        error.location().map(|place| Location { line: place.line(), column: place.column() });
    let mut message = error.to_string();
    if let Some(Location { line, column }) = location {
        message = message.replacen(&format!(" at line {line} column {column}"), "", 1);
    }
    Problem { location, path: String::new(), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem_of(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn values_keep_their_order_and_type() {
        let tree = parse("z: 1\na: [true, 0.5, -2, x, '3', ~, 0660]\n").unwrap();
        let list = vec![
            Raw::Flag(true),
            Raw::Fraction("0.5".to_owned()),
            Raw::Whole("-2".to_owned()),
            text("x"),
            text("3"),
            Raw::Nothing,
            text("0660"),
        ];
        let map =
            vec![("z".to_owned(), Raw::Whole("1".to_owned())), ("a".to_owned(), Raw::List(list))];
        assert_eq!(tree, Raw::Map(map));
    }

    #[test]
    fn large_numbers_stay_whole_and_keys_are_texts() {
        let number = "12345678901234567890123".to_owned();
        assert_eq!(parse(&number).unwrap(), Raw::Whole(number.clone()));
        let negative = format!("-{number}");
        assert_eq!(parse(&negative).unwrap(), Raw::Whole(negative.clone()));
        for key in ["1", "0.5", "true"] {
            let problem = problem_of(&format!("{key}: a\n"));
            assert!(problem.contains("a text as the key: put it in quotes"), "{problem}");
        }
    }

    #[test]
    fn empty_text_is_nothing() {
        assert_eq!(parse("").unwrap(), Raw::Nothing);
        assert_eq!(parse("# only a remark\n").unwrap(), Raw::Nothing);
    }

    #[test]
    fn merged_entries_yield_to_those_written_out() {
        let tree = parse("- &a {x: 1, y: 2}\n- {<<: *a, y: 3}\n- {<<: [*a, {z: 4}]}\n").unwrap();
        let flat = parse("- {x: 1, y: 2}\n- {y: 3, x: 1}\n- {x: 1, y: 2, z: 4}\n").unwrap();
        assert_eq!(tree, flat);
        assert_eq!(problem_of("a:\n  <<: 5\n"), "2:3: a: << takes a mapping or a list of mappings");
    }

    #[test]
    fn syntax_errors_have_a_place() {
        assert_eq!(
            problem_of("a:\n  b: [1\nc: 2"),
            "3:2: did not find expected ',' or ']', while parsing a flow sequence at line 2 column 6"
        );
        assert_eq!(problem_of("a: *x"), "1:4: unknown anchor");
        assert_eq!(problem_of("a: !env X\n"), "1:4: a: YAML tags (!name) mean nothing here");
        assert_eq!(
            problem_of("1: x\n"),
            "1:1: invalid type: integer `1`, expected a text as the key: put it in quotes"
        );
    }

    #[test]
    fn key_given_twice_is_found_at_its_second_place() {
        let text = "sources:\n  - url: ws://a\n    name: a\n    url: ws://b\n";
        assert_eq!(problem_of(text), "4:5: sources[0]: key \"url\" is given twice");
    }

    #[test]
    fn alias_bombs_are_refused() {
        let line = |n: usize| {
            let alias = if n == 0 { "x, ".to_owned() } else { format!("*a{}, ", n - 1) };
            format!("a{n}: &a{n} [{}]\n", alias.repeat(10))
        };
        let text: String = (0..9).map(line).collect();
        assert!(problem_of(&text).contains("repetition limit"));
    }
}
