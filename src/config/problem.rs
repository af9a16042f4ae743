//! Problems while they are collected.

use std::fmt;

use super::error::{Location, Problem};
use crate::reactor::order::order;

/// The way to a value: keys and list positions from the top of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath {
    steps: Vec<Step>,
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of a key.
    Key(String),
    /// To an item of a list, counted from 0.
    Index(usize),
}

/// All that was found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<(KeyPath, String)>,
}

impl KeyPath {
    /// The way to the value of a key in here.
    pub(super) fn key(&self, key: &str) -> Self {
        self.extended(Step::Key(key.to_owned()))
    }

    /// The way to an item in here.
    pub(super) fn index(&self, index: usize) -> Self {
        self.extended(Step::Index(index))
    }

    /// The steps, from the top.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    fn extended(&self, step: Step) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self { steps }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => write_key(f, key)?,
                Step::Key(key) => {
                    f.write_str(".")?;
                    write_key(f, key)?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Problems {
    /// Remembers what is wrong at a path.
    pub(super) fn add(&mut self, path: KeyPath, message: impl Into<String>) {
        self.found.push((path, message.into()));
    }

    /// Whether nothing is wrong.
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether something is wrong at a path or below, so that what follows from it stays unsaid.
    pub(super) fn mention(&self, path: &KeyPath) -> bool {
        self.found.iter().any(|(at, _)| at.steps.starts_with(&path.steps))
    }

    /// The problems with their places, in the order of the file.
    pub(super) fn located(self, locate: impl Fn(&KeyPath) -> Option<Location>) -> Vec<Problem> {
        let with_place = |(path, message): (KeyPath, String)| Problem {
            location: locate(&path),
            path: path.to_string(),
            message,
        };
        let problems: Vec<Problem> = self.found.into_iter().map(with_place).collect();
        let key = |place: Location| (place.line as u64) << 32 | place.column as u64;
        let in_order = order(problems.iter().map(|problem| problem.location.map_or(0, key)));
        in_order.into_iter().map(|at| problems[at].clone()).collect()
    }
}

/// A key that is no plain word is quoted, so that it cannot garble a terminal.
fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) { f.write_str(key) } else { write!(f, "{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_reads_like_an_expression() {
        let path = KeyPath::default().key("sources").index(1).key("headers").key("X-Key");
        assert_eq!(path.to_string(), "sources[1].headers.X-Key");
        assert_eq!(KeyPath::default().key("a\u{1b}b").to_string(), "\"a\\u{1b}b\"");
    }
}
