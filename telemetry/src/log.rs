//! The log on standard error: as text for people, or as JSON lines. What is logged is each program's own.

use std::io::IsTerminal;

use clap::ValueEnum;
use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Which lines are written: what `SCUTTLE_LOG` says, else the program's `usual` ones.
pub fn filter(usual: &str) -> EnvFilter {
    EnvFilter::try_from_env("SCUTTLE_LOG").unwrap_or_else(|_| EnvFilter::new(usual))
}

/// What writes them.
pub fn to_stderr<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(coloured)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).boxed(),
        // An operation's id is a field of the line, not of an object in it, as in the audit log.
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}
