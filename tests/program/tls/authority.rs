//! Certificates for one test: made here, known by nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConfig, ServerConnection,
    StreamOwned, SupportedProtocolVersion, WantsVerifier,
};
use tungstenite::client::IntoClientRequest;

use crate::peer::{Peer, Service, connect};
use crate::program::{Folder, Port};

/// Both versions, the newer first.
pub(super) const VERSIONS: [&SupportedProtocolVersion; 2] =
    [&rustls::version::TLS13, &rustls::version::TLS12];

/// A certificate authority.
pub(super) struct Authority {
    pub(super) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(super) struct Identity {
    pub(super) cert_pem: String,
    pub(super) key_pem: String,
}

/// A client of the relay in TLS.
pub(super) type Client = Peer<StreamOwned<ClientConnection, TcpStream>>;

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Vouches for somebody with these names.
    pub(super) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for_years(names, 2020, 2999)
    }

    /// Does so from the beginning of a year to the end of another.
    pub(super) fn issue_for_years(&self, names: &[&str], first: i32, last: i32) -> Identity {
        let (params, key) = (params(names, first, last), KeyPair::generate().unwrap());
        let cert_pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { cert_pem, key_pem: key.serialize_pem() }
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        Arc::new(roots)
    }

    /// Writes the file of this authority.
    pub(super) fn file(&self, folder: &Folder, name: &str) -> PathBuf {
        folder.write(name, &self.pem)
    }

    /// Connects a client of the relay that trusts this authority.
    #[track_caller]
    pub(super) fn connect(&self, port: &Port) -> Client {
        self.connect_with(port, None, &VERSIONS).unwrap()
    }

    /// The same with a certificate of its own, in these versions; an error if it is refused.
    pub(super) fn connect_with(
        &self,
        port: &Port,
        identity: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Client, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(self.roots(), Arc::clone(&provider));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap());
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(own.chain(), own.key()).unwrap(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = StreamOwned::new(session, connect(port));
        let request = format!("ws://localhost:{port}").into_client_request().unwrap();
        let (socket, response) =
            tungstenite::client(request, stream).map_err(|error| error.to_string())?;
        let headers = response.into_parts().0.headers;
        Ok(Peer { socket, target: String::new(), headers })
    }
}

impl Identity {
    /// Vouches for itself, as a device does.
    pub(super) fn self_signed(names: &[&str]) -> Self {
        Self::self_signed_for_years(names, 2020, 2999)
    }

    pub(super) fn self_signed_for_years(names: &[&str], first: i32, last: i32) -> Self {
        let (params, key) = (params(names, first, last), KeyPair::generate().unwrap());
        let cert_pem = params.self_signed(&key).unwrap().pem();
        Self { cert_pem, key_pem: key.serialize_pem() }
    }

    /// Writes both files, and returns the keys that name them.
    pub(super) fn files(&self, folder: &Folder, name: &str) -> String {
        let cert = folder.write(&format!("{name}-cert.pem"), &self.cert_pem);
        let key = folder.write(&format!("{name}-key.pem"), &self.key_pem);
        format!("cert_file: {}, key_file: {}", cert.display(), key.display())
    }

    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).unwrap()]
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }

    /// `AB:CD:…`
    pub(super) fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.chain()[0]);
        let bytes: Vec<_> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        bytes.join(":")
    }

    /// Takes the relay's next dial into TLS.
    #[track_caller]
    pub(super) fn secure(&self, service: &Service) -> StreamOwned<ServerConnection, TcpStream> {
        self.secure_as(service, ConfigBuilder::<ServerConfig, _>::with_no_client_auth, &VERSIONS)
    }

    /// Shows this certificate without having its key.
    #[track_caller]
    pub(super) fn impersonate(
        &self,
        service: &Service,
        version: &'static SupportedProtocolVersion,
    ) -> StreamOwned<ServerConnection, TcpStream> {
        let provider = rustls::crypto::ring::default_provider();
        let other = PrivateKeyDer::from(rustls::pki_types::PrivatePkcs8KeyDer::from(
            KeyPair::generate().unwrap().serialize_der(),
        ));
        let key = provider.key_provider.load_private_key(other).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(self.chain(), key));
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        StreamOwned::new(session, service.accept_stream())
    }

    /// The same in some versions, and from those alone whom an authority vouches for.
    #[track_caller]
    pub(super) fn secure_from(
        &self,
        service: &Service,
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
    ) -> StreamOwned<ServerConnection, TcpStream> {
        let asks = |builder: ConfigBuilder<ServerConfig, WantsVerifier>| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        };
        self.secure_as(service, asks, &[version])
    }

    #[track_caller]
    fn secure_as<F>(
        &self,
        service: &Service,
        clients: F,
        versions: &[&'static SupportedProtocolVersion],
    ) -> StreamOwned<ServerConnection, TcpStream>
    where
        F: FnOnce(
            ConfigBuilder<ServerConfig, WantsVerifier>,
        ) -> ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let config = clients(builder).with_single_cert(self.chain(), self.key()).unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        StreamOwned::new(session, service.accept_stream())
    }
}

fn params(names: &[&str], first_year: i32, last_year: i32) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "somebody");
    params.not_before = date_time_ymd(first_year, 1, 1);
    params.not_after = date_time_ymd(last_year, 12, 31);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// What a stream says until it ends.
pub(super) fn all_of(mut stream: TcpStream, request: &[u8]) -> String {
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
