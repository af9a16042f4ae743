//! Patterns of messages: `{contains: TEXT}`, `{equals: TEXT}`, `{json: {/pointer: value}}`.

use super::raw::Raw;
use super::section::Section;
use crate::codec::pattern::{Pattern, Pointer};

pub(super) const PATTERN_KEYS: &[&str] = &["contains", "equals", "json"];

/// Bytes of a text that a message is compared with.
const MAX_TEXT_BYTES: usize = 4096;
/// Places in a message that one pattern looks at.
const MAX_POINTERS: usize = 16;
/// Values that one of them may have.
const MAX_VALUES: usize = 64;

/// The pattern that a key asks for.
pub(super) fn pattern(section: &mut Section<'_>, key: &str) -> Option<Pattern> {
    section.section(key, PATTERN_KEYS, inside).flatten()
}

/// A pattern whose keys stand here.
fn inside(section: &mut Section<'_>) -> Option<Pattern> {
    let expected = format!("a text of 1 to {MAX_TEXT_BYTES} bytes");
    let text = |text: &str| {
        let is_right = (1..=MAX_TEXT_BYTES).contains(&text.len());
        is_right.then(|| text.to_owned())
    };
    let count = PATTERN_KEYS.iter().filter(|key| section.has(key)).count();
    if count != 1 {
        section.refuse("expected one of contains, equals and json");
    }
    let patterns = [
        section.parsed("contains", &expected, text).map(Pattern::Contains),
        section.parsed("equals", &expected, text).map(Pattern::Equals),
        json(section).map(Pattern::Json),
    ];
    patterns.into_iter().flatten().next().filter(|_| count == 1)
}

fn json(section: &mut Section<'_>) -> Option<Vec<(Pointer, Vec<String>)>> {
    let (path, value) = section.take("json")?;
    let Raw::Map(map) = value else {
        section.problem(path, "expected pointers and values, such as {/type: pong}");
        return None;
    };
    if map.is_empty() || map.len() > MAX_POINTERS {
        section.problem(path, format!("expected 1 to {MAX_POINTERS} pointers"));
        return None;
    }
    let mut wanted = Vec::with_capacity(map.len());
    for (pointer, values) in map {
        let path = path.key(&pointer);
        let Some(pointer) = Pointer::parse(&pointer) else {
            section.problem(path, "is no JSON pointer, such as /data/0/type");
            continue;
        };
        let items = if let Raw::List(items) = values { items } else { vec![values] };
        if items.is_empty() || items.len() > MAX_VALUES {
            section.problem(path.clone(), format!("expected 1 to {MAX_VALUES} values"));
        }
        let values = items.into_iter().filter_map(|item| section.json_value(&path, item));
        wanted.push((pointer, values.collect()));
    }
    Some(wanted)
}

impl Section<'_> {
    /// A value as a message has it: a text as it is, a number as it is written.
    fn json_value(&mut self, path: &super::problem::KeyPath, value: Raw) -> Option<String> {
        match value {
            Raw::Nothing => Some("null".to_owned()),
            // What was written is not known any more: 1.10 has become 1.1.
            Raw::Fraction(_) => {
                self.problem(path.clone(), "expected a text: put it in quotes");
                None
            }
            Raw::Flag(_) | Raw::Whole(_) | Raw::Text(_) | Raw::List(_) | Raw::Map(_) => {
                let expected = format!("a text of at most {MAX_TEXT_BYTES} bytes, or a number");
                let text = |text: &str| (text.len() <= MAX_TEXT_BYTES).then(|| text.to_owned());
                self.parsed_value(path.clone(), value, &expected, text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::{KeyPath, Problems};
    use super::super::{raw, section};
    use super::*;

    fn read(text: &str) -> Result<Pattern, String> {
        let mut problems = Problems::default();
        let tree = raw::parse(&format!("until: {text}")).unwrap();
        let taken = section::read(tree, KeyPath::default(), &["until"], &mut problems, |section| {
            pattern(section, "until")
        });
        let problems = problems.located(|_| None);
        let told = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        taken.flatten().filter(|_| told.is_empty()).ok_or(told)
    }

    #[test]
    fn patterns_are_read() {
        assert_eq!(read("{contains: pong}"), Ok(Pattern::Contains("pong".into())));
        assert_eq!(read("{equals: '1.10'}"), Ok(Pattern::Equals("1.10".into())));
        let json = read("{json: {/op: [a, 5, true, null], '': x}}").unwrap();
        let at = |pointer: &str| Pointer::parse(pointer).unwrap();
        let values = ["a", "5", "true", "null"].map(str::to_owned).to_vec();
        let expected = vec![(at("/op"), values), (at(""), vec!["x".to_owned()])];
        assert_eq!(json, Pattern::Json(expected));
    }

    #[test]
    fn wrong_patterns_are_told() {
        let wrong = |text: &str| read(text).unwrap_err();
        assert!(wrong("{}").contains("expected one of contains, equals and json"));
        assert!(wrong("{contains: a, equals: b}").contains("expected one of"));
        assert!(wrong("{contains: ''}").contains("until.contains: expected a text of 1 to 4096"));
        assert!(wrong("{json: {op: a}}").contains("is no JSON pointer"));
        assert!(wrong("{json: {/op: 1.10}}").contains("put it in quotes"));
        assert!(wrong("{json: {/op: [[a]]}}").contains("found a list"));
        assert!(wrong("{json: {/op: []}}").contains("expected 1 to 64 values"));
        assert!(wrong("{json: x}").contains("expected pointers and values"));
        assert!(wrong("{regex: x}").contains("unknown key"));
        assert!(wrong("pong").contains("expected keys and values"));
    }
}
