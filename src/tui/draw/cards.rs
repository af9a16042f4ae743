//! Cards: the relay in a few figures, and how they went.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::history::{History, Trend};
use super::super::text;
use super::super::theme::Palette;
use super::super::ui::Ui;
use super::Canvas;
use super::plan::Frames;
use crate::observe::snapshot::{Histogram, Snapshot};

/// A card is at least this wide, or it is left out.
const MIN_WIDTH: u16 = 20;
/// In a box, less of it is left.
const MIN_BOX_WIDTH: u16 = 23;
/// The eighths of a cell.
const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/// A figure and what belongs to it.
struct Card<'a> {
    title: &'static str,
    /// Beside the title.
    aside: String,
    value: String,
    unit: &'static str,
    /// What is said below, in lines.
    more: [String; 2],
    trend: &'a Trend,
    style: Style,
}

pub(super) fn draw(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    let Some(snapshot) = &ui.snapshot else { return };
    if area.is_empty() {
        return;
    }
    if canvas.frames == Frames::None {
        return one_line(&ui.history, area, canvas);
    }
    let cards = cards(ui, snapshot, &canvas.palette);
    let min_width = if canvas.frames == Frames::Boxes { MIN_BOX_WIDTH } else { MIN_WIDTH };
    let fitting = usize::from((area.width / min_width).max(1)).min(cards.len());
    let mut left = area;
    for (at, card) in cards.iter().take(fitting).enumerate() {
        let width = left.width / text::cells(fitting - at);
        draw_card(card, Rect { width, ..left }, canvas);
        left.x += width;
        left.width -= width;
    }
}

/// The cards, the most important first.
fn cards<'a>(ui: &'a Ui, snapshot: &Snapshot, palette: &Palette) -> [Card<'a>; 7] {
    let history = &ui.history;
    let totals = &history.totals;
    let trouble = totals.drops + history.errors();
    let peak = |trend: &Trend| format!("peak {}", text::short_rate(trend.peak));
    let per_second = |bytes: &Trend| format!("{}/s", text::bytes(text::whole(bytes.now)));
    let total = |messages, bytes| format!("{} msg {}", text::count(messages), text::bytes(bytes));
    let mean = totals.in_bytes.checked_div(totals.in_messages).unwrap_or(0);
    let slowest = ui.clients.all().iter().map(|row| row.stats.lag_seconds).fold(0.0, f64::max);
    let process = &snapshot.process;
    [
        Card {
            title: "Clients",
            aside: format!("peak {}", text::count(text::whole(history.clients.peak))),
            value: text::count(text::whole(history.clients.now)),
            unit: "here",
            more: [
                format!("{} ever", text::count(totals.clients_ever)),
                format!("lag {} msg", text::count(text::whole(history.lag.now))),
            ],
            trend: &history.clients,
            style: palette.strong,
        },
        Card {
            title: "In",
            aside: format!("max {}", text::bytes(totals.largest_bytes)),
            value: text::rate(history.in_messages.now),
            unit: "msg/s",
            more: [
                format!("{} {}", per_second(&history.in_bytes), peak(&history.in_messages)),
                total(totals.in_messages, totals.in_bytes),
            ],
            trend: &history.in_messages,
            style: palette.strong,
        },
        Card {
            title: "Out",
            aside: String::new(),
            value: text::rate(history.out_messages.now),
            unit: "msg/s",
            more: [
                format!("{} {}", per_second(&history.out_bytes), peak(&history.out_messages)),
                total(totals.out_messages, totals.out_bytes),
            ],
            trend: &history.out_messages,
            style: palette.strong,
        },
        Card {
            title: "Trouble",
            aside: String::new(),
            value: text::count(totals.drops),
            unit: if totals.drops == 1 { "drop" } else { "drops" },
            more: [
                text::counted(totals.reconnects, "reconnect"),
                text::counted(history.errors(), "error"),
            ],
            trend: &history.troubles,
            style: if trouble > 0 { palette.bad } else { palette.strong },
        },
        Card {
            title: "Lag",
            aside: peak(&history.lag),
            value: text::count(text::whole(history.lag.now)),
            unit: "msg at most",
            more: [format!("oldest {}", text::delay(slowest)), String::new()],
            trend: &history.lag,
            style: palette.strong,
        },
        Card {
            title: "Forwarded",
            aside: peak(&history.forwarded),
            value: text::rate(history.forwarded.now),
            unit: "msg/s",
            more: [
                total(totals.forwarded_messages, totals.forwarded_bytes),
                format!("mean in {}", text::bytes(mean)),
            ],
            trend: &history.forwarded,
            style: palette.strong,
        },
        Card {
            title: "Process",
            aside: format!("{} fds", text::count(process.descriptors)),
            value: format!("{:.1} %", history.cpu.now * 100.0),
            unit: "cpu",
            more: [text::bytes(process.resident_bytes), latency(&snapshot.deliveries)],
            trend: &history.cpu,
            style: palette.strong,
        },
    ]
}

/// The time within which 99 of 100 deliveries are made, as far as the buckets tell.
fn latency(deliveries: &Histogram) -> String {
    let wanted = deliveries.count - deliveries.count / 100;
    let bucket = deliveries.buckets.iter().find(|(_, count)| *count >= wanted);
    match bucket.filter(|_| deliveries.count > 0) {
        Some((bound, _)) => format!("p99 ≤ {}", text::delay(*bound)),
        None => String::new(),
    }
}

fn draw_card(card: &Card<'_>, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { dim, faint, .. } = canvas.palette;
    let aside = Span::styled(card.aside.as_str(), dim);
    let inside = canvas.frame(area, Span::styled(card.title, dim).into(), aside.into(), faint);
    let mut rows = inside.rows();
    let value = vec![
        Span::styled(card.value.as_str(), card.style),
        Span::styled(format!(" {}", card.unit), dim),
    ];
    canvas.write(Line::from(value), rows.next().unwrap_or_default());
    for text in &card.more {
        let row = rows.next().unwrap_or_default();
        let text = text::fit(text, usize::from(row.width));
        canvas.write(Span::styled(text, dim), row);
    }
    let taken = inside.height.min(3);
    let mut below = Rect { y: inside.y + taken, height: inside.height - taken, ..inside };
    if canvas.frames == Frames::Rules {
        // Bars of neighbours do not touch.
        below.width = below.width.saturating_sub(1);
    }
    spark(card.trend, below, canvas);
}

/// Draws the last values as bars, the newest at the right.
fn spark(trend: &Trend, area: Rect, canvas: &mut Canvas<'_>) {
    let values: Vec<_> = trend.values().take(usize::from(area.width)).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let steps = u64::from(area.height) * 8;
    for (x, value) in (area.left()..area.right()).rev().zip(values) {
        let part = if most > 0.0 { value / most } else { 0.0 };
        let mut eighths = text::whole(part * text::float(steps));
        // What is little is not nothing.
        eighths = eighths.max(u64::from(value > 0.0));
        for y in (area.top()..area.bottom()).rev() {
            let here = usize::try_from(eighths.min(8)).unwrap_or_default();
            eighths = eighths.saturating_sub(8);
            if let Some(bar) = here.checked_sub(1).and_then(|at| BARS.get(at)) {
                canvas.buffer[(x, y)].set_symbol(bar).set_style(canvas.palette.bars);
            }
        }
    }
}

/// All cards in a line, where there is no room for cards.
fn one_line(history: &History, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { strong, dim, bad, .. } = canvas.palette;
    let (drops, errors) = (history.totals.drops, history.errors());
    let troubled = |count: u64| if count > 0 { bad } else { strong };
    let figures = [
        (text::count(text::whole(history.clients.now)), " clients  ", strong),
        (text::rate(history.in_messages.now), "/s in  ", strong),
        (text::rate(history.out_messages.now), "/s out  ", strong),
        (text::count(drops), " drops  ", troubled(drops)),
        (text::count(errors), " errors", troubled(errors)),
    ];
    let spans = figures
        .into_iter()
        .flat_map(|(value, word, style)| [Span::styled(value, style), Span::styled(word, dim)]);
    canvas.write(Line::from(spans.collect::<Vec<_>>()), area);
}
