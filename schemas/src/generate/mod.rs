//! The contract as documents, for readers who do not use Rust: a JSON Schema (draft 2020-12) for
//! each message, and an `AsyncAPI` document that says which message travels on which subject.
//!
//! The shape of a message is generated from its type. The generated files are checked in, and
//! `tests/generated.rs` compares them with the output of this module.

mod asyncapi;
pub mod messages;

use std::collections::BTreeMap;

use serde_json::Value;

use messages::MESSAGES;

/// Returns every generated file: its path in the directory of this crate, and its text.
pub fn files() -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = MESSAGES
        .iter()
        .map(|message| {
            (
                format!("json/{}.json", message.name),
                format_document(message.schema()),
            )
        })
        .collect();
    files.insert(
        "asyncapi.json".to_owned(),
        format_document(asyncapi::document()),
    );
    files
}

/// Formats a document with sorted keys, so that the text does not depend on the features of
/// `serde_json`.
fn format_document(mut document: Value) -> String {
    document.sort_all_objects();
    format!("{document:#}\n")
}
