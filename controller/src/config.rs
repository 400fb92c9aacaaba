//! The controller's configuration: flags, else the environment, else the file, else the default, for
//! each setting by itself. What the settings do is elsewhere.

use std::ffi::OsString;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::{fs, io};

use clap::{Parser, ValueEnum};
use scuttle_nats::{ConnectConfig, Credentials, DEFAULT_URL, Secret, Tls};
use scuttle_schemas::PartitionCount;
use scuttle_telemetry::{Endpoint, LogFormat};
use serde::Deserialize;

use crate::http::NatsUrl;

mod command;

pub use command::Command;
use command::Subcommand;

/// What the controller is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The NATS server, and how to come in.
    pub access: ConnectConfig,
    /// Where the store is.
    pub data_dir: PathBuf,
    /// Where its journal is.
    pub journal: Journal,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where the audit log goes; standard output if nowhere.
    pub audit_log: Option<PathBuf>,
    /// Where HTTP is answered; nowhere if absent.
    pub http: Option<SocketAddr>,
    /// Where browsers reach the NATS server.
    pub web_nats_url: NatsUrl,
    /// Where traces go; nowhere if absent.
    pub otlp_endpoint: Option<Endpoint>,
}

/// Where the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// In the store's file: this controller is the only one.
    Own,
    /// In a stream on the NATS servers, which several controllers share.
    Shared {
        /// How many servers keep it.
        replicas: usize,
        /// How many of them the hosts are divided over.
        partitions: PartitionCount,
    },
}

/// A kind of store, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// Everything in a file of this machine.
    Redb,
    /// The journal in a stream on the NATS servers.
    #[value(name = "jetstream")]
    JetStream,
}

/// On how many servers a stream can be.
const REPLICAS: RangeInclusive<i64> = 1..=5;

/// Over how many journals the hosts can be divided.
const PARTITIONS: RangeInclusive<i64> = 1..=8;

/// How many of three servers may be lost without harm: one.
const DEFAULT_REPLICAS: u8 = 3;

/// A configuration that the controller cannot start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line is wrong, or asks for the help or the version: clap prints it and knows the
    /// exit code.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// A variable in the environment is not what it should be.
    #[error("the environment variable {name} is invalid: it must be {rule}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The configuration file cannot be read.
    #[error("cannot read the configuration file {}: {cause}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("the configuration file {} is invalid in line {line}: {cause}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        cause: String,
    },
    /// There is nowhere to store anything.
    #[error(
        "a data directory is needed: give --data-dir, SCUTTLE_DATA_DIR, or data_dir in the configuration file"
    )]
    NoDataDir,
    /// One half of a login, or of a certificate.
    #[error("{given} is given without {missing} (by flag, environment or file): both are needed")]
    Half {
        /// The half that is there.
        given: &'static str,
        /// The half that is not.
        missing: &'static str,
    },
    /// A number of replicas where nothing is replicated, or one that no stream can have.
    #[error(
        "replicas is given (by flag, environment or file), which is 1 to 5 servers that keep the journal, with store jetstream alone: leave it out, or say so"
    )]
    Replicas,
    /// A number of partitions where the journal is one file, or one that there cannot be.
    #[error(
        "shards_of_control is given (by flag, environment or file), which is 1 to 8 journals that the hosts are divided over, with store jetstream alone: leave it out, or say so"
    )]
    Partitions,
    /// Two logins.
    #[error(
        "nats_creds and nats_user or nats_password are given (by flag, environment or file): a NATS login is one of them"
    )]
    TwoLogins,
}

/// Keeps the record of a swarm of worker hosts and tears deckies down on them.
///
/// Each option can also be set in the environment or in the configuration file. An option given here
/// wins over the environment, and the environment over the file. Without a command it serves until it is stopped.
#[derive(Debug, Parser)]
#[command(name = "scuttle-controller", version)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Subcommand>,
    #[command(flatten)]
    settings: Settings,
    #[arg(
        long,
        value_name = "FILE",
        help = "A TOML file of these options, named as data_dir is [env: SCUTTLE_CONFIG]"
    )]
    config: Option<PathBuf>,
}

/// One layer of settings, in which each may be missing. clap does not read the environment: a test could
/// not set it, and an empty variable is one that is not set.
#[derive(Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    #[arg(
        long,
        value_name = "URL",
        help = "The NATS server; several of one cluster with commas between them [env: SCUTTLE_NATS_URL] [default: nats://127.0.0.1:4222]"
    )]
    nats_url: Option<String>,
    #[arg(
        long,
        value_name = "DIR",
        help = "Where the store is, made if it is missing [env: SCUTTLE_DATA_DIR]"
    )]
    data_dir: Option<PathBuf>,
    #[arg(
        long,
        value_name = "KIND",
        help = "Where the journal is: redb, in the data directory; jetstream, on the NATS servers, for several controllers of which one leads [env: SCUTTLE_STORE] [default: redb]"
    )]
    store: Option<StoreKind>,
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(REPLICAS),
        help = "With --store jetstream: how many NATS servers keep the journal [env: SCUTTLE_REPLICAS] [default: 3]"
    )]
    replicas: Option<u8>,
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u8).range(PARTITIONS),
        help = "With --store jetstream: over how many journals, each with a leader of its own, the hosts are divided; the same for all controllers [env: SCUTTLE_SHARDS_OF_CONTROL] [default: 1]"
    )]
    shards_of_control: Option<u8>,
    #[arg(
        long,
        value_name = "USER",
        help = "The user at the NATS server [env: SCUTTLE_NATS_USER]"
    )]
    nats_user: Option<String>,
    #[arg(
        long,
        value_name = "PASSWORD",
        help = "The user's password; the list of processes shows it, the environment hides it [env: SCUTTLE_NATS_PASSWORD]"
    )]
    nats_password: Option<Secret>,
    #[arg(
        long,
        value_name = "FILE",
        help = "A NATS credentials file, instead of user and password [env: SCUTTLE_NATS_CREDS]"
    )]
    nats_creds: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Trust only the authorities in this file (PEM), and connect with TLS alone [env: SCUTTLE_TLS_CA]"
    )]
    tls_ca: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The controller's own certificate (PEM), for a server that asks for one [env: SCUTTLE_TLS_CERT]"
    )]
    tls_cert: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FILE",
        help = "The private key of that certificate (PEM) [env: SCUTTLE_TLS_KEY]"
    )]
    tls_key: Option<PathBuf>,
    #[arg(
        long,
        value_name = "FORMAT",
        help = "How log lines look [env: SCUTTLE_LOG_FORMAT] [default: text]"
    )]
    log_format: Option<LogFormat>,
    #[arg(
        long,
        value_name = "FILE",
        help = "Where changes are written down, as JSON lines; made if it is missing, opened anew at SIGHUP [env: SCUTTLE_AUDIT_LOG] [default: standard output]"
    )]
    audit_log: Option<PathBuf>,
    #[arg(
        long,
        value_name = "IP:PORT",
        help = "Serve the page, /healthz and /readyz here, such as 127.0.0.1:8420 [env: SCUTTLE_HTTP] [default: no HTTP]"
    )]
    http: Option<SocketAddr>,
    #[arg(
        long,
        value_name = "URL",
        value_parser = clap::value_parser!(NatsUrl),
        help = "Where the page reaches the NATS server's WebSocket listener [env: SCUTTLE_WEB_NATS_URL] [default: ws://127.0.0.1:8421]"
    )]
    #[serde(deserialize_with = "parsed")]
    web_nats_url: Option<NatsUrl>,
    #[arg(
        long,
        value_name = "URL",
        help = "Send traces to this OTLP collector, such as http://127.0.0.1:4318 [env: SCUTTLE_OTLP_ENDPOINT, else OTEL_EXPORTER_OTLP_ENDPOINT] [default: no traces]"
    )]
    #[serde(deserialize_with = "parsed")]
    otlp_endpoint: Option<Endpoint>,
}

/// An address from the file.
fn parsed<'de, D, T>(value: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text = String::deserialize(value)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

impl Settings {
    fn from_environment(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let text = |name| {
            let rule = "UTF-8";
            let utf8 = |value: OsString| value.into_string();
            (variable(name).map(utf8).transpose())
                .map_err(|_| ConfigError::Environment { name, rule })
        };
        let address = |text: String| {
            text.parse().map_err(|_| ConfigError::Environment {
                name: "SCUTTLE_HTTP",
                rule: "IP:PORT, such as 127.0.0.1:8420",
            })
        };
        let web_nats_url = |text: String| {
            text.parse().map_err(|_| ConfigError::Environment {
                name: "SCUTTLE_WEB_NATS_URL",
                rule: "ws://HOST:PORT or wss://HOST:PORT",
            })
        };
        let number = |name, rule| {
            let read = text(name)?.map(|text| text.parse());
            (read.transpose()).map_err(|_| ConfigError::Environment { name, rule })
        };
        Ok(Self {
            nats_url: text("SCUTTLE_NATS_URL")?,
            data_dir: variable("SCUTTLE_DATA_DIR").map(PathBuf::from),
            store: one_of("SCUTTLE_STORE", text("SCUTTLE_STORE")?, "redb or jetstream")?,
            replicas: number("SCUTTLE_REPLICAS", "1 to 5")?,
            shards_of_control: number("SCUTTLE_SHARDS_OF_CONTROL", "1 to 8")?,
            nats_user: text("SCUTTLE_NATS_USER")?,
            nats_password: text("SCUTTLE_NATS_PASSWORD")?.as_deref().map(Secret::from),
            nats_creds: variable("SCUTTLE_NATS_CREDS").map(PathBuf::from),
            tls_ca: variable("SCUTTLE_TLS_CA").map(PathBuf::from),
            tls_cert: variable("SCUTTLE_TLS_CERT").map(PathBuf::from),
            tls_key: variable("SCUTTLE_TLS_KEY").map(PathBuf::from),
            log_format: one_of(
                "SCUTTLE_LOG_FORMAT",
                text("SCUTTLE_LOG_FORMAT")?,
                "text or json",
            )?,
            audit_log: variable("SCUTTLE_AUDIT_LOG").map(PathBuf::from),
            http: text("SCUTTLE_HTTP")?.map(address).transpose()?,
            web_nats_url: (text("SCUTTLE_WEB_NATS_URL")?.map(web_nats_url)).transpose()?,
            otlp_endpoint: otlp_endpoint(text)?,
        })
    }

    /// These settings, and where one is missing, the lower layer's.
    fn over(self, lower: Self) -> Self {
        Self {
            nats_url: self.nats_url.or(lower.nats_url),
            data_dir: self.data_dir.or(lower.data_dir),
            store: self.store.or(lower.store),
            replicas: self.replicas.or(lower.replicas),
            shards_of_control: self.shards_of_control.or(lower.shards_of_control),
            nats_user: self.nats_user.or(lower.nats_user),
            nats_password: self.nats_password.or(lower.nats_password),
            nats_creds: self.nats_creds.or(lower.nats_creds),
            tls_ca: self.tls_ca.or(lower.tls_ca),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            log_format: self.log_format.or(lower.log_format),
            audit_log: self.audit_log.or(lower.audit_log),
            http: self.http.or(lower.http),
            web_nats_url: self.web_nats_url.or(lower.web_nats_url),
            otlp_endpoint: self.otlp_endpoint.or(lower.otlp_endpoint),
        }
    }

    /// The defaults for what no layer sets.
    fn complete(self) -> Result<Config, ConfigError> {
        let half = |given, missing| Err(ConfigError::Half { given, missing });
        let credentials = match (self.nats_user, self.nats_password, self.nats_creds) {
            (None, None, None) => Credentials::Anonymous,
            (Some(user), Some(password), None) => Credentials::Password { user, password },
            (None, None, Some(file)) => Credentials::File(file),
            (Some(_), None, None) => return half("nats_user", "nats_password"),
            (None, Some(_), None) => return half("nats_password", "nats_user"),
            (_, _, Some(_)) => return Err(ConfigError::TwoLogins),
        };
        let own = match (self.tls_cert, self.tls_key) {
            (Some(_), None) => return half("tls_cert", "tls_key"),
            (None, Some(_)) => return half("tls_key", "tls_cert"),
            (certificate, key) => certificate.zip(key),
        };
        let (replicas, shards) = (self.replicas, self.shards_of_control);
        let journal = match self.store.unwrap_or(StoreKind::Redb) {
            StoreKind::Redb if replicas.is_some() => return Err(ConfigError::Replicas),
            StoreKind::Redb if shards.is_some() => return Err(ConfigError::Partitions),
            StoreKind::Redb => Journal::Own,
            StoreKind::JetStream => Journal::Shared {
                replicas: self::replicas(replicas)?,
                partitions: partitions(shards)?,
            },
        };
        Ok(Config {
            access: ConnectConfig {
                url: self.nats_url.unwrap_or_else(|| DEFAULT_URL.to_owned()),
                credentials,
                tls: Tls {
                    ca: self.tls_ca,
                    own,
                },
            },
            data_dir: self.data_dir.ok_or(ConfigError::NoDataDir)?,
            journal,
            log_format: self.log_format.unwrap_or_default(),
            audit_log: self.audit_log,
            http: self.http,
            web_nats_url: self.web_nats_url.unwrap_or_default(),
            otlp_endpoint: self.otlp_endpoint,
        })
    }
}

fn replicas(given: Option<u8>) -> Result<usize, ConfigError> {
    let replicas = given.unwrap_or(DEFAULT_REPLICAS);
    if REPLICAS.contains(&replicas.into()) {
        Ok(replicas.into())
    } else {
        Err(ConfigError::Replicas)
    }
}

fn partitions(given: Option<u8>) -> Result<PartitionCount, ConfigError> {
    given.map_or(Ok(PartitionCount::ONE), |count| {
        PartitionCount::new(count).ok_or(ConfigError::Partitions)
    })
}

/// A word of a few, from the environment.
fn one_of<T: ValueEnum>(
    name: &'static str,
    word: Option<String>,
    rule: &'static str,
) -> Result<Option<T>, ConfigError> {
    let read = word.map(|word| T::from_str(&word, false)).transpose();
    read.map_err(|_| ConfigError::Environment { name, rule })
}

/// Ours, else those that OpenTelemetry has for every program.
fn otlp_endpoint(
    text: impl Fn(&'static str) -> Result<Option<String>, ConfigError>,
) -> Result<Option<Endpoint>, ConfigError> {
    const OURS: &str = "SCUTTLE_OTLP_ENDPOINT";
    let invalid = |name| {
        let rule = "http://HOST:PORT of an OTLP collector, such as http://127.0.0.1:4318";
        ConfigError::Environment { name, rule }
    };
    match text(OURS)? {
        Some(url) => url.parse().map(Some).map_err(|_| invalid(OURS)),
        None => Endpoint::from_variables(|name| text(name).ok().flatten())
            .map_err(|(name, _)| invalid(name)),
    }
}

fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text = fs::read_to_string(path).map_err(|cause| ConfigError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    // Not the error as toml shows it: that quotes the line, and the line may be the password's.
    toml::from_str(&text).map_err(|error| ConfigError::Invalid {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| {
            let before = text.as_bytes().iter().take(span.start);
            1 + before.filter(|byte| **byte == b'\n').count()
        }),
        cause: error.message().to_owned(),
    })
}

#[cfg(test)]
mod tests;
