//! The log, the newest line at the bottom.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::text;
use super::super::theme::Palette;
use super::super::ui::{Pane, Ui};
use super::Canvas;
use crate::observe::snapshot::LogLine;

/// Below this width a line has no time.
const TIMED_WIDTH: u16 = 60;

pub(super) fn draw(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    if area.is_empty() {
        return;
    }
    let word = match ui.journal.back() {
        0 => String::new(),
        back => format!("{} below", text::count(back as u64)),
    };
    let right = Line::from(Span::styled(word, canvas.palette.accent));
    let inside = canvas.pane(ui, Pane::Journal, area, "Log", right);
    let height = usize::from(inside.height);
    let mut lines = Vec::new();
    for line in ui.journal.upwards() {
        if lines.len() >= height {
            break;
        }
        lines.extend(entry(line, inside.width, &canvas.palette).into_iter().rev());
    }
    if lines.is_empty() {
        return canvas.write(Span::styled("nothing has happened", canvas.palette.dim), inside);
    }
    lines.truncate(height);
    for (line, row) in lines.into_iter().rev().zip(inside.rows()) {
        canvas.write(line, row);
    }
}

/// A line of the log, in as many rows as it takes.
fn entry(line: &LogLine, width: u16, palette: &Palette) -> Vec<Line<'static>> {
    let (level, style) = level(&line.level, palette);
    let time = match width {
        TIMED_WIDTH.. => format!("{} ", of_day(&line.time)),
        _ => String::new(),
    };
    let indent = text::width(&time) + text::width(level) + 1;
    let columns = usize::from(width).saturating_sub(indent).max(1);
    let rows = text::wrap(&line.text, columns).into_iter().enumerate();
    let body = if style == palette.bad { style } else { palette.text };
    rows.map(|(at, text)| {
        if at > 0 {
            return Line::from(vec![
                Span::raw(" ".repeat(indent)),
                Span::styled(text.to_owned(), body),
            ]);
        }
        Line::from(vec![
            Span::styled(time.clone(), palette.dim),
            Span::styled(format!("{level} "), style),
            Span::styled(text.to_owned(), body),
        ])
    })
    .collect()
}

/// `12:34:56` of `2026-01-31T12:34:56.789Z`.
fn of_day(time: &str) -> &str {
    let of_day = time.split_once('T').map_or(time, |(_, of_day)| of_day);
    of_day.get(..8).unwrap_or(of_day)
}

fn level(level: &str, palette: &Palette) -> (&'static str, Style) {
    match level {
        "error" => ("error", palette.bad),
        "warn" => ("warn ", palette.warn),
        "info" => ("info ", palette.good),
        "debug" => ("debug", palette.dim),
        _ => ("     ", palette.dim),
    }
}
