//! How far what is waited for is, on standard error: a bar for each host and decky where that is a terminal, else a line for each
//! change. What is heard, and when it has ended, is `follow`'s matter.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome};
use scuttle_schemas::{DeckyId, OperationId};
use unicode_width::UnicodeWidthStr;

use crate::look::{self, Look, Paint, plain, took};
use crate::table::cut;
use crate::verbs::ops::{counts, target};

/// The most deckies of one host that have a line of their own: a screen has not many more.
const DECKIES: usize = 12;

/// How wide the names are.
const NAMES: usize = 20;

/// How often the signs of life turn.
pub(crate) const TICK: Duration = Duration::from_millis(120);

/// What is shown of the operations that are waited for.
#[derive(Debug)]
pub(crate) struct Progress {
    paint: Paint,
    /// The last line of each operation.
    said: BTreeMap<OperationId, String>,
    /// None where lines are written instead.
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    of: BTreeMap<OperationId, Lines>,
}

/// The lines of one operation.
#[derive(Debug)]
struct Lines {
    main: ProgressBar,
    /// Of a whole host.
    deckies: BTreeMap<DeckyId, ProgressBar>,
    /// How many have no line of their own.
    more: Option<ProgressBar>,
}

impl Lines {
    fn all(&self) -> impl Iterator<Item = &ProgressBar> {
        let deckies = self.deckies.values().chain(&self.more);
        std::iter::once(&self.main).chain(deckies)
    }
}

impl Progress {
    /// Nothing is shown yet.
    pub(crate) fn new() -> Self {
        let bars = io::stderr().is_terminal().then(|| Bars {
            all: MultiProgress::new(),
            of: BTreeMap::new(),
        });
        Self {
            paint: Paint::stderr(),
            said: BTreeMap::new(),
            bars,
        }
    }

    /// Shows an operation as it is now.
    pub(crate) fn show(&mut self, operation: &OperationRecord) {
        let (state, rest) = step(operation);
        if let Some(bars) = &mut self.bars {
            bars.show(operation, self.paint);
            return;
        }
        let step = self.paint.text(state.tone, &state.text()) + &rest;
        if self.said.get(&operation.operation_id) != Some(&step) {
            eprintln!("{}: {step}", target(operation));
            self.said.insert(operation.operation_id, step);
        }
    }

    /// Says something beside the operations.
    pub(crate) fn say(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                // Where it cannot be written, there is nobody to tell.
                let _ = bars.all.println(text);
            }
            None => eprintln!("{text}"),
        }
    }

    /// Turns the signs of life.
    pub(crate) fn tick(&self) {
        let lines = self.bars.iter().flat_map(|bars| bars.of.values());
        for bar in lines.flat_map(Lines::all) {
            if !bar.is_finished() {
                bar.tick();
            }
        }
    }

    /// Leaves all bars as they are: a ^C that was typed has moved what is below them, and drawing would be one line off.
    pub(crate) fn leave(&self) {
        if let Some(bars) = &self.bars {
            bars.all.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Takes all bars away: what follows says how it ended.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.all.clear();
        }
    }
}

impl Bars {
    fn show(&mut self, operation: &OperationRecord, paint: Paint) {
        let all = &self.all;
        let whole = operation.decky_id.is_none();
        let lines = self.of.entry(operation.operation_id).or_insert_with(|| {
            let main = all.add(ProgressBar::new(1));
            main.set_style(style(whole));
            main.set_prefix(name(&target(operation)));
            Lines {
                main,
                deckies: BTreeMap::new(),
                more: None,
            }
        });
        let counts = operation.counts;
        let done = counts.removed + counts.absent + counts.failed;
        let total = done + counts.pending;
        lines.main.set_length(total.max(1) as u64);
        lines.main.set_position(done as u64);
        lines
            .main
            .set_message(message(step(operation), whole, paint));
        if whole {
            lines.show_deckies(all, operation, paint);
        }
        if operation.finished_at.is_some() {
            lines.all().for_each(ProgressBar::abandon);
        }
    }
}

impl Lines {
    fn show_deckies(&mut self, all: &MultiProgress, operation: &OperationRecord, paint: Paint) {
        let shards = operation.shards.as_deref().unwrap_or_default();
        let mut last = self.main.clone();
        for shard in shards {
            if !self.deckies.contains_key(&shard.decky_id) {
                if self.deckies.len() >= DECKIES {
                    continue;
                }
                let line = all.insert_after(&last, ProgressBar::new(1));
                line.set_style(style(false));
                line.set_prefix(name(&format!("  {}", shard.decky_id)));
                self.deckies.insert(shard.decky_id.clone(), line);
            }
            let line = &self.deckies[&shard.decky_id];
            let look = match (shard.outcome, operation.state) {
                (ShardOutcome::Pending, state) => look::operation(state),
                (outcome, _) => look::outcome(outcome),
            };
            let error = shard.error.as_ref().map_or(String::new(), |error| {
                format!(": {}", plain(error.as_str()))
            });
            line.set_message(message((look, error), false, paint));
            last = line.clone();
        }
        let rest = shards.len().saturating_sub(self.deckies.len());
        if rest > 0 && self.more.is_none() {
            let line = all.insert_after(&last, ProgressBar::new(1));
            line.set_style(style(false));
            line.set_prefix(name(&format!("  … and {rest} more")));
            self.more = Some(line);
        }
    }
}

fn name(text: &str) -> String {
    format!("{:<NAMES$}", cut(text, NAMES))
}

/// A bar for a whole host; for a decky, which is there or gone, only a sign of life.
fn style(counted: bool) -> ProgressStyle {
    let template = if counted {
        "{spinner} {prefix} {bar:12} {pos:>4}/{len:<4} {elapsed:>4}  {msg}"
    } else {
        "{spinner} {prefix} {elapsed:>4}  {msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

/// What follows the bar, as much as there is room for.
fn message((state, rest): (Look, String), counted: bool, paint: Paint) -> String {
    let columns = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
    let bar = if counted { 23 } else { 0 };
    let room = columns.saturating_sub(NAMES + 2 + 1 + bar + 4 + 2 + 3);
    let state_text = cut(&state.text(), room);
    let rest = cut(&rest, room.saturating_sub(state_text.width()));
    paint.text(state.tone, &state_text) + &rest
}

/// Where an operation is, and what is to be said about it.
fn step(operation: &OperationRecord) -> (Look, String) {
    let mut text = String::new();
    match operation.state {
        OperationState::Queued | OperationState::Running => {
            if let Some(waiting) = &operation.waiting_for {
                let _ = write!(text, ": {}", latest(&waiting.detail));
            }
            if operation.attempts > 1 {
                let _ = write!(text, " (sent {} times)", operation.attempts);
            }
        }
        _ => {
            let after = (operation.finished_at)
                .map(|at| format!(" after {}", took(at.millis_since(operation.accepted_at))));
            text += &after.unwrap_or_default();
            let counts = counts(operation);
            if !counts.is_empty() {
                let _ = write!(text, ": {counts}");
            }
            if let Some(error) = &operation.error {
                let _ = write!(text, ": {}", plain(error.as_str()));
            }
        }
    }
    (look::operation(operation.state), text)
}

/// What an operation waits for; of what its agent said only the step, since when it said so is just now.
fn latest(detail: &str) -> String {
    let said = detail.strip_prefix("the agent said at ");
    let step = said.and_then(|said| said.split_once("Z: "));
    step.map_or_else(|| look::short_times(detail), |(_, step)| plain(step))
}

#[cfg(test)]
mod tests {
    use super::latest;

    #[test]
    fn of_what_an_agent_said_the_step_is_shown() {
        let said = "the agent said at 2026-11-24T10:05:42.623Z: stopping, 0 of 1 deckies done";
        assert_eq!(latest(said), "stopping, 0 of 1 deckies done");
        let offline = "host offline since 2026-11-24T10:05:42.623Z";
        assert_eq!(latest(offline), "host offline since 10:05:42Z");
    }
}
