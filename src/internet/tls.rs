//! Whom we believe that he is who he says.

use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// TLS with the system's authorities and with further ones, in PEM.
///
/// # Errors
/// A sentence, when a certificate can't be read.
pub(crate) fn tls(authorities: &[u8]) -> Result<rustls::ClientConfig, String> {
    /// The system's; a machine may have none at all.
    static SYSTEM: LazyLock<RootCertStore> = LazyLock::new(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    });
    let mut roots = SYSTEM.clone();
    let mut read = 0;
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let broken = |why: String| format!("certificate {} can't be read: {why}", read + 1);
        let authority = authority.map_err(|error| broken(error.to_string()))?;
        roots.add(authority).map_err(|error| broken(error.to_string()))?;
        read += 1;
    }
    if read == 0 && !authorities.is_empty() {
        return Err("there is no certificate in PEM in it".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("no TLS: {error}"))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_certificate() {
        let error = |pem: &[u8]| tls(pem).unwrap_err();
        assert!(error(b"hello").contains("no certificate in PEM"));
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error(broken).contains("certificate 1 can't be read"));
        assert!(tls(b"").is_ok());
    }
}
