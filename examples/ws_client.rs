//! A WebSocket client that only receives.
//!
//! ```sh
//! cargo run --example ws_client
//! cargo run --example ws_client -- ws://127.0.0.1:8765
//! ```
//!
//! Each message is a line on stdout; binary ones show their length. When the connection is closed,
//! the code and the reason go to stderr.

#![expect(clippy::print_stderr, reason = "a program reports on stderr")]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use tungstenite::Message;

fn main() -> ExitCode {
    let url = std::env::args().nth(1).unwrap_or_else(|| "ws://127.0.0.1:8765".to_owned());
    match receive(&url) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ws_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn receive(url: &str) -> Result<(), Box<dyn Error>> {
    let (mut socket, _) =
        tungstenite::connect(url).map_err(|error| format!("cannot connect to {url}: {error}"))?;
    loop {
        let line = match socket.read() {
            Ok(Message::Text(text)) => text.to_string(),
            Ok(Message::Binary(bytes)) => format!("<{} bytes>", bytes.len()),
            Ok(Message::Close(frame)) => {
                let why = frame.map_or_else(
                    || "no code".to_owned(),
                    |frame| format!("{} {}", frame.code, frame.reason),
                );
                eprintln!("ws_client: closed: {why}");
                continue;
            }
            // Pings are answered by tungstenite itself.
            Ok(_) => continue,
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(format!("lost {url}: {error}").into()),
        };
        match writeln!(io::stdout(), "{line}") {
            // Whoever read our output (`| head`) has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome?,
        }
    }
}
