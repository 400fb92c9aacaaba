//! The flags and variables by which a program is told of its server.

use std::path::PathBuf;

use crate::{ConnectConfig, Credentials, DEFAULT_URL, Secret, Tls};

/// `--nats-…` and `--tls-…`, each with its variable.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "NATS")]
pub struct Arguments {
    /// The NATS server, as nats://HOST:PORT or tls://HOST:PORT, several of one cluster with commas between them; port 4222 of this machine if absent
    #[arg(long, env = "SCUTTLE_NATS_URL", value_name = "URL")]
    pub nats_url: Option<String>,
    /// The user at the NATS server.
    #[arg(
        long,
        env = "SCUTTLE_NATS_USER",
        value_name = "USER",
        requires = "nats_password"
    )]
    pub nats_user: Option<String>,
    /// The user's password; the list of processes shows it, the environment hides it.
    #[arg(
        long,
        env = "SCUTTLE_NATS_PASSWORD",
        value_name = "PASSWORD",
        requires = "nats_user",
        hide_env_values = true
    )]
    pub nats_password: Option<Secret>,
    /// A NATS credentials file, instead of user and password.
    #[arg(
        long,
        visible_alias = "creds",
        env = "SCUTTLE_NATS_CREDS",
        value_name = "FILE",
        conflicts_with = "nats_user"
    )]
    pub nats_creds: Option<PathBuf>,
    /// Trust only the authorities in this file (PEM), and connect with TLS alone.
    #[arg(long, env = "SCUTTLE_TLS_CA", value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This program's own certificate (PEM), for a server that asks for one.
    #[arg(
        long,
        env = "SCUTTLE_TLS_CERT",
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub tls_cert: Option<PathBuf>,
    /// The private key of that certificate (PEM).
    #[arg(
        long,
        env = "SCUTTLE_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,
}

impl Arguments {
    /// What they say. Halves were refused when they were read.
    pub fn connect_config(&self) -> ConnectConfig {
        let Self {
            nats_url,
            nats_user,
            nats_password,
            nats_creds,
            tls_ca,
            tls_cert,
            tls_key,
        } = self.clone();
        let credentials = match (nats_creds, nats_user, nats_password) {
            (Some(path), ..) => Credentials::File(path),
            (None, Some(user), Some(password)) => Credentials::Password { user, password },
            _ => Credentials::Anonymous,
        };
        ConnectConfig {
            url: nats_url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
            credentials,
            tls: Tls {
                ca: tls_ca,
                own: tls_cert.zip(tls_key),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;
    use crate::{Credentials, Tls};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        nats: Arguments,
    }

    fn read(words: &[&str]) -> Result<Arguments, clap::Error> {
        let words = ["program"].iter().chain(words);
        Program::try_parse_from(words).map(|program| program.nats)
    }

    #[test]
    fn halves_and_doubles_are_refused() {
        Program::command().debug_assert();
        for wrong in [
            &["--nats-user", "u"] as &[&str],
            &["--nats-password", "p"],
            &["--tls-cert", "c"],
            &["--tls-key", "k"],
            &[
                "--nats-user",
                "u",
                "--nats-password",
                "p",
                "--nats-creds",
                "f",
            ],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_login_and_trust_are_read() {
        let words = [
            "--nats-creds",
            "f",
            "--tls-ca",
            "a",
            "--tls-cert",
            "c",
            "--tls-key",
            "k",
        ];
        let access = read(&words).expect("read").connect_config();
        assert_eq!(access.credentials, Credentials::File("f".into()));
        let own = Some(("c".into(), "k".into()));
        assert_eq!(
            access.tls,
            Tls {
                ca: Some("a".into()),
                own
            }
        );
        let words = ["--nats-user", "u", "--nats-password", "hunter2"];
        let access = read(&words).expect("read").connect_config();
        assert!(!format!("{access:?}").contains("hunter2"));
    }
}
