//! Pictures of sample snapshots, at all sizes.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;

use super::super::{Key, Look, Mode, Ui};
use crate::observe::snapshot::{
    ChannelStatus, Event, Histogram, LogLine, Process, Snapshot, SourceStatus,
};
use crate::relay::stats::{BacklogStats, ChannelStats, ClientStats, SourceStats};

const SIZES: [(u16, u16); 4] = [(80, 24), (200, 50), (40, 10), (1, 1)];

/// What a terminal shows.
struct Picture(ratatui::buffer::Buffer);

impl Picture {
    fn of(ui: &Ui, (width, height): (u16, u16)) -> Self {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| ui.render(frame)).unwrap();
        Self(terminal.backend().buffer().clone())
    }

    fn rows(&self) -> Vec<String> {
        let width = usize::from(self.0.area.width).max(1);
        self.0
            .content
            .chunks(width)
            .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect())
            .collect()
    }

    fn row(&self, part: &str) -> String {
        let found = self.rows().into_iter().find(|row| row.contains(part));
        found.unwrap_or_else(|| panic!("{part:?} is not in\n{}", self.rows().join("\n")))
    }

    fn shows(&self, part: &str) -> bool {
        self.rows().iter().any(|row| row.contains(part))
    }

    /// The colour of the first character of a text.
    fn color(&self, part: &str) -> Color {
        let y = self.rows().iter().position(|row| row.contains(part)).unwrap();
        let row = &self.rows()[y];
        let x = row[..row.find(part).unwrap()].chars().count();
        self.0[(u16::try_from(x).unwrap(), u16::try_from(y).unwrap())].fg
    }
}

fn source(name: &str, state: &str) -> SourceStatus {
    SourceStatus {
        url: format!("wss://{name}.example.com/stream"),
        stats: SourceStats {
            name: name.to_owned(),
            state: state.to_owned(),
            state_seconds: 3_723.0,
            connects: 2,
            received_messages: 1_000,
            received_bytes: 128_000,
            largest_bytes: 12 << 10,
            ..SourceStats::default()
        },
    }
}

fn client(id: u64) -> ClientStats {
    ClientStats {
        id,
        channel: "trades".to_owned(),
        wire: "websocket".to_owned(),
        peer: format!("10.0.0.{}:{}", id % 250, 40_000 + id % 20_000),
        user_agent: Some("Mozilla/5.0".to_owned()),
        sent_messages: 1_000,
        ..ClientStats::default()
    }
}

fn snapshot() -> Snapshot {
    let mut down = source("quotes", "waiting");
    down.stats.redial_seconds = Some(3.4);
    down.stats.last_error = Some("connection refused".to_owned());
    let mut up = source("trades", "open");
    up.stats.round_trip_seconds = Some(0.0123);
    let wire = "websocket".to_owned();
    let backlog = BacklogStats { wire, max_messages: 1_000, ..BacklogStats::default() };
    let channel = ChannelStats {
        name: "trades".to_owned(),
        clients: 3,
        clients_ever: 17,
        sent_messages: 3_000,
        sent_bytes: 390_000,
        dropped_messages: 5,
        max_lag_messages: 812,
        backlogs: vec![backlog],
        ..ChannelStats::default()
    };
    let slow = ClientStats {
        lag_messages: 812,
        lag_bytes: 104 << 10,
        lag_seconds: 2.5,
        dropped_messages: 5,
        is_blocked: true,
        ..client(2)
    };
    Snapshot {
        version: "2.0.0".to_owned(),
        uptime_seconds: 100.0,
        process: Process { resident_bytes: 12 << 20, cpu_seconds: 1.0, ..Process::default() },
        sources: vec![up, down],
        channels: vec![ChannelStatus { endpoints: Vec::new(), stats: channel }],
        clients: vec![client(1), slow, client(3)],
        deliveries: Histogram { buckets: vec![(0.001, 99)], count: 100, sum_seconds: 0.1 },
        ..Snapshot::default()
    }
}

fn ui_with(snapshots: impl IntoIterator<Item = Snapshot>) -> Ui {
    let mode = Mode { may_act: true, title: "config.yaml".to_owned() };
    let mut ui = Ui::new(mode, Look::Dark);
    for snapshot in snapshots {
        ui.update(Event::Snapshot(Box::new(snapshot)));
    }
    ui
}

/// A UI that has seen two snapshots, a second apart, and some log.
fn busy_ui() -> Ui {
    let mut later = snapshot();
    later.uptime_seconds += 1.0;
    later.process.cpu_seconds += 0.021;
    later.sources[0].stats.received_messages += 1_234;
    later.sources[0].stats.received_bytes += 310 << 10;
    later.channels[0].stats.sent_messages += 3_702;
    let mut ui = ui_with([snapshot(), later]);
    log(&mut ui, "error", "cannot bind 127.0.0.1:80");
    log(&mut ui, "info", "source trades: connected");
    ui
}

fn log(ui: &mut Ui, level: &str, text: &str) {
    ui.update(Event::Log(LogLine {
        level: level.to_owned(),
        time: "2026-01-31T12:34:56.789Z".to_owned(),
        text: text.to_owned(),
    }));
}

#[test]
fn one_look_at_80_by_24_tells_everything() {
    let picture = Picture::of(&busy_ui(), (80, 24));
    for part in ["config.yaml", "up 1m 41s", "cpu 2.1 %", "12 MiB", "live"] {
        assert!(picture.rows()[0].contains(part), "{part}: {}", picture.rows()[0]);
    }
    let trades = picture.row("wss://trades.exa");
    for part in ["● trades", "up 1h 2m", "12 ms", "1,234"] {
        assert!(trades.contains(part), "{part}: {trades}");
    }
    let quotes = picture.row("○ quotes");
    assert!(quotes.contains("redial 4 s"), "{quotes}");
    assert!(picture.row("Clients").contains("peak 3"));
    assert!(picture.row("msg/s").contains("1,234 msg/s"));
    assert!(picture.row("msg/s").contains("3,702 msg/s"));
    assert!(picture.row("msg/s").contains("5 drops"));
    assert!(picture.row("17 ever").contains("310 KiB/s peak 1.2k"));
    assert!(picture.row("17 ever").contains("2 reconnects"));
    assert!(picture.shows("max 12 KiB"));
    let slow = picture.row("10.0.0.2:40002");
    for part in ["trades", "ws", "Mozilla", "812", "104 KiB", "2.5 s", "1,000", "5"] {
        assert!(slow.contains(part), "{part}: {slow}");
    }
    assert!(picture.row("cannot").contains("12:34:56 error cannot bind"));
    assert!(picture.rows()[23].contains("q quit"));
}

#[test]
fn wide_screen_has_all_cards_and_the_log_beside_the_clients() {
    let picture = Picture::of(&busy_ui(), (200, 50));
    for title in ["Clients", "In", "Out", "Trouble", "Lag", "Forwarded", "Process"] {
        assert!(picture.row("Trouble").contains(title), "{title}");
    }
    assert!(picture.row("○ quotes").contains("connection refused"));
    assert!(picture.row("Log").contains("Clients"));
    assert!(picture.shows("p99 ≤ 1.0 ms"));
    assert!(picture.row("10.0.0.2:40002").contains("blocked"));
}

#[test]
fn small_screen_shows_what_matters_most() {
    let mut ui = busy_ui();
    let picture = Picture::of(&ui, (40, 10));
    assert!(picture.shows("● trades") && picture.shows("○ quotes"));
    assert!(picture.row("clients").contains("3 clients  1,234/s in"));
    assert!(picture.row("10.0.0.2:40002").contains("812"));
    ui.key(Key::Tab);
    assert!(Picture::of(&ui, (40, 10)).shows("source trades: connected"));
}

#[test]
fn lost_source_is_seen_however_many_there_are() {
    let mut sources = vec![source("trades", "open"); 30];
    sources.push(source("quotes", "given_up"));
    let ui = ui_with([Snapshot { sources, ..snapshot() }]);
    for size in [(80, 24), (200, 50), (40, 10)] {
        assert!(Picture::of(&ui, size).row("✕ quotes").contains("given up"));
    }
}

#[test]
fn no_size_and_no_snapshot_makes_it_panic() {
    let wide = "価格情報 🦀 ".repeat(30);
    let strange = Snapshot {
        sources: vec![source(&wide, "nonsense"); 40],
        clients: vec![
            ClientStats {
                channel: wide.clone(),
                peer: wide.clone(),
                user_agent: Some(format!("\x1b[31m{wide}")),
                lag_messages: u64::MAX,
                lag_bytes: u64::MAX,
                lag_seconds: f64::MAX,
                ..client(u64::MAX)
            };
            3
        ],
        ..snapshot()
    };
    let crowd = Snapshot { clients: (1..=1_000).map(client).collect(), ..snapshot() };
    let mut uis = [
        ui_with([]),
        ui_with([Snapshot::default()]),
        busy_ui(),
        ui_with([strange.clone(), strange]),
        ui_with([crowd]),
    ];
    for ui in &mut uis {
        log(ui, "warn", &wide);
        let mut sizes = SIZES.to_vec();
        sizes.extend(
            (0..60)
                .step_by(3)
                .flat_map(|width| (0..40).step_by(2).map(move |height| (width, height))),
        );
        sizes.extend([(149, 33), (150, 34), (300, 3), (3, 300)]);
        for keys in ["", "\t", "\t", "jjjj", "x", "n/", "none\r", "?"] {
            for c in keys.chars() {
                ui.key(if c == '\t' { Key::Tab } else { Key::Char(c) });
            }
            for size in &sizes {
                Picture::of(ui, *size);
            }
            sizes.truncate(SIZES.len());
        }
    }
}

#[test]
fn selected_client_is_in_view_among_a_thousand() {
    let mut ui = ui_with([Snapshot { clients: (1..=1_000).map(client).collect(), ..snapshot() }]);
    assert!(Picture::of(&ui, (80, 24)).shows("1000 by channel"));
    ui.key(Key::Down);
    ui.key(Key::End);
    let picture = Picture::of(&ui, (80, 24));
    let row = picture.row(" 1000 trades");
    assert!(row.contains("10.0.0.0:41000"), "{row}");
    assert!(!picture.shows("10.0.0.1:40001"));
}

#[test]
fn slow_clients_and_lost_sources_stand_out() {
    let picture = Picture::of(&busy_ui(), (80, 24));
    let bad = picture.color("○ quotes");
    assert_ne!(bad, picture.color("● trades"));
    assert_eq!(picture.color("10.0.0.2"), bad);
    assert_ne!(picture.color("10.0.0.1"), bad);
    assert_eq!(picture.color("error cannot"), bad);
    assert_ne!(picture.color("info  source"), bad);
}

#[test]
fn looks_differ_and_the_plain_one_has_no_colours() {
    let mut ui = busy_ui();
    let dark = Picture::of(&ui, (80, 24));
    ui.key(Key::Char('d'));
    let light = Picture::of(&ui, (80, 24));
    assert_ne!(dark.0[(40, 12)].bg, light.0[(40, 12)].bg);
    let mut plain = Ui::new(Mode::default(), Look::Plain);
    plain.update(Event::Snapshot(Box::new(snapshot())));
    plain.key(Key::Down);
    plain.key(Key::Char('d'));
    let picture = Picture::of(&plain, (80, 24));
    let is_plain =
        |cell: &ratatui::buffer::Cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset);
    assert!(picture.0.content.iter().all(is_plain));
}

#[test]
fn peers_cannot_write_on_the_terminal() {
    let evil = "\x1b]0;owned\x07\u{202e}";
    let hostile = ClientStats { user_agent: Some(evil.to_owned()), ..client(1) };
    let mut ui = ui_with([Snapshot { clients: vec![hostile], ..snapshot() }]);
    log(&mut ui, "info", evil);
    for row in Picture::of(&ui, (200, 50)).rows() {
        assert!(!row.contains(['\x1b', '\x07', '\u{202e}']), "{row:?}");
    }
}

#[test]
fn silence_of_the_relay_is_told() {
    let mut ui = busy_ui();
    assert!(ui.set_silence(Some(4)));
    assert!(!ui.set_silence(Some(4)));
    assert!(Picture::of(&ui, (80, 24)).rows()[0].contains("no news for 4 s"));
}

#[test]
fn question_names_the_client_and_the_help_names_the_keys() {
    let mut ui = busy_ui();
    ui.key(Key::Down);
    ui.key(Key::Char('x'));
    let picture = Picture::of(&ui, (80, 24));
    assert!(picture.shows("Disconnect client 2?") && picture.shows("10.0.0.2:40002 of trades"));
    ui.key(Key::Escape);
    ui.key(Key::Char('?'));
    let picture = Picture::of(&ui, (80, 24));
    assert!(picture.shows("filter clients by part") && picture.shows("disconnect the client"));
}
