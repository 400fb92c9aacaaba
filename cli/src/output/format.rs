//! Writes results to standard output: as a table for people, or as JSON for programs. JSON may be
//! read on a terminal too, so hidden characters in its strings are escaped.

use std::io::{self, IsTerminal, Write};

use scuttle_schemas::escape_hidden_in_json;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::style::Colors;
use crate::output::table::Table;

/// The output format of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A table or text, for people.
    Table,
    /// A table with all columns in full, however wide.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON record per line.
    Jsonl,
}

impl Format {
    pub(crate) fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }

    /// Writes one value: as `text` for people, or as one JSON document or line.
    pub(crate) fn write_one(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Table | Self::Wide => write_text(&text()),
            Self::Json => write_json_document(value),
            Self::Jsonl => write_json_line(value),
        }
    }

    /// Writes a list: as a table for people, as one JSON document, or as one JSON record per line.
    pub(crate) fn write_list<R: Serialize>(
        self,
        document: &impl Serialize,
        records: &[R],
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match self {
            Self::Table => write_text(&table().render(terminal_width(), Colors::stdout())),
            Self::Wide => write_text(&table().render(None, Colors::stdout())),
            Self::Json => write_json_document(document),
            Self::Jsonl => records.iter().try_for_each(write_json_line),
        }
    }
}

/// Returns the number of columns of the terminal.
///
/// Returns `None` if the width is unknown, or if standard output is not a terminal. Text in a pipe
/// is never truncated.
pub(crate) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    (crossterm::terminal::size().ok()).map(|(columns, _)| usize::from(columns))
}

/// Writes a value as one line of JSON.
pub(crate) fn write_json_line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).expect("every output type serializes to JSON");
    write_text(&escape_hidden_in_json(&text))
}

/// Writes text to standard output, with exactly one newline at its end. Writes nothing if the text
/// is empty.
pub(crate) fn write_text(text: &str) -> Result<(), Failure> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

fn write_json_document(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("every output type serializes to JSON");
    write_text(&escape_hidden_in_json(&text))
}
