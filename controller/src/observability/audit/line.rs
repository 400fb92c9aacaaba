//! The format of an audit line: one JSON object, with the same fields in the same order. Only
//! `override_protection` is absent from most lines.

use std::borrow::Cow;

use scuttle_schemas::{DeckyId, ErrorCode, HostId, OperationId, escape_hidden_in_json};
use serde::Serialize;

/// One line of the audit log. A field without a value is `null`.
#[derive(Debug, Serialize)]
pub(super) struct AuditLine<'a> {
    pub(super) target: &'static str,
    pub(super) time: &'a str,
    pub(super) who: &'a str,
    pub(super) action: &'static str,
    pub(super) outcome: &'static str,
    pub(super) code: Option<ErrorCode>,
    pub(super) message: Option<Cow<'a, str>>,
    pub(super) repeated: bool,
    pub(super) operation_id: Option<OperationId>,
    pub(super) host_uuid: Option<&'a HostId>,
    pub(super) decky_id: Option<&'a DeckyId>,
    pub(super) reason: Option<&'a str>,
    /// Whether a teardown was requested with `override_protection`. Absent if false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) override_protection: bool,
}

impl AuditLine<'_> {
    /// Appends the line and its line break to `bytes`. Hidden characters are escaped, because a
    /// terminal or a reader could take them for a command or the end of the line.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        let json = serde_json::to_string(self).expect("a struct of strings serializes to JSON");
        bytes.extend_from_slice(escape_hidden_in_json(&json).as_bytes());
        bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::is_hidden;

    use super::AuditLine;

    #[test]
    fn a_line_stays_one_line_with_the_same_text_whatever_a_field_contains() {
        for text in [
            "plain",
            "",
            "a\nb\r\nc\td",
            "\"quoted\" \\ back",
            "\u{0}\u{1b}[31m\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{e0041}",
            "äöü 漢 🦀",
        ] {
            let line = AuditLine {
                target: "audit",
                time: "2026-11-23T09:11:49.000Z",
                who: text,
                action: "teardown",
                outcome: "accepted",
                code: None,
                message: None,
                repeated: false,
                operation_id: None,
                host_uuid: None,
                decky_id: None,
                reason: None,
                override_protection: false,
            };
            let mut bytes = Vec::new();
            line.write_to(&mut bytes);
            let written = String::from_utf8(bytes).expect("UTF-8");
            let written = written.strip_suffix('\n').expect("a line break");
            assert!(!written.contains(is_hidden), "{written}");
            let read: serde_json::Value = serde_json::from_str(written).expect("JSON");
            assert_eq!(read["who"], text);
            assert_eq!(read["reason"], serde_json::Value::Null);
        }
    }
}
