//! What goes to standard output: tables for people, or JSON for programs, and nothing else.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::failure::Failure;
use crate::look::Paint;
use crate::table::Table;

/// How a verb tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// JSON, one record a line.
    Jsonl,
}

impl Format {
    /// Whether people read it.
    pub(crate) fn is_table(self) -> bool {
        self == Self::Table
    }

    /// Writes one thing: text for people, else JSON.
    pub(crate) fn one(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self {
            Self::Table => print(&text()),
            Self::Json => document(value),
            Self::Jsonl => line(value),
        }
    }

    /// Writes many: a table for people, the whole document, or each record on a line.
    pub(crate) fn many<R: Serialize>(
        self,
        document_of_all: &impl Serialize,
        records: &[R],
        table: impl FnOnce() -> Table,
    ) -> Result<(), Failure> {
        match self {
            Self::Table => print(&table().render(width(), Paint::stdout())),
            Self::Json => document(document_of_all),
            Self::Jsonl => records.iter().try_for_each(line),
        }
    }
}

/// The columns of the terminal that standard output is; without one there is no limit, so that nothing is cut in a pipe.
pub(crate) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    (crossterm::terminal::size().ok()).map(|(columns, _)| usize::from(columns))
}

/// Writes one line of JSON.
pub(crate) fn line(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).expect("an output is plain data");
    print(&text)
}

/// Writes text, with the end of its last line.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let text = text.trim_end_matches('\n');
    if text.is_empty() {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}

fn document(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).expect("an output is plain data");
    print(&text)
}
