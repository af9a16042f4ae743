//! TLS towards clients: who we are, and whom we let in.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use ring::digest;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, RootCertStore, ServerConfig, ServerConnection};
use webpki::{EndEntityCert, KeyUsage};

use super::{TlsStream, files, words};
use crate::net::certificate::{FileError, Guard};

/// The protocol of every client, for those that ask before they begin (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// A certificate that ends within this time is warned of.
const NOTICE: Duration = Duration::from_hours(14 * 24);

/// Meets the clients of an endpoint in TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct TlsAcceptor {
    config: Arc<ServerConfig>,
    /// Of everything that was read, to find out whether it has changed.
    digest: Vec<u8>,
    warning: Option<String>,
}

impl TlsAcceptor {
    /// Reads a certificate, its key, and the authorities of clients. Blocks.
    pub fn read(guard: &Guard) -> Result<Self, FileError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = files::certified_key(&guard.identity, &provider)?;
        let warning = key.cert.first().and_then(|own| warning(own, UnixTime::now()));
        // The key needs no place in it: it belongs to the certificate.
        let mut digest = digest::Context::new(&digest::SHA256);
        key.cert.iter().for_each(|certificate| digest.update(certificate));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions");
        let builder = match guard.client_ca_file.as_deref() {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                files::add_roots(&mut roots, "client_ca_file", file)?;
                for root in &roots.roots {
                    digest.update(&root.subject);
                    digest.update(&root.subject_public_key_info);
                    digest.update(root.name_constraints.as_deref().unwrap_or_default());
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                let verifier: Arc<dyn ClientCertVerifier> =
                    verifier.build().expect("there are roots and no revocation lists");
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.alpn_protocols.push(ALPN.to_vec());
        let digest = digest.finish().as_ref().to_vec();
        Ok(Self { config: Arc::new(config), digest, warning })
    }

    /// What its certificate will soon be refused for, or is refused for already.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Begins TLS with a client that has connected.
    pub fn accept(&self, socket: TcpStream) -> TlsStream {
        let session = ServerConnection::new(Arc::clone(&self.config))
            .expect("the configuration asks for no fragments");
        TlsStream::new(socket, session.into(), None)
    }
}

/// What peers hold against a certificate of ours at a time, or will soon.
pub(super) fn warning(own: &CertificateDer<'_>, now: UnixTime) -> Option<String> {
    if let Some(cause) = untimely(own, now) {
        return Some(words::of_own(&cause));
    }
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs()) + NOTICE);
    untimely(own, later).map(|cause| words::of_ending(&cause, now))
}

/// Why a certificate does not hold at a time, if it does not.
fn untimely(own: &CertificateDer<'_>, time: UnixTime) -> Option<CertificateError> {
    let certificate = EndEntityCert::try_from(own).ok()?;
    // Its dates are looked at first; that there are no authorities here is found out after that.
    let verified =
        certificate.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None);
    match verified.err()? {
        webpki::Error::CertExpired { time, not_after } => {
            Some(CertificateError::ExpiredContext { time, not_after })
        }
        webpki::Error::CertNotValidYet { time, not_before } => {
            Some(CertificateError::NotValidYetContext { time, not_before })
        }
        _ => None,
    }
}

impl PartialEq for TlsAcceptor {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TlsAcceptor {}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}
