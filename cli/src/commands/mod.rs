//! The subcommands of `scuttle`, one file or folder each.

pub(crate) mod admin;
mod change_stream;
mod confirmation;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod evidence;
pub(crate) mod operation_ref;
pub(crate) mod operations;
pub(crate) mod shell;
pub(crate) mod show;
pub(crate) mod watch;
