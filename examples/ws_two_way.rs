//! A WebSocket client that sends lines and prints what arrives.
//!
//! ```sh
//! cargo run --example ws_two_way
//! cargo run --example ws_two_way -- ws://127.0.0.1:8765
//! ```
//!
//! Each line of stdin is sent as a text message; Veylor forwards it to the source. Each message
//! that arrives is a line on stdout; binary ones show their length. The end of stdin (Ctrl-D)
//! closes the connection. The code and the reason of the close go to stderr.

#![expect(clippy::print_stderr, reason = "a program reports on stderr")]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

type Socket = WebSocket<MaybeTlsStream<std::net::TcpStream>>;

/// A blocking socket cannot wait for stdin too, so it looks there this often.
const LOOK_AT_STDIN: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8765".to_owned());
    match talk(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ws_two_way: {error}");
            ExitCode::FAILURE
        }
    }
}

fn talk(url: &str) -> Result<(), Box<dyn Error>> {
    let (mut socket, _) =
        tungstenite::connect(url).map_err(|error| format!("cannot connect to {url}: {error}"))?;
    if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
        stream.set_read_timeout(Some(LOOK_AT_STDIN))?;
    }
    let lines = lines_of_stdin();
    loop {
        send_lines(&mut socket, &lines).map_err(|error| format!("lost {url}: {error}"))?;
        let line = match socket.read() {
            Ok(Message::Text(text)) => text.to_string(),
            Ok(Message::Binary(bytes)) => format!("<{} bytes>", bytes.len()),
            Ok(Message::Close(frame)) => {
                let why = frame.map_or_else(
                    || "no code".to_owned(),
                    |frame| format!("{} {}", frame.code, frame.reason),
                );
                eprintln!("ws_two_way: closed: {why}");
                continue;
            }
            // Pings are answered by tungstenite itself.
            Ok(_) => continue,
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(tungstenite::Error::Io(error)) if is_timeout(&error) => continue,
            Err(error) => return Err(format!("lost {url}: {error}").into()),
        };
        match writeln!(io::stdout(), "{line}") {
            // Whoever read our output (`| head`) has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome?,
        }
    }
}

/// Sends the lines typed so far; after the last one, begins the close handshake.
fn send_lines(socket: &mut Socket, lines: &Receiver<String>) -> Result<(), tungstenite::Error> {
    while socket.can_write() {
        match lines.try_recv() {
            Ok(line) => socket.send(Message::text(line))?,
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => {
                let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                return socket.close(Some(goodbye));
            }
        }
    }
    Ok(())
}

/// The lines of stdin, read by a thread of its own, since reading them blocks.
fn lines_of_stdin() -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
