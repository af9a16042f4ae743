//! A Unix socket client that only receives.
//!
//! ```sh
//! cargo run --example unix_client
//! cargo run --example unix_client -- /tmp/veylor.sock
//! ```
//!
//! A message on the socket is its length, 4 bytes big-endian, and then its payload. Each message is
//! a line on stdout; one that is not UTF-8 shows its length. The end of the stream is told on
//! stderr.

#![expect(clippy::print_stderr, reason = "a program reports on stderr")]

use std::error::Error;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/veylor.sock".to_owned());
    match receive(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unix_client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn receive(path: &str) -> Result<(), Box<dyn Error>> {
    let stream =
        UnixStream::connect(path).map_err(|error| format!("cannot connect to {path}: {error}"))?;
    let mut input = BufReader::new(stream);
    while let Some(payload) =
        read_message(&mut input).map_err(|error| format!("lost {path}: {error}"))?
    {
        let line = String::from_utf8(payload)
            .unwrap_or_else(|error| format!("<{} bytes>", error.as_bytes().len()));
        match writeln!(io::stdout(), "{line}") {
            // Whoever read our output (`| head`) has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            outcome => outcome?,
        }
    }
    eprintln!("unix_client: closed");
    Ok(())
}

/// The next message, `None` when the stream ends between two messages.
fn read_message(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = Vec::with_capacity(4);
    input.take(4).read_to_end(&mut length)?;
    let length = match <[u8; 4]>::try_from(length) {
        Ok(bytes) => u32::from_be_bytes(bytes),
        Err(bytes) if bytes.is_empty() => return Ok(None),
        Err(_) => return Err(ErrorKind::UnexpectedEof.into()),
    };
    // Memory grows with what arrives, not with what a broken length promises.
    let mut payload = Vec::new();
    input.take(length.into()).read_to_end(&mut payload)?;
    if payload.len() as u64 == u64::from(length) {
        Ok(Some(payload))
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}
