//! What certificates are known by: the files they lie in, and the fingerprint of one.

use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of a SHA-256.
const DIGEST_BYTES: usize = 32;

/// The SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; DIGEST_BYTES]);

/// A certificate and the key that belongs to it: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate first, then those that lead to its authority.
    pub cert_file: PathBuf,
    /// The private key, without a password.
    pub key_file: PathBuf,
}

/// How an endpoint shows who it is, and whom it lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What clients see.
    pub identity: Identity,
    /// A PEM file of authorities. Only clients with a certificate of theirs are let in.
    pub client_ca_file: Option<PathBuf>,
}

/// How a source is recognised, and what we show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// A PEM file of private authorities, trusted besides the built-in roots.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, if the source asks for one.
    pub identity: Option<Identity>,
    /// The name that its certificate must have, if it is not the url's host.
    pub server_name: Option<String>,
    /// The one certificate that is trusted, whoever issued it and whatever it names.
    pub fingerprint: Option<Fingerprint>,
}

impl Trust {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        let identity =
            self.identity.clone().map(|Identity { cert_file, key_file }| [cert_file, key_file]);
        self.ca_file.clone().into_iter().chain(identity.into_iter().flatten())
    }
}

/// Why a file of certificates or keys is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The key of the configuration that names the file.
    pub key: &'static str,
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it, and what to do about it.
    pub message: String,
}

impl Fingerprint {
    /// A digest that was made of a certificate.
    pub fn new(digest: [u8; DIGEST_BYTES]) -> Self {
        Self(digest)
    }

    /// Reads 32 bytes in hexadecimal: `AB:CD:…`, or without colons, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let has_colons = text.contains(':');
        let is_grouped = !has_colons || text.split(':').all(|pair| pair.len() == 2);
        let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16)?).ok();
        let (pairs, []) = digits.as_chunks() else { return None };
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        let bytes: Option<Vec<u8>> = pairs.iter().map(byte).collect();
        bytes?.try_into().ok().filter(|_| is_grouped).map(Self)
    }
}

impl FileError {
    pub(super) fn new(key: &'static str, file: &Path, message: impl Into<String>) -> Self {
        Self { key, file: file.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.key, self.file.display(), self.message)
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_in_every_usual_form() {
        let digest: [u8; DIGEST_BYTES] =
            std::array::from_fn(|n| u8::try_from(n * 7 % 256).unwrap());
        let fingerprint = Fingerprint::new(digest);
        let shown = fingerprint.to_string();
        assert!(shown.starts_with("00:07:0E:15:"), "{shown}");
        for text in [shown.clone(), shown.to_lowercase(), shown.replace(':', "")] {
            assert_eq!(Fingerprint::parse(&text), Some(fingerprint), "{text}");
        }
        let short = &shown[..shown.len() - 3];
        for wrong in ["", "AB:CD", short, &shown.replace("07", "0G"), &shown.replacen(':', "", 1)] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }
}
