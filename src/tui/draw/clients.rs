//! The clients: who they are, and who is behind.

use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::super::clients::{Order, Pace, Row, kind};
use super::super::text;
use super::super::theme::Palette;
use super::super::ui::{Input, Pane, Ui};
use super::table::{Cell, Column, Side, Table};
use super::{Canvas, first_row};

const COLUMNS: [Column; 13] = [
    Column { title: "id", min_width: 2, share: 0, rank: 3, side: Side::Right },
    Column { title: "channel", min_width: 8, share: 1, rank: 4, side: Side::Left },
    Column { title: "kind", min_width: 4, share: 0, rank: 7, side: Side::Left },
    Column { title: "address", min_width: 15, share: 3, rank: 0, side: Side::Left },
    Column { title: "agent", min_width: 7, share: 2, rank: 8, side: Side::Left },
    Column { title: "lag", min_width: 5, share: 0, rank: 0, side: Side::Right },
    Column { title: "bytes", min_width: 7, share: 0, rank: 6, side: Side::Right },
    Column { title: "age", min_width: 6, share: 0, rank: 2, side: Side::Right },
    Column { title: "sent", min_width: 5, share: 0, rank: 5, side: Side::Right },
    Column { title: "drops", min_width: 5, share: 0, rank: 1, side: Side::Right },
    Column { title: "bytes sent", min_width: 10, share: 0, rank: 10, side: Side::Right },
    Column { title: "here", min_width: 7, share: 0, rank: 9, side: Side::Right },
    Column { title: "", min_width: 7, share: 0, rank: 11, side: Side::Left },
];
const ID: usize = 0;
const CHANNEL: usize = 1;
const KIND: usize = 2;
const ADDRESS: usize = 3;
const LAG: usize = 5;
const AGE: usize = 7;
const SENT: usize = 8;
const DROPS: usize = 9;

pub(super) fn draw(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    if area.is_empty() {
        return;
    }
    let title = summary(ui, &canvas.palette);
    let inside = canvas.pane(ui, Pane::Clients, area, "Clients", title);
    let mut columns = COLUMNS;
    let longest_id = ui.clients.all().iter().map(|row| row.stats.id).max().unwrap_or(0);
    columns[ID].min_width = columns[ID].min_width.max(text::cells(longest_id.to_string().len()));
    let table = Table::new(&columns, inside.width);
    let height = usize::from(inside.height.saturating_sub(1));
    let mut rows = inside.rows();
    if let Some(titles) = rows.next() {
        table.titles(titles, Some(sorted_column(ui.clients.order())), canvas);
    }
    let shown = ui.clients.shown();
    if shown.len() == 0 {
        let word = match (&ui.snapshot, ui.clients.filter()) {
            (None, _) => String::new(),
            (Some(_), "") => "no clients yet".to_owned(),
            (Some(_), filter) => format!("no client matches {filter:?}; esc shows all"),
        };
        let row = rows.next().unwrap_or_default();
        return canvas.write(Span::styled(word, canvas.palette.dim), row);
    }
    let selected = ui.clients.selected().map(|(at, _)| at);
    let first = first_row(selected.unwrap_or(0), shown.len(), height);
    for ((at, client), row) in shown.enumerate().skip(first).zip(rows) {
        table.row(cells(client, &canvas.palette), row, canvas);
        if selected == Some(at) {
            canvas.buffer.set_style(row, canvas.palette.selected);
        }
    }
}

fn summary(ui: &Ui, palette: &Palette) -> Line<'static> {
    let all = ui.clients.all();
    let slow = all.iter().filter(|row| row.pace == Pace::Slow).count();
    let mut spans = Vec::new();
    if slow > 0 {
        spans.push(Span::styled(format!("{slow} slow  "), palette.bad));
    }
    let filter = ui.clients.filter();
    if !filter.is_empty() && ui.input != Input::Filtering {
        spans.push(Span::styled(format!("/{filter}  "), palette.accent));
    }
    let shown = ui.clients.shown().len();
    let count =
        if shown == all.len() { format!("{shown}") } else { format!("{shown} of {}", all.len()) };
    spans.push(Span::styled(format!("{count} by {}", ui.clients.order().name()), palette.dim));
    spans.into()
}

fn sorted_column(order: Order) -> usize {
    match order {
        Order::Newest => ID,
        Order::Channel => CHANNEL,
        Order::Kind => KIND,
        Order::Address => ADDRESS,
        Order::Lag => LAG,
        Order::Age => AGE,
        Order::Sent => SENT,
        Order::Drops => DROPS,
    }
}

fn cells(row: &Row, palette: &Palette) -> [Cell; 13] {
    let Palette { text: normal, dim, bad, .. } = *palette;
    let stats = &row.stats;
    // The whole row of a slow client is coloured, of one that is only behind its lag.
    let (name, figure, lag) = match row.pace {
        Pace::Steady => (normal, dim, dim),
        Pace::Behind => (normal, dim, palette.warn),
        Pace::Slow => (bad.add_modifier(Modifier::BOLD), bad, bad),
    };
    let none_or = |number: u64, text: String| if number > 0 { text } else { "–".to_owned() };
    let has_lag = stats.lag_messages.max(stats.lag_bytes);
    let drops = if stats.dropped_messages > 0 { bad } else { figure };
    let cell = |text: String, style: Style| Cell { text, style };
    [
        cell(stats.id.to_string(), figure),
        cell(stats.channel.clone(), figure),
        cell(kind(stats).to_owned(), figure),
        cell(stats.peer.clone(), name),
        cell(stats.user_agent.clone().unwrap_or_default(), figure),
        cell(none_or(stats.lag_messages, text::count(stats.lag_messages)), lag),
        cell(none_or(stats.lag_bytes, text::bytes(stats.lag_bytes)), lag),
        cell(none_or(has_lag, text::delay(stats.lag_seconds)), lag),
        cell(text::count(stats.sent_messages), figure),
        cell(none_or(stats.dropped_messages, text::count(stats.dropped_messages)), drops),
        cell(text::bytes(stats.sent_bytes), figure),
        cell(text::span(stats.connected_seconds), figure),
        cell(if stats.is_blocked { "blocked".to_owned() } else { String::new() }, lag),
    ]
}
