//! The sources: is it there, since when, how far away, and if not, why.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::text;
use super::super::theme::Palette;
use super::super::ui::{Pane, Ui};
use super::plan::Frames;
use super::table::{Cell, Column, Side, Table};
use super::{Canvas, first_row};
use crate::observe::snapshot::SourceStatus;

const COLUMNS: [Column; 10] = [
    Column { title: "", min_width: 1, share: 0, rank: 0, side: Side::Left },
    Column { title: "source", min_width: 8, share: 1, rank: 0, side: Side::Left },
    Column { title: "url", min_width: 20, share: 3, rank: 3, side: Side::Left },
    Column { title: "state", min_width: 12, share: 0, rank: 0, side: Side::Left },
    Column { title: "latency", min_width: 7, share: 0, rank: 2, side: Side::Right },
    Column { title: "msg/s", min_width: 6, share: 0, rank: 1, side: Side::Right },
    Column { title: "total", min_width: 6, share: 0, rank: 6, side: Side::Right },
    Column { title: "largest", min_width: 8, share: 0, rank: 7, side: Side::Right },
    Column { title: "reconnects", min_width: 10, share: 0, rank: 8, side: Side::Right },
    Column { title: "note", min_width: 16, share: 4, rank: NOTE_RANK, side: Side::Left },
];
const NOTE: usize = COLUMNS.len() - 1;
/// Notes matter little while all is well.
const NOTE_RANK: u8 = 9;
/// Notes matter when a source is lost or held back.
const TROUBLE_RANK: u8 = 4;

pub(super) fn draw(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { dim, good, bad, .. } = canvas.palette;
    let sources = ui.snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.sources);
    let open = sources.iter().filter(|source| is_open(source)).count();
    let style = if open == sources.len() { good } else { bad };
    let summary = match &ui.snapshot {
        Some(_) => Span::styled(format!("{open} of {} open", sources.len()), style),
        None => Span::raw(""),
    };
    let mut inside = canvas.pane(ui, Pane::Sources, area, "Sources", Line::from(summary));
    let mut columns = COLUMNS;
    if sources.iter().any(|source| !is_open(source) || source.stats.is_paused) {
        columns[NOTE].rank = TROUBLE_RANK;
    }
    let table = Table::new(&columns, inside.width);
    if canvas.frames == Frames::Boxes {
        table.titles(inside, None, canvas);
        inside.y += inside.height.min(1);
        inside.height = inside.height.saturating_sub(1);
    }
    if sources.is_empty() {
        let word = if ui.snapshot.is_some() { "no sources" } else { "waiting for the relay …" };
        return canvas.write(Span::styled(word, dim), inside);
    }
    let height = usize::from(inside.height);
    let mut sources: Vec<_> = sources.iter().collect();
    if sources.len() > height {
        // What is lost must be seen.
        sources.sort_by_key(|source| is_open(source));
    }
    let first = first_row(ui.source, sources.len(), height);
    for ((at, source), row) in sources.into_iter().enumerate().skip(first).zip(inside.rows()) {
        let cells = cells(source, ui.history.source_rate(&source.stats.name), &canvas.palette);
        table.row(cells, row, canvas);
        if ui.focus == Pane::Sources && at == ui.source {
            canvas.buffer.set_style(row, canvas.palette.selected);
        }
    }
}

fn is_open(source: &SourceStatus) -> bool {
    source.stats.state == "open"
}

fn cells(source: &SourceStatus, rate: f64, palette: &Palette) -> [Cell; 10] {
    let Palette { text: normal, dim, strong, .. } = *palette;
    let stats = &source.stats;
    let (dot, style) = indicator(&stats.state, palette);
    let is_open = is_open(source);
    let (note, note_style) = note(source, palette);
    let trip = stats.round_trip_seconds.filter(|_| is_open);
    let reconnects = stats.connects.saturating_sub(1);
    let cell = |text: String, style: Style| Cell { text, style };
    [
        cell(dot.to_owned(), style),
        cell(stats.name.clone(), strong),
        cell(source.url.clone(), dim),
        cell(state(source), if is_open { normal } else { style }),
        cell(trip.map_or_else(|| "–".to_owned(), text::delay), dim),
        cell(text::rate(rate), normal),
        cell(text::count(stats.received_messages), dim),
        cell(text::bytes(stats.largest_bytes), dim),
        cell(text::count(reconnects), dim),
        cell(note, note_style),
    ]
}

fn indicator(state: &str, palette: &Palette) -> (&'static str, Style) {
    match state {
        "open" => ("●", palette.good),
        "dialing" | "opening" => ("◐", palette.warn),
        "ended" => ("■", palette.dim),
        "given_up" => ("✕", palette.bad),
        _ => ("○", palette.bad),
    }
}

fn state(source: &SourceStatus) -> String {
    let stats = &source.stats;
    match (stats.state.as_str(), stats.redial_seconds) {
        ("open", _) => format!("up {}", text::span(stats.state_seconds)),
        ("waiting", Some(seconds)) => format!("redial {}", text::span(seconds.ceil())),
        (other, _) => other.replace('_', " "),
    }
}

/// Why it is not there, or does not move.
fn note(source: &SourceStatus, palette: &Palette) -> (String, Style) {
    let stats = &source.stats;
    match &stats.last_error {
        Some(error) if !is_open(source) => (error.clone(), palette.bad),
        Some(_) | None if stats.is_paused => ("held back by slow clients".to_owned(), palette.warn),
        Some(_) | None => (stats.peer.clone().unwrap_or_default(), palette.dim),
    }
}
