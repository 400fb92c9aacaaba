//! How a Scuttle program comes to its NATS server: the address, who it says it is, and whom it trusts; and how that server and
//! the others of its cluster store. The same for every program. What else is said on the connection, and what happens when it
//! is lost, is each program's own.

mod arguments;
mod secret;
mod servers;

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions, ServerAddr, rustls};

pub use arguments::Arguments;
pub use secret::Secret;
pub use servers::{Server, SyncInterval, query_servers};

/// Where the server is when nobody says so.
pub const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// A NATS server, and how to come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectConfig {
    /// `nats://HOST:PORT`, or `tls://HOST:PORT` where a connection without TLS is to be refused; several servers of one cluster,
    /// separated by commas.
    pub url: String,
    /// Who connects.
    pub credentials: Credentials,
    /// Whom it trusts, and what it shows.
    pub tls: Tls,
}

/// How a program proves to the server who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// It does not.
    #[default]
    Anonymous,
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A credentials file.
    File(PathBuf),
}

/// TLS to the server. Any of it makes the connection refuse a server without TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// The certificates of the authorities that alone are trusted (PEM); the system's, if absent.
    pub ca: Option<PathBuf>,
    /// This program's certificate and its private key (PEM), for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What no waiting mends.
#[derive(Debug, thiserror::Error)]
pub enum ConnectConfigError {
    /// Not an address.
    #[error(
        "the address of the NATS server, {url:?}, is not valid ({cause}); write it as nats://HOST:PORT or tls://HOST:PORT, several of one cluster with commas between them"
    )]
    Address {
        /// What was given.
        url: String,
        /// Why not.
        cause: io::Error,
    },
    /// A file is not there.
    #[error("cannot read the {what} {}: {cause}; check the path and its permissions", .path.display())]
    Unreadable {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file of credentials is not one.
    #[error("{} holds no NATS credentials ({cause}); use the .creds file as it was made", .path.display())]
    NoCreds {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// A PEM file without what is looked for.
    #[error("{} holds no {what} in PEM form: it must have a line that begins with \"-----BEGIN\"", .path.display())]
    NoPem {
        /// What should be in it.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
}

impl ConnectConfig {
    /// The servers' addresses.
    ///
    /// # Errors
    /// One of them is none.
    pub fn server_addresses(&self) -> Result<Vec<ServerAddr>, ConnectConfigError> {
        let servers = self.url.split(',').map(str::trim);
        let read = |url: &str| {
            url.parse().map_err(|cause| ConnectConfigError::Address {
                url: url.to_owned(),
                cause,
            })
        };
        servers.map(read).collect()
    }

    /// Options with the login and the trust in them. Every file is read now, so that what is wrong with one is said by its
    /// name and at once.
    ///
    /// # Errors
    /// A file cannot be read, or holds something else.
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
            // The client takes an empty file for one that trusts nobody, and then says only "unknown issuer".
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

/// Sees that a PEM file can be read and holds a `label`: CERTIFICATE or PRIVATE KEY.
///
/// # Errors
/// It cannot, or holds something else.
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

/// What a person can do when a server was not reached.
pub fn hint(error: &ConnectError) -> &'static str {
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            "the server refuses these credentials; check the user, the password or the .creds file"
        }
        ConnectErrorKind::Dns => "the server's name is unknown; check the address",
        kind if kind == ConnectErrorKind::Tls || is_tls(error) => {
            "no secure connection; check --tls-ca, the server's certificate and the clocks, that the server speaks TLS, and --tls-cert if it asks for one"
        }
        _ => "start nats-server, or check the address",
    }
}

/// Whether TLS is what failed: the client calls most of it a failure of the connection.
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{ConnectConfig, Credentials, Tls};

    fn check(credentials: Credentials, tls: Tls, words: &[&str]) {
        let access = ConnectConfig {
            url: super::DEFAULT_URL.to_owned(),
            credentials,
            tls,
        };
        let error = access
            .connect_options()
            .expect_err("it is refused")
            .to_string();
        for word in words {
            assert!(error.contains(word), "{word:?} is in: {error}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").expect("a file");
        let missing = dir.path().join("missing.pem");
        let none = Tls::default;
        check(
            Credentials::File(missing.clone()),
            none(),
            &["missing.pem", "permissions"],
        );
        check(
            Credentials::File(empty.clone()),
            none(),
            &["empty.pem", "no NATS credentials"],
        );
        let ca = |path| Tls {
            ca: Some(path),
            own: None,
        };
        check(
            Credentials::Anonymous,
            ca(missing.clone()),
            &["missing.pem"],
        );
        check(
            Credentials::Anonymous,
            ca(empty.clone()),
            &["empty.pem", "authority"],
        );
        let own = Tls {
            ca: None,
            own: Some((empty, missing)),
        };
        check(Credentials::Anonymous, own, &["empty.pem", "certificate"]);
    }

    #[test]
    fn an_address_that_is_none_is_quoted() {
        let access = ConnectConfig {
            url: "nats://a b".to_owned(),
            credentials: Credentials::Anonymous,
            tls: Tls::default(),
        };
        let error = access
            .server_addresses()
            .expect_err("no address")
            .to_string();
        assert!(
            error.contains("a b") && error.contains("nats://HOST:PORT"),
            "{error}"
        );
    }
}
