//! The configuration of a connection: the servers, the credentials, and TLS.

use async_nats::rustls::ClientConfig;
use async_nats::{ConnectOptions, ServerAddr};

use crate::credentials::Credentials;
use crate::error::ConnectConfigError;
use crate::tls::{self, Tls};

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
    /// read now, so that an error names the file. The credentials file is read again at every
    /// connection.
    ///
    /// # Errors
    /// If a file cannot be read, or does not contain credentials, a certificate or a key as
    /// expected.
    pub fn connect_options(&self) -> Result<ConnectOptions, ConnectConfigError> {
        let options = self.credentials.connect_options()?;
        let options = match self.tls_client_config()? {
            Some(config) => options.tls_client_config(config),
            None => options,
        };
        Ok(options.require_tls(self.tls.is_required()))
    }

    /// Returns the TLS configuration, or `None` if neither an option nor an address asks for TLS.
    pub(crate) fn tls_client_config(&self) -> Result<Option<ClientConfig>, ConnectConfigError> {
        let servers = self.server_addresses()?;
        if self.tls.is_required() || servers.iter().any(ServerAddr::tls_required) {
            return tls::client_config(&self.tls, &servers).map(Some);
        }
        Ok(None)
    }

    /// Returns the TLS configuration for a server that requires TLS although nothing in this
    /// configuration asks for it.
    pub(crate) fn system_tls_config(&self) -> Result<ClientConfig, ConnectConfigError> {
        tls::client_config(&self.tls, &self.server_addresses()?)
    }
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
