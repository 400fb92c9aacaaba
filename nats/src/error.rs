//! The errors in a connection's configuration, and hints for connections that fail.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use async_nats::{ConnectError, ConnectErrorKind, rustls};

/// Why a connection cannot be configured. A retry does not fix any of these errors.
#[derive(Debug, thiserror::Error)]
pub enum ConnectConfigError {
    #[error(
        "the address of the NATS server, {url:?}, is not valid ({cause}); write it as nats://HOST:PORT or tls://HOST:PORT, and separate several servers of one cluster by commas"
    )]
    Address { url: String, cause: io::Error },
    #[error("cannot read the {what} {}: {cause}; check the path and its permissions", .path.display())]
    Unreadable {
        /// What the file should contain.
        what: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error("{} contains no NATS credentials ({cause}); use the .creds file as it was created", .path.display())]
    NoCreds { path: PathBuf, cause: io::Error },
    #[error("{} contains no {what} in PEM form; it must have a line that begins with \"-----BEGIN\"", .path.display())]
    NoPem {
        /// What the file should contain.
        what: &'static str,
        path: PathBuf,
    },
    #[error("the {what} in {} is not valid: {cause}; check that the file is the one that was issued", .path.display())]
    InvalidPem {
        /// What the file should contain.
        what: &'static str,
        path: PathBuf,
        cause: String,
    },
    #[error("the private key {} does not belong to the server's certificate {}; give the key with which the certificate was requested", .key.display(), .certificate.display())]
    OtherKey { certificate: PathBuf, key: PathBuf },
    #[error("programs that trust {} would reject the server's certificate {} at {server}: {cause}; check the authority, and that the certificate is valid for this address; --url gives another address", .ca.display(), .certificate.display())]
    Untrusted {
        certificate: PathBuf,
        ca: PathBuf,
        /// The host of the address at which programs reach the server.
        server: String,
        cause: String,
    },
    #[error("cannot set up TLS: {0}; check --tls-ca and the authorities that the system trusts")]
    Tls(String),
}

/// Returns advice for the operator on a failed connection.
pub fn hint(error: &ConnectError) -> &'static str {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server rejects these credentials; check the user, the password or the .creds file"
        }
        ConnectErrorKind::Dns => "the server's name is unknown; check the address",
        kind if kind == ConnectErrorKind::Tls || is_tls(error) => {
            "no secure connection; check --tls-ca, the server's certificate and the clocks, that the server uses TLS, and --tls-cert if it requires one"
        }
        _ => "start nats-server, or check the address",
    }
}

/// Returns whether TLS caused the failure. The client reports most such failures as I/O errors.
fn is_tls(error: &ConnectError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && let Some(inner) = error.get_ref()
            && inner.is::<rustls::Error>()
        {
            return true;
        }
        source = error.source();
    }
    false
}
