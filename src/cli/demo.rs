//! `veylor demo`: a feed of its own behind a real relay, on this machine alone.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::{Failure, relay, run};
use crate::codec::entrance::Entrance;
use crate::codec::{Codec, Error, Event, Kind, Message, ws};
use crate::config;
use crate::config::settings::Settings;
use crate::daemon::logging::Logging;
use crate::daemon::{Daemon, limits};
use crate::reactor::inbox::Inbox;
use crate::reactor::outbox::Outbox;

/// Between two ticks of the feed.
const TICK: Duration = Duration::from_millis(200);
/// Where clients connect if the port is free.
const PREFERRED_PORT: u16 = 8765;
/// The longest message that the feed sends back.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The WebSocket port [default: 8765, or a free one if that is taken]
    #[arg(long)]
    port: Option<u16>,
    /// The Unix socket [default: veylor-demo-PORT.sock in the folder for temporary files]
    #[arg(long, value_name = "PATH")]
    unix: Option<PathBuf>,
}

/// Runs a feed and a relay until Ctrl-C.
pub(super) fn demo(args: &Args, logging: Logging) -> Result<(), Failure> {
    let refused = |error| Failure::System("cannot make a feed on loopback".to_owned(), error);
    let feed = TcpListener::bind(("127.0.0.1", 0)).map_err(refused)?;
    let feed_address = feed.local_addr().map_err(refused)?;
    let port = match args.port {
        Some(port) if port != 0 => port,
        Some(_) => free_port(0).map_err(refused)?,
        None => free_port(PREFERRED_PORT).or_else(|_| free_port(0)).map_err(refused)?,
    };
    let default = || std::env::temp_dir().join(format!("veylor-demo-{port}.sock"));
    let unix = args.unix.clone().unwrap_or_else(default);
    limits::raise_descriptors();
    let settings = settings(feed_address, port, &unix)?;
    let signals = run::catch_signals()?;
    let mut daemon = Daemon::new(settings, logging).map_err(Failure::Daemon)?;
    daemon.confine();
    thread::Builder::new()
        .name("veylor-feed".to_owned())
        .spawn(move || serve(&feed))
        .map_err(refused)?;
    let _ = write!(io::stdout(), "{}", invitation(port, &unix.display().to_string()));
    run::tell_and_run(signals, daemon).map(drop)
}

/// The settings of the demo: a quick redial, since the feed is near.
fn settings(feed: SocketAddr, port: u16, unix: &Path) -> Result<Settings, Failure> {
    let text = format!(
        "sources:\n  - name: demo\n    url: ws://{feed}\n    websocket_host: 127.0.0.1\n    \
         websocket_port: {port}\n    unix_socket_path: {}\n    \
         allowed_origins: ['*']\nperformance: {{reconnect_delay: 0.5}}\n",
        relay::quoted(&unix.to_string_lossy()),
    );
    config::parse(&text).map_err(Failure::Config)
}

/// A port that was free a moment ago.
fn free_port(port: u16) -> io::Result<u16> {
    TcpListener::bind(("127.0.0.1", port))?.local_addr().map(|address| address.port())
}

fn invitation(port: u16, unix: &str) -> String {
    format!(
        "\
A feed in this program ticks five times a second and sends back what it is sent.
Veylor holds one connection to it and shares it here:

    ws://127.0.0.1:{port}
    {unix}

Try, each in a terminal of its own:

    cargo run --example ws_two_way -- ws://127.0.0.1:{port}
    cargo run --example unix_client -- {unix}
    python3 -m websockets ws://127.0.0.1:{port}
    python3 examples/python/unix_client.py {unix}

or in a browser's console, on a page of http://127.0.0.1:{port}:

    new WebSocket(\"ws://127.0.0.1:{port}\").onmessage = (event) => console.log(event.data)

Ctrl-C ends it.

"
    )
}

/// Serves one connection after the other: Veylor needs no more.
fn serve(feed: &TcpListener) {
    let mut tick = 0;
    for stream in feed.incoming().flatten() {
        if let Err(error) = serve_one(stream, &mut tick) {
            log::debug!("demo feed: {error}");
        }
    }
}

/// Sends back what comes, and ticks when nothing has come for a while.
fn serve_one(mut stream: TcpStream, tick: &mut u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut codec = Codec::WebSocket(ws::Codec::accept(MAX_MESSAGE_BYTES));
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    loop {
        match inbox.fill(&mut stream) {
            Ok(0) => return Ok(()),
            Ok(_) => echo(&mut codec, &mut inbox, &mut outbox).map_err(io::Error::other)?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *tick += 1;
                let payload = quote(*tick);
                codec.send(Message { kind: Kind::Text, payload: payload.as_bytes() }, &mut outbox);
            }
            Err(error) => return Err(error),
        }
        stream.write_all(outbox.bytes())?;
        outbox.clear();
    }
}

/// Answers all that has come whole.
fn echo(codec: &mut Codec, inbox: &mut Inbox, outbox: &mut Outbox) -> Result<(), Error> {
    while let Some(event) = codec.poll_event(inbox, outbox)? {
        match event {
            Event::Request(head) => {
                let (entrance, policy) = (Entrance::default(), ws::Policy::default());
                codec.answer(head, &entrance, &policy, None, outbox)?;
            }
            Event::Message(message) => codec.send(message, outbox),
            Event::Opened | Event::Ping | Event::Pong | Event::Closed(_) => {}
        }
    }
    Ok(())
}

/// What the feed says at a tick.
fn quote(tick: u64) -> String {
    let (whole, cents) = (price(tick) / 100, price(tick) % 100);
    format!("{{\"tick\":{tick},\"price\":{whole}.{cents:02}}}")
}

/// A price in cents that goes up and down, slowly and quickly.
fn price(tick: u64) -> u64 {
    10_000 + zigzag(tick, 250) * 2 + zigzag(tick * 7, 90)
}

/// From 0 up to half the period and down again.
fn zigzag(time: u64, period: u64) -> u64 {
    let phase = time % period;
    phase.min(period - phase)
}
