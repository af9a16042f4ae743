//! What a configuration says of TLS, towards clients and towards sources. Reads the files it names,
//! so that a wrong one is told before anything is changed.

use std::path::PathBuf;

use super::build::Builder;
use super::input::{TlsInput, TrustInput};
use super::problem::KeyPath;
use super::settings::EndpointTls;
use super::target;
use super::template::{Fillings, Template};
use crate::net::certificate::{FileError, Guard, Identity, Trust};
use crate::net::tls::{TlsAcceptor, TlsConnector};

impl Builder<'_> {
    /// How the guests of an endpoint are met.
    pub(super) fn endpoint_tls(
        &mut self,
        path: &KeyPath,
        input: Option<&TlsInput>,
    ) -> Option<EndpointTls> {
        let input = input?;
        if !cfg!(feature = "tls") {
            let message = "needs a veylor that was built with the feature `tls`";
            self.problems.add(path.clone(), message);
            return None;
        }
        for (key, file) in [("cert_file", &input.cert), ("key_file", &input.key)] {
            if file.is_none() && !self.problems.mention(&path.key(key)) {
                let message = format!("is missing, such as /etc/veylor/{key}.pem");
                self.problems.add(path.key(key), message);
            }
        }
        let identity = identity(input.cert.clone()?, input.key.clone()?);
        let guard = Guard { identity, client_ca_file: input.client_ca.clone() };
        let acceptor = self.read(path, TlsAcceptor::read(&guard))?;
        self.warn_of(path, acceptor.warning());
        Some(EndpointTls { guard, acceptor })
    }

    /// How a source is recognised, and what it is shown.
    pub(super) fn trust(
        &mut self,
        path: &KeyPath,
        input: TrustInput,
        url: Option<&Template>,
    ) -> Trust {
        self.warn_of_idle_trust(path, &input, url);
        let identity = match (input.cert_file, input.key_file) {
            (Some(cert_file), Some(key_file)) => Some(identity(cert_file, key_file)),
            (None, None) => None,
            (cert_file, _) => {
                let (given, missing) = match cert_file {
                    Some(_) => ("cert_file", "key_file"),
                    None => ("key_file", "cert_file"),
                };
                if !self.problems.mention(&path.key(missing)) {
                    self.problems.add(path.key(given), format!("needs {missing} beside it"));
                }
                None
            }
        };
        let trust = Trust {
            ca_file: input.ca_file,
            identity,
            server_name: input.server_name,
            fingerprint: input.fingerprint,
        };
        let names_files = trust.ca_file.is_some() || trust.identity.is_some();
        if cfg!(feature = "tls") && names_files {
            let connector = self.read(path, TlsConnector::read(&trust));
            self.warn_of(path, connector.as_ref().and_then(TlsConnector::warning));
        }
        trust
    }

    fn warn_of_idle_trust(&mut self, path: &KeyPath, input: &TrustInput, url: Option<&Template>) {
        if input.fingerprint.is_some() && input.ca_file.is_some() {
            let key = path.key("ca_file");
            self.settings.warnings.push(format!("{key} has no effect beside fingerprint"));
        }
        let url = url.and_then(|url| target::resolved_url(url, &Fillings::stand_in()).ok());
        let is_plain = url.is_some_and(|url| !url.is_tls());
        let keys = [
            ("ca_file", input.ca_file.is_some()),
            ("cert_file", input.cert_file.is_some()),
            ("key_file", input.key_file.is_some()),
            ("server_name", input.server_name.is_some()),
            ("fingerprint", input.fingerprint.is_some()),
        ];
        for (key, _) in keys.iter().filter(|(_, is_given)| *is_given && is_plain) {
            let key = path.key(key);
            self.settings.warnings.push(format!("{key} has no effect without a wss:// url"));
        }
    }

    fn read<T>(&mut self, path: &KeyPath, read: Result<T, FileError>) -> Option<T> {
        read.map_err(|error| self.problems.add(path.key(error.key), error.message)).ok()
    }

    /// Tells what will be, or is, refused of a certificate of ours.
    fn warn_of(&mut self, path: &KeyPath, warning: Option<&str>) {
        let key = path.key("cert_file");
        self.settings.warnings.extend(warning.map(|warning| format!("{key}: {warning}")));
    }
}

fn identity(cert_file: PathBuf, key_file: PathBuf) -> Identity {
    Identity { cert_file, key_file }
}

#[cfg(test)]
#[cfg(feature = "tls")]
mod tests {
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;

    use super::super::parse;
    use crate::config::reload;
    use crate::config::settings::Settings;
    use crate::relay::reload::{Seat, Seats};

    /// A folder with a certificate that is valid until the end of a year, and its key.
    fn folder(last_year: i32) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), last_year);
        folder
    }

    fn write(folder: &Path, last_year: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(last_year, 12, 31);
        std::fs::write(folder.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    /// One source with further keys; `DIR` in them is the folder.
    fn text(folder: &TempDir, keys: &str) -> String {
        let keys = keys.replace("DIR", &folder.path().display().to_string());
        let host = "websocket_host: 127.0.0.1";
        format!("sources: [{{name: a, url: 'wss://h', websocket_port: 1, {host}, {keys}}}]\n")
    }

    fn with(folder: &TempDir, keys: &str) -> Settings {
        parse(&text(folder, keys)).unwrap_or_else(|error| panic!("{error}"))
    }

    fn problem(folder: &TempDir, keys: &str) -> String {
        let error = parse(&text(folder, keys)).unwrap_err().to_string();
        let (_, problem) = error.split_once(": ").unwrap();
        problem.to_owned()
    }

    const PAIR: &str = "cert_file: DIR/cert.pem, key_file: DIR/key.pem";

    #[test]
    fn endpoint_with_tls_has_another_scheme() {
        let folder = folder(2999);
        let settings = with(&folder, &format!("tls: {{{PAIR}}}"));
        assert_eq!(settings.endpoints[0].to_string(), "wss://127.0.0.1:1");
        assert_eq!(settings.warnings, [""; 0]);
        let pair = PAIR.replace("DIR", &folder.path().display().to_string());
        let text = text(&folder, "unix_socket_path: a")
            + &format!("admin: {{listen: '127.0.0.1:2', tls: {{{pair}}}}}\n")
            + &format!("rebroadcast: {{websocket: {{host: '::1', port: 3, tls: {{{pair}}}}}}}\n");
        let settings = parse(&text).unwrap();
        let endpoints: Vec<_> = settings.endpoints.iter().map(ToString::to_string).collect();
        let expected = ["ws://127.0.0.1:1", "unix:a", "wss://[::1]:3", "https://127.0.0.1:2"];
        assert_eq!(endpoints, expected);
    }

    #[test]
    fn door_that_asks_for_certificates_is_not_open_to_everyone() {
        let folder = folder(2999);
        let warnings = |keys: &str| {
            let text = text(&folder, keys).replace("127.0.0.1", "0.0.0.0");
            parse(&text).unwrap().warnings
        };
        let open = warnings(&format!("tls: {{{PAIR}}}"));
        assert!(open[0].starts_with("everyone who reaches this machine may"), "{open:?}");
        let asking = warnings(&format!("tls: {{{PAIR}, client_ca_file: DIR/cert.pem}}"));
        assert_eq!(asking, [""; 0]);
    }

    #[test]
    fn wrong_files_are_told_by_their_keys() {
        let (folder, other) = (folder(2999), folder(2999));
        let problem = |keys: &str| problem(&folder, keys);
        assert_eq!(
            problem("tls: {key_file: DIR/key.pem}"),
            "sources[0].tls.cert_file: is missing, such as /etc/veylor/cert_file.pem"
        );
        let message = problem("tls: {cert_file: DIR/none.pem, key_file: DIR/key.pem}");
        assert!(message.starts_with("sources[0].tls.cert_file: cannot be read: "), "{message}");
        let message = problem("tls: {cert_file: DIR/key.pem, key_file: DIR/key.pem}");
        assert!(message.contains("tls.cert_file: has no certificate in it"), "{message}");
        let message = problem("tls: {cert_file: DIR/cert.pem, key_file: DIR/cert.pem}");
        assert!(message.contains("tls.key_file: has no private key in it"), "{message}");
        let key = other.path().join("key.pem");
        let message =
            problem(&format!("tls: {{cert_file: DIR/cert.pem, key_file: {}}}", key.display()));
        assert!(message.contains("tls.key_file: does not belong to the certificate"), "{message}");
        let message = problem(&format!("tls: {{{PAIR}, client_ca_file: DIR/key.pem}}"));
        assert!(message.contains("tls.client_ca_file: has no certificate"), "{message}");
        assert!(problem("ca_file: DIR/none.pem").contains("sources[0].ca_file: cannot be read"));
        assert!(problem("ca_file: DIR/key.pem").contains("sources[0].ca_file: has no certificate"));
        assert!(problem("cert_file: DIR/cert.pem").contains("cert_file: needs key_file beside it"));
        assert!(problem("key_file: DIR/key.pem").contains("key_file: needs cert_file beside it"));
        assert!(problem("fingerprint: AB:CD").contains("a SHA-256 in hexadecimal"));
    }

    #[test]
    fn certificate_of_ours_that_has_ended_is_warned_of() {
        let folder = folder(2021);
        for (keys, key) in [
            (format!("tls: {{{PAIR}}}"), "sources[0].tls.cert_file"),
            (PAIR.to_owned(), "sources[0].cert_file"),
        ] {
            let warnings = with(&folder, &keys).warnings;
            let [warning] = &warnings[..] else { panic!("{warnings:?}") };
            assert!(warning.starts_with(&format!("{key}: the certificate expired ")), "{warning}");
            assert!(warning.contains("(2021-12-31)"), "{warning}");
        }
    }

    #[test]
    fn keys_without_effect_are_warned_of() {
        let folder = folder(2999);
        let pin = "AB".repeat(32);
        let keys = format!("ca_file: DIR/cert.pem, fingerprint: \"{pin}\"");
        let expected = ["sources[0].ca_file has no effect beside fingerprint"];
        assert_eq!(with(&folder, &keys).warnings, expected);
        let text = text(&folder, "server_name: x").replace("wss:", "ws:");
        let expected = ["sources[0].server_name has no effect without a wss:// url"];
        assert_eq!(parse(&text).unwrap().warnings, expected);
    }

    #[test]
    fn renewed_certificate_is_a_change_of_its_endpoint_alone() {
        let folder = folder(2999);
        let read = || with(&folder, &format!("tls: {{{PAIR}}}, {PAIR}"));
        let taken = || vec![Seat::Taken("a".to_owned())];
        let seats = Seats { sources: taken(), channels: taken() };
        let old = read();
        assert_eq!(reload::plan(&old, &read(), &seats).changes, [""; 0]);
        write(folder.path(), 2998);
        let plan = reload::plan(&old, &read(), &seats);
        let expected =
            ["wss://127.0.0.1:1: tls has changed: new connections get the new certificate"];
        assert_eq!(plan.changes, expected);
        assert!(plan.layout.redials.is_empty());
        let without_tls = with(&folder, PAIR);
        let expected = ["wss://127.0.0.1:1: new connections must speak TLS"];
        assert_eq!(reload::plan(&without_tls, &old, &seats).changes, expected);
        let expected = ["ws://127.0.0.1:1: new connections speak no TLS"];
        assert_eq!(reload::plan(&old, &without_tls, &seats).changes, expected);
        let anonymous = with(&folder, &format!("tls: {{{PAIR}}}"));
        let expected = ["source a: cert_file, key_file have changed, it is dialled anew"];
        assert_eq!(reload::plan(&anonymous, &read(), &seats).changes, expected);
    }
}

#[cfg(test)]
#[cfg(not(feature = "tls"))]
mod absence_tests {
    use super::super::parse;

    #[test]
    fn tls_is_refused_by_a_program_without_it() {
        let tls = "tls: {cert_file: a, key_file: b}";
        let text = format!("sources: [{{url: 'ws://h', websocket_port: 1, {tls}}}]");
        let error = parse(&text).unwrap_err().to_string();
        let expected = "sources[0].tls: needs a veylor that was built with the feature `tls`";
        assert!(error.ends_with(expected), "{error}");
    }
}
