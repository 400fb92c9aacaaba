//! The format of an audit line: one JSON object, always with the same fields in the same order.

use std::borrow::Cow;
use std::io::{self, Write};

use scuttle_schemas::{DeckyId, ErrorCode, HostId, OperationId};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

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
}

impl AuditLine<'_> {
    /// Appends the line and its line break to `bytes`.
    pub(super) fn write_to(&self, bytes: &mut Vec<u8>) {
        let mut serializer = Serializer::with_formatter(&mut *bytes, SingleLine);
        self.serialize(&mut serializer)
            .expect("a struct of strings can be serialized into memory");
        bytes.push(b'\n');
    }
}

/// A JSON format that keeps a line safe to print and to split. It escapes more characters than JSON
/// requires: control characters, because a terminal could interpret them, and the Unicode line
/// separators, because a reader could take them for the end of the line.
struct SingleLine;

impl Formatter for SingleLine {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // serde_json has already split off the quotes, backslashes and ASCII control characters
        // below U+0020.
        let is_unsafe = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, tail) = rest.split_at(at);
            writer.write_all(safe.as_bytes())?;
            let mut chars = tail.chars();
            for unit in chars.next().unwrap_or_default().encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::AuditLine;

    #[test]
    fn a_line_stays_one_line_with_the_same_text_whatever_a_field_contains() {
        for text in [
            "plain",
            "",
            "a\nb\r\nc\td",
            "\"quoted\" \\ back",
            "\u{0}\u{1b}[31m\u{7f}\u{85}\u{9b}\u{2028}\u{2029}",
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
            };
            let mut bytes = Vec::new();
            line.write_to(&mut bytes);
            let written = String::from_utf8(bytes).expect("UTF-8");
            let written = written.strip_suffix('\n').expect("a line break");
            assert!(!written.contains(char::is_control), "{written}");
            assert!(!written.contains(['\u{2028}', '\u{2029}']), "{written}");
            let read: serde_json::Value = serde_json::from_str(written).expect("JSON");
            assert_eq!(read["who"], text);
            assert_eq!(read["reason"], serde_json::Value::Null);
        }
    }
}
