//! What stands in for TLS in a program that was built without it: nothing of it can exist.

use std::convert::Infallible;
use std::io::{self, Read, Write};

use mio::net::TcpStream;

use super::certificate::{FileError, Guard, Trust};

/// Nobody: clients are not met in TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsAcceptor(Infallible);

/// Nobody: sources are not dialled in TLS.
#[derive(Clone, Debug)]
pub struct TlsConnector(Infallible);

/// No connection.
#[derive(Debug)]
pub struct TlsStream(Infallible);

/// What is said instead of doing it.
const ABSENT: &str = "this veylor was built without TLS";

impl TlsAcceptor {
    /// Refuses.
    pub fn read(guard: &Guard) -> Result<Self, FileError> {
        Err(FileError::new("cert_file", &guard.identity.cert_file, ABSENT))
    }

    /// Never comes to it.
    pub fn warning(&self) -> Option<&str> {
        match self.0 {}
    }

    /// Never comes to it.
    pub fn accept(&self, _: TcpStream) -> TlsStream {
        match self.0 {}
    }
}

impl TlsConnector {
    /// Refuses.
    pub fn read(_: &Trust) -> Result<Self, FileError> {
        Err(FileError::new("url", "wss".as_ref(), ABSENT))
    }

    /// Never comes to it.
    pub fn warning(&self) -> Option<&str> {
        match self.0 {}
    }

    /// Never comes to it.
    pub fn connect(&self, _: TcpStream, _: &str) -> Result<TlsStream, String> {
        match self.0 {}
    }
}

impl TlsStream {
    pub(super) fn socket(&self) -> &TcpStream {
        match self.0 {}
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        match self.0 {}
    }

    pub(super) fn is_securing(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}

impl Read for TlsStream {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }
}

impl Write for TlsStream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0 {}
    }
}
