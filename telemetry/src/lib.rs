//! The log and the traces of every Scuttle program: their options, their set-up, and the sending of
//! traces to an OpenTelemetry collector. What is logged and traced is decided in each program.
//!
//! The modules, lowest layer first: `endpoint` and `log`, `export`, `span`, `arguments`.

mod arguments;
mod endpoint;
mod export;
pub mod log;
mod span;

pub use arguments::{Arguments, InvalidVariable, TelemetryError};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use export::{ExportError, TracesGuard, install_exporter};
pub use log::LogFormat;
pub use opentelemetry::KeyValue;
pub use span::{Span, SpanKind, is_enabled, now_if_enabled, start_span};
