//! The log and the traces of every Scuttle program: their options, their set-up, and the sending of
//! traces to an OpenTelemetry collector. Each program decides what it logs and traces.
//!
//! The modules, lowest layer first: `endpoint` and `log`, `export`, `span` and `arguments`.

pub mod arguments;
pub mod endpoint;
pub mod export;
pub mod log;
pub mod span;

pub use arguments::Arguments;
pub use log::{InstalledLog, LogFormat};
pub use opentelemetry::KeyValue;
pub use span::{Span, SpanKind, now_if_enabled, start_span};
