//! Words that we tell a peer and that must not come into our log by its mouth.

use std::fmt;

use super::url::percent_decoded;

/// A secret has as many; shorter words are of the language.
const MIN_SECRET_BYTES: usize = 6;
/// Characters of a refusing peer's own words that are repeated in our log.
const MAX_SHOWN_CHARS: usize = 80;

/// Words to be hidden. `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Hides a word from now on, as it is, as it reads if it stands in a URL, and as JSON has it, unless
    /// it is too short to be secret.
    pub fn add(&mut self, word: &str) {
        let word = word.trim();
        let json = serde_json::Value::from(word).to_string();
        let in_json = json[1..json.len() - 1].to_owned();
        for word in [word.to_owned(), percent_decoded(word), in_json] {
            if word.len() >= MIN_SECRET_BYTES && !self.0.contains(&word) {
                // A word that is a part of another must leave that one whole.
                let place = self.0.partition_point(|other| other.len() > word.len());
                self.0.insert(place, word);
            }
        }
    }

    /// A text with `…` in place of each of the words.
    pub fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, word| text.replace(word, "…"))
    }

    /// The same, as a few words that are fit for a line of the log.
    pub fn shown(&self, text: &str) -> String {
        let shown = self.hide(text);
        let shown = shown.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_CHARS);
        shown.collect::<String>().trim().to_owned()
    }
}

impl<'a> Extend<&'a str> for Secrets {
    fn extend<T: IntoIterator<Item = &'a str>>(&mut self, words: T) {
        words.into_iter().for_each(|word| self.add(word));
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hidden_whole_and_however_they_are_written() {
        let mut secrets = Secrets::default();
        secrets.extend([
            "s3cret",
            "s3cret-and-more",
            "p%40ssword",
            "key",
            " padded \n",
            "a\"b\\cd",
        ]);
        let said = r#"key s3cret-and-more s3cret p%40ssword p@ssword padded a"b\cd a\"b\\cd"#;
        assert_eq!(secrets.hide(said), "key … … … … … … …");
        assert_eq!(format!("{secrets:?}"), "Secrets(7)");
    }
}
