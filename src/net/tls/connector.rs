//! TLS towards sources: whom we trust, and who we are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::TcpStream;
use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error as TlsError,
    OtherError, RootCertStore, SignatureScheme,
};
use webpki::EndEntityCert;

use super::acceptor::warning;
use super::words::{Appeal, Distrust};
use super::{TlsStream, files};
use crate::net::certificate::{FileError, Fingerprint, Trust};

/// How to recognise a source, and what to show it.
#[derive(Clone, Debug)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    answer: Arc<Answer>,
    server_name: Option<String>,
    warning: Option<String>,
}

/// What a source gets that asks for a certificate of ours.
#[derive(Debug)]
pub(super) struct Answer {
    key: Option<Arc<CertifiedKey>>,
    was_asked: AtomicBool,
}

impl TlsConnector {
    /// Reads the files that a source's settings name. Blocks.
    pub fn read(trust: &Trust) -> Result<Self, FileError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = trust.identity.as_ref();
        let key = key.map(|identity| files::certified_key(identity, &provider)).transpose()?;
        let own = key.as_ref().and_then(|key| key.cert.first());
        let warning = own.and_then(|own| warning(own, UnixTime::now()));
        let verifier = verifier(trust, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring speaks the default versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let answer = Arc::new(Answer { key: key.map(Arc::new), was_asked: AtomicBool::new(false) });
        let config = builder.with_client_cert_resolver(Arc::clone(&answer) as _);
        let server_name = trust.server_name.clone();
        Ok(Self { config: Arc::new(config), answer, server_name, warning })
    }

    /// What our own certificate will soon be refused for, or is refused for already.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Begins TLS on a connected socket. `host` is the name of the source, sent as SNI, or an IP
    /// address, unless the settings have another.
    pub fn connect(&self, socket: TcpStream, host: &str) -> Result<TlsStream, String> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{name} is no name for TLS"))?;
        let session = ClientConnection::new(Arc::clone(&self.config), server)
            .map_err(|error| error.to_string())?;
        let answer = Some(Arc::clone(&self.answer));
        Ok(TlsStream::new(socket, session.into(), answer))
    }
}

impl Answer {
    pub(super) fn appeal(&self) -> Appeal {
        match (self.was_asked.load(Ordering::Relaxed), &self.key) {
            (false, _) => Appeal::None,
            (true, None) => Appeal::Unanswered,
            (true, Some(_)) => Appeal::Answered,
        }
    }
}

impl ResolvesClientCert for Answer {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        self.key.is_some()
    }
}

fn verifier(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Verifier, FileError> {
    let algorithms = provider.signature_verification_algorithms;
    if let Some(pin) = trust.fingerprint {
        return Ok(Verifier { trusted: Trusted::Pinned(pin), algorithms });
    }
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &trust.ca_file {
        files::add_roots(&mut roots, "ca_file", file)?;
    }
    let chains = WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
        .build()
        .expect("there are roots and no revocation lists");
    Ok(Verifier { trusted: Trusted::Chained(chains), algorithms })
}

/// Tells whether a source is the one we mean. Whatever its certificate is recognised by, it must show
/// with the handshake's signature that it holds the key.
#[derive(Debug)]
struct Verifier {
    trusted: Trusted,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The certificates that are trusted.
#[derive(Debug)]
enum Trusted {
    /// Those of a known authority for the source's name, as everyone trusts them.
    Chained(Arc<WebPkiServerVerifier>),
    /// One certificate.
    ///
    /// This is sound without authorities, names and dates: these tell whether a certificate belongs
    /// to the one we mean, and the user has said so of this one. Its digest is compared whole, so
    /// that no other certificate can stand in for it, and nobody who merely has a copy of it can
    /// sign with its key.
    Pinned(Fingerprint),
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        match &self.trusted {
            Trusted::Chained(chains) => chains
                .verify_server_cert(own, intermediates, name, ocsp_response, now)
                .map_err(|error| match error {
                    TlsError::InvalidCertificate(cause) => with_remedy(cause, own),
                    other => other,
                }),
            Trusted::Pinned(pin) => match fingerprint(own) {
                found if found == *pin => Ok(ServerCertVerified::assertion()),
                found => Err(distrust(Distrust::NotPinned { found })),
            },
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, own, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, own, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The same error, with the fingerprint where pinning helps.
fn with_remedy(cause: CertificateError, own: &CertificateDer<'_>) -> TlsError {
    let has_issued_itself = |own: EndEntityCert<'_>| own.issuer() == own.subject();
    match &cause {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            distrust(Distrust::Nameless { fingerprint: fingerprint(own) })
        }
        // Its issuer is known: it is in ca_file.
        CertificateError::NotValidForNameContext { .. } => TlsError::InvalidCertificate(cause),
        _ if EndEntityCert::try_from(own).is_ok_and(has_issued_itself) => {
            distrust(Distrust::SelfSigned { cause, fingerprint: fingerprint(own) })
        }
        _ => TlsError::InvalidCertificate(cause),
    }
}

fn distrust(why: Distrust) -> TlsError {
    TlsError::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))))
}

fn fingerprint(certificate: &CertificateDer<'_>) -> Fingerprint {
    let digest = digest::digest(&digest::SHA256, certificate);
    Fingerprint::new(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
}
