//! A Unix socket client that sends lines and prints what arrives.
//!
//! ```sh
//! cargo run --example unix_two_way
//! cargo run --example unix_two_way -- /tmp/veylor.sock
//! ```
//!
//! A message on the socket is its length, 4 bytes big-endian, and then its payload. Each line of
//! stdin is sent as a message (an empty line is not: a length of 0 is not valid); Veylor forwards
//! it to the source. Each message that arrives is a line on stdout; one that is not UTF-8 shows its
//! length. The end of stdin (Ctrl-D) ends the connection.

#![expect(clippy::print_stderr, reason = "a program reports on stderr")]

use std::error::Error;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/veylor.sock".to_owned());
    match talk(&path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unix_two_way: {error}");
            ExitCode::FAILURE
        }
    }
}

fn talk(path: &str) -> Result<(), Box<dyn Error>> {
    let stream =
        UnixStream::connect(path).map_err(|error| format!("cannot connect to {path}: {error}"))?;
    let mut input = BufReader::new(stream.try_clone()?);
    // Reading stdin blocks, so it has a thread of its own; a stream works both ways at once.
    thread::spawn(move || {
        if let Err(error) = send_lines(&stream) {
            eprintln!("unix_two_way: cannot send: {error}");
        }
        let _ = stream.shutdown(Shutdown::Write);
    });
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
    eprintln!("unix_two_way: closed");
    Ok(())
}

fn send_lines(mut stream: &UnixStream) -> io::Result<()> {
    for line in io::stdin().lines() {
        let line = line?;
        if !line.is_empty() {
            stream.write_all(&framed(line.as_bytes())?)?;
        }
    }
    Ok(())
}

/// The length, then the payload: one buffer, so that they leave in one write.
fn framed(payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).map_err(|_| ErrorKind::InvalidInput)?;
    Ok([&length.to_be_bytes(), payload].concat())
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
