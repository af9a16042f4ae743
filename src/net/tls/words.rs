//! What is wrong in TLS and what to do about it, in words for people.

use std::fmt;
use std::time::{Duration, SystemTime};

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error as TlsError};

use crate::net::certificate::Fingerprint;

/// 2020-01-01. No machine that runs this program lives before it: its clock was never set.
const EARLIEST_TIME: UnixTime = UnixTime::since_unix_epoch(Duration::from_hours(18_262 * 24));

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Whether a source has asked for a certificate of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Appeal {
    /// It has not.
    None,
    /// It has, and we have none.
    Unanswered,
    /// It has, and got ours.
    Answered,
}

/// Why a source is not trusted, where its certificate must be seen to say what to do.
#[derive(Debug)]
pub(super) enum Distrust {
    /// It has issued its certificate itself.
    SelfSigned { cause: CertificateError, fingerprint: Fingerprint },
    /// Its certificate names nobody, as those of old devices do.
    Nameless { fingerprint: Fingerprint },
    /// It is not the one certificate that was pinned.
    NotPinned { found: Fingerprint },
}

/// What went wrong with a source.
pub(super) fn of_source(error: &TlsError, appeal: Appeal) -> String {
    match error {
        TlsError::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<Distrust>() {
                Some(distrust) => distrust.to_string(),
                None => format!(
                    "{error}; perhaps the service presents an authority's own certificate instead \
                     of one that the authority has issued"
                ),
            }
        }
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is from an unknown authority; name that in ca_file if you trust it"
                .to_owned()
        }
        TlsError::InvalidCertificate(cause) => of_certificate(cause),
        TlsError::InvalidMessage(_) => {
            format!("{error}; perhaps this port does not speak TLS: is it ws://?")
        }
        TlsError::PeerIncompatible(_)
        | TlsError::AlertReceived(AlertDescription::ProtocolVersion) => {
            format!("{error}; it must speak TLS 1.2 or 1.3")
        }
        TlsError::AlertReceived(AlertDescription::UnrecognisedName) => {
            "it does not know the name that it was asked for; see server_name".to_owned()
        }
        TlsError::AlertReceived(alert) if is_about_certificate(*alert) => {
            of_closed_door(appeal).unwrap_or_else(|| error.to_string())
        }
        other => other.to_string(),
    }
}

/// Why a source that asked for a certificate may have refused us, `None` if it did not ask.
pub(super) fn of_closed_door(appeal: Appeal) -> Option<String> {
    match appeal {
        Appeal::None => None,
        Appeal::Unanswered => {
            Some("it asks for a certificate of ours; set cert_file and key_file".to_owned())
        }
        Appeal::Answered => Some("it does not take our certificate; see cert_file".to_owned()),
    }
}

/// What went wrong with a client.
pub(super) fn of_client(error: &TlsError) -> String {
    match error {
        TlsError::NoCertificatesPresented => {
            "showed no certificate, and client_ca_file asks for one".to_owned()
        }
        TlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is not from an authority of client_ca_file".to_owned()
        }
        TlsError::InvalidCertificate(cause) => of_certificate(cause),
        TlsError::AlertReceived(alert) if is_about_certificate(*alert) => {
            format!("does not trust our certificate ({alert:?}); see cert_file")
        }
        TlsError::InvalidMessage(_) => "speaks no TLS".to_owned(),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate of our own, as its peers would see it.
pub(super) fn of_own(cause: &CertificateError) -> String {
    of_certificate(cause).replacen("its certificate", "the certificate", 1)
}

/// What will be wrong with a certificate of our own.
pub(super) fn of_ending(cause: &CertificateError, now: UnixTime) -> String {
    match cause {
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "the certificate expires in {} ({}): renew it",
            Span::between(now, *not_after),
            Date(*not_after)
        ),
        other => of_own(other),
    }
}

fn of_certificate(cause: &CertificateError) -> String {
    match cause {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "its certificate expired {} ago ({}) and must be renewed, if this machine's clock is \
             right ({})",
            Span::between(*not_after, *time),
            Date(*not_after),
            Date(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } if *time < EARLIEST_TIME => {
            format!(
                "its certificate is valid from {} on, and this machine's clock says {}: set the \
                 clock",
                Date(*not_before),
                Date(*time)
            )
        }
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "its certificate is not valid for another {} (until {}), if this machine's clock is \
             right ({})",
            Span::between(*time, *not_before),
            Date(*not_before),
            Date(*time)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<_> = presented.iter().map(|name| bare_name(name)).collect();
            format!(
                "its certificate is for {} and not for {}; if that is the right service, set \
                 server_name: {}",
                names.join(", "),
                expected.to_str(),
                names.first().copied().unwrap_or_default()
            )
        }
        CertificateError::BadSignature => "a signature is not right: its authority has but the \
             name of one that is trusted, or it has not the key to its certificate"
            .to_owned(),
        other => format!("its certificate is not right: {other}"),
    }
}

/// The name in `DnsName("example.com")`, or in `IpAddress(127.0.0.1)`.
fn bare_name(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, rest)| rest);
    inner.trim_end_matches(')').trim_matches('"')
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned { cause, fingerprint } => {
                let is_dated = matches!(
                    cause,
                    CertificateError::ExpiredContext { .. }
                        | CertificateError::NotValidYetContext { .. }
                );
                let other = if is_dated {
                    of_certificate(cause) + ", and"
                } else {
                    "its certificate".to_owned()
                };
                write!(
                    f,
                    "{other} is self-signed; if that is your device, pin it: fingerprint: \
                     \"{fingerprint}\""
                )
            }
            Self::Nameless { fingerprint } => write!(
                f,
                "its certificate names nobody (subjectAltName); if that is your device, pin it: \
                 fingerprint: \"{fingerprint}\""
            ),
            Self::NotPinned { found } => write!(
                f,
                "its certificate is not the pinned one; if it was renewed, and only then, set \
                 fingerprint: \"{found}\""
            ),
        }
    }
}

impl std::error::Error for Distrust {}

/// A day, as in `2026-11-20`.
struct Date(UnixTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.0.as_secs()));
        let text = time.map(|time| humantime::format_rfc3339_seconds(time).to_string());
        f.write_str(text.as_deref().and_then(|text| text.split('T').next()).unwrap_or("?"))
    }
}

/// A time span in its largest unit.
struct Span(u64);

impl Span {
    fn between(from: UnixTime, to: UnixTime) -> Self {
        Self(to.as_secs().saturating_sub(from.as_secs()))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")];
        let unit = units.into_iter().find(|(seconds, _)| self.0 >= *seconds);
        let (seconds, name) = unit.unwrap_or((1, "second"));
        let count = self.0 / seconds;
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {name}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::ServerName;

    use super::*;

    /// 2026-11-20, noon.
    const NOW: u64 = 1_795_176_000;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn of_bad_certificate(cause: CertificateError) -> String {
        of_source(&TlsError::InvalidCertificate(cause), Appeal::None)
    }

    #[test]
    fn expired_certificate_is_told_with_its_age() {
        let expired = |ago: u64| {
            let cause =
                CertificateError::ExpiredContext { time: at(NOW), not_after: at(NOW - ago) };
            of_bad_certificate(cause)
        };
        assert_eq!(
            expired(3 * DAY),
            "its certificate expired 3 days ago (2026-11-17) and must be renewed, if this \
             machine's clock is right (2026-11-20)"
        );
        assert!(expired(HOUR + 1).contains("expired 1 hour ago"));
        assert!(expired(0).contains("expired 0 seconds ago"));
    }

    #[test]
    fn clock_that_was_never_set_is_recognised() {
        let early = |time: u64| {
            let cause =
                CertificateError::NotValidYetContext { time: at(time), not_before: at(NOW) };
            of_bad_certificate(cause)
        };
        assert_eq!(
            early(77),
            "its certificate is valid from 2026-11-20 on, and this machine's clock says \
             1970-01-01: set the clock"
        );
        assert!(
            early(NOW - 2 * DAY).contains("is not valid for another 2 days (until 2026-11-20)")
        );
    }

    #[test]
    fn wrong_name_is_told_with_the_right_one() {
        let cause = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("localhost").unwrap(),
            presented: vec!["DnsName(\"a.example\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()],
        };
        assert_eq!(
            of_bad_certificate(cause),
            "its certificate is for a.example, 10.0.0.1 and not for localhost; if that is the \
             right service, set server_name: a.example"
        );
    }

    #[test]
    fn remedy_for_a_self_signed_certificate_is_its_fingerprint() {
        let fingerprint = Fingerprint::new([0xAB; 32]);
        let told = |cause| Distrust::SelfSigned { cause, fingerprint }.to_string();
        let pin = format!("if that is your device, pin it: fingerprint: \"{fingerprint}\"");
        assert_eq!(
            told(CertificateError::UnknownIssuer),
            format!("its certificate is self-signed; {pin}")
        );
        let expired = CertificateError::ExpiredContext { time: at(NOW), not_after: at(NOW - DAY) };
        let told = told(expired);
        assert!(told.starts_with("its certificate expired 1 day ago"), "{told}");
        assert!(told.ends_with(&format!(", and is self-signed; {pin}")), "{told}");
    }
}
