//! What goes where.

use ratatui::layout::Rect;

use super::super::text;
use super::super::ui::Pane;

/// From this height on panes stand in boxes, and cards are higher.
const ROOMY_HEIGHT: u16 = 34;
/// From this width on the log stands beside the clients.
const WIDE_WIDTH: u16 = 150;
/// Below this height, without header and footer, nothing is framed and the cards are one line.
const TINY_HEIGHT: u16 = 16;

/// What stands around a pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frames {
    None,
    /// A line above it.
    Rules,
    Boxes,
}

/// The place of everything; what has no place is empty.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) frames: Frames,
    pub(super) header: Rect,
    pub(super) sources: Rect,
    pub(super) cards: Rect,
    pub(super) clients: Rect,
    pub(super) journal: Rect,
    pub(super) footer: Rect,
}

/// What is left of an area as it is given away from above.
struct Rest(Rect);

impl Rest {
    fn take(&mut self, height: u16) -> Rect {
        let height = height.min(self.0.height);
        let taken = Rect { height, ..self.0 };
        self.0.y += height;
        self.0.height -= height;
        taken
    }
}

impl Plan {
    pub(super) fn new(area: Rect, sources: usize, focus: Pane) -> Self {
        let mut rest = Rest(area);
        let header = rest.take(u16::from(area.height >= 4));
        let footer_height = u16::from(area.height >= 6);
        let body = rest.take(rest.0.height - footer_height);
        let footer = rest.take(footer_height);
        let frames = if body.height < TINY_HEIGHT {
            Frames::None
        } else if area.height < ROOMY_HEIGHT {
            Frames::Rules
        } else {
            Frames::Boxes
        };

        let sources = text::cells(sources).max(1);
        let (sources_height, cards_height) = match frames {
            Frames::None => (sources.min(body.height.div_ceil(5)), u16::from(body.height >= 3)),
            Frames::Rules => (sources.min(body.height / 7) + 1, 5),
            Frames::Boxes => (sources.min(body.height / 5) + 3, 7),
        };
        let mut rest = Rest(body);
        let sources = rest.take(sources_height);
        let cards = rest.take(cards_height);
        let (clients, journal) = split(rest.0, frames, focus);
        Self { frames, header, sources, cards, clients, journal, footer }
    }
}

/// Divides what is left between the clients and the log.
fn split(area: Rect, frames: Frames, focus: Pane) -> (Rect, Rect) {
    let nothing = Rect { width: 0, ..area };
    if frames == Frames::None {
        return if focus == Pane::Journal { (nothing, area) } else { (area, nothing) };
    }
    if area.width >= WIDE_WIDTH {
        let width = area.width / 8 * 5;
        let journal = Rect { x: area.x + width, width: area.width - width, ..area };
        return (Rect { width, ..area }, journal);
    }
    let mut rest = Rest(area);
    let clients = rest.take(area.height - area.height * 2 / 5);
    (clients, rest.0)
}
