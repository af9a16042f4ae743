//! Colours, few and quiet. They are of the 256 that every terminal has.

use ratatui::style::{Color, Modifier, Style};

/// Which colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Light on dark.
    #[default]
    Dark,
    /// Dark on light.
    Light,
    /// The terminal's own, and no others.
    Plain,
}

/// How each kind of thing looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    /// All that nothing else is said of.
    pub(super) text: Style,
    /// What explains.
    pub(super) dim: Style,
    /// Lines between things.
    pub(super) faint: Style,
    /// What counts.
    pub(super) strong: Style,
    /// What has the focus.
    pub(super) accent: Style,
    /// Bars: large, so they are quiet.
    pub(super) bars: Style,
    pub(super) good: Style,
    pub(super) warn: Style,
    pub(super) bad: Style,
    /// Laid over the row that is selected.
    pub(super) selected: Style,
}

impl Look {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::Dark,
            Self::Plain => Self::Plain,
        }
    }

    pub(super) fn palette(self) -> Palette {
        match self {
            Self::Dark => coloured([234, 252, 245, 239, 255, 110, 66, 108, 179, 167, 237]),
            Self::Light => coloured([255, 237, 242, 250, 232, 25, 110, 28, 130, 160, 252]),
            Self::Plain => plain(),
        }
    }
}

fn coloured(colors: [u8; 11]) -> Palette {
    let [ground, text, dim, faint, strong, accent, bars, good, warn, bad, selected] =
        colors.map(Color::Indexed);
    let style = |color: Color| Style::new().fg(color);
    Palette {
        text: style(text).bg(ground),
        dim: style(dim),
        faint: style(faint),
        strong: style(strong).add_modifier(Modifier::BOLD),
        accent: style(accent),
        bars: style(bars),
        good: style(good),
        warn: style(warn),
        bad: style(bad),
        selected: Style::new().bg(selected),
    }
}

fn plain() -> Palette {
    let style = Style::new();
    Palette {
        text: style,
        dim: style.add_modifier(Modifier::DIM),
        faint: style.add_modifier(Modifier::DIM),
        strong: style.add_modifier(Modifier::BOLD),
        accent: style.add_modifier(Modifier::BOLD),
        bars: style,
        good: style,
        warn: style.add_modifier(Modifier::BOLD),
        bad: style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        selected: style.add_modifier(Modifier::REVERSED),
    }
}
