//! Numbers and names as people read them, and text that fits.

use ratatui::style::Style;
use ratatui::text::Span;

const COUNT_UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
const BYTE_UNITS: [&str; 5] = [" B", " KiB", " MiB", " GiB", " TiB"];
/// Counts below this are written out.
const MAX_WRITTEN_OUT: u64 = 9_999;
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `812`, `1,234`, `12k`, `1.2M`.
pub(super) fn count(number: u64) -> String {
    match number {
        0..=999 => number.to_string(),
        1000..=MAX_WRITTEN_OUT => format!("{},{:03}", number / 1000, number % 1000),
        _ => scaled(float(number), 1000.0, COUNT_UNITS),
    }
}

/// `no drops`, `1 drop`, `12k drops`, of `drop`.
pub(super) fn counted(number: u64, word: &str) -> String {
    match number {
        0 => format!("no {word}s"),
        1 => format!("1 {word}"),
        _ => format!("{} {word}s", count(number)),
    }
}

/// `812 B`, `1.2 KiB`, `12 MiB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(float(number), 1024.0, BYTE_UNITS)
}

/// What happens each second: `0`, `0.2`, `1,234`.
pub(super) fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        return format!("{:.1}", per_second.max(0.1));
    }
    count(whole(per_second))
}

/// What happens each second, in at most four characters: `0.2`, `812`, `1.2k`.
pub(super) fn short_rate(per_second: f64) -> String {
    if per_second < 999.5 { rate(per_second) } else { scaled(per_second, 1000.0, COUNT_UNITS) }
}

/// How long something goes on: `42 s`, `12m 4s`, `3h 12m`, `4d 3h`.
pub(super) fn span(seconds: f64) -> String {
    let seconds = whole(seconds.floor());
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{}m {}s", seconds / MINUTE, seconds % MINUTE),
        HOUR..DAY => format!("{}h {}m", seconds / HOUR, seconds % HOUR / MINUTE),
        DAY.. => format!("{}d {}h", seconds / DAY, seconds % DAY / HOUR),
    }
}

/// How long something took: `0.4 ms`, `12 ms`, `1.2 s`, `12m 4s`.
pub(super) fn delay(seconds: f64) -> String {
    let millis = seconds * 1000.0;
    if millis < 9.95 {
        format!("{millis:.1} ms")
    } else if seconds < 0.9995 {
        format!("{millis:.0} ms")
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        span(seconds)
    }
}

/// A counter as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "nobody sees the sixteenth digit")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

/// The nearest whole number; what is none, or below zero, is zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as is wanted"
)]
pub(super) fn whole(number: f64) -> u64 {
    number.round() as u64
}

/// A length as the terminal counts; what is longer than any terminal is as long as the longest.
pub(super) fn cells(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// The columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// The text, cut to so many columns, with an ellipsis if something is missing.
pub(super) fn fit(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut fitting = head(text, columns.saturating_sub(1)).to_owned();
    fitting.extend((columns > 0).then_some('…'));
    fitting
}

/// The text in lines of at most so many columns; at least one line.
pub(super) fn wrap(mut text: &str, columns: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    loop {
        let mut line = head(text, columns);
        if line.len() < text.len() {
            // A line ends at a space, if that does not leave it half empty.
            let space = line.rfind(' ').filter(|at| *at > line.len() / 2);
            line = &line[..space.map_or(line.len(), |at| at + 1)];
        }
        lines.push(line.trim_end());
        text = &text[line.len()..];
        if text.is_empty() || line.is_empty() {
            return lines;
        }
    }
}

/// The beginning of a text that takes at most so many columns.
fn head(text: &str, columns: usize) -> &str {
    let span = Span::raw(text);
    let (mut taken, mut length) = (0, 0);
    for grapheme in span.styled_graphemes(Style::new()) {
        taken += width(grapheme.symbol);
        if taken > columns {
            break;
        }
        length += grapheme.symbol.len();
    }
    &text[..length]
}

/// The text without what would move the cursor or turn the line around.
pub(super) fn clean(text: &str) -> String {
    let is_harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.replace(is_harmful, "\u{fffd}")
}

fn scaled(mut value: f64, base: f64, units: [&str; 5]) -> String {
    let mut at = 0;
    while value >= base - 0.5 && at + 1 < units.len() {
        value /= base;
        at += 1;
    }
    let decimals = usize::from(at > 0 && value < 9.95);
    format!("{value:.decimals$}{}", units[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_bytes_keep_two_digits_or_three() {
        let counts = [0, 999, 1000, 9_999, 10_000, 123_456, 999_999, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "9,999", "10k", "123k", "1.0M", "1.2M"]);
        let counted = [0, 1, 20_000].map(|number| counted(number, "drop"));
        assert_eq!(counted, ["no drops", "1 drop", "20k drops"]);
        let sizes = [0, 1023, 1024, 12 << 10, 1_048_575, 3 << 30].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "12 KiB", "1.0 MiB", "3.0 GiB"]);
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
    }

    #[test]
    fn times_are_told_by_their_two_greatest_units() {
        let spans = [0.4, 59.9, 60.0, 3_723.0, 90_000.0, f64::NAN, -1.0].map(span);
        assert_eq!(spans, ["0 s", "59 s", "1m 0s", "1h 2m", "1d 1h", "0 s", "0 s"]);
        let delays = [0.0, 0.0004, 0.012, 0.9999, 1.23, 70.0].map(delay);
        assert_eq!(delays, ["0.0 ms", "0.4 ms", "12 ms", "1.0 s", "1.2 s", "1m 10s"]);
        assert_eq!([9.9, 999.4, 1234.0, 98_765.0].map(short_rate), ["9.9", "999", "1.2k", "99k"]);
        assert_eq!([0.0, 0.01, 9.9, 9.96, 1234.4].map(rate), ["0", "0.1", "9.9", "10", "1,234"]);
    }

    #[test]
    fn text_fits_also_if_it_is_wide() {
        assert_eq!(fit("trades", 6), "trades");
        assert_eq!(fit("trades", 5), "trad…");
        assert_eq!(fit("価格情報", 5), "価格…");
        assert_eq!(fit("価格情報", 4), "価…");
        assert_eq!(fit("trades", 1), "…");
        assert_eq!(fit("trades", 0), "");
    }

    #[test]
    fn text_wraps_at_spaces_and_ends() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a 123456789", 5), ["a 123", "45678", "9"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("価", 1), [""], "what fits nowhere is left out");
    }

    #[test]
    fn text_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2J\u{202e}b"), "a\u{fffd}[2J\u{fffd}b");
    }
}
