//! Columns that share a width; the least important go when there is no room.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::super::text;
use super::Canvas;

/// Between two columns.
const GAP: u16 = 1;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Without this width it is left out.
    pub(super) min_width: u16,
    /// Its share of what is left over.
    pub(super) share: u16,
    /// The greatest goes first.
    pub(super) rank: u8,
    pub(super) side: Side,
}

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// What stands in a column of a row.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) style: Style,
}

/// The widths of the columns; 0 for those that are left out.
#[derive(Debug)]
pub(super) struct Table<'a> {
    columns: &'a [Column],
    widths: Vec<u16>,
}

impl<'a> Table<'a> {
    pub(super) fn new(columns: &'a [Column], width: u16) -> Self {
        let mut by_rank: Vec<_> = (0..columns.len()).collect();
        by_rank.sort_by_key(|at| columns[*at].rank);
        let mut left = width + GAP;
        let mut widths = vec![0; columns.len()];
        for at in by_rank {
            let Some(still_left) = left.checked_sub(columns[at].min_width + GAP) else { break };
            (left, widths[at]) = (still_left, columns[at].min_width);
        }
        let placed = |at: &usize| widths[*at] > 0;
        let growing: Vec<_> = (0..columns.len()).filter(placed).collect();
        let mut shares = growing.iter().map(|at| columns[*at].share).sum::<u16>();
        for at in growing {
            let share = columns[at].share;
            if share > 0 {
                // What a division leaves over goes to the columns that follow.
                let more = u32::from(left) * u32::from(share) / u32::from(shares);
                let more = u16::try_from(more).unwrap_or(left);
                widths[at] += more;
                (left, shares) = (left - more, shares - share);
            }
        }
        Self { columns, widths }
    }

    /// Writes the titles; `sorted` is the column by which the rows are sorted.
    pub(super) fn titles(&self, area: Rect, sorted: Option<usize>, canvas: &mut Canvas<'_>) {
        let (dim, accent) = (canvas.palette.dim, canvas.palette.accent);
        let cell = |(at, column): (usize, &Column)| Cell {
            text: column.title.to_owned(),
            style: if sorted == Some(at) { accent } else { dim },
        };
        self.row(self.columns.iter().enumerate().map(cell), area, canvas);
    }

    /// Writes a row, one cell for each column.
    pub(super) fn row(
        &self,
        cells: impl IntoIterator<Item = Cell>,
        area: Rect,
        canvas: &mut Canvas<'_>,
    ) {
        let mut x = area.x;
        for ((column, width), cell) in self.columns.iter().zip(&self.widths).zip(cells) {
            if *width == 0 {
                continue;
            }
            let text = text::fit(&cell.text, usize::from(*width));
            let slack = width.saturating_sub(text::cells(text::width(&text)));
            let indent = if column.side == Side::Right { slack } else { 0 };
            let place = Rect { x: x + indent, width: width - indent, ..area }.intersection(area);
            canvas.write(Span::styled(text, cell.style), place);
            x = x.saturating_add(width + GAP);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { title: "id", min_width: 4, share: 0, rank: 1, side: Side::Right },
        Column { title: "address", min_width: 8, share: 2, rank: 0, side: Side::Left },
        Column { title: "agent", min_width: 5, share: 1, rank: 2, side: Side::Left },
    ];

    #[test]
    fn columns_go_by_rank_and_share_what_is_left() {
        let widths = |width| Table::new(&COLUMNS, width).widths;
        assert_eq!(widths(0), [0, 0, 0]);
        assert_eq!(widths(7), [0, 0, 0]);
        assert_eq!(widths(8), [0, 8, 0]);
        assert_eq!(widths(15), [4, 10, 0]);
        assert_eq!(widths(19), [4, 8, 5]);
        assert_eq!(widths(29), [4, 14, 9]);
    }
}
