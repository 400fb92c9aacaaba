//! The output of the command: tables, JSON, labels and colours of states, and progress.

pub(crate) mod change_lines;
pub(crate) mod format;
pub(crate) mod json_types;
pub(crate) mod local_time;
pub(crate) mod message;
pub(crate) mod operation;
pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod truncate;
