//! All works and their limits, in the order of the table.

use crate::client::Ask;
use crate::contender::Endpoint;
use crate::failure::Failure;
use crate::feed::Pace;
use crate::frame::Form;
use crate::text::Stream;
use crate::watcher::{Size, Watcher};
use crate::work::{Broadcast, Kind, Upstream, Work};

const BROADCAST: Broadcast = Broadcast {
    clients: 100,
    payload_bytes: 128,
    endpoint: Endpoint::WebSocket,
    pace: Pace::FlatOut,
    warm_up: 10_000,
    messages: 600_000,
    form: Form::Bytes,
    ask: Ask::Everything,
    checked: usize::MAX,
    watcher: None,
};

/// JSON in place of bytes, flat out, one by one and in bursts.
const FLAT_TEXTS: Broadcast = Broadcast { form: Form::Text, messages: 1_200_000, ..BROADCAST };
const PACED_TEXTS: Broadcast =
    Broadcast { pace: Pace::PerSecond(1000), warm_up: 500, messages: 4000, ..FLAT_TEXTS };

/// Bursts that a relay reads and passes on whole, in one turn.
const BURST_TEXTS: Broadcast = Broadcast {
    pace: Pace::Bursts { messages: 400, per_second: 400 },
    messages: 400_000,
    ..FLAT_TEXTS
};

const EVENTS: Ask = Ask::Stream(Stream::Events);
const LINES: Ask = Ask::Stream(Stream::Lines);

/// Messages for so long that those who look on are told often what is going on.
const LONG_PACED: Broadcast =
    Broadcast { pace: Pace::PerSecond(1000), warm_up: 500, messages: 6000, ..BROADCAST };

const LONG_FLAT: Broadcast = Broadcast { messages: 3_500_000, ..BROADCAST };

const SMALL: Size = Size(80, 24);
const LARGE: Size = Size(200, 50);

const WORK: Work = Work {
    name: "",
    about: "",
    kind: Kind::Broadcast(BROADCAST),
    cpu_limit: None,
    p99_limit: None,
    delay_limit: 3.0,
};

const WATCHED: Work = Work {
    cpu_limit: Some(1.05),
    // The UI of the relay is a thread that waits while the loop runs, as the loop does for it.
    delay_limit: 10.0,
    ..WORK
};

/// Clients that get streams, against those that get frames. Few check what they get, for that takes
/// as much of their CPU as the relay's, and longer for an event than for a frame.
const fn streamed(name: &'static str, about: &'static str, plan: Broadcast) -> Work {
    let plan = Broadcast { checked: 10, ..plan };
    Work { name, about, kind: Kind::Broadcast(plan), cpu_limit: Some(1.1), ..WORK }
}

const FILTERED: Work = Work { cpu_limit: Some(1.5), ..WORK };

pub(crate) const WORKS: &[Work] = &[
    Work {
        name: "flat-100",
        about: "128 B flat out to 100 clients",
        cpu_limit: Some(1.15),
        ..WORK
    },
    Work {
        name: "flat-1000",
        about: "128 B flat out to 1000 clients",
        kind: Kind::Broadcast(Broadcast { clients: 1000, messages: 60_000, ..BROADCAST }),
        cpu_limit: Some(1.15),
        ..WORK
    },
    Work {
        name: "paced-1000",
        about: "128 B at 1000 messages a second to 100 clients",
        kind: Kind::Broadcast(Broadcast {
            pace: Pace::PerSecond(1000),
            warm_up: 500,
            messages: 3000,
            ..BROADCAST
        }),
        cpu_limit: Some(1.10),
        p99_limit: Some(1.3),
        ..WORK
    },
    Work {
        name: "paced-5000",
        about: "128 B at 5000 messages a second to 100 clients",
        kind: Kind::Broadcast(Broadcast {
            pace: Pace::PerSecond(5000),
            warm_up: 2500,
            messages: 15_000,
            ..BROADCAST
        }),
        cpu_limit: Some(0.75),
        p99_limit: Some(1.0),
        ..WORK
    },
    Work {
        name: "large",
        about: "16 KiB flat out to 50 clients",
        kind: Kind::Broadcast(Broadcast {
            clients: 50,
            payload_bytes: 16 * 1024,
            warm_up: 500,
            messages: 8000,
            ..BROADCAST
        }),
        cpu_limit: Some(1.25),
        ..WORK
    },
    Work {
        name: "single",
        about: "128 B flat out to 1 client",
        kind: Kind::Broadcast(Broadcast {
            clients: 1,
            warm_up: 100_000,
            messages: 6_000_000,
            ..BROADCAST
        }),
        cpu_limit: Some(3.0),
        // A source as busy as the client and the relay makes three of them for two CPUs.
        delay_limit: 10.0,
        ..WORK
    },
    Work {
        name: "unix",
        about: "128 B flat out to 100 Unix clients",
        kind: Kind::Broadcast(Broadcast { endpoint: Endpoint::Unix, ..BROADCAST }),
        cpu_limit: Some(1.3),
        ..WORK
    },
    Work {
        name: "stalled",
        about: "4 KiB flat out to 100 clients, 5 of which never read",
        kind: Kind::Stalled(
            Broadcast { payload_bytes: 4 * 1024, warm_up: 0, messages: 10_000, ..BROADCAST },
            5,
        ),
        // Nothing is compared.
        delay_limit: f64::INFINITY,
        ..WORK
    },
    Work { name: "idle", about: "10,000 clients and no message", kind: Kind::Idle(10_000), ..WORK },
    Work {
        name: "upstream",
        about: "100 clients send 1000 messages of 128 B each",
        kind: Kind::Upstream(Upstream {
            clients: 100,
            payload_bytes: 128,
            warm_up_each: 100,
            each: 1000,
            bursts: 10,
        }),
        cpu_limit: Some(1.0),
        ..WORK
    },
    Work {
        name: "replay",
        about: "a recording of 128 B messages to 100 clients, as fast as they take it",
        kind: Kind::Replay(BROADCAST),
        cpu_limit: Some(1.3),
        // Two threads that are both busy, and the clients, for two CPUs.
        delay_limit: 10.0,
        ..WORK
    },
    streamed(
        "sse-burst",
        "400 bursts of 400 texts of 128 B a second to 100 clients as events, against WebSocket",
        Broadcast { ask: EVENTS, ..BURST_TEXTS },
    ),
    streamed(
        "sse-paced",
        "the same at 1000 messages a second",
        Broadcast { ask: EVENTS, ..PACED_TEXTS },
    ),
    // It is SHORT: flat out a byte is what counts, and an event has 157 where the frame has 132, 1.19
    // times as many. The id is 16 of them, and outlasts a restart.
    streamed("sse-flat", "the same flat out", Broadcast { ask: EVENTS, ..FLAT_TEXTS }),
    streamed(
        "sse-flat-512",
        "the same with 512 B",
        Broadcast { ask: EVENTS, payload_bytes: 512, messages: 600_000, ..FLAT_TEXTS },
    ),
    streamed(
        "ndjson-burst",
        "400 bursts of 400 texts of 128 B a second to 100 clients as lines, against WebSocket",
        Broadcast { ask: LINES, ..BURST_TEXTS },
    ),
    streamed(
        "ndjson-paced",
        "the same at 1000 messages a second",
        Broadcast { ask: LINES, ..PACED_TEXTS },
    ),
    streamed("ndjson-flat", "the same flat out", Broadcast { ask: LINES, ..FLAT_TEXTS }),
    Work {
        name: "filters",
        about: "10 symbols at 100 messages a second each, to 1000 clients that want one each, \
                against 100 a second to 1000 that want all",
        kind: Kind::Broadcast(Broadcast {
            clients: 1000,
            ask: Ask::Symbol,
            warm_up: 500,
            messages: 5000,
            ..PACED_TEXTS
        }),
        ..FILTERED
    },
    Work {
        name: "filters-burst",
        about: "bursts of 48 messages for each symbol 50 times a second, to 1000 clients that want \
                one each, against bursts of 48 to 1000 that want all: so both get as much in a turn",
        kind: Kind::Broadcast(Broadcast {
            clients: 1000,
            pace: Pace::Bursts { messages: 480, per_second: 50 },
            ask: Ask::Symbol,
            warm_up: 4800,
            messages: 96_000,
            ..FLAT_TEXTS
        }),
        ..FILTERED
    },
    Work {
        name: "paced-top",
        about: "paced-1000 while `veylor top` looks on, against nobody",
        kind: Kind::Broadcast(Broadcast { watcher: Some(Watcher::Top(LARGE)), ..LONG_PACED }),
        ..WATCHED
    },
    Work {
        name: "flat-top",
        about: "flat-100 while `veylor top` looks on, against nobody",
        kind: Kind::Broadcast(Broadcast { watcher: Some(Watcher::Top(LARGE)), ..LONG_FLAT }),
        ..WATCHED
    },
    Work {
        name: "paced-tui",
        about: "paced-1000 with `--tui` at 80x24, against without",
        kind: Kind::Broadcast(Broadcast { watcher: Some(Watcher::Tui(SMALL)), ..LONG_PACED }),
        ..WATCHED
    },
    Work {
        name: "flat-tui",
        about: "flat-100 with `--tui` at 80x24, against without",
        kind: Kind::Broadcast(Broadcast { watcher: Some(Watcher::Tui(SMALL)), ..LONG_FLAT }),
        ..WATCHED
    },
    Work {
        name: "paced-wide",
        about: "paced-1000 with `--tui` at 200x50, against without",
        kind: Kind::Broadcast(Broadcast { watcher: Some(Watcher::Tui(LARGE)), ..LONG_PACED }),
        ..WATCHED
    },
    Work {
        name: "flat-wide",
        about: "flat-100 with `--tui` at 200x50, against without",
        kind: Kind::Broadcast(Broadcast { watcher: Some(Watcher::Tui(LARGE)), ..LONG_FLAT }),
        ..WATCHED
    },
];

/// The work of that name.
pub(crate) fn named(name: &str) -> Result<&'static Work, Failure> {
    WORKS.iter().find(|work| work.name == name).ok_or_else(|| {
        let names: Vec<_> = WORKS.iter().map(|work| work.name).collect();
        Failure::new(format!("{name:?} is no work; there are {}", names.join(", ")))
    })
}
