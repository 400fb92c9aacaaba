//! The progress of operations on standard error: on a terminal, a bar or spinner for each operation
//! and decky; elsewhere, one line for each change. `commands::operations::wait` receives the
//! changes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome, explain_error};
use scuttle_schemas::{DeckyId, OperationId, escape_hidden};
use unicode_width::UnicodeWidthStr;

use crate::output::message::print_line;
use crate::output::operation::{format_counts, format_operation_target};
use crate::output::style::{self, Colors, StateLabel, format_duration};
use crate::output::truncate::{truncate, truncate_middle};

/// The maximum number of deckies of one host that get a separate line, so that the lines fit on a
/// screen.
const MAX_DECKY_LINES: usize = 12;

/// The width of the column with the names on a narrow terminal, in terminal columns.
const MIN_NAME_WIDTH: usize = 20;

/// The maximum width of the column with the names, in terminal columns.
const MAX_NAME_WIDTH: usize = 48;

/// The width of a bar, its two numbers of up to four digits, and the spaces around them, in
/// terminal columns.
const BAR_WIDTH: usize = 17;

/// The time between two frames of the spinners.
pub(crate) const TICK_INTERVAL: Duration = Duration::from_millis(120);

/// The display of the progress of several operations.
#[derive(Debug)]
pub(crate) struct Progress {
    colors: Colors,
    /// The last line printed for each operation. Unused if there are bars.
    printed: BTreeMap<OperationId, String>,
    /// The progress bars. `None` if standard error is not a terminal. Lines are then printed
    /// instead.
    bars: Option<Bars>,
}

#[derive(Debug)]
struct Bars {
    display: MultiProgress,
    by_operation: BTreeMap<OperationId, OperationBars>,
}

/// The bars of one operation: the main bar, and the lines below it.
#[derive(Debug)]
struct OperationBars {
    main: ProgressBar,
    /// The lines of the deckies, at most [`MAX_DECKY_LINES`]. Empty unless the operation covers a
    /// whole host.
    deckies: BTreeMap<DeckyId, ProgressBar>,
    /// The line with the number of deckies that have no separate line. `None` if there are no such
    /// deckies.
    more: Option<ProgressBar>,
}

impl OperationBars {
    fn iter(&self) -> impl Iterator<Item = &ProgressBar> {
        let deckies = self.deckies.values().chain(&self.more);
        std::iter::once(&self.main).chain(deckies)
    }
}

/// The displayed state of an operation or a decky.
struct Step {
    label: StateLabel,
    /// The text after the label, including a separator, such as `: host offline`.
    detail: String,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bars = io::stderr().is_terminal().then(|| Bars {
            display: MultiProgress::new(),
            by_operation: BTreeMap::new(),
        });
        Self {
            colors: Colors::stderr(),
            printed: BTreeMap::new(),
            bars,
        }
    }

    /// Shows the current state of an operation in its bars, or as a new line if the state has
    /// changed.
    pub(crate) fn show(&mut self, operation: &OperationRecord) {
        if let Some(bars) = &mut self.bars {
            bars.show(operation, self.colors);
            return;
        }
        let Step { label, detail } = current_step(operation);
        let line = self.colors.apply(label.tone, &label.text()) + &detail;
        if self.printed.get(&operation.operation_id) != Some(&line) {
            eprintln!("{}: {line}", format_operation_target(operation));
            self.printed.insert(operation.operation_id, line);
        }
    }

    /// Prints a message on a line by itself, above the bars if there are any.
    pub(crate) fn print_message(&self, text: &str) {
        match &self.bars {
            Some(bars) => {
                // If standard error cannot be written, there is no place to report that.
                let _ = bars.display.println(escape_hidden(text));
            }
            None => print_line(text),
        }
    }

    /// Draws the next frame of the spinners.
    pub(crate) fn tick(&self) {
        let operations = self.bars.iter().flat_map(|bars| bars.by_operation.values());
        for bar in operations.flat_map(OperationBars::iter) {
            if !bar.is_finished() {
                bar.tick();
            }
        }
    }

    /// Stops drawing after Ctrl-C, and leaves the bars on the screen. The terminal has echoed `^C`,
    /// so another frame would be drawn in the wrong place.
    pub(crate) fn freeze(&self) {
        if let Some(bars) = &self.bars {
            bars.display.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Removes all bars, so that the table of results can follow.
    pub(crate) fn clear(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.display.clear();
        }
    }
}

impl Bars {
    fn show(&mut self, operation: &OperationRecord, colors: Colors) {
        let display = &self.display;
        let whole_host = operation.decky_id.is_none();
        let entry = self.by_operation.entry(operation.operation_id);
        let bars = entry.or_insert_with(|| {
            let main = display.add(ProgressBar::new(1));
            main.set_style(bar_style(whole_host));
            main.set_prefix(pad_name(&format_operation_target(operation)));
            OperationBars {
                main,
                deckies: BTreeMap::new(),
                more: None,
            }
        });
        let counts = operation.counts;
        let done = counts.removed + counts.absent + counts.failed;
        let total = done + counts.pending;
        bars.main.set_length(total.max(1) as u64);
        bars.main.set_position(done as u64);
        let message = format_message(&current_step(operation), whole_host, colors);
        bars.main.set_message(message);
        if whole_host {
            bars.show_deckies(display, operation, colors);
        }
        if operation.finished_at.is_some() {
            bars.iter().for_each(ProgressBar::abandon);
        }
    }
}

impl OperationBars {
    fn show_deckies(
        &mut self,
        display: &MultiProgress,
        operation: &OperationRecord,
        colors: Colors,
    ) {
        let shards = operation.shards.as_deref().unwrap_or_default();
        let mut last = self.main.clone();
        for shard in shards {
            if !self.deckies.contains_key(&shard.decky_id) {
                if self.deckies.len() >= MAX_DECKY_LINES {
                    continue;
                }
                let line = display.insert_after(&last, ProgressBar::new(1));
                line.set_style(bar_style(false));
                line.set_prefix(pad_name(&format!("  {}", shard.decky_id)));
                self.deckies.insert(shard.decky_id.clone(), line);
            }
            let line = &self.deckies[&shard.decky_id];
            let label = match (shard.outcome, operation.state) {
                (ShardOutcome::Pending, state) => style::operation_label(state),
                (outcome, _) => style::outcome_label(outcome),
            };
            let detail = shard.error.as_ref().map_or(String::new(), |error| {
                format!(": {}", escape_hidden(&explain_error(error.as_str())))
            });
            line.set_message(format_message(&Step { label, detail }, false, colors));
            last = line.clone();
        }
        let rest = shards.len().saturating_sub(self.deckies.len());
        if rest > 0 && self.more.is_none() {
            let line = display.insert_after(&last, ProgressBar::new(1));
            line.set_style(bar_style(false));
            line.set_prefix(pad_name(&format!("  … and {rest} more")));
            self.more = Some(line);
        }
    }
}

/// Pads or truncates a name to the width of the column with the names.
fn pad_name(text: &str) -> String {
    let width = name_width();
    let name = truncate_middle(text, width);
    let padding = width - name.width();
    name + &" ".repeat(padding)
}

/// Returns the width of the column with the names: more on a wide terminal.
fn name_width() -> usize {
    (terminal_columns() / 3)
        .saturating_sub(6)
        .clamp(MIN_NAME_WIDTH, MAX_NAME_WIDTH)
}

fn terminal_columns() -> usize {
    crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns))
}

/// Returns the style of a progress line. If `has_bar` is false, the line has a spinner but no bar.
fn bar_style(has_bar: bool) -> ProgressStyle {
    let template = if has_bar {
        "{spinner} {prefix} {bar:6} {pos:>3}/{len:<3} {elapsed:>4}  {msg}"
    } else {
        "{spinner} {prefix} {elapsed:>4}  {msg}"
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

/// Formats the text at the end of a progress line, truncated to the remaining width of the
/// terminal.
fn format_message(step: &Step, has_bar: bool, colors: Colors) -> String {
    let bar = if has_bar { BAR_WIDTH } else { 0 };
    let room = terminal_columns().saturating_sub(name_width() + 2 + 1 + bar + 4 + 2 + 1);
    let label = truncate(&step.label.text(), room);
    let detail = truncate(&step.detail, room.saturating_sub(label.width()));
    colors.apply(step.label.tone, &label) + &detail
}

/// Returns the state of an operation and its details: the event that the operation waits for, or
/// its result.
fn current_step(operation: &OperationRecord) -> Step {
    let mut detail = String::new();
    match operation.state {
        OperationState::Queued | OperationState::Running => {
            if let Some(waiting) = &operation.waiting_for {
                let _ = write!(detail, ": {}", style::shorten_waiting(&waiting.detail));
            }
            if operation.attempts > 1 {
                let _ = write!(detail, " (sent {} times)", operation.attempts);
            }
        }
        _ => {
            if let Some(finished) = operation.finished_at {
                let duration = format_duration(finished.millis_since(operation.accepted_at));
                let _ = write!(detail, " after {duration}");
            }
            let counts = format_counts(operation);
            if !counts.is_empty() {
                let _ = write!(detail, ": {counts}");
            }
            if let Some(error) = &operation.error {
                let error = explain_error(error.as_str());
                let _ = write!(detail, ": {}", escape_hidden(&error));
            }
        }
    }
    Step {
        label: style::operation_label(operation.state),
        detail,
    }
}
