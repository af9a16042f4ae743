//! The operator's Unix door, from the outside: how a command asks a running relay.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Type};

use super::Failure;

/// Where a relay's door is unless `--socket` says otherwise.
pub(super) const DEFAULT_SOCKET: &str = "/run/veylor/admin.sock";
/// A relay that turns answers in no time.
const TIMEOUT: Duration = Duration::from_secs(5);
/// It may have to read files and ask name servers first.
const WORK_TIMEOUT: Duration = Duration::from_mins(1);

/// Which relay is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Socket {
    /// The relay's `admin.unix_socket_path`
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

impl Socket {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.socket
    }

    /// What the relay answers to a question.
    pub(super) fn get(&self, path: &str) -> Result<String, Failure> {
        self.ask("GET", path, b"", TIMEOUT)
    }

    /// What the relay answers to a wish.
    pub(super) fn post(&self, path: &str, body: &[u8]) -> Result<String, Failure> {
        self.ask("POST", path, body, TIMEOUT)
    }

    /// What the relay answers when it has done some work.
    pub(super) fn post_and_wait(&self, path: &str) -> Result<String, Failure> {
        self.ask("POST", path, b"", WORK_TIMEOUT)
    }

    /// The lines that the relay sends until it ends or this end is dropped.
    pub(super) fn lines(&self, path: &str) -> Result<BufReader<UnixStream>, Failure> {
        let mut stream = self.connect(TIMEOUT)?;
        let mut answer = self.request(&mut stream, "GET", path, b"")?;
        let status = self.head(&mut answer)?;
        if status != 200 {
            return Err(self.refused(status, &self.rest(answer)?));
        }
        // From here on it speaks when there is something to tell.
        stream.set_read_timeout(None).map_err(|error| self.unreachable(error))?;
        Ok(answer)
    }

    fn ask(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        timeout: Duration,
    ) -> Result<String, Failure> {
        let mut stream = self.connect(timeout)?;
        let mut answer = self.request(&mut stream, method, path, body)?;
        let status = self.head(&mut answer)?;
        let text = self.rest(answer)?;
        match status {
            200..=299 => Ok(text),
            _ => Err(self.refused(status, &text)),
        }
    }

    fn rest(&self, mut answer: impl Read) -> Result<String, Failure> {
        let mut text = String::new();
        answer.read_to_string(&mut text).map_err(|error| self.unreachable(error))?;
        Ok(text)
    }

    /// Connects. Neither that nor a read or a write waits longer than `timeout`.
    fn connect(&self, timeout: Duration) -> Result<UnixStream, Failure> {
        connected(&self.socket, timeout).map_err(|error| self.unreachable(error))
    }

    fn request(
        &self,
        stream: &mut UnixStream,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<BufReader<UnixStream>, Failure> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: veylor\r\nConnection: close\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let answer = sent.and_then(|()| stream.try_clone());
        answer.map(BufReader::new).map_err(|error| self.unreachable(error))
    }

    /// Reads past the head of an answer. Its status.
    fn head(&self, answer: &mut impl BufRead) -> Result<u16, Failure> {
        let status_line = self.line(answer)?;
        while !self.line(answer)?.trim_end().is_empty() {}
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.ok_or_else(|| self.unreachable(io::ErrorKind::UnexpectedEof.into()))
    }

    fn line(&self, answer: &mut impl BufRead) -> Result<String, Failure> {
        let mut line = String::new();
        answer.read_line(&mut line).map_err(|error| self.unreachable(error))?;
        Ok(line)
    }

    fn unreachable(&self, error: io::Error) -> Failure {
        let path = self.socket.display();
        // What may not take longer ends with the one or the other.
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Failure::Refused(format!(
                "the relay at {path} does not answer in time; it hangs, or is stopped"
            ));
        }
        Failure::System(
            format!(
                "no relay answers at {path}; is it running, with admin.unix_socket_path, and is \
                 it yours? --socket names another"
            ),
            error,
        )
    }

    fn refused(&self, status: u16, text: &str) -> Failure {
        let (path, text) = (self.socket.display(), text.trim_end());
        Failure::Refused(format!("the relay at {path} says {status}: {text}"))
    }
}

/// The time to write is set first: it is also how long Linux waits for room in the queue of a
/// listener that accepts nobody.
fn connected(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(timeout))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}
