//! What the demo's lines look like: time, sign, what it is about, text.
//!
//! Signs and words carry the meaning; colours only repeat it, on a terminal and unless `NO_COLOR` is set.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

/// What kind of line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Something is asked of the controller.
    Asked,
    /// Something changes.
    Change,
    /// Something ended as it should.
    Good,
    /// Something failed, or was refused.
    Bad,
    /// Something was done to the controller.
    Strike,
}

impl Sign {
    fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Asked => ("→", "36"),
            Self::Change => ("·", "2"),
            Self::Good => ("✓", "32"),
            Self::Bad => ("✗", "31"),
            Self::Strike => ("⚡", "33"),
        }
    }
}

/// Standard output.
pub(crate) struct Terminal {
    start: Instant,
    colours: bool,
}

impl Terminal {
    /// Time starts now.
    pub(crate) fn new() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            start: Instant::now(),
            colours: io::stdout().is_terminal() && !unwanted,
        }
    }

    /// Since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// One thing that happened.
    pub(crate) fn line(&self, sign: Sign, about: &str, text: &str) -> Result<()> {
        let (mark, colour) = sign.mark();
        let time = format!("{:>6.2}s", self.elapsed().as_secs_f64());
        let (time, mark) = (self.paint("2", &time), self.paint(colour, mark));
        print(&format!("{time}  {mark} {about:<20} {text}"))
    }

    /// What comes next.
    pub(crate) fn heading(&self, text: &str) -> Result<()> {
        let heading = format!("         ── {text} ──");
        print(&self.paint("1", &heading))
    }

    /// A row of the summary.
    pub(crate) fn row(&self, name: &str, text: &str) -> Result<()> {
        print(&format!(
            "  {} {text}",
            self.paint("1", &format!("{name:<12}"))
        ))
    }

    /// The very last line.
    pub(crate) fn stopped(&self, what: &str) -> Result<()> {
        self.line(Sign::Change, "stopped in order", what)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Nobody reads what is printed any more: the terminal is closed, or the pipe.
#[derive(Debug, thiserror::Error)]
#[error("cannot print: {0}")]
pub(crate) struct Unread(io::Error);

/// A line as it is.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    let printed = writeln!(out, "{text}").and_then(|()| out.flush());
    Ok(printed.map_err(Unread)?)
}

/// A line for whoever looks into a failure.
pub(crate) fn complain(text: &str) {
    // Nobody is left to be told that even this cannot be printed.
    let _ = writeln!(io::stderr().lock(), "scuttle-demo: {text}");
}

/// A time that is short enough for microseconds: `1,204 µs`.
pub(crate) struct Micros(pub(crate) Duration);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            micros @ 0..1000 => write!(f, "{micros} µs"),
            micros => write!(f, "{},{:03} µs", micros / 1000, micros % 1000),
        }
    }
}

/// A time that people feel: `0.74 s`.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.0.as_secs_f64())
    }
}

/// `1 decky`, `7 deckies`.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
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
