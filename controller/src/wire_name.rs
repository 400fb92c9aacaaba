//! The names of enum values as they appear in messages, for metrics, traces and the audit log.

use serde::Serialize;
use serde_json::Value;

/// Returns the name of an enum value as it appears in messages, or an empty string if the value is
/// not serialized as a string.
pub(crate) fn wire_name(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}
