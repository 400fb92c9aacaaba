//! How far what is waited for is, on standard error: a bar for each host and decky where that is a terminal, else a line for each
//! change. What is heard, and when it has ended, is `follow`'s matter.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome};
use scuttle_schemas::{DeckyId, OperationId};

use crate::look::{self, Paint, Tone, plain, took};
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
    of: BTreeMap<OperationId, (ProgressBar, BTreeMap<DeckyId, ProgressBar>)>,
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
        let step = step(operation, self.paint);
        if let Some(bars) = &mut self.bars {
            bars.show(operation, &step, self.paint);
        } else if self.said.get(&operation.operation_id) != Some(&step) {
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
        let bars = self.bars.iter().flat_map(|bars| bars.of.values());
        for (bar, deckies) in bars {
            for bar in std::iter::once(bar).chain(deckies.values()) {
                if !bar.is_finished() {
                    bar.tick();
                }
            }
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
    fn show(&mut self, operation: &OperationRecord, step: &str, paint: Paint) {
        let all = &self.all;
        let (bar, deckies) = self.of.entry(operation.operation_id).or_insert_with(|| {
            let bar = all.add(ProgressBar::new(1));
            bar.set_style(style(operation.decky_id.is_none()));
            bar.set_prefix(name(&target(operation)));
            (bar, BTreeMap::new())
        });
        let counts = operation.counts;
        let done = counts.removed + counts.absent + counts.failed;
        bar.set_length((done + counts.pending).max(1) as u64);
        bar.set_position(done as u64);
        bar.set_message(step.to_owned());
        let shards = operation.shards.iter().flatten();
        let whole = operation.decky_id.is_none();
        let mut last = bar.clone();
        for shard in shards.filter(|_| whole) {
            if !deckies.contains_key(&shard.decky_id) {
                if deckies.len() >= DECKIES {
                    break;
                }
                let line = all.insert_after(&last, ProgressBar::new(1));
                line.set_style(style(false));
                line.set_prefix(name(&format!("  {}", shard.decky_id)));
                deckies.insert(shard.decky_id.clone(), line);
            }
            let line = &deckies[&shard.decky_id];
            let look = match (shard.outcome, operation.state) {
                (ShardOutcome::Pending, state) => look::operation(state),
                (outcome, _) => look::outcome(outcome),
            };
            let error = shard.error.as_ref().map_or(String::new(), |error| {
                format!(": {}", plain(error.as_str()))
            });
            line.set_message(paint.text(look.tone, &look.text()) + &error);
            last = line.clone();
        }
        if operation.finished_at.is_some() {
            bar.abandon();
            deckies.values().for_each(ProgressBar::abandon);
        }
    }
}

fn name(text: &str) -> String {
    format!("{:<NAMES$}", cut(text, NAMES))
}

/// A bar for a whole host; for a decky, which is there or gone, only a sign of life.
fn style(counted: bool) -> ProgressStyle {
    let template = if counted {
        "{spinner} {prefix} {bar:12} {pos}/{len}  {elapsed:>4}  {wide_msg}"
    } else {
        "{spinner} {prefix} {elapsed:>4}  {wide_msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

/// Where an operation is, in one line.
fn step(operation: &OperationRecord, paint: Paint) -> String {
    let state = look::operation(operation.state);
    let mut text = paint.text(state.tone, &state.text());
    match operation.state {
        OperationState::Queued | OperationState::Running => {
            if let Some(waiting) = &operation.waiting_for {
                let _ = write!(text, ": {}", look::short_times(&waiting.detail));
            }
            if operation.attempts > 1 {
                let _ = write!(text, " (sent {} times)", operation.attempts);
            }
        }
        _ => {
            let after = (operation.finished_at)
                .map(|at| format!(" after {}", took(at.since(operation.accepted_at))));
            text += &after.unwrap_or_default();
            let counts = counts(operation);
            if !counts.is_empty() {
                let _ = write!(text, ": {counts}");
            }
            if let Some(error) = &operation.error {
                let error = paint.text(Tone::Bad, &plain(error.as_str()));
                let _ = write!(text, ": {error}");
            }
        }
    }
    text
}
