//! The appearance of states and times: the symbol, word and colour of each state, and times
//! relative to now.

use std::io::{self, IsTerminal};

use jiff::tz::TimeZone;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{Labels, Note, Timestamp, escape_hidden};

use crate::output::local_time;

/// The meaning of a colour. Text must be understandable without its colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    Success,
    /// Work in progress.
    Active,
    Warning,
    Error,
    /// Less important text.
    Dim,
    Heading,
}

/// A switch for coloured text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Colors {
    enabled: bool,
}

impl Colors {
    pub(crate) const NONE: Self = Self { enabled: false };

    /// Returns a switch that is on if standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn stdout() -> Self {
        Self {
            enabled: io::stdout().is_terminal() && !is_no_color(),
        }
    }

    /// Returns a switch that is on if standard error is a terminal and `NO_COLOR` is not set.
    pub(crate) fn stderr() -> Self {
        Self {
            enabled: io::stderr().is_terminal() && !is_no_color(),
        }
    }

    /// Colours text with ANSI escape codes. Returns the text unchanged if colours are off or `tone`
    /// is `Plain`.
    pub(crate) fn apply(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.enabled => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Success => "32",
            Tone::Active => "36",
            Tone::Warning => "33",
            Tone::Error => "31",
            Tone::Dim => "2",
            Tone::Heading => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Returns whether the environment variable `NO_COLOR` is set and not empty (see
/// <https://no-color.org>).
pub(crate) fn is_no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The label of a state: a symbol, a word and a tone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateLabel {
    pub(crate) symbol: &'static str,
    pub(crate) word: &'static str,
    pub(crate) tone: Tone,
}

impl StateLabel {
    pub(crate) const fn new(symbol: &'static str, word: &'static str, tone: Tone) -> Self {
        Self { symbol, word, tone }
    }

    /// Returns the symbol and the word, separated by a space.
    pub(crate) fn text(self) -> String {
        format!("{} {}", self.symbol, self.word)
    }
}

pub(crate) fn shard_label(state: ShardState) -> StateLabel {
    match state {
        ShardState::Pending => StateLabel::new("○", "pending", Tone::Active),
        ShardState::Running => StateLabel::new("●", "running", Tone::Success),
        ShardState::Degraded => StateLabel::new("▲", "degraded", Tone::Warning),
        ShardState::Failed => StateLabel::new("✗", "failed", Tone::Error),
        ShardState::TearingDown => StateLabel::new("↓", "tearing down", Tone::Active),
        ShardState::TeardownFailed => StateLabel::new("✗", "teardown failed", Tone::Error),
    }
}

pub(crate) fn host_label(status: HostStatus) -> StateLabel {
    match status {
        HostStatus::Enrolled => StateLabel::new("○", "enrolled", Tone::Active),
        HostStatus::Online => StateLabel::new("●", "online", Tone::Success),
        HostStatus::Offline => StateLabel::new("✗", "offline", Tone::Error),
        HostStatus::Decommissioned => StateLabel::new("–", "decommissioned", Tone::Dim),
    }
}

pub(crate) fn operation_label(state: OperationState) -> StateLabel {
    match state {
        OperationState::Queued => StateLabel::new("○", "queued", Tone::Active),
        OperationState::Running => StateLabel::new("▶", "running", Tone::Active),
        OperationState::Succeeded => StateLabel::new("✓", "succeeded", Tone::Success),
        OperationState::Failed => StateLabel::new("✗", "failed", Tone::Error),
        OperationState::TimedOut => StateLabel::new("!", "timed out", Tone::Error),
        OperationState::Cancelled => StateLabel::new("–", "cancelled", Tone::Dim),
    }
}

pub(crate) fn outcome_label(outcome: ShardOutcome) -> StateLabel {
    match outcome {
        ShardOutcome::Pending => StateLabel::new("○", "pending", Tone::Active),
        ShardOutcome::Removed => StateLabel::new("✓", "removed", Tone::Success),
        ShardOutcome::Absent => StateLabel::new("✓", "absent", Tone::Success),
        ShardOutcome::Failed => StateLabel::new("✗", "failed", Tone::Error),
    }
}

/// Adds the word `protected` to the text of a state, if the decky or host is protected.
pub(crate) fn mark_protected(text: &str, protected: bool) -> String {
    let mark = if protected { ", protected" } else { "" };
    format!("{text}{mark}")
}

/// Formats the time since `at`, such as `3 min`. Less than a second is `0 s`.
pub(crate) fn format_age(at: Timestamp, now: Timestamp) -> String {
    let millis = u64::try_from(now.millis_since(at)).unwrap_or(0);
    format_span(millis).unwrap_or_else(|| "0 s".to_owned())
}

/// Formats a time relative to `now`, such as `3 min ago` or `in 2 h`. A difference of less than a
/// second is `now`.
pub(crate) fn format_relative(at: Timestamp, now: Timestamp) -> String {
    let millis = now.millis_since(at);
    match format_span(millis.unsigned_abs()) {
        None => "now".to_owned(),
        Some(span) if millis > 0 => format!("{span} ago"),
        Some(_) => format!("in {}", format_rounded_up(millis.unsigned_abs())),
    }
}

/// Formats a time span like `format_span`, but rounded up: right after a request with a timeout of
/// 10 minutes, the deadline is in `10 min`.
fn format_rounded_up(millis: u64) -> String {
    let seconds = millis.div_ceil(1000);
    match seconds {
        ..60 => format!("{seconds} s"),
        60..=3_540 => format!("{} min", seconds.div_ceil(60)),
        3_541..=82_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} d", seconds.div_ceil(86_400)),
    }
}

/// Formats a time span in its largest whole unit, such as `3 min`. Returns `None` for less than a
/// second.
fn format_span(millis: u64) -> Option<String> {
    let seconds = millis / 1000;
    Some(match seconds {
        0 => return None,
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    })
}

/// Formats a duration in milliseconds, such as `0.4 s`, `12 s` or `3 min 5 s`. A negative duration
/// counts as 0.
pub(crate) fn format_duration(millis: i64) -> String {
    let millis = millis.max(0);
    match millis / 1000 {
        0..10 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Shortens the timestamps in a text to the time of day: `2026-11-24T10:05:42.623Z` becomes
/// `11:05:42 CET`, or the time in UTC with `--utc`. Also escapes hidden characters.
pub(crate) fn shorten_times(text: &str) -> String {
    shorten_times_in(text, local_time::zone())
}

/// Shortens the description of the event that an operation waits for. Reduces an agent's progress
/// report to the reported step, such as `stopping, 0 of 3 done`, because the time of the report is
/// always close to now.
pub(crate) fn shorten_waiting(detail: &str) -> String {
    let report = detail.strip_prefix("the agent reported at ");
    let step = report.and_then(|report| report.split_once("Z: "));
    step.map_or_else(
        || shorten_times(detail),
        |(_, step)| {
            let step = step.replace(" deckies done", " done");
            escape_hidden(&step.replace(" decky done", " done")).into_owned()
        },
    )
}

fn shorten_times_in(text: &str, zone: &TimeZone) -> String {
    let shorten = |word: &str| {
        let time = word.trim_end_matches([',', ':', ';']);
        match time.parse::<Timestamp>() {
            Ok(at) if time.len() == 24 => {
                local_time::format_time_of_day(at, zone) + &word[time.len()..]
            }
            _ => word.to_owned(),
        }
    };
    escape_hidden(text)
        .split(' ')
        .map(shorten)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Joins the notes of a host's agent into one line.
pub(crate) fn format_notes(notes: &[Note]) -> String {
    let notes: Vec<_> = notes.iter().map(Note::as_str).collect();
    notes.join("; ")
}

/// Joins labels into one text, such as `rack=3,site=lab`.
pub(crate) fn format_labels(labels: &Labels) -> String {
    let labels = labels.as_map().iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.join(",")
}

/// Joins at most `max` names into one text, and says how many more there are: `a, b and 3 more`.
pub(crate) fn join_at_most(names: &[impl AsRef<str>], max: usize) -> String {
    let named: Vec<_> = names.iter().take(max).map(AsRef::as_ref).collect();
    let named = named.join(", ");
    match names.len().saturating_sub(max) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Formats a number of deckies: `1 decky`, `2 deckies`.
pub(crate) fn format_decky_count(count: usize) -> String {
    match count {
        1 => "1 decky".to_owned(),
        _ => format!("{count} deckies"),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::Timestamp;

    use jiff::tz::TimeZone;

    use super::{
        Colors, Tone, format_age, format_duration, format_relative, shorten_times_in,
        shorten_waiting,
    };

    #[test]
    fn times_and_durations_are_shown_in_readable_units() {
        let now = Timestamp::from_millis(1_000_000_000);
        for (millis, text) in [
            (0, "now"),
            (-999, "now"),
            (-1000, "1 s ago"),
            (-59_999, "59 s ago"),
            (-60_000, "1 min ago"),
            (-3_600_000, "1 h ago"),
            (-200_000_000, "2 d ago"),
            (180_000, "in 3 min"),
            (1_001, "in 2 s"),
            (59_001, "in 1 min"),
            (599_100, "in 10 min"),
            (3_541_000, "in 1 h"),
            (86_400_000, "in 1 d"),
        ] {
            assert_eq!(format_relative(now.plus_millis(millis), now), text);
        }
        for (millis, text) in [(180_000, "0 s"), (-999, "0 s"), (-60_000, "1 min")] {
            assert_eq!(format_age(now.plus_millis(millis), now), text);
        }
        for (millis, text) in [
            (-5, "0.0 s"),
            (450, "0.4 s"),
            (12_345, "12 s"),
            (185_000, "3 min 5 s"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(format_duration(millis), text);
        }
    }

    #[test]
    fn timestamps_in_a_text_are_shortened_to_the_time_of_day() {
        let text = "the agent reported at 2026-11-24T10:05:42.623Z: stopping, 0 of 1";
        let shorten = |text: &str| shorten_times_in(text, &TimeZone::UTC);
        let shown = shorten(text);
        assert_eq!(
            shown,
            "the agent reported at 10:05:42 UTC: stopping, 0 of 1"
        );
        assert_eq!(shorten("no time"), "no time");
    }

    #[test]
    fn a_progress_report_of_an_agent_is_shortened_to_its_step() {
        let report =
            "the agent reported at 2026-11-24T10:05:42.623Z: stopping, 0 of 3 deckies done";
        assert_eq!(shorten_waiting(report), "stopping, 0 of 3 done");
        let offline = "host offline since 2026-11-24T10:05:42.623Z";
        assert_eq!(shorten_waiting(offline), "host offline since 10:05:42 UTC");
    }

    #[test]
    fn text_is_coloured_only_if_colours_are_on() {
        assert_eq!(Colors::NONE.apply(Tone::Error, "x"), "x");
        let enabled = Colors { enabled: true };
        assert_eq!(enabled.apply(Tone::Error, "x"), "\x1b[31mx\x1b[0m");
    }
}
