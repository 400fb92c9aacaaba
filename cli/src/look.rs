//! How things look to people: a sign, a word and a colour for each state, and times as distances. Text from elsewhere is made
//! harmless for a terminal here.

use std::io::{self, IsTerminal};

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostName, Timestamp};

/// What is torn down: `worker-a/decky-03`, or `worker-a` for all of it.
pub(crate) fn target(host: &HostName, decky: Option<&DeckyId>) -> String {
    match decky {
        Some(decky) => format!("{host}/{decky}"),
        None => host.to_string(),
    }
}

/// What a colour means. The same is always said in words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// No colour.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// On its way.
    Busy,
    /// Wants a look.
    Warn,
    /// Went wrong.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Head,
}

/// Whether there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Never.
    pub(crate) const NONE: Self = Self(false);

    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self(io::stdout().is_terminal() && !no_color())
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self(io::stderr().is_terminal() && !no_color())
    }

    /// Text in this tone.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.0 => return text.to_owned(),
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Dim => "2",
            Tone::Head => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// <https://no-color.org>: any value but none.
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// A sign, a word and a tone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) sign: &'static str,
    pub(crate) word: &'static str,
    pub(crate) tone: Tone,
}

impl Look {
    pub(crate) const fn new(sign: &'static str, word: &'static str, tone: Tone) -> Self {
        Self { sign, word, tone }
    }

    /// Sign and word.
    pub(crate) fn text(self) -> String {
        format!("{} {}", self.sign, self.word)
    }
}

/// A shard's state.
pub(crate) fn shard(state: ShardState) -> Look {
    match state {
        ShardState::Pending => Look::new("○", "pending", Tone::Busy),
        ShardState::Running => Look::new("●", "running", Tone::Good),
        ShardState::Degraded => Look::new("▲", "degraded", Tone::Warn),
        ShardState::Failed => Look::new("✗", "failed", Tone::Bad),
        ShardState::TearingDown => Look::new("↓", "tearing down", Tone::Busy),
        ShardState::TeardownFailed => Look::new("✗", "teardown failed", Tone::Bad),
    }
}

/// A host's status.
pub(crate) fn host(status: HostStatus) -> Look {
    match status {
        HostStatus::Enrolled => Look::new("○", "enrolled", Tone::Busy),
        HostStatus::Online => Look::new("●", "online", Tone::Good),
        HostStatus::Offline => Look::new("✗", "offline", Tone::Bad),
        HostStatus::Decommissioned => Look::new("–", "decommissioned", Tone::Dim),
    }
}

/// An operation's state.
pub(crate) fn operation(state: OperationState) -> Look {
    match state {
        OperationState::Queued => Look::new("○", "queued", Tone::Busy),
        OperationState::Running => Look::new("▶", "running", Tone::Busy),
        OperationState::Succeeded => Look::new("✓", "succeeded", Tone::Good),
        OperationState::Failed => Look::new("✗", "failed", Tone::Bad),
        OperationState::TimedOut => Look::new("!", "timed out", Tone::Bad),
        OperationState::Cancelled => Look::new("–", "cancelled", Tone::Dim),
    }
}

/// What became of a decky.
pub(crate) fn outcome(outcome: ShardOutcome) -> Look {
    match outcome {
        ShardOutcome::Pending => Look::new("○", "not known yet", Tone::Busy),
        ShardOutcome::Removed => Look::new("✓", "removed", Tone::Good),
        ShardOutcome::Absent => Look::new("✓", "was not there", Tone::Good),
        ShardOutcome::Failed => Look::new("✗", "failed", Tone::Bad),
    }
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    crate::issued::now()
}

/// How far `at` is from `now`: `3 min ago`, `in 2 h`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let millis = now.millis_since(at);
    match span(millis.unsigned_abs()) {
        None => "now".to_owned(),
        Some(span) if millis > 0 => format!("{span} ago"),
        Some(span) => format!("in {span}"),
    }
}

/// A length of time in its largest unit; none below a second.
fn span(millis: u64) -> Option<String> {
    let seconds = millis / 1000;
    Some(match seconds {
        0 => return None,
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    })
}

/// How long something took: `0.4 s`, `12 s`, `3 min 5 s`.
pub(crate) fn took(millis: i64) -> String {
    let millis = millis.max(0);
    match millis / 1000 {
        0..10 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        seconds @ 10..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Text that others wrote, on one line: what would steer the terminal is shown as a space.
pub(crate) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Text in which times are written out, with the time of day alone: what is on a screen now is of today.
pub(crate) fn short_times(text: &str) -> String {
    let short = |word: &str| {
        let time = word.trim_end_matches([',', ':', ';']);
        let is_time = time.len() == 24 && time.parse::<Timestamp>().is_ok();
        if is_time {
            format!("{}Z{}", &time[11..19], &word[time.len()..])
        } else {
            word.to_owned()
        }
    };
    plain(text)
        .split(' ')
        .map(short)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `1 decky`, `2 deckies`.
pub(crate) fn deckies(count: usize) -> String {
    match count {
        1 => "1 decky".to_owned(),
        _ => format!("{count} deckies"),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::Timestamp;

    use super::{Paint, Tone, ago, plain, short_times, took};

    #[test]
    fn times_are_told_as_distances() {
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
        ] {
            assert_eq!(ago(now.plus_millis(millis), now), text);
        }
        for (millis, text) in [
            (-5, "0.0 s"),
            (450, "0.4 s"),
            (12_345, "12 s"),
            (185_000, "3 min 5 s"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(took(millis), text);
        }
    }

    #[test]
    fn times_in_a_text_are_shortened() {
        let text = "the agent said at 2026-11-24T10:05:42.623Z: stopping, 0 of 1";
        assert_eq!(
            short_times(text),
            "the agent said at 10:05:42Z: stopping, 0 of 1"
        );
        assert_eq!(short_times("no time"), "no time");
    }

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
        assert_eq!(Paint::NONE.text(Tone::Bad, "x"), "x");
        assert_eq!(Paint(true).text(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
    }
}
