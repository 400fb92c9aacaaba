//! The TLS configuration of a connection, and the names for which a server's certificate is valid.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_nats::ServerAddr;
use async_nats::rustls::client::WebPkiServerVerifier;
use async_nats::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use async_nats::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme, crypto,
};

use crate::error::ConnectConfigError;
use crate::file::check_pem;

/// The TLS configuration. If any part of it is set, a connection without TLS is rejected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The PEM file with the only certificate authorities to trust. `None` to trust those of the
    /// system.
    pub ca: Option<PathBuf>,
    /// The PEM files with this program's certificate and private key, for servers that require a
    /// client certificate.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    /// Returns whether a connection without TLS must be rejected.
    pub(crate) fn is_required(&self) -> bool {
        self.ca.is_some() || self.own.is_some()
    }
}

/// Builds the TLS configuration for connections to `servers` and to the servers that they announce.
///
/// # Errors
/// If a file of `tls` cannot be read, or does not contain what it should.
pub(crate) fn client_config(
    tls: &Tls,
    servers: &[ServerAddr],
) -> Result<ClientConfig, ConnectConfigError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let roots = Arc::new(load_roots(tls.ca.as_deref())?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build();
    let verifier = verifier.map_err(|cause| ConnectConfigError::Tls(cause.to_string()))?;
    let verifier = AdvertisedAddressVerifier {
        inner: verifier,
        configured: servers.iter().filter_map(server_name).collect(),
    };
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|cause| ConnectConfigError::Tls(cause.to_string()))?;
    let builder = (builder.dangerous()).with_custom_certificate_verifier(Arc::new(verifier));
    let Some((certificate, key)) = &tls.own else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates = load_certificates("certificate", certificate)?;
    let key = load_key("private key", key)?;
    let config = builder.with_client_auth_cert(certificates, key);
    config.map_err(|cause| invalid("certificate", certificate, &cause))
}

/// Checks that a server's private key fits its certificate. With `ca`, also checks that the
/// authority in this file signed the certificate, and that the certificate is valid for one of
/// `servers`.
///
/// # Errors
/// If a check fails, or if a file cannot be read or contains no certificate or key as expected.
pub fn check_server_certificate(
    certificate: &Path,
    key: &Path,
    ca: Option<&Path>,
    servers: &[ServerAddr],
) -> Result<(), ConnectConfigError> {
    const CERTIFICATE: &str = "server's certificate";
    let chain = load_certificates(CERTIFICATE, certificate)?;
    let private_key = load_key("server's private key", key)?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|cause| ConnectConfigError::Tls(cause.to_string()))?;
    let fits = config
        .with_no_client_auth()
        .with_single_cert(chain.clone(), private_key);
    if let Err(cause) = fits {
        return Err(match cause {
            Error::InconsistentKeys(_) => ConnectConfigError::OtherKey {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            },
            cause => invalid(CERTIFICATE, certificate, &cause),
        });
    }
    let (Some(ca), Some((end_entity, intermediates))) = (ca, chain.split_first()) else {
        return Ok(());
    };
    let roots = Arc::new(load_roots(Some(ca))?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
    let verifier = verifier.map_err(|cause| ConnectConfigError::Tls(cause.to_string()))?;
    // Each server of a cluster may have a certificate for its own address only.
    let mut last = None;
    for server in servers {
        let Some(name) = server_name(server) else {
            continue;
        };
        let now = UnixTime::now();
        match verifier.verify_server_cert(end_entity, intermediates, &name, &[], now) {
            Ok(_) => return Ok(()),
            Err(cause) => last = Some((server.host(), cause)),
        }
    }
    if let Some((server, cause)) = last {
        return Err(ConnectConfigError::Untrusted {
            certificate: certificate.to_owned(),
            ca: ca.to_owned(),
            server: server.to_owned(),
            cause: cause.to_string(),
        });
    }
    Ok(())
}

fn load_key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, ConnectConfigError> {
    check_pem(what, "PRIVATE KEY", path)?;
    PrivateKeyDer::from_pem_file(path).map_err(|cause| invalid(what, path, &cause))
}

fn load_roots(ca: Option<&Path>) -> Result<RootCertStore, ConnectConfigError> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        return Ok(roots);
    };
    // With an empty file, the client would trust no authority, and report only "unknown issuer".
    let what = "authority's certificate";
    for certificate in load_certificates(what, ca)? {
        let added = roots.add(certificate);
        added.map_err(|cause| invalid(what, ca, &cause))?;
    }
    Ok(roots)
}

fn load_certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConnectConfigError> {
    check_pem(what, "CERTIFICATE", path)?;
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates.map_err(|cause| invalid(what, path, &cause))
}

fn invalid(what: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> ConnectConfigError {
    ConnectConfigError::InvalidPem {
        what,
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

fn server_name(server: &ServerAddr) -> Option<ServerName<'static>> {
    ServerName::try_from(server.host().to_owned()).ok()
}

/// Verifies a server's certificate as usual, with one exception for the servers of a cluster, which
/// announce each other by IP address: the certificate of a server at an announced address is also
/// accepted if it is valid for the name of a configured server.
///
/// The exception trusts no other certificates: a server that can present a certificate for a
/// configured name could also pass for the configured server itself.
#[derive(Debug)]
struct AdvertisedAddressVerifier {
    inner: Arc<WebPkiServerVerifier>,
    configured: Vec<ServerName<'static>>,
}

impl ServerCertVerifier for AdvertisedAddressVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |name: &ServerName<'_>| {
            (self.inner).verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
        };
        let verified = verify(server_name);
        let is_advertised_address = matches!(server_name, ServerName::IpAddress(_))
            && !self.configured.contains(&server_name.to_owned());
        match verified {
            Err(error) if is_advertised_address && is_wrong_name(&error) => {
                let names = self.configured.iter();
                let mut names = names.filter(|name| matches!(name, ServerName::DnsName(_)));
                names.find_map(|name| verify(name).ok()).ok_or(error)
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.inner).verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.inner).verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn is_wrong_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}
