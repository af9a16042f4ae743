//! The terminal UI: what the relay does, in one look, and the little one may do about it.
//!
//! [`Ui`] is state alone: events and keys go in, actions come out, [`Ui::render`] draws. [`run`] is all
//! that touches a terminal. It has a thread of its own and knows the relay by [`Event`]s only, so that
//! it draws a relay of this process as it draws one far away.
//!
//! [`Event`]: crate::observe::snapshot::Event

mod clients;
mod draw;
mod history;
mod journal;
mod key;
mod terminal;
mod text;
mod theme;
mod ui;

pub use self::key::Key;
pub use self::terminal::{End, run, run_until_signal};
pub use self::theme::Look;
pub use self::ui::Ui;

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End the UI.
    Quit,
    /// Disconnect the client of this number.
    Disconnect(u64),
}

/// What the UI is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mode {
    /// Whether clients may be disconnected from here.
    pub may_act: bool,
    /// What is looked at: a file, a socket.
    pub title: String,
}
