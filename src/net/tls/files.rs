//! Certificates and keys in PEM files. Reading them blocks.

use std::path::Path;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, RootCertStore};

use crate::net::certificate::{FileError, Identity};

/// Reads a certificate and its key, and finds out whether they belong together.
pub(super) fn certified_key(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, FileError> {
    let Identity { cert_file, key_file } = identity;
    let chain = certificates("cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| {
        let message = if let pem::Error::NoItemsFound = error {
            "has no private key in it that can be used (-----BEGIN PRIVATE KEY-----); one with a \
             password cannot"
                .to_owned()
        } else {
            unreadable(&error)
        };
        FileError::new("key_file", key_file, message)
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        TlsError::InconsistentKeys(_) => {
            let message = "does not belong to the certificate in cert_file; the first certificate \
                           there must be the key's own";
            FileError::new("key_file", key_file, message)
        }
        TlsError::InvalidCertificate(error) => {
            let message = format!("has a certificate that cannot be used ({error})");
            FileError::new("cert_file", cert_file, message)
        }
        other => {
            FileError::new("key_file", key_file, format!("has a key that cannot be used ({other})"))
        }
    })
}

/// Adds the authorities of a file to those that are trusted.
pub(super) fn add_roots(
    roots: &mut RootCertStore,
    key: &'static str,
    file: &Path,
) -> Result<(), FileError> {
    match roots.add_parsable_certificates(certificates(key, file)?) {
        (0, _) => Err(FileError::new(key, file, "has no certificate of an authority in it")),
        _ => Ok(()),
    }
}

fn certificates(key: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let certificates: Vec<_> =
        read.map_err(|error| FileError::new(key, file, unreadable(&error)))?;
    if certificates.is_empty() {
        let message = "has no certificate in it (-----BEGIN CERTIFICATE-----)";
        return Err(FileError::new(key, file, message));
    }
    Ok(certificates)
}

fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        other => format!("is not PEM: {other}"),
    }
}
