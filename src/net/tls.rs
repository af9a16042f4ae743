//! TLS towards sources (rustls).

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error as TlsError, RootCertStore};

/// How to recognise sources: the built-in roots and those of a file.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
}

/// Why authorities could not be read.
#[derive(Debug)]
pub enum RootsError {
    /// The file cannot be read, or is not PEM.
    Unreadable(PathBuf, rustls::pki_types::pem::Error),
    /// The file has no certificate that can be an authority.
    Empty(PathBuf),
}

/// A TLS connection over TCP. The handshake takes place while it is read and written.
pub struct TlsStream {
    socket: TcpStream,
    session: ClientConnection,
    /// What broke the session; plaintext from before it is handed out first.
    broken: Option<io::Error>,
}

impl TlsConnector {
    /// Trusts Mozilla's authorities and those of a PEM file.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, RootsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca_file {
            add_roots(&mut roots, path)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    /// Begins TLS on a connected socket. `host` is a name (sent as SNI) or an IP address.
    pub fn connect(&self, socket: TcpStream, host: &str) -> Result<TlsStream, InvalidDnsNameError> {
        let name = ServerName::try_from(host.to_owned())?;
        let session = ClientConnection::new(Arc::clone(&self.config), name)
            .expect("the configuration is complete");
        Ok(TlsStream { socket, session, broken: None })
    }
}

/// What is wrong and what to do about it, for the errors that people meet.
fn plain(error: &TlsError) -> String {
    let remedy = if let TlsError::InvalidCertificate(CertificateError::UnknownIssuer) = error {
        "; name its authority in ca_file if you trust it"
    } else if let TlsError::InvalidCertificate(CertificateError::Other(_)) = error {
        "; perhaps the service presents an authority's own certificate instead of one that the \
         authority has issued"
    } else if let TlsError::InvalidMessage(_) = error {
        "; perhaps this port does not speak TLS: is it ws://?"
    } else {
        ""
    };
    format!("{error}{remedy}")
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), RootsError> {
    let unreadable = |error| RootsError::Unreadable(path.to_owned(), error);
    let certificates = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(unreadable)?;
    match roots.add_parsable_certificates(certificates) {
        (0, _) => Err(RootsError::Empty(path.to_owned())),
        _ => Ok(()),
    }
}

impl TlsStream {
    /// The socket below.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Says goodbye in TLS and ends the writing side of the socket.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.session.send_close_notify();
        self.flush()?;
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
        let count = self.session.read_tls(&mut self.socket)?;
        let processed = self.session.process_new_packets();
        if let Err(error) = processed {
            // The alert tells the source; if it cannot be sent, the end of the stream must do.
            let _ = self.send();
            self.broken = Some(io::Error::new(io::ErrorKind::InvalidData, plain(&error)));
            return Ok(true);
        }
        Ok(count > 0)
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
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            let is_open = self.receive()?;
            self.answer()?;
            if !is_open {
                // Plaintext or a proper goodbye may have come with the end; else this is an error.
                return self.session.reader().read(buffer);
            }
        }
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

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => {
                write!(f, "cannot read authorities from {}: {error}", path.display())
            }
            Self::Empty(path) => {
                write!(f, "{} has no certificate of an authority", path.display())
            }
        }
    }
}

impl std::error::Error for RootsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, error) => Some(error),
            Self::Empty(_) => None,
        }
    }
}
