//! Takes typed values out of a mapping, and remembers what is wrong with them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::{KeyPath, Problems};
use super::raw::Raw;
use super::template::Template;
use super::value;

/// Characters of a wrong value that are repeated to the user.
const MAX_SHOWN: usize = 60;

/// Letters that may differ between a key and the one that was meant.
const MAX_TYPOS: usize = 3;

/// One mapping. A key that is absent or has no value is `None`; so is a wrong one, after a problem
/// was added.
#[derive(Debug)]
pub(super) struct Section<'a> {
    path: KeyPath,
    map: Vec<(String, Raw)>,
    keys: &'static [&'static str],
    /// Keys may be secrets in the wrong place.
    hides_keys: bool,
    problems: &'a mut Problems,
}

/// A simple value: its text, and what may be shown of it.
struct Scalar {
    text: String,
    shown: String,
}

/// Reads a value that should be a mapping with these keys at most.
pub(super) fn read<T>(
    value: Raw,
    path: KeyPath,
    keys: &'static [&'static str],
    problems: &mut Problems,
    take: impl FnOnce(&mut Section<'_>) -> T,
) -> Option<T> {
    let map = match value {
        Raw::Nothing => return None,
        Raw::Map(map) => map,
        Raw::Flag(_) | Raw::Whole(_) | Raw::Fraction(_) | Raw::Text(_) | Raw::List(_) => {
            problems.add(path, format!("expected keys and values, found {}", kind(&value)));
            return None;
        }
    };
    let mut section = Section { path, map, keys, hides_keys: false, problems };
    let taken = take(&mut section);
    section.report_unknown_keys();
    Some(taken)
}

impl Section<'_> {
    /// The way to here.
    pub(super) fn path(&self) -> KeyPath {
        self.path.clone()
    }

    /// Shows no key that is not known: here it may be a secret.
    pub(super) fn hide_unknown_keys(&mut self) {
        self.hides_keys = true;
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        self.parsed(key, "true or false", value::flag)
    }

    /// A number of something.
    pub(super) fn number(
        &mut self,
        key: &str,
        things: &str,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let expected = format!("a number of {things} from {} to {}", range.start(), range.end());
        self.parsed(key, &expected, |text| value::whole(text).filter(|n| range.contains(n)))
    }

    /// A number of bytes.
    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<usize>) -> Option<usize> {
        let [least, most] = [range.start(), range.end()].map(|n| value::exact_size(*n as u64));
        let expected = format!("a size from {least} to {most}, such as 64KiB or 10MB");
        self.parsed(key, &expected, |text| {
            let bytes = usize::try_from(value::size(text)?).ok()?;
            range.contains(&bytes).then_some(bytes)
        })
    }

    /// A time span.
    pub(super) fn duration(
        &mut self,
        key: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let [least, most] = [range.start(), range.end()].map(|n| value::short_duration(*n));
        let expected = format!("a duration from {least} to {most}, such as 20s, 100ms or 0.5");
        self.parsed(key, &expected, |text| value::duration(text).filter(|d| range.contains(d)))
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let (path, scalar) = self.scalar(key, &words.join(" or "))?;
        let choice = choices.iter().find(|(word, _)| *word == scalar.text);
        if choice.is_none() {
            let hint = nearest(&scalar.text, &words)
                .map(|word| format!(", did you mean {word}?"))
                .unwrap_or_default();
            let words = words.join(" or ");
            self.problems.add(path, format!("expected {words}, found {}{hint}", scalar.shown));
        }
        choice.map(|(_, value)| *value)
    }

    /// Permission bits. A number is refused: YAML leaves open whether `660` is octal.
    pub(super) fn mode(&mut self, key: &str) -> Option<u32> {
        const EXPECTED: &str = "octal permissions in quotes, such as \"0660\"";
        match self.take(key)? {
            (path, number @ (Raw::Whole(_) | Raw::Fraction(_))) => {
                self.problems.add(path, format!("expected {EXPECTED}, found {}", found(&number)));
                None
            }
            (path, other) => self.parsed_value(path, other, EXPECTED, value::mode),
        }
    }

    /// A text that `parse` makes something of, with its holes filled.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (path, value) = self.take(key)?;
        self.parsed_value(path, value, expected, parse)
    }

    /// The same, and never shown: it stands where a secret may have been put by mistake.
    pub(super) fn unshown<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let (path, scalar) = self.scalar(key, expected)?;
        let parsed = parse(&scalar.text);
        if parsed.is_none() {
            let message = format!("expected {expected}; what is there may be secret: not shown");
            self.problems.add(path, message);
        }
        parsed
    }

    /// A list of texts that `parse` makes something of.
    pub(super) fn list<T>(
        &mut self,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (path, items) = self.items(key)?;
        let mut list = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            list.extend(self.parsed_value(path.index(index), item, expected, &parse));
        }
        Some(list)
    }

    /// A text whose holes are filled later.
    pub(super) fn template(&mut self, key: &str) -> Option<Template> {
        let (path, value) = self.take(key)?;
        self.template_of(path, value)
    }

    /// A program: a list is its name and its arguments, a text is for the shell. Both are taken as
    /// they are written, for `${…}` is the shell's, and shown nowhere.
    pub(super) fn command(&mut self, key: &str) -> Option<Vec<String>> {
        let (path, value) = self.take(key)?;
        if !cfg!(feature = "programs") {
            self.problems.add(path, "needs a veylor that was built with the feature `programs`");
            return None;
        }
        let word = |item: Raw| match item {
            Raw::Text(text) | Raw::Whole(text) | Raw::Fraction(text) => Some(text),
            Raw::Nothing | Raw::Flag(_) | Raw::List(_) | Raw::Map(_) => None,
        };
        let argv = match value {
            Raw::Text(script) => Some(["/bin/sh", "-c", &script].map(str::to_owned).to_vec())
                .filter(|_| !script.trim().is_empty()),
            Raw::List(items) => items.into_iter().map(word).collect(),
            Raw::Nothing | Raw::Flag(_) | Raw::Whole(_) | Raw::Fraction(_) | Raw::Map(_) => None,
        };
        let argv = argv.filter(|argv| argv.first().is_some_and(|name| !name.is_empty()));
        if argv.is_none() {
            let message = "expected a program and its arguments as a list of texts, such as \
                           [/usr/local/bin/token, --json], or a text for the shell";
            self.problems.add(path, message);
        }
        argv
    }

    /// A text that is secret, with its holes filled. It is neither empty nor ever shown.
    pub(super) fn secret(&mut self, key: &str) -> Option<String> {
        if !self.has(key) {
            self.refuse(&format!("has no {key}"));
        }
        let (path, value) = self.take(key)?;
        let filled = self.template_of(path.clone(), value)?.resolve();
        let secret = self.or_problem(&path, filled)?;
        if secret.is_empty() {
            self.problems.add(path, "is empty");
            return None;
        }
        Some(secret)
    }

    /// Adds a problem of this mapping as a whole.
    pub(super) fn refuse(&mut self, message: &str) {
        if !self.problems.mention(&self.path) {
            self.problems.add(self.path.clone(), message);
        }
    }

    /// Names and texts whose holes are filled later, in the order of the file.
    pub(super) fn templates(&mut self, key: &str) -> Option<Vec<(String, Template)>> {
        let (path, value) = self.take(key)?;
        let Raw::Map(map) = value else {
            let kind = kind(&value);
            self.problems.add(path, format!("expected names and values, found {kind}"));
            return None;
        };
        let mut templates = Vec::with_capacity(map.len());
        for (name, value) in map {
            let template = self.template_of(path.key(&name), value);
            templates.extend(template.map(|template| (name, template)));
        }
        Some(templates)
    }

    /// A mapping in this one.
    pub(super) fn section<T>(
        &mut self,
        key: &str,
        keys: &'static [&'static str],
        take: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        let (path, value) = self.take(key)?;
        read(value, path, keys, self.problems, take)
    }

    /// A list of mappings in this one. An item without keys counts as an empty mapping.
    pub(super) fn sections<T>(
        &mut self,
        key: &str,
        keys: &'static [&'static str],
        take: impl Fn(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        let (path, items) = self.items(key)?;
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let item = if item == Raw::Nothing { Raw::Map(Vec::new()) } else { item };
            sections.extend(read(item, path.index(index), keys, self.problems, &take));
        }
        Some(sections)
    }

    /// The same, where a text stands for a mapping with one key. The list is not empty.
    pub(super) fn sections_or_texts<T>(
        &mut self,
        key: &str,
        short: &str,
        keys: &'static [&'static str],
        take: impl Fn(&mut Section<'_>) -> T,
    ) -> Option<Vec<T>> {
        let (path, items) = self.items(key)?;
        if items.is_empty() {
            self.problems.add(path, "is empty");
            return None;
        }
        let items = items.into_iter().map(|item| match item {
            Raw::Map(_) => item,
            Raw::Nothing => Raw::Map(Vec::new()),
            Raw::Flag(_) | Raw::Whole(_) | Raw::Fraction(_) | Raw::Text(_) | Raw::List(_) => {
                Raw::Map(vec![(short.to_owned(), item)])
            }
        });
        let read = |(index, item)| read(item, path.index(index), keys, self.problems, &take);
        Some(items.enumerate().filter_map(read).collect())
    }

    /// Adds a problem below this mapping.
    pub(super) fn problem(&mut self, path: KeyPath, message: impl Into<String>) {
        self.problems.add(path, message);
    }

    /// Reads a value found below this mapping that should be a mapping itself.
    pub(super) fn read<T>(
        &mut self,
        value: Raw,
        path: KeyPath,
        keys: &'static [&'static str],
        take: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        read(value, path, keys, self.problems, take)
    }

    /// Whether a key has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.iter().any(|(name, value)| name == key && *value != Raw::Nothing)
    }

    /// Whether the value of a key is a mapping.
    pub(super) fn has_map(&self, key: &str) -> bool {
        self.map.iter().any(|(name, value)| name == key && matches!(value, Raw::Map(_)))
    }

    /// A value as it was written, and the way to it.
    pub(super) fn take(&mut self, key: &str) -> Option<(KeyPath, Raw)> {
        debug_assert!(self.keys.contains(&key), "{key} is read and not among the known keys");
        let at = self.map.iter().position(|(name, _)| name == key)?;
        let (_, value) = self.map.remove(at);
        (value != Raw::Nothing).then(|| (self.path.key(key), value))
    }

    /// The items of a list as they were written.
    pub(super) fn items(&mut self, key: &str) -> Option<(KeyPath, Vec<Raw>)> {
        match self.take(key)? {
            (path, Raw::List(items)) => Some((path, items)),
            (path, other) => {
                self.problems.add(path, format!("expected a list, found {}", kind(&other)));
                None
            }
        }
    }

    /// What `parse` makes of a value, its holes filled.
    pub(super) fn parsed_value<T>(
        &mut self,
        path: KeyPath,
        value: Raw,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let scalar = self.scalar_of(&path, value, expected)?;
        let parsed = parse(&scalar.text);
        if parsed.is_none() {
            self.problems.add(path, format!("expected {expected}, found {}", scalar.shown));
        }
        parsed
    }

    fn scalar(&mut self, key: &str, expected: &str) -> Option<(KeyPath, Scalar)> {
        let (path, value) = self.take(key)?;
        let scalar = self.scalar_of(&path, value, expected)?;
        Some((path, scalar))
    }

    fn scalar_of(&mut self, path: &KeyPath, value: Raw, expected: &str) -> Option<Scalar> {
        let shown = found(&value);
        match value {
            Raw::Text(text) => self.filled(path, &text),
            Raw::Whole(text) | Raw::Fraction(text) => Some(Scalar { text, shown }),
            Raw::Flag(flag) => Some(Scalar { text: flag.to_string(), shown }),
            Raw::Nothing | Raw::List(_) | Raw::Map(_) => {
                self.problems.add(path.clone(), format!("expected {expected}, found {shown}"));
                None
            }
        }
    }

    /// A text with its holes filled. What filled them is not shown.
    fn filled(&mut self, path: &KeyPath, text: &str) -> Option<Scalar> {
        let filled = Template::parse(text).and_then(|template| {
            let shown = quoted(text);
            let shown =
                if template.has_holes() { format!("what {shown} stands for") } else { shown };
            Ok(Scalar { text: template.resolve()?, shown })
        });
        self.or_problem(path, filled)
    }

    /// A text whose holes are filled later.
    pub(super) fn template_of(&mut self, path: KeyPath, value: Raw) -> Option<Template> {
        match value {
            Raw::Text(text) | Raw::Whole(text) => {
                let template = Template::parse(&text);
                self.or_problem(&path, template)
            }
            // What was written is not known any more: 1.10 has become 1.1, yes and True the same.
            Raw::Flag(_) | Raw::Fraction(_) => {
                self.problems.add(path, "expected a text: put it in quotes");
                None
            }
            Raw::Nothing | Raw::List(_) | Raw::Map(_) => {
                self.problems.add(path, format!("expected a text, found {}", kind(&value)));
                None
            }
        }
    }

    fn or_problem<T, E: Display>(&mut self, path: &KeyPath, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problems.add(path.clone(), error.to_string())).ok()
    }

    fn report_unknown_keys(self) {
        for (key, _) in self.map {
            let message = match nearest(&key, self.keys) {
                Some(known) => format!("unknown key, did you mean {known}?"),
                None => format!("unknown key, known here are {}", self.keys.join(", ")),
            };
            let path = if self.hides_keys { self.path.clone() } else { self.path.key(&key) };
            self.problems.add(path, message);
        }
    }
}

/// The word that was probably meant.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let typos = |known: &&str| strsim::damerau_levenshtein(&word, known);
    let best = known.iter().copied().min_by_key(typos)?;
    let tolerated = (word.chars().count() / 2).min(MAX_TYPOS);
    (typos(&best) <= tolerated).then_some(best)
}

/// What a value is, in a sentence about a wrong one.
fn found(value: &Raw) -> String {
    match value {
        Raw::Nothing => "nothing".to_owned(),
        Raw::Flag(flag) => flag.to_string(),
        Raw::Whole(number) | Raw::Fraction(number) => number.clone(),
        Raw::Text(text) => quoted(text),
        Raw::List(_) => "a list".to_owned(),
        Raw::Map(_) => "keys and values".to_owned(),
    }
}

/// The same where texts may be secrets: urls and headers.
fn kind(value: &Raw) -> String {
    if matches!(value, Raw::Text(_)) { "a text".to_owned() } else { found(value) }
}

fn quoted(text: &str) -> String {
    if text.chars().count() <= MAX_SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MAX_SHOWN).collect();
    format!("{:?}", start + "…")
}

#[cfg(test)]
mod tests {
    use super::super::raw;
    use super::*;

    const KEYS: &[&str] = &["count", "size", "pause", "mode", "mood", "on", "names", "table", "in"];

    /// What `take` makes of a text, and the problems it met.
    fn with<T>(text: &str, take: impl FnOnce(&mut Section<'_>) -> T) -> (Option<T>, Vec<String>) {
        let mut problems = Problems::default();
        let tree = raw::parse(text).unwrap();
        let taken = read(tree, KeyPath::default(), KEYS, &mut problems, take);
        (taken, problems.located(|_| None).iter().map(ToString::to_string).collect())
    }

    fn problem<T>(text: &str, take: impl FnOnce(&mut Section<'_>) -> Option<T>) -> String {
        let (taken, problems) = with(text, take);
        assert!(taken.flatten().is_none() && problems.len() == 1, "{problems:?}");
        problems.concat()
    }

    fn second() -> RangeInclusive<Duration> {
        Duration::ZERO..=Duration::from_secs(1)
    }

    #[test]
    fn right_values_are_taken() {
        let text = "{count: '5', size: 64KiB, pause: 0.5, mode: 0660, on: yes, names: [a, 2]}";
        let (_, problems) = with(text, |section| {
            assert_eq!(section.number("count", "things", 1..=9), Some(5));
            assert_eq!(section.size("size", 0..=1 << 20), Some(65_536));
            assert_eq!(section.duration("pause", second()), Some(Duration::from_millis(500)));
            assert_eq!(section.mode("mode"), Some(0o660));
            assert_eq!(section.flag("on"), Some(true));
            let names = section.list("names", "a name", |name| Some(name.to_owned()));
            assert_eq!(names.unwrap(), ["a", "2"]);
            assert_eq!(section.flag("mood"), None);
        });
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn holes_are_filled_where_numbers_and_flags_are_expected() {
        let (_, problems) = with("{count: '${env:NO_SUCH:-7}', on: '${env:NO_SUCH:-true}'}", |s| {
            assert_eq!(s.number("count", "things", 1..=9), Some(7));
            assert_eq!(s.flag("on"), Some(true));
        });
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn wrong_types_and_ranges_are_told_with_what_was_expected() {
        let count = |text| problem(text, |s| s.number("count", "messages", 1..=9));
        assert_eq!(
            count("count: [1]"),
            "count: expected a number of messages from 1 to 9, found a list"
        );
        assert_eq!(count("count: 0"), "count: expected a number of messages from 1 to 9, found 0");
        assert_eq!(
            count("count: many"),
            "count: expected a number of messages from 1 to 9, found \"many\""
        );
        assert_eq!(
            problem("size: 0", |s| s.size("size", 1..=1 << 30)),
            "size: expected a size from 1 to 1GiB, such as 64KiB or 10MB, found 0"
        );
        assert_eq!(
            problem("pause: 2s", |s| s.duration("pause", second())),
            "pause: expected a duration from 0 to 1s, such as 20s, 100ms or 0.5, found \"2s\""
        );
        assert_eq!(
            problem("names: a", |s| s.list("names", "a name", |_| Some(()))),
            "names: expected a list, found a text"
        );
        assert_eq!(
            problem("in: 5", |s| s.section("in", &[], |_| ())),
            "in: expected keys and values, found 5"
        );
    }

    #[test]
    fn unquoted_mode_is_refused_where_yaml_takes_it_for_a_number() {
        for text in ["mode: 660", "mode: 0o660", "mode: 432"] {
            let message = problem(text, |section| section.mode("mode"));
            assert!(message.contains("in quotes, such as \"0660\""), "{message}");
        }
    }

    #[test]
    fn unknown_word_is_told_with_the_nearest_one() {
        let choices = [("disconnect", 1), ("drop_oldest", 2)];
        assert_eq!(
            problem("mood: drop-oldst", |s| s.choice("mood", &choices)),
            "mood: expected disconnect or drop_oldest, found \"drop-oldst\", did you mean drop_oldest?"
        );
        assert_eq!(
            problem("mood: 5", |s| s.choice("mood", &choices)),
            "mood: expected disconnect or drop_oldest, found 5"
        );
    }

    #[test]
    fn unknown_key_is_told_with_the_nearest_one() {
        let (_, problems) = with("{cuont: 5, zebra: 1}", |_| ());
        assert_eq!(problems[0], "cuont: unknown key, did you mean count?");
        assert!(problems[1].starts_with("zebra: unknown key, known here are count, size, "));
    }

    #[test]
    fn table_takes_texts_and_integers_and_asks_for_quotes_where_the_text_is_lost() {
        let (table, problems) =
            with("table: {a: x, b: 5, c: 1.10, d: [1]}", |s| s.templates("table"));
        let names: Vec<String> =
            table.flatten().unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        let expected = [
            "table.c: expected a text: put it in quotes",
            "table.d: expected a text, found a list",
        ];
        assert_eq!(problems, expected);
    }

    #[test]
    fn filled_in_value_is_never_shown() {
        let message = problem("count: '${file:Cargo.toml}'", |s| s.number("count", "x", 1..=9));
        assert!(message.ends_with("found what \"${file:Cargo.toml}\" stands for"), "{message}");
        let message = problem("count: '${env:NO_SUCH}'", |s| s.number("count", "x", 1..=9));
        assert_eq!(message, "count: environment variable NO_SUCH is not set");
    }
}
