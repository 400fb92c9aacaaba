//! What a Scuttle program says of its work, the same way in each: the set-up of its log, and its traces, which it sends to
//! an OpenTelemetry collector where one is named. What is said is each program's own.

mod arguments;
mod endpoint;
mod export;
pub mod log;
mod span;

pub use arguments::{Arguments, Unusable};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use export::{CannotExport, Traces, export};
pub use log::LogFormat;
pub use opentelemetry::KeyValue;
pub use span::{Kind, Span, now, on, start};
