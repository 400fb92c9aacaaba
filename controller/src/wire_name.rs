//! The names of enum values on the wire, for metrics, traces and the audit log.

use serde::Serialize;
use serde_json::Value;

/// Returns the name of an enum value as it is written on the wire.
pub(crate) fn wire_name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}
