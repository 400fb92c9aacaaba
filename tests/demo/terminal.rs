//! The format of the demo's output: each line has a time, a sign, a subject and a text.
//!
//! Colours only repeat what the signs and words say. They are used if standard output is a terminal
//! and `NO_COLOR` is not set.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// The kind of a line, which determines its sign and its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// A request was sent to the controller.
    Request,
    /// The record has changed.
    Change,
    /// A step has succeeded.
    Success,
    /// A step has failed, or a request was rejected.
    Failure,
    /// The demo has caused a fault.
    Kill,
}

impl Sign {
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Request => ("→", "36"),
            Self::Change => ("·", "2"),
            Self::Success => ("✓", "32"),
            Self::Failure => ("✗", "31"),
            Self::Kill => ("⚡", "33"),
        }
    }
}

/// The formatted standard output of the demo.
pub(crate) struct Terminal {
    started_at: Instant,
    colours: bool,
}

impl Terminal {
    /// Creates the output. Times in lines are counted from this call.
    pub(crate) fn new() -> Self {
        let is_disabled = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            started_at: Instant::now(),
            colours: io::stdout().is_terminal() && !is_disabled,
        }
    }

    /// Prints one line, with the time since the start.
    pub(crate) fn line(&self, sign: Sign, subject: &str, text: &str) -> Result<()> {
        let (mark, colour) = sign.mark();
        let time = format!("{:>6.2}s", self.started_at.elapsed().as_secs_f64());
        let (time, mark) = (self.paint("2", &time), self.paint(colour, mark));
        print(&format!("{time}  {mark} {subject:<20} {text}"))
    }

    /// Prints the heading of the next step.
    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        let heading = format!("         ── {text} ──");
        print(&self.paint("1", &heading))
    }

    /// Prints one row of the summary.
    pub(crate) fn row(&self, name: &str, text: &str) -> Result<()> {
        print(&format!(
            "  {} {text}",
            self.paint("1", &format!("{name:<12}"))
        ))
    }

    /// Prints the last line of the demo, which says what has been stopped.
    pub(crate) fn stopped(&self, what: &str) -> Result<()> {
        self.line(Sign::Change, "stopped", what)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A failed write to standard output, usually because the terminal or the pipe was closed.
#[derive(Debug, thiserror::Error)]
#[error("cannot print: {0}")]
pub(crate) struct OutputClosed(io::Error);

/// Prints a text to standard output, without a time or a sign.
///
/// # Errors
/// [`OutputClosed`] if the text cannot be written.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let printed = writeln!(out, "{text}").and_then(|()| out.flush());
    Ok(printed.map_err(OutputClosed)?)
}

/// Prints an error to standard error, with the name of the program.
pub(crate) fn print_error(text: &str) {
    // If even this fails, there is no place left to report to.
    let _ = writeln!(io::stderr().lock(), "scuttle-demo: {text}");
}

/// A short duration, printed in microseconds: `1,204 µs`.
pub(crate) struct Micros(pub(crate) Duration);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            micros @ 0..1000 => write!(f, "{micros} µs"),
            micros => write!(f, "{},{:03} µs", micros / 1000, micros % 1000),
        }
    }
}

/// A duration, printed in seconds: `0.74 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.0.as_secs_f64())
    }
}

/// Formats a number with its noun, for example `1 decky` or `7 deckies`.
pub(crate) fn format_count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Micros;

    #[test]
    fn microseconds_are_grouped_by_thousands() {
        for (micros, shown) in [
            (7, "7 µs"),
            (999, "999 µs"),
            (1_004, "1,004 µs"),
            (25_300, "25,300 µs"),
        ] {
            assert_eq!(Micros(Duration::from_micros(micros)).to_string(), shown);
        }
    }
}
