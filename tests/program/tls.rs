//! Sources behind TLS, with an authority of our own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::peer::{Peer, Service, greet};
use crate::program::{Folder, Port, Program, QUICK, feed};
use crate::relaying::check_both_ways;

/// A certificate authority and one server that it vouches for.
struct Authority {
    pem: String,
    config: Arc<ServerConfig>,
}

impl Authority {
    fn new(name: &str, server_name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);

        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new([server_name.to_owned()])
            .unwrap()
            .signed_by(&server_key, &issuer)
            .unwrap();
        let private = PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], private)
            .unwrap();
        Self { pem, config: Arc::new(config) }
    }

    fn file(&self, folder: &Folder) -> PathBuf {
        folder.write("ca.pem", &self.pem)
    }

    /// Takes the relay's next dial into TLS.
    fn secure(&self, service: &Service) -> StreamOwned<ServerConnection, TcpStream> {
        let session = ServerConnection::new(Arc::clone(&self.config)).unwrap();
        StreamOwned::new(session, service.accept_stream())
    }
}

fn wss(host: &str, service: &Service) -> String {
    format!("wss://{host}:{}", service.address().port())
}

#[test]
fn source_behind_tls_and_clients_hear_one_another() {
    for host in ["localhost", "127.0.0.1"] {
        let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
        let authority = Authority::new("ours", host);
        let more = format!("ca_file: {}", authority.file(&folder).display());
        let program = Program::run(&folder, &(feed(&wss(host, &service), &port, &more) + QUICK));
        let mut client = Peer::connect(&port);
        let mut source = Peer::accept(authority.secure(&service), None);
        check_both_ways(&mut source, &mut client);

        // Cut off without a goodbye, and dialled again.
        drop(source);
        let mut source = Peer::accept(authority.secure(&service), None);
        greet(&mut source, &mut [&mut client]);
        program.wait_for("source feed: lost (closed without a TLS goodbye), redial in");
    }
}

#[test]
fn flood_of_a_source_behind_tls_arrives_whole() {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let authority = Authority::new("ours", "localhost");
    let more = format!("ca_file: {}", authority.file(&folder).display());
    let _program = Program::run(&folder, &feed(&wss("localhost", &service), &port, &more));
    let mut client = Peer::connect(&port);
    let mut source = Peer::accept(authority.secure(&service), None);
    greet(&mut source, &mut [&mut client]);
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5000).for_each(|n| source.send(format!("{n} {}", "x".repeat(n % 500)))));
        for n in 0..5000 {
            assert_eq!(client.text(), format!("{n} {}", "x".repeat(n % 500)));
        }
    });
    for n in 0..500 {
        client.send(format!("{n}"));
    }
    for n in 0..500 {
        assert_eq!(source.text(), format!("{n}"));
    }
}

/// What the log says of a source whose certificate is not right. It must be dialled again.
fn refusal(authority: &Authority, more: &str, reason: &str) {
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let more = more.replace("FOLDER", &folder.path().display().to_string());
    folder.write("ca.pem", &Authority::new("theirs", "localhost").pem);
    folder.write("own.pem", &authority.pem);
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, &more) + QUICK));
    for times in 1..=2 {
        let mut stream = authority.secure(&service);
        assert!(stream.conn.complete_io(&mut stream.sock).is_err(), "the relay trusts it");
        program.wait_for_times(
            &format!("source feed: cannot open (invalid peer certificate: {reason}"),
            times,
        );
        program.wait_for_times("redial in", times);
    }
}

#[test]
fn certificate_that_is_not_trusted_is_refused_with_its_cause() {
    let authority = Authority::new("ours", "localhost");
    refusal(&authority, "", "UnknownIssuer");
    refusal(&authority, "ca_file: FOLDER/ca.pem", "UnknownIssuer");
    let of_another_name = Authority::new("ours", "example.com");
    refusal(&of_another_name, "ca_file: FOLDER/own.pem", "certificate not valid for name");
}

#[test]
fn plain_server_behind_wss_is_told() {
    use std::io::Write;
    let (folder, service, port) = (Folder::new(), Service::new(), Port::free());
    let program = Program::run(&folder, &(feed(&wss("localhost", &service), &port, "") + QUICK));
    let mut stream = service.accept_stream();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    program.wait_for("source feed: cannot open (");
    drop(stream);
    drop(service.accept_stream());
}
