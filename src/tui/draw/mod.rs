//! The picture: what goes where, and in what order it goes when there is no room.

mod cards;
mod clients;
mod journal;
mod overlay;
mod plan;
mod sources;
mod table;
#[cfg(test)]
mod tests;

use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Borders, Widget};

use self::plan::{Frames, Plan};
use super::text;
use super::theme::Palette;
use super::ui::{Input, Pane, Ui};

/// Draws the whole UI.
pub(super) fn everything(ui: &Ui, area: Rect, buffer: &mut Buffer) {
    let palette = ui.look.palette();
    buffer.set_style(area, palette.text);
    let sources = ui.snapshot.as_ref().map_or(1, |snapshot| snapshot.sources.len());
    let plan = Plan::new(area, sources, ui.focus);
    let mut canvas = Canvas { buffer, palette, frames: plan.frames };

    header(ui, plan.header, &mut canvas);
    sources::draw(ui, plan.sources, &mut canvas);
    cards::draw(ui, plan.cards, &mut canvas);
    clients::draw(ui, plan.clients, &mut canvas);
    journal::draw(ui, plan.journal, &mut canvas);
    footer(ui, plan.footer, &mut canvas);
    match ui.input {
        Input::Browsing | Input::Filtering => {}
        Input::Confirming(id) => overlay::question(ui, id, area, &mut canvas),
        Input::Reading => overlay::help(ui, area, &mut canvas),
    }
}

/// What is drawn on, and how.
struct Canvas<'a> {
    buffer: &'a mut Buffer,
    palette: Palette,
    frames: Frames,
}

impl Canvas<'_> {
    /// Writes a line into the first row of an area.
    fn write<'t>(&mut self, line: impl Into<Line<'t>>, area: Rect) {
        if !area.is_empty() {
            line.into().render(Rect { height: 1, ..area }, self.buffer);
        }
    }

    /// Frames an area, with titles left and right, and hands out its inside.
    fn frame(&mut self, area: Rect, left: Line<'_>, right: Line<'_>, style: Style) -> Rect {
        if area.is_empty() {
            return area;
        }
        let borders = match self.frames {
            Frames::None => return area,
            Frames::Rules => Borders::TOP,
            Frames::Boxes => Borders::ALL,
        };
        let mut block = Block::new().borders(borders).border_type(BorderType::Rounded);
        block = block.border_style(style);
        let room = usize::from(area.width).saturating_sub(4);
        let has_both = left.width() + right.width() + 2 <= room;
        block = block.title_top(padded(left));
        if has_both && right.width() > 0 {
            block = block.title_top(padded(right).right_aligned());
        }
        let inside = block.inner(area);
        block.render(area, self.buffer);
        match self.frames {
            Frames::None => inside,
            Frames::Rules => Rect { x: inside.x + 1, width: inside.width - 1, ..inside },
            Frames::Boxes => inside.inner(Margin::new(1, 0)),
        }
    }

    /// Frames a pane of which the focus may be.
    fn pane(&mut self, ui: &Ui, pane: Pane, area: Rect, name: &str, right: Line<'_>) -> Rect {
        let Palette { accent, strong, dim, faint, .. } = self.palette;
        let (title, frame) = if ui.focus == pane { (strong, accent) } else { (dim, faint) };
        self.frame(area, Span::styled(name, title).into(), right, frame)
    }
}

fn padded(mut line: Line<'_>) -> Line<'_> {
    line.spans.insert(0, Span::raw(" "));
    line.spans.push(Span::raw(" "));
    line
}

fn header(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { strong, dim, accent, warn, good, .. } = canvas.palette;
    let mut left = vec![Span::styled(" Veylor", strong.patch(accent))];
    let Some(snapshot) = &ui.snapshot else {
        left.push(Span::styled(format!("  {}", ui.mode.title), dim));
        return canvas.write(Line::from(left), area);
    };
    left.push(Span::styled(format!(" {}", snapshot.version), dim));
    left.push(Span::styled(format!("  {}", ui.mode.title), dim));
    let (word, style) = match ui.silent_seconds {
        Some(seconds) => (format!("no news for {seconds} s "), warn),
        None => ("live ".to_owned(), good),
    };
    let process = &snapshot.process;
    let figures = format!(
        "up {}  cpu {:.1} %  {}  ",
        text::span(snapshot.uptime_seconds),
        ui.history.cpu.now * 100.0,
        text::bytes(process.resident_bytes),
    );
    let right = Line::from(vec![
        Span::styled(figures, dim),
        Span::styled("● ", style),
        Span::styled(word, style),
    ]);
    beside(left.into(), right, area, canvas);
}

/// Writes a line at the left, and one at the right, which goes first if there is no room.
fn beside(left: Line<'_>, right: Line<'_>, area: Rect, canvas: &mut Canvas<'_>) {
    let taken = text::cells(right.width());
    let has_room = left.width() + usize::from(taken) < usize::from(area.width);
    canvas.write(left, area);
    if has_room {
        let x = area.right() - taken;
        canvas.write(right, Rect { x, width: taken, ..area });
    }
}

fn footer(ui: &Ui, area: Rect, canvas: &mut Canvas<'_>) {
    let Palette { strong, dim, warn, accent, .. } = canvas.palette;
    if let Some(notice) = &ui.notice {
        return canvas.write(Span::styled(format!(" {notice}"), warn), area);
    }
    if ui.input == Input::Filtering {
        let line = vec![
            Span::styled(" /", accent),
            Span::styled(ui.clients.filter(), strong),
            Span::styled("▏", accent),
            Span::styled("  enter: keep   esc: show all", dim),
        ];
        return canvas.write(Line::from(line), area);
    }
    let sorting = format!("sort ({})", ui.clients.order().name());
    let mut keys = vec![("q", "quit"), ("tab", "pane"), ("↑↓", "row"), ("/", "filter")];
    keys.push(("s", &sorting));
    keys.extend(ui.mode.may_act.then_some(("x", "disconnect")));
    keys.extend([("c", "clear log"), ("d", "dark/light")]);
    let help = [("?", "help")];
    // The way to the help stays, whatever there is room for.
    let mut room = usize::from(area.width).saturating_sub(8);
    let fitting = keys.into_iter().take_while(|(key, word)| {
        let taken = text::width(key) + text::width(word) + 3;
        room.checked_sub(taken).map(|left| room = left).is_some()
    });
    let spans = fitting.chain(help).flat_map(|(key, word)| {
        [Span::styled(format!(" {key}"), accent), Span::styled(format!(" {word} "), dim)]
    });
    canvas.write(Line::from(spans.collect::<Vec<_>>()), area);
}

/// The first of the rows to show, so that the one that is selected is among them.
fn first_row(selected: usize, rows: usize, height: usize) -> usize {
    selected.saturating_sub(height / 2).min(rows.saturating_sub(height))
}
