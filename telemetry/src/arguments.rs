//! The flags and variables by which an agent is told of its log and its traces. (The controller has a file of settings too.)

use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::{CannotExport, Endpoint, InvalidEndpoint, LogFormat, Traces, export, log};

/// What the help says of where traces go.
const ENDPOINT: &str = "Send traces to this OTLP collector, such as http://127.0.0.1:4318 [else: OTEL_EXPORTER_OTLP_ENDPOINT] [default: no traces]";

/// `--log-format` and `--otlp-endpoint`, each with its variable.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Log and traces")]
#[group(skip)]
pub struct Arguments {
    /// How log lines look.
    #[arg(long, env = "SCUTTLE_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    #[arg(long, env = "SCUTTLE_OTLP_ENDPOINT", value_name = "URL", help = ENDPOINT)]
    otlp_endpoint: Option<Endpoint>,
}

/// Traces cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A standard variable names no collector.
    #[error("the environment variable {0} is invalid: {1}")]
    Variable(&'static str, InvalidEndpoint),
    /// OpenTelemetry does not take its other variables.
    #[error(transparent)]
    Export(#[from] CannotExport),
}

impl Arguments {
    /// Sets up the log, with the program's `usual` lines where nobody says which, and the traces of `service` where a
    /// collector is named.
    ///
    /// # Errors
    /// The collector cannot be used.
    pub fn begin(&self, service: &'static str, usual: &str) -> Result<Option<Traces>, Unusable> {
        tracing_subscriber::registry()
            .with(log::to_stderr(self.log_format).with_filter(log::filter(usual)))
            .init();
        let endpoint = match &self.otlp_endpoint {
            Some(endpoint) => Some(endpoint.clone()),
            None => Endpoint::from_variables(|name| std::env::var(name).ok())
                .map_err(|(name, error)| Unusable::Variable(name, error))?,
        };
        let traces = endpoint.map(|endpoint| export(service, &endpoint));
        Ok(traces.transpose()?)
    }
}
