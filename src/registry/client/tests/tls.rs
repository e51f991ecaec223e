//! With the certificate in `tls/`, whose authority's key was thrown away.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

const AUTHORITY: &[u8] = include_bytes!("tls/authority.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/certificate.pem");
const KEY: &[u8] = include_bytes!("tls/key.pem");

/// A server that answers one request with an image, or sees its handshake refused.
fn server() -> (String, JoinHandle<std::io::Result<()>>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let serving = std::thread::spawn(move || {
        let connection = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, listener.accept()?.0);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        let body = image();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {OCI}\r\nContent-Length: ");
        stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes())
    });
    (host, serving)
}

fn client(host: &str, authorities: &[u8]) -> Client {
    Client::new(ClientOptions {
        authorities: authorities.to_vec(),
        private: vec![host.to_owned()],
        times: short(),
        ..ClientOptions::default()
    })
    .unwrap()
}

fn reference(host: &str) -> Reference {
    format!("{host}/team/app:v1").parse().unwrap()
}

#[tokio::test]
async fn an_authority_of_the_operators_is_trusted() {
    let (host, serving) = server();
    let found = client(&host, AUTHORITY).manifest(&reference(&host)).await.unwrap();
    assert_eq!(found.digest, sha256(image()));
    serving.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_certificate_of_nobodys_is_not_and_tls_is_not_given_up() {
    let (host, serving) = server();
    let error = client(&host, b"").manifest(&reference(&host)).await.unwrap_err();
    assert_eq!((error.kind, error.passing), (ImageErrorKind::Unavailable, false), "{error}");
    assert!(error.detail.contains("REGISTRY_CA"), "{error}");
    assert!(serving.join().unwrap().is_err());
}

#[tokio::test]
async fn a_loopback_registry_without_tls_is_asked_without() {
    let fake = Fake::new(|_, _| manifest(image(), OCI)).await;
    let client = client(&fake.host, b"");
    for connections in [2, 3] {
        client.manifest(&fake.reference()).await.unwrap();
        assert_eq!(fake.connections(), connections, "the first time TLS is tried");
    }
}
