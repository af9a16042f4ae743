//! What the UI knows and what its keys do.

use ratatui::Frame;

use super::clients::ClientList;
use super::history::History;
use super::journal::Journal;
use super::key::Key;
use super::theme::Look;
use super::{Action, Mode, draw, text};
use crate::observe::snapshot::{Event, Snapshot};

/// Rows that a page key moves.
const PAGE: usize = 10;
/// Characters of a filter.
const MAX_FILTER_CHARS: usize = 64;

/// The whole state of the UI.
#[derive(Debug)]
pub struct Ui {
    pub(super) mode: Mode,
    pub(super) look: Look,
    /// The last snapshot, but for its clients; `None` before the first.
    pub(super) snapshot: Option<Box<Snapshot>>,
    pub(super) history: History,
    pub(super) clients: ClientList,
    pub(super) journal: Journal,
    pub(super) focus: Pane,
    pub(super) input: Input,
    /// The source that is in view in any case.
    pub(super) source: usize,
    /// A word to the operator, until the next key.
    pub(super) notice: Option<String>,
    /// Seconds without a snapshot, if that is worth a word.
    pub(super) silent_seconds: Option<u64>,
}

/// What the arrows move in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pane {
    Sources,
    #[default]
    Clients,
    Journal,
}

/// What keys mean at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Input {
    #[default]
    Browsing,
    /// They make up the filter.
    Filtering,
    /// They answer whether this client shall be disconnected.
    Confirming(u64),
    /// Any of them ends the help.
    Reading,
}

impl Pane {
    fn next(self) -> Self {
        match self {
            Self::Sources => Self::Clients,
            Self::Clients => Self::Journal,
            Self::Journal => Self::Sources,
        }
    }

    fn previous(self) -> Self {
        self.next().next()
    }
}

impl Ui {
    /// A UI that has seen nothing yet.
    pub fn new(Mode { may_act, title }: Mode, look: Look) -> Self {
        Self {
            mode: Mode { may_act, title: text::clean(&title) },
            look,
            snapshot: None,
            history: History::default(),
            clients: ClientList::default(),
            journal: Journal::default(),
            focus: Pane::default(),
            input: Input::default(),
            source: 0,
            notice: None,
            silent_seconds: None,
        }
    }

    /// Takes in what has happened.
    pub fn update(&mut self, event: Event) {
        match event {
            Event::Snapshot(snapshot) => self.look_at(snapshot),
            Event::Log(line) => self.journal.push(line),
        }
    }

    /// Says how long there has been no snapshot, if that is worth a word; true if it changes the
    /// picture.
    pub fn set_silence(&mut self, seconds: Option<u64>) -> bool {
        std::mem::replace(&mut self.silent_seconds, seconds) != seconds
    }

    /// Does what a key asks for, and hands out what others must do.
    pub fn key(&mut self, key: Key) -> Option<Action> {
        if key == Key::Repaint {
            // It is the terminal's matter: the picture stays the same.
            return None;
        }
        self.notice = None;
        if key == Key::Interrupt {
            return Some(Action::Quit);
        }
        match self.input {
            Input::Browsing => return self.browse(key),
            Input::Filtering => self.filter(key),
            Input::Confirming(id) => return self.confirm(id, key),
            Input::Reading => self.input = Input::Browsing,
        }
        None
    }

    /// Draws everything.
    pub fn render(&self, frame: &mut Frame<'_>) {
        draw::everything(self, frame.area(), frame.buffer_mut());
    }

    fn look_at(&mut self, mut snapshot: Box<Snapshot>) {
        self.history.push(&snapshot);
        self.clients.update(&mut snapshot);
        for source in &mut snapshot.sources {
            let error = source.stats.last_error.take();
            source.stats.last_error = error.map(|error| text::clean(&error));
        }
        self.source = self.source.min(snapshot.sources.len().saturating_sub(1));
        self.snapshot = Some(snapshot);
        if let Input::Confirming(id) = self.input
            && self.clients.find(id).is_none()
        {
            self.input = Input::Browsing;
            self.notice = Some(format!("client {id} has gone"));
        }
    }

    fn browse(&mut self, key: Key) -> Option<Action> {
        match key {
            Key::Char('q') => return Some(Action::Quit),
            Key::Char('d') => self.change_look(),
            Key::Char('c') => self.journal.clear(),
            Key::Char('s') => self.clients.sort_by_next(),
            Key::Char('x') => self.ask_to_disconnect(),
            Key::Char('/') => (self.focus, self.input) = (Pane::Clients, Input::Filtering),
            Key::Char('?') => self.input = Input::Reading,
            Key::Escape => self.clients.set_filter(String::new()),
            Key::Tab | Key::Right => self.focus = self.focus.next(),
            Key::BackTab | Key::Left => self.focus = self.focus.previous(),
            Key::Up | Key::Char('k') => self.go_up(1),
            Key::Down | Key::Char('j') => self.go_down(1),
            Key::PageUp => self.go_up(PAGE),
            Key::PageDown => self.go_down(PAGE),
            Key::Home => self.go_up(usize::MAX),
            Key::End => self.go_down(usize::MAX),
            Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt | Key::Repaint => {}
        }
        None
    }

    fn filter(&mut self, key: Key) {
        let mut filter = self.clients.filter().to_owned();
        match key {
            Key::Char(c) if filter.chars().count() < MAX_FILTER_CHARS => filter.push(c),
            Key::Backspace => drop(filter.pop()),
            Key::Escape => {
                filter.clear();
                self.input = Input::Browsing;
            }
            Key::Enter | Key::Tab => self.input = Input::Browsing,
            Key::Up => self.go_up(1),
            Key::Down => self.go_down(1),
            Key::Char(_)
            | Key::BackTab
            | Key::Left
            | Key::Right
            | Key::PageUp
            | Key::PageDown
            | Key::Home
            | Key::End
            | Key::Interrupt
            | Key::Repaint => {}
        }
        self.clients.set_filter(filter);
    }

    fn confirm(&mut self, id: u64, key: Key) -> Option<Action> {
        let is_yes = matches!(key, Key::Char('y' | 'Y'));
        let is_no = matches!(key, Key::Char('n' | 'N' | 'q') | Key::Escape);
        if is_yes || is_no {
            self.input = Input::Browsing;
        }
        if !is_yes {
            return None;
        }
        self.notice = Some(format!("client {id} shall be disconnected"));
        Some(Action::Disconnect(id))
    }

    fn ask_to_disconnect(&mut self) {
        if !self.mode.may_act {
            self.notice = Some("this door only reads: nobody can be disconnected".to_owned());
            return;
        }
        match self.clients.selected() {
            Some((_, row)) if self.focus == Pane::Clients => {
                self.input = Input::Confirming(row.stats.id);
            }
            Some(_) | None => {
                self.focus = Pane::Clients;
                self.notice = Some("select a client first, with the arrows".to_owned());
            }
        }
    }

    fn change_look(&mut self) {
        self.look = self.look.other();
        if self.look == Look::Plain {
            self.notice = Some("NO_COLOR is set: there are no colours to change".to_owned());
        }
    }

    fn go_up(&mut self, rows: usize) {
        match self.focus {
            Pane::Sources => self.source = self.source.saturating_sub(rows),
            Pane::Clients => self.clients.step(signed(rows).saturating_neg()),
            Pane::Journal => self.journal.scroll_back(rows),
        }
    }

    fn go_down(&mut self, rows: usize) {
        let sources = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.sources.len());
        match self.focus {
            Pane::Sources => {
                self.source = self.source.saturating_add(rows).min(sources.saturating_sub(1));
            }
            Pane::Clients => self.clients.step(signed(rows)),
            Pane::Journal => self.journal.scroll_on(rows),
        }
    }
}

fn signed(rows: usize) -> isize {
    isize::try_from(rows).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::snapshot::{LogLine, SourceStatus};
    use crate::relay::stats::ClientStats;

    fn client(id: u64, peer: &str) -> ClientStats {
        ClientStats { id, peer: peer.to_owned(), ..ClientStats::default() }
    }

    fn ui(may_act: bool) -> Ui {
        let mut ui = Ui::new(Mode { may_act, title: String::new() }, Look::Dark);
        show(&mut ui, &[client(1, "alpha"), client(2, "beta"), client(3, "gamma")]);
        ui
    }

    fn show(ui: &mut Ui, clients: &[ClientStats]) {
        let sources = vec![SourceStatus::default(); 3];
        let snapshot = Snapshot { clients: clients.to_vec(), sources, ..Snapshot::default() };
        ui.update(Event::Snapshot(Box::new(snapshot)));
    }

    fn log(ui: &mut Ui) {
        ui.update(Event::Log(LogLine::default()));
    }

    /// Presses keys; the action is that of the last.
    fn press(ui: &mut Ui, keys: &str) -> Option<Action> {
        keys.chars().map(|c| ui.key(Key::Char(c))).last().flatten()
    }

    fn press_all(ui: &mut Ui, keys: &[Key]) {
        for key in keys {
            assert_eq!(ui.key(*key), None);
        }
    }

    fn selected(ui: &Ui) -> Option<u64> {
        ui.clients.selected().map(|(_, row)| row.stats.id)
    }

    #[test]
    fn q_and_interrupt_quit() {
        assert_eq!(press(&mut ui(false), "q"), Some(Action::Quit));
        let mut filtering = ui(false);
        assert_eq!(press(&mut filtering, "/q"), None, "it is a letter of the filter");
        assert_eq!(filtering.key(Key::Interrupt), Some(Action::Quit));
    }

    #[test]
    fn disconnecting_asks_first() {
        let mut ui = ui(true);
        press(&mut ui, "x");
        assert!(ui.notice.is_some(), "nobody is selected");
        ui.key(Key::Down);
        assert_eq!(press(&mut ui, "x"), None);
        assert_eq!(ui.input, Input::Confirming(1));
        assert_eq!(ui.key(Key::Enter), None);
        assert_eq!(ui.input, Input::Confirming(1), "enter is no yes");
        assert_eq!(press(&mut ui, "n"), None);
        assert_eq!(press(&mut ui, "y"), None);
        assert_eq!(press(&mut ui, "xy"), Some(Action::Disconnect(1)));
        assert_eq!(ui.input, Input::Browsing);
    }

    #[test]
    fn question_ends_when_its_client_goes() {
        let mut ui = ui(true);
        ui.key(Key::Down);
        press(&mut ui, "x");
        show(&mut ui, &[client(2, "beta")]);
        assert_eq!(ui.input, Input::Browsing);
        assert_eq!(press(&mut ui, "y"), None);
    }

    #[test]
    fn who_may_only_read_disconnects_nobody() {
        let mut ui = ui(false);
        ui.key(Key::Down);
        assert_eq!(press(&mut ui, "xy"), None);
        assert_eq!(ui.input, Input::Browsing);
    }

    #[test]
    fn filter_is_typed_kept_and_cleared() {
        let mut ui = ui(true);
        press(&mut ui, "/bet");
        assert_eq!(ui.clients.shown().len(), 1);
        ui.key(Key::Backspace);
        ui.key(Key::Enter);
        assert_eq!((ui.input, ui.clients.filter()), (Input::Browsing, "be"));
        ui.key(Key::Escape);
        assert_eq!(ui.clients.shown().len(), 3);
        press(&mut ui, "/gam");
        ui.key(Key::Escape);
        assert_eq!((ui.input, ui.clients.filter()), (Input::Browsing, ""));
        press(&mut ui, "/");
        press(&mut ui, &"y".repeat(1000));
        assert_eq!(ui.clients.filter().len(), MAX_FILTER_CHARS);
    }

    #[test]
    fn tab_and_arrows_move_between_panes_and_rows() {
        let mut ui = ui(true);
        press_all(&mut ui, &[Key::Down, Key::Down]);
        assert_eq!(selected(&ui), Some(2));
        ui.key(Key::Left);
        press_all(&mut ui, &[Key::Down, Key::Down, Key::Down, Key::Up]);
        assert_eq!((ui.focus, ui.source), (Pane::Sources, 1));
        ui.key(Key::BackTab);
        (0..3).for_each(|_| log(&mut ui));
        ui.key(Key::Home);
        assert_eq!((ui.focus, ui.journal.back()), (Pane::Journal, 2));
        ui.key(Key::End);
        assert_eq!(ui.journal.back(), 0);
        press_all(&mut ui, &[Key::Tab, Key::Right]);
        ui.key(Key::End);
        assert_eq!((ui.focus, selected(&ui)), (Pane::Clients, Some(3)));
    }

    #[test]
    fn letters_clear_the_log_sort_and_change_the_look() {
        let mut ui = ui(true);
        log(&mut ui);
        press(&mut ui, "c");
        assert_eq!(ui.journal.upwards().count(), 0);
        press(&mut ui, "s");
        assert_eq!(ui.clients.order().name(), "lag");
        press(&mut ui, "d");
        assert_eq!(ui.look, Look::Light);
        press(&mut ui, "d?");
        assert_eq!((ui.look, ui.input), (Look::Dark, Input::Reading));
        assert_eq!(press(&mut ui, "q"), None, "it ends the help");
        assert_eq!(ui.input, Input::Browsing);
    }
}
