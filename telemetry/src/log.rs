//! The set-up of the log on standard error, as text or as JSON lines.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// Returns the filter of log lines from `SCUTTLE_LOG`, or from `default` if the variable is missing
/// or invalid.
pub fn build_filter(default: &str) -> EnvFilter {
    EnvFilter::try_from_env("SCUTTLE_LOG").unwrap_or_else(|_| EnvFilter::new(default))
}

/// Returns the layer that writes log lines to standard error.
pub fn build_stderr_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let is_colored = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(is_colored)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).boxed(),
        // Fields such as the operation id are at the top level of the object, as in the audit log.
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}
