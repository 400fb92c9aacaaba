//! The configuration of a connection: the servers, the credentials, and TLS.

use std::fs;
use std::path::{Path, PathBuf};

use async_nats::{ConnectOptions, ServerAddr};

use crate::error::ConnectConfigError;
use crate::secret::Secret;

/// The address of the NATS server if none is given.
pub const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// The configuration of a connection to NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectConfig {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT` to reject a connection without TLS. Several servers
    /// of one cluster are separated by commas.
    pub url: String,
    pub credentials: Credentials,
    pub tls: Tls,
}

/// The credentials with which a program authenticates to the NATS server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    Anonymous,
    Password {
        user: String,
        password: Secret,
    },
    /// A NATS credentials file.
    File(PathBuf),
}

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

impl ConnectConfig {
    /// Parses the server addresses in `url`.
    ///
    /// # Errors
    /// If an address is not valid.
    pub fn server_addresses(&self) -> Result<Vec<ServerAddr>, ConnectConfigError> {
        let servers = self.url.split(',').map(str::trim);
        let parse = |url: &str| {
            url.parse().map_err(|cause| ConnectConfigError::Address {
                url: url.to_owned(),
                cause,
            })
        };
        servers.map(parse).collect()
    }

    /// Returns connection options with the credentials and the TLS configuration. All files are
    /// read now, so that an error names the file.
    ///
    /// # Errors
    /// If a file cannot be read, or does not contain credentials, a certificate or a key as
    /// expected.
    pub fn connect_options(&self) -> Result<ConnectOptions, ConnectConfigError> {
        let options = ConnectOptions::new();
        let options = match &self.credentials {
            Credentials::Anonymous => options,
            Credentials::Password { user, password } => {
                options.user_and_password(user.clone(), password.expose().to_owned())
            }
            Credentials::File(path) => {
                let text = read("NATS credentials", path)?;
                options
                    .credentials(&text)
                    .map_err(|cause| ConnectConfigError::NoCreds {
                        path: path.clone(),
                        cause,
                    })?
            }
        };
        self.tls.apply(options)
    }
}

impl Tls {
    fn apply(&self, mut options: ConnectOptions) -> Result<ConnectOptions, ConnectConfigError> {
        if let Some(ca) = &self.ca {
            // With an empty file, the client would trust no authority, and report only "unknown
            // issuer".
            check_pem("authority's certificate", "CERTIFICATE", ca)?;
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((certificate, key)) = &self.own {
            check_pem("certificate", "CERTIFICATE", certificate)?;
            check_pem("private key", "PRIVATE KEY", key)?;
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        let required = self.ca.is_some() || self.own.is_some();
        Ok(options.require_tls(required))
    }
}

/// Checks that a PEM file contains a section with this label, such as CERTIFICATE or PRIVATE KEY.
/// `what` describes the content of the file in errors.
///
/// # Errors
/// If the file cannot be read, or has no such section.
pub fn check_pem(what: &'static str, label: &str, path: &Path) -> Result<(), ConnectConfigError> {
    let text = read(what, path)?;
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.contains(label);
    if text.lines().any(begins) {
        return Ok(());
    }
    Err(ConnectConfigError::NoPem {
        what,
        path: path.to_owned(),
    })
}

fn read(what: &'static str, path: &Path) -> Result<String, ConnectConfigError> {
    fs::read_to_string(path).map_err(|cause| ConnectConfigError::Unreadable {
        what,
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{ConnectConfig, Credentials, Tls};

    fn check_rejected(credentials: Credentials, tls: Tls, words: &[&str]) {
        let config = ConnectConfig {
            url: super::DEFAULT_URL.to_owned(),
            credentials,
            tls,
        };
        let error = config.connect_options().expect_err("rejected").to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is missing in: {error}");
        }
    }

    #[test]
    fn an_invalid_file_is_named_in_the_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").expect("written");
        let missing = dir.path().join("missing.pem");
        let words = ["missing.pem", "permissions"];
        check_rejected(Credentials::File(missing.clone()), Tls::default(), &words);
        let words = ["empty.pem", "no NATS credentials"];
        check_rejected(Credentials::File(empty.clone()), Tls::default(), &words);
        let ca = |path| Tls {
            ca: Some(path),
            own: None,
        };
        check_rejected(
            Credentials::Anonymous,
            ca(missing.clone()),
            &["missing.pem"],
        );
        let words = ["empty.pem", "authority"];
        check_rejected(Credentials::Anonymous, ca(empty.clone()), &words);
        let own = Tls {
            ca: None,
            own: Some((empty, missing)),
        };
        check_rejected(Credentials::Anonymous, own, &["empty.pem", "certificate"]);
    }

    #[test]
    fn an_invalid_address_is_quoted_in_the_error() {
        let config = ConnectConfig {
            url: "nats://a b".to_owned(),
            credentials: Credentials::Anonymous,
            tls: Tls::default(),
        };
        let error = config.server_addresses().expect_err("rejected").to_string();
        assert!(
            error.contains("a b") && error.contains("nats://HOST:PORT"),
            "{error}"
        );
    }
}
