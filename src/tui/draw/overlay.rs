//! What is laid over the picture: a question, the help.

use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear, Widget};

use super::super::text;
use super::super::theme::Palette;
use super::super::ui::Ui;
use super::Canvas;

const KEYS: [(&str, &str); 10] = [
    ("tab ← →", "the next pane: sources, clients, log"),
    ("↑ ↓", "up and down; also page keys, home, end"),
    ("/", "filter clients by part of a name or address"),
    ("esc", "show all clients again"),
    ("s", "sort clients: lag, age, drops, sent, kind, …"),
    ("x", "disconnect the client that is selected"),
    ("c", "clear the log"),
    ("d", "dark or light; ctrl-l paints anew"),
    ("q", "quit"),
    ("?", "this; any key ends it"),
];
const WORDS: [&str; 6] = [
    "lag: what a client has not got yet, in messages and",
    "bytes; age: how long the oldest of it has waited.",
    "Amber is behind, red is slow: its socket takes",
    "nothing, or half the backlog is kept for it.",
    "errors: dials and connections of sources that",
    "failed, and clients that were lost.",
];

/// Asks whether a client shall be disconnected.
pub(super) fn question(ui: &Ui, id: u64, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { strong, accent, dim, .. } = canvas.palette;
    let Some(row) = ui.clients.find(id) else { return };
    let agent = row.stats.user_agent.as_deref().unwrap_or_default();
    let who = format!("{} of {}", row.stats.peer, row.stats.channel);
    let lines = vec![
        Line::from(Span::styled(who, strong)),
        Line::from(Span::styled(text::fit(agent, 60), dim)),
        Line::from(vec![
            Span::styled("y", accent),
            Span::styled(" disconnect   ", dim),
            Span::styled("n", accent),
            Span::styled(" leave", dim),
        ]),
    ];
    dialog(&format!("Disconnect client {id}?"), lines, area, canvas);
}

/// Says what the keys do and what the words mean.
pub(super) fn help(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { text: normal, accent, dim, .. } = canvas.palette;
    let keys = KEYS.iter().filter(|(key, _)| ui.mode.may_act || *key != "x");
    let mut lines: Vec<_> = keys
        .map(|(key, word)| {
            Line::from(vec![Span::styled(format!("{key:<9}"), accent), Span::styled(*word, normal)])
        })
        .collect();
    lines.push(Line::default());
    lines.extend(WORDS.iter().map(|word| Line::from(Span::styled(*word, dim))));
    dialog("Help", lines, area, canvas);
}

/// Lines in a box in the middle.
fn dialog(title: &str, lines: Vec<Line<'_>>, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { text: normal, accent, strong, .. } = canvas.palette;
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(text::width(title) + 2);
    let width = text::cells(widest + 4).min(area.width);
    let height = text::cells(lines.len() + 2).min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(place, canvas.buffer);
    canvas.buffer.set_style(place, normal);
    let title = Span::styled(format!(" {title} "), strong);
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(accent);
    let inside = block.inner(place);
    block.title_top(title).render(place, canvas.buffer);
    for (line, row) in lines.into_iter().zip(inside.rows()) {
        let indent = row.width.min(1);
        canvas.write(line, Rect { x: row.x + indent, width: row.width - indent, ..row });
    }
}
