//! An event becomes a line: one JSON object, its fields in their order, `null` where an event leaves one out. Written
//! by hand, since it is done for every change that is accepted, tens of thousands a second.

use std::fmt::{self, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::observability::audit::log::Log;

/// Writes events as lines of a log.
pub(crate) struct Lines(pub(crate) Arc<Log>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.add(|bytes| write_line(event, bytes));
    }
}

fn write_line(event: &Event<'_>, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(b"{\"target\":\"");
    escape(event.metadata().target(), bytes);
    bytes.push(b'"');
    let mut fields = Fields {
        bytes,
        rest: event.metadata().fields().iter(),
    };
    event.record(&mut fields);
    fields.nulls_before(None);
    bytes.extend_from_slice(b"}\n");
}

struct Fields<'a> {
    bytes: &'a mut Vec<u8>,
    /// Those that have not been written yet. They are visited in this order.
    rest: tracing::field::Iter,
}

impl Fields<'_> {
    /// Writes the name of this field, after those that the event left out.
    fn nulls_before(&mut self, next: Option<&Field>) {
        for field in self.rest.by_ref() {
            self.bytes.extend_from_slice(b",\"");
            escape(field.name(), self.bytes);
            self.bytes.extend_from_slice(b"\":");
            if next == Some(&field) {
                return;
            }
            self.bytes.extend_from_slice(b"null");
        }
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.nulls_before(Some(field));
        self.bytes.push(b'"');
        escape(value, self.bytes);
        self.bytes.push(b'"');
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.nulls_before(Some(field));
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.bytes.extend_from_slice(word);
    }

    /// Ids, which are shown as text.
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.nulls_before(Some(field));
        self.bytes.push(b'"');
        // Memory does not refuse.
        let _ = write!(Escaped(self.bytes), "{value:?}");
        self.bytes.push(b'"');
    }
}

struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// Text inside a JSON string. More is escaped than JSON asks for: whatever a reader could take for the end of the
/// line, and what a terminal would obey.
fn escape(text: &str, bytes: &mut Vec<u8>) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        return bytes.extend_from_slice(text.as_bytes());
    }
    for character in text.chars() {
        match character {
            '"' | '\\' => bytes.extend_from_slice(&[b'\\', character as u8]),
            '\u{2028}' | '\u{2029}' => push_code(character, bytes),
            _ if character.is_control() => push_code(character, bytes),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// One of the first 65,536 characters by its number.
fn push_code(character: char, bytes: &mut Vec<u8>) {
    let code = u32::from(character);
    bytes.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        bytes.push(b"0123456789abcdef"[(code >> shift & 15) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn whatever_the_text_is_it_stays_one_line_that_says_the_same() {
        for text in [
            "plain",
            "",
            "a\nb\r\nc\td",
            "\"quoted\" \\ back",
            "\u{0}\u{1b}[31m\u{7f}\u{85}\u{9b}\u{2028}\u{2029}",
            "äöü 漢 🦀",
        ] {
            let mut bytes = b"\"".to_vec();
            escape(text, &mut bytes);
            bytes.push(b'"');
            let line = String::from_utf8(bytes).expect("UTF-8");
            assert!(!line.contains(char::is_control), "{line}");
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(!line.contains(['\u{2028}', '\u{2029}']), "{line}");
            let read: String = serde_json::from_str(&line).expect("JSON");
            assert_eq!(read, text);
        }
    }
}
