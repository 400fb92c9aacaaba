//! The set-up of the log on standard error, as text or as JSON lines.

use std::fmt;
use std::io::{self, IsTerminal, Stderr, Write};
use std::str::FromStr;

use clap::ValueEnum;
use scuttle_schemas::{escape_hidden, escape_hidden_in_json};
use tracing::{Subscriber, info, warn};
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// A valid filter of log lines: a level, or directives of Rust's `tracing`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        EnvFilter::try_new(text).map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The installed log, whose filter can be replaced.
#[derive(Debug)]
pub struct InstalledLog {
    default: &'static str,
    handle: reload::Handle<EnvFilter, Registry>,
}

impl InstalledLog {
    /// Replaces the filter with `filter`, or with the default if `filter` is `None`, and logs the
    /// new filter as an effect of SIGHUP.
    pub fn reload(&self, filter: Option<&LogFilter>) {
        let filter = filter.map_or(self.default, |filter| &filter.0);
        match self.handle.reload(EnvFilter::new(filter)) {
            Ok(()) => info!("SIGHUP: the log filter is {filter}"),
            Err(error) => warn!("SIGHUP: cannot set the log filter {filter}: {error}"),
        }
    }
}

/// Installs the log of this process. Without `filter`, `default` selects the log lines.
pub fn install(
    format: LogFormat,
    filter: Option<&LogFilter>,
    default: &'static str,
) -> InstalledLog {
    let filter = EnvFilter::new(filter.map_or(default, |filter| &filter.0));
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry()
        .with(build_stderr_layer(format).with_filter(filter))
        .init();
    InstalledLog { default, handle }
}

/// Returns the layer that writes log lines to standard error.
pub fn build_stderr_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let is_colored = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt::layer()
        .with_ansi(is_colored)
        .with_writer(move || EscapingWriter::<Stderr> {
            output: io::stderr(),
            format,
            is_colored,
        });
    match format {
        LogFormat::Text => log.with_target(false).boxed(),
        // Fields such as the operation id are at the top level of the object, as in the audit log.
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    }
}

/// A writer that receives one whole event in each call, and writes the event as one line without
/// hidden characters. Events quote text from other programs.
struct EscapingWriter<W> {
    output: W,
    format: LogFormat,
    /// Whether the colour codes of the event are kept. `tracing_subscriber` has already escaped
    /// those in the texts of the event.
    is_colored: bool,
}

impl<W: Write> Write for EscapingWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = text.trim_end_matches('\n');
        let mut line = match self.format {
            LogFormat::Json => escape_hidden_in_json(text).into_owned(),
            LogFormat::Text if self.is_colored => escape_around_colors(text),
            LogFormat::Text => escape_hidden(text).into_owned(),
        };
        line.push('\n');
        self.output.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Escapes hidden characters, except those of ANSI colour codes such as `\x1b[31m`.
fn escape_around_colors(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut line = escape_hidden(parts.next().unwrap_or_default()).into_owned();
    for part in parts {
        let parameters = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        let is_color = parameters.starts_with('m');
        line.push_str(if is_color { "\x1b[" } else { "\\u{1b}[" });
        line.push_str(&escape_hidden(part));
    }
    line
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{EscapingWriter, LogFormat};

    fn write(format: LogFormat, is_colored: bool, event: &str) -> String {
        let mut output = Vec::new();
        let mut writer = EscapingWriter {
            output: &mut output,
            format,
            is_colored,
        };
        writer.write_all(event.as_bytes()).expect("memory");
        String::from_utf8(output).expect("UTF-8")
    }

    #[test]
    fn an_event_is_one_line_without_hidden_characters() {
        let event = "WARN a\nb\u{202e}c\u{9b}\u{e0041}\x1b[2J\n";
        assert_eq!(
            write(LogFormat::Text, false, event),
            "WARN a b\\u{202e}c\\u{9b}\\u{e0041}\\u{1b}[2J\n"
        );
        assert_eq!(
            write(
                LogFormat::Json,
                false,
                "{\"a\":\"\u{202e}\u{e0041}\u{7f}\"}\n"
            ),
            "{\"a\":\"\\u202e\\udb40\\udc41\\u007f\"}\n"
        );
    }

    #[test]
    fn only_colour_codes_reach_a_terminal() {
        let event = "\x1b[2;31mERROR\x1b[0m a\u{200b}\x1b[2J\x1b]0;x\n";
        assert_eq!(
            write(LogFormat::Text, true, event),
            "\x1b[2;31mERROR\x1b[0m a\\u{200b}\\u{1b}[2J\\u{1b}]0;x\n"
        );
    }
}
