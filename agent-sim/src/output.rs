//! Writes the simulator's lines to standard output.

use std::io::Write;

/// Prints a line and flushes standard output. Ignores errors, because the simulation should
/// continue when no process reads its output.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
