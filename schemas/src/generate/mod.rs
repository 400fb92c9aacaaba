//! The contract as documents, for those who do not read Rust: one JSON Schema (draft 2020-12) for each
//! message, and one `AsyncAPI` document that says which message travels on which subject.
//!
//! The types say everything; nothing about a message's shape is written here. The files are checked in,
//! and `tests/generated.rs` compares them with what this module makes.

mod asyncapi;
mod messages;

use std::collections::BTreeMap;

use serde_json::Value;

pub use messages::{MESSAGES, Message, Role};

/// Every generated file: its path in the crate's directory, and its text.
pub fn files() -> BTreeMap<String, String> {
    let mut files: BTreeMap<String, String> = MESSAGES
        .iter()
        .map(|message| {
            (
                format!("json/{}.json", message.name),
                text(message.schema()),
            )
        })
        .collect();
    files.insert("asyncapi.json".to_owned(), text(asyncapi::document()));
    files
}

/// Keys in the order of the alphabet, whichever map `serde_json` was built with.
fn text(mut document: Value) -> String {
    document.sort_all_objects();
    format!("{document:#}\n")
}
