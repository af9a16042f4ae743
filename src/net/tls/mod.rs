//! TLS in both directions (rustls): towards sources, and towards clients.
//!
//! The stream is the same for both: a session that turns what the socket has into plaintext and
//! back. Who is trusted and what is shown is the business of `connector` and `acceptor`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the errors of others have many variants, and will have more"
)]

mod acceptor;
mod connector;
mod files;
mod words;

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{Connection, Error as TlsError};

pub use self::acceptor::TlsAcceptor;
use self::connector::Answer;
pub use self::connector::TlsConnector;
use self::words::Appeal;

/// Bytes that are encrypted ahead of what the socket takes. As many can be missing from what the
/// relay counts as unsent.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// Ciphertext is taken in so often for one read. A peer that sends records without content would
/// keep us in it for ever.
const MAX_RECEIPTS: usize = 16;

/// What is answered to who speaks HTTP without TLS.
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 45\r\n\r\n\
    this port speaks TLS: use wss:// or https://\n";

/// A TLS connection over TCP. The handshake takes place while it is read and written.
pub struct TlsStream {
    socket: TcpStream,
    session: Connection,
    /// The first byte that the peer sent.
    first: Option<u8>,
    /// What a source was told that asked for a certificate of ours.
    answer: Option<Arc<Answer>>,
    /// Plaintext has come.
    is_heard: bool,
    /// What broke the session; plaintext from before it is handed out first.
    broken: Option<io::Error>,
}

/// The socket's reading side, which remembers the first byte that came.
struct Incoming<'a> {
    socket: &'a mut TcpStream,
    first: &'a mut Option<u8>,
}

impl TlsStream {
    fn new(socket: TcpStream, mut session: Connection, answer: Option<Arc<Answer>>) -> Self {
        session.set_buffer_limit(Some(MAX_HELD_BYTES));
        Self { socket, session, first: None, answer, is_heard: false, broken: None }
    }

    /// The socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The socket below.
    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether a client's handshake is under way: what it says next takes much computing.
    pub(super) fn is_securing(&self) -> bool {
        matches!(self.session, Connection::Server(_)) && self.session.is_handshaking()
    }

    /// Says goodbye in TLS and ends the writing side of the socket.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        // Who speaks no TLS could not understand it.
        if !self.speaks_http() {
            self.session.send_close_notify();
            self.flush()?;
        }
        self.socket.shutdown(Shutdown::Write)
    }

    /// Sends what rustls holds, as much as the socket takes.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Takes ciphertext in. `Ok(false)` is the end of the stream.
    fn receive(&mut self) -> io::Result<bool> {
        let mut incoming = Incoming { socket: &mut self.socket, first: &mut self.first };
        let count = self.session.read_tls(&mut incoming)?;
        if let Err(error) = self.session.process_new_packets() {
            self.broken = Some(self.explained(&error));
            return Ok(true);
        }
        Ok(count > 0)
    }

    /// Tells the peer what is wrong, if it still hears it, and finds words for it.
    fn explained(&mut self, error: &TlsError) -> io::Error {
        if self.speaks_http() {
            let _ = self.socket.write_all(PLAIN_ANSWER);
            let words = "spoke HTTP without TLS; it must use wss:// or https://";
            return io::Error::new(io::ErrorKind::InvalidData, words);
        }
        // The alert tells the peer; if it cannot be sent, the end of the stream must do.
        let _ = self.send();
        match self.session {
            Connection::Client(_) => {
                io::Error::new(io::ErrorKind::InvalidData, words::of_source(error, self.appeal()))
            }
            Connection::Server(_) => {
                let kind = match error {
                    TlsError::NoCertificatesPresented | TlsError::InvalidCertificate(_) => {
                        io::ErrorKind::PermissionDenied
                    }
                    _ => io::ErrorKind::InvalidData,
                };
                io::Error::new(kind, words::of_client(error))
            }
        }
    }

    fn appeal(&self) -> Appeal {
        self.answer.as_ref().map_or(Appeal::None, |answer| answer.appeal())
    }

    /// What rustls has decrypted. The end comes without a goodbye, and at once, from sources that ask
    /// for a certificate and do not get it.
    fn decrypted(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.session.reader().read(buffer);
        self.is_heard |= matches!(read, Ok(1..));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !self.is_heard => {
                let words = words::of_closed_door(self.appeal());
                Err(words.map_or(error, |words| io::Error::new(io::ErrorKind::InvalidData, words)))
            }
            read => read,
        }
    }

    /// Whether a client has begun with a letter: an HTTP method does, and no TLS record.
    fn speaks_http(&self) -> bool {
        self.is_securing() && self.first.is_some_and(|first| first.is_ascii_uppercase())
    }

    /// Lets the handshake answer what has arrived.
    fn answer(&mut self) -> io::Result<()> {
        match self.send() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            result => result,
        }
    }
}

impl Read for TlsStream {
    /// Reads plaintext. `Interrupted`: much has come in, and others shall have their turn before
    /// this is called again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for _ in 0..MAX_RECEIPTS {
            match self.decrypted(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            let is_open = self.receive()?;
            if self.broken.is_some() {
                continue;
            }
            self.answer()?;
            if !is_open {
                // Plaintext or a proper goodbye may have come with the end; else this is an error.
                return self.decrypted(buffer);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.send()?;
        let count = self.session.writer().write_vectored(parts)?;
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.answer()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl Read for Incoming<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        if count > 0 && self.first.is_none() {
            *self.first = Some(buffer[0]);
        }
        Ok(count)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}
