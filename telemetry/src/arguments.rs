//! The options that every program has for its log and its traces, and the set-up of both.

use crate::endpoint::{Endpoint, InvalidEndpoint};
use crate::export::{ExportError, TracesGuard, install_exporter};
use crate::log::{self, InstalledLog, LogFilter, LogFormat};

/// The options `--log`, `--log-format` and `--otlp-endpoint`.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Log and traces")]
#[group(skip)]
pub struct Arguments {
    /// The filter of log lines: a level such as info or debug, or a filter of Rust's tracing; read
    /// again from the configuration file on SIGHUP
    #[arg(long, env = "SCUTTLE_LOG", value_name = "FILTER")]
    pub log: Option<LogFilter>,
    /// The format of log lines
    #[arg(
        long,
        env = "SCUTTLE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub log_format: LogFormat,
    /// Send traces to this OTLP collector, such as http://127.0.0.1:4318 [default:
    /// OTEL_EXPORTER_OTLP_ENDPOINT, or else no traces]
    #[arg(long, env = "SCUTTLE_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<Endpoint>,
}

/// The reason why traces cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Variable(#[from] InvalidVariable),
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// A standard OpenTelemetry variable that does not name a usable collector.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable {name} is invalid: {cause}")]
pub struct InvalidVariable {
    name: &'static str,
    cause: InvalidEndpoint,
}

impl Arguments {
    /// Returns the collector for traces, or `None` if none is configured. Without
    /// `--otlp-endpoint`, the standard OpenTelemetry variables are looked up with `variable`.
    ///
    /// # Errors
    /// If a standard variable does not name a usable collector.
    pub fn find_endpoint(
        &self,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<Option<Endpoint>, InvalidVariable> {
        match &self.otlp_endpoint {
            Some(endpoint) => Ok(Some(endpoint.clone())),
            None => Endpoint::from_variables(variable)
                .map_err(|(name, cause)| InvalidVariable { name, cause }),
        }
    }

    /// Installs the log of this process. `default_filter` selects the log lines unless an option
    /// does.
    pub fn install_log(&self, default_filter: &'static str) -> InstalledLog {
        log::install(self.log_format, self.log.as_ref(), default_filter)
    }

    /// Sets up the traces of `service` if there is a collector. Dropping the returned guard ends
    /// the traces.
    ///
    /// # Errors
    /// If the collector or the export of traces is misconfigured.
    pub fn install_traces(
        &self,
        service: &'static str,
    ) -> Result<Option<TracesGuard>, TelemetryError> {
        let endpoint = self.find_endpoint(|name| std::env::var(name).ok())?;
        let traces = endpoint.map(|endpoint| install_exporter(service, &endpoint));
        Ok(traces.transpose()?)
    }
}
