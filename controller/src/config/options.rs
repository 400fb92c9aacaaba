//! The options of a running controller, and the checks of their combinations.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use scuttle_nats::ConnectConfig;
use scuttle_schemas::PartitionCount;
use scuttle_settings::ConfigFile;
use scuttle_settings::error::SettingsError;
use scuttle_telemetry::LogFormat;
use scuttle_telemetry::arguments::InvalidVariable;
use scuttle_telemetry::endpoint::Endpoint;
use scuttle_telemetry::log::LogFilter;

use crate::http::static_files::NatsUrls;

/// The validated configuration of a running controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub nats: ConnectConfig,
    /// The directory that contains the store.
    pub data_dir: PathBuf,
    pub journal: Journal,
    /// The filter of log lines. `None` means the default.
    pub log: Option<LogFilter>,
    pub log_format: LogFormat,
    /// The path of the audit log. `None` means standard output.
    pub audit_log: Option<PathBuf>,
    /// The address on which the HTTP server listens. `None` disables HTTP.
    pub http: Option<SocketAddr>,
    /// The address at which the web page, in a browser, reaches the NATS server.
    pub web_nats_url: NatsUrls,
    /// The OpenTelemetry collector that receives traces. `None` disables traces.
    pub otlp_endpoint: Option<Endpoint>,
}

impl Config {
    /// Returns the number of replicas and partitions of the shared journals. `option` is what needs
    /// them.
    pub(super) fn shared_journal(
        &self,
        option: &'static str,
    ) -> Result<(usize, PartitionCount), ConfigError> {
        match self.journal {
            Journal::Shared {
                replicas,
                partitions,
            } => Ok((replicas, partitions)),
            Journal::Own => Err(ConfigError::RequiresJetStream { option }),
        }
    }
}

/// The place where the journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    /// The store's local file, which only a single controller can use.
    Own,
    /// Streams on the NATS servers, which several controllers share.
    Shared {
        /// The number of NATS servers that keep a copy of each stream.
        replicas: usize,
        partitions: PartitionCount,
    },
}

/// The kind of store that `--store` or `--to` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// Everything in a local file
    Redb,
    /// The journal in a stream on the NATS servers
    #[value(name = "jetstream")]
    JetStream,
}

/// The valid range for the number of NATS servers that keep a copy of a stream.
const REPLICAS: RangeInclusive<i64> = 1..=5;

/// The valid range for the number of partitions.
const PARTITIONS: RangeInclusive<i64> = 1..=8;

/// The default number of NATS servers that keep the journal. With three servers, the journal
/// survives the loss of one.
const DEFAULT_REPLICAS: u8 = 3;

/// The reason why the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Variable(#[from] InvalidVariable),
    #[error(
        "a data directory is required; set --data-dir, SCUTTLE_DATA_DIR, or data_dir in the configuration file"
    )]
    NoDataDir,
    #[error("the new number of replicas is required; give --replicas")]
    NoReplicas,
    /// An option or subcommand that requires the store `jetstream` is used without it.
    #[error("{option} works only with --store jetstream")]
    RequiresJetStream { option: &'static str },
}

impl ConfigError {
    /// Prints the error, or the help or version that was requested, and returns the exit code.
    pub fn print(&self) -> u8 {
        const PROGRAM: &str = "scuttle-controller";
        const USAGE: u8 = 2;
        match self {
            Self::Settings(error) => error.print(PROGRAM),
            error => {
                eprintln!("{PROGRAM}: {error}");
                USAGE
            }
        }
    }
}

/// The command-line options of a running controller.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Options {
    #[command(flatten)]
    file: ConfigFile,
    /// Directory of the store, created if it is missing
    #[arg(long, env = "SCUTTLE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Kind of store: redb keeps the journal in the data directory; jetstream keeps it on the NATS
    /// servers, where several controllers share it and one leads [default: redb]
    #[arg(
        long,
        env = "SCUTTLE_STORE",
        value_name = "KIND",
        hide_possible_values = true
    )]
    store: Option<StoreKind>,
    /// With --store jetstream: number of NATS servers that keep a copy of the journal [default: 3]
    #[arg(long, env = "SCUTTLE_REPLICAS", value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(REPLICAS))]
    replicas: Option<u8>,
    /// With --store jetstream: number of partitions that the hosts are divided into, each with its
    /// own journal and leader; must be the same for all controllers [default: 1]
    #[arg(long, env = "SCUTTLE_PARTITIONS", value_name = "NUMBER", value_parser = clap::value_parser!(u8).range(PARTITIONS))]
    partitions: Option<u8>,
    /// File for the audit log, in JSON lines; created if it is missing, reopened on SIGHUP
    /// [default: standard output]
    #[arg(long, env = "SCUTTLE_AUDIT_LOG", value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// Serve the web page, /healthz, /readyz and /metrics at this address, such as 127.0.0.1:8420
    /// or localhost:8420; :8420 serves them at all addresses of the machine [default: no HTTP]
    #[arg(long, env = "SCUTTLE_HTTP", value_name = "HOST:PORT", value_parser = parse_address)]
    http: Option<SocketAddr>,
    /// Addresses at which the web page reaches the WebSocket listeners of the NATS servers,
    /// separated by commas [default: ws://127.0.0.1:8421]
    #[arg(long, env = "SCUTTLE_WEB_NATS_URL", value_name = "URL[,URL…]", value_parser = clap::value_parser!(NatsUrls))]
    web_nats_url: Option<NatsUrls>,
    // The flattened groups come last, because their help headings apply to everything that follows.
    #[command(flatten)]
    telemetry: scuttle_telemetry::Arguments,
    #[command(flatten)]
    nats: scuttle_nats::Arguments,
}

/// Parses the address to listen on. Without a host, the address stands for all IPv4 addresses of
/// the machine. A host name stands for its first IPv4 address, or else its first address.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let invalid = || "it must be HOST:PORT, such as 127.0.0.1:8420 or localhost:8420".to_owned();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    if host.is_empty() {
        return Ok((Ipv4Addr::UNSPECIFIED, port).into());
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found
        .map_err(|cause| format!("cannot find {host}: {cause}"))?
        .collect();
    let preferred = found.iter().find(|address| address.is_ipv4());
    preferred.or(found.first()).copied().ok_or_else(invalid)
}

impl Options {
    /// Checks the combination of options, and fills in the defaults. `variable` looks up the
    /// standard OpenTelemetry environment variables.
    pub(super) fn into_config(
        self,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let otlp_endpoint = self.telemetry.find_endpoint(variable)?;
        let requires_jetstream = |option| Err(ConfigError::RequiresJetStream { option });
        let journal = match self.store.unwrap_or(StoreKind::Redb) {
            StoreKind::Redb if self.replicas.is_some() => return requires_jetstream("--replicas"),
            StoreKind::Redb if self.partitions.is_some() => {
                return requires_jetstream("--partitions");
            }
            StoreKind::Redb => Journal::Own,
            StoreKind::JetStream => self.shared_journal(),
        };
        Ok(Config {
            nats: self.nats.connect_config(),
            data_dir: self.data_dir.ok_or(ConfigError::NoDataDir)?,
            journal,
            log: self.telemetry.log,
            log_format: self.telemetry.log_format,
            audit_log: self.audit_log,
            http: self.http,
            web_nats_url: self.web_nats_url.unwrap_or_default(),
            otlp_endpoint,
        })
    }

    /// Checks the options as [`Self::into_config`] does, for a command that always works on this
    /// kind of store.
    pub(super) fn into_config_with_jetstream(
        mut self,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        self.store = Some(StoreKind::JetStream);
        self.into_config(variable)
    }

    pub(super) fn nats_config(&self) -> ConnectConfig {
        self.nats.clone().connect_config()
    }

    /// Returns the number of replicas, which must be given, and of partitions.
    pub(super) fn required_replicas(&self) -> Result<(usize, PartitionCount), ConfigError> {
        let replicas = self.replicas.ok_or(ConfigError::NoReplicas)?;
        let partitions = self.partitions.and_then(PartitionCount::new);
        Ok((replicas.into(), partitions.unwrap_or(PartitionCount::ONE)))
    }

    fn shared_journal(&self) -> Journal {
        let partitions = self.partitions.and_then(PartitionCount::new);
        Journal::Shared {
            replicas: self.replicas.unwrap_or(DEFAULT_REPLICAS).into(),
            partitions: partitions.unwrap_or(PartitionCount::ONE),
        }
    }
}
