//! A feed to put Veylor in front of: it sends ticks to everyone and echoes what it is sent.
//!
//! ```sh
//! cargo run --example feed
//! cargo run --example feed -- --addr 127.0.0.1:9000 --rate 10
//! ```
//!
//! Every connection gets `{"tick":42,"price":101.52}`, `--rate` times a second (0: never), all of
//! them the same ticks. What a connection sends is printed and sent back to it unchanged.

#![expect(clippy::print_stderr, reason = "a program reports on stderr")]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket};

const USAGE: &str = "usage: feed [--addr HOST:PORT] [--rate TICKS_PER_SECOND]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("feed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let options = Options::from_args(std::env::args().skip(1))?;
    let listener = TcpListener::bind(&options.addr)
        .map_err(|error| format!("cannot listen at {}: {error}", options.addr))?;
    let pace = Pace::new(options.rate);
    say(&format!("ws://{}, {} ticks a second", listener.local_addr()?, options.rate));

    for stream in listener.incoming() {
        match stream {
            Ok(stream) => drop(thread::spawn(move || serve(stream, pace))),
            Err(error) => eprintln!("feed: a connection failed: {error}"),
        }
    }
    Ok(())
}

/// One connection, from its handshake to its end.
fn serve(stream: TcpStream, pace: Pace) {
    let Ok(peer) = stream.peer_addr() else { return };
    let _ = stream.set_nodelay(true);
    let mut socket = match tungstenite::accept(stream) {
        Ok(socket) => socket,
        Err(error) => return say(&format!("{peer} did not become a WebSocket: {error}")),
    };
    say(&format!("{peer} connected"));
    match talk(&mut socket, peer, pace) {
        Ok(()) | Err(tungstenite::Error::ConnectionClosed) => say(&format!("{peer} left")),
        Err(error) => say(&format!("{peer} lost: {error}")),
    }
}

/// Sends the ticks that are due, then listens until the next one is.
fn talk(
    socket: &mut WebSocket<TcpStream>,
    peer: SocketAddr,
    pace: Pace,
) -> Result<(), tungstenite::Error> {
    let mut next = pace.ticks_due();
    loop {
        let due = pace.ticks_due();
        for tick in next..due {
            socket.write(Message::text(tick_json(tick)))?;
        }
        next = due;
        socket.flush()?;

        socket.get_ref().set_read_timeout(Some(pace.wait_for(next)))?;
        match socket.read() {
            Ok(Message::Close(frame)) => {
                let why = frame.map_or_else(
                    || "no code".to_owned(),
                    |frame| format!("{} {}", frame.code, frame.reason),
                );
                say(&format!("{peer} closes: {why}"));
            }
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                say(&format!("{peer} sent {message}"));
                socket.send(message)?;
            }
            // Pings are answered by tungstenite itself.
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

struct Options {
    addr: String,
    rate: f64,
}

impl Options {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { addr: "127.0.0.1:9000".to_owned(), rate: 10.0 };
        while let Some(arg) = args.next() {
            match (arg.as_str(), args.next()) {
                ("--addr", Some(addr)) => options.addr = addr,
                ("--rate", Some(rate)) => options.rate = rate.parse().map_err(|_| USAGE)?,
                _ => return Err(USAGE.into()),
            }
        }
        let rate_is_usable = (0.0..=100_000.0).contains(&options.rate);
        if rate_is_usable { Ok(options) } else { Err("--rate is not between 0 and 100000".into()) }
    }
}

/// When ticks are due. The number of a tick follows from the time, so that all threads agree.
#[derive(Clone, Copy)]
struct Pace {
    started: Instant,
    rate: f64,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self { started: now(), rate }
    }

    /// How many ticks are due since the start.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
    fn ticks_due(self) -> u64 {
        (now().duration_since(self.started).as_secs_f64() * self.rate) as u64
    }

    /// How long until that many ticks and one more are due; never zero.
    #[expect(clippy::cast_precision_loss, reason = "exact for some thousand years")]
    fn wait_for(self, tick: u64) -> Duration {
        if self.rate == 0.0 {
            return Duration::from_hours(1);
        }
        // Low rates may ask for a wait that no clock can hold.
        let due = Duration::try_from_secs_f64((tick + 1) as f64 / self.rate);
        let due = due.unwrap_or(Duration::MAX);
        let wait = due.saturating_sub(now().duration_since(self.started));
        wait.clamp(Duration::from_micros(100), Duration::from_hours(1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a made-up price need not be exact")]
fn tick_json(tick: u64) -> String {
    let price = 100.0 + 10.0 * (tick as f64 / 20.0).sin();
    format!(r#"{{"tick":{tick},"price":{price:.2}}}"#)
}

#[expect(clippy::disallowed_methods, reason = "an example has a clock of its own")]
fn now() -> Instant {
    Instant::now()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Prints a line. That nobody reads it is no reason to stop serving.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
