//! One-line messages on standard error. They may quote other programs, so hidden characters in them
//! are escaped.

use std::fmt::Display;

use scuttle_schemas::escape_hidden;

/// Prints an error or a warning, after the name of the command.
pub(crate) fn print_error(error: impl Display) {
    print_line(format!("scuttle: {error}"));
}

/// Prints a line of text.
pub(crate) fn print_line(text: impl Display) {
    eprintln!("{}", escape_hidden(&text.to_string()));
}
