//! The log's last lines.

use std::collections::VecDeque;

use super::text;
use crate::observe::snapshot::LogLine;

/// Lines that are kept.
const MAX_LINES: usize = 1000;
/// Characters of a line that are kept.
const MAX_LINE_CHARS: usize = 2000;

/// The log's last lines, and where one reads in them.
#[derive(Debug, Default)]
pub(super) struct Journal {
    lines: VecDeque<LogLine>,
    /// Lines below the last that is shown.
    back: usize,
}

impl Journal {
    /// Adds a line; the view stays where it is if it does not show the end.
    pub(super) fn push(&mut self, mut line: LogLine) {
        if let Some((end, _)) = line.text.char_indices().nth(MAX_LINE_CHARS) {
            line.text.truncate(end);
        }
        line.text = text::clean(&line.text);
        self.lines.push_back(line);
        if self.lines.len() > MAX_LINES {
            self.lines.pop_front();
        }
        if self.back > 0 {
            self.scroll_back(1);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn scroll_back(&mut self, lines: usize) {
        let furthest = self.lines.len().saturating_sub(1);
        self.back = self.back.saturating_add(lines).min(furthest);
    }

    pub(super) fn scroll_on(&mut self, lines: usize) {
        self.back = self.back.saturating_sub(lines);
    }

    /// Lines below the last that is shown.
    pub(super) fn back(&self) -> usize {
        self.back
    }

    /// The lines from the last that is shown upwards.
    pub(super) fn upwards(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.iter().rev().skip(self.back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine { text: text.to_owned(), ..LogLine::default() }
    }

    fn last(journal: &Journal) -> Option<&str> {
        journal.upwards().next().map(|line| line.text.as_str())
    }

    #[test]
    fn journal_keeps_a_bounded_number_of_lines() {
        let mut journal = Journal::default();
        (0..MAX_LINES + 5).for_each(|number| journal.push(line(&number.to_string())));
        assert_eq!(journal.upwards().count(), MAX_LINES);
        assert_eq!(last(&journal), Some("1004"));
        journal.push(line(&"é".repeat(MAX_LINE_CHARS * 2)));
        assert_eq!(last(&journal).map(|text| text.chars().count()), Some(MAX_LINE_CHARS));
    }

    #[test]
    fn view_stays_where_it_is_while_lines_come() {
        let mut journal = Journal::default();
        for text in ["a", "b", "c"] {
            journal.push(line(text));
        }
        journal.scroll_back(1);
        journal.push(line("d"));
        assert_eq!((last(&journal), journal.back()), (Some("b"), 2));
        journal.scroll_on(usize::MAX);
        assert_eq!(last(&journal), Some("d"));
        journal.scroll_back(usize::MAX);
        assert_eq!(last(&journal), Some("a"));
        journal.clear();
        assert_eq!((last(&journal), journal.back()), (None, 0));
    }
}
