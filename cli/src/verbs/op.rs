//! `scuttle op`: one operation, whole: how far it is, and why no further.

use std::fmt::Write;

use clap::Args;
use scuttle_schemas::operations::{
    OperationGetAnswer, OperationRecord, OperationState, ShardOutcome,
};
use scuttle_schemas::{OperationId, Timestamp};

use super::ops::{counts, target};
use crate::ask::Bus;
use crate::complete;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::look::{Paint, Tone, ago, plain, took};
use crate::output::{self, Format};
use crate::table::{Cell, Column, Table};
use crate::{lists, look};

/// Shows one operation: how far it is, why it waits, and what became of each decky.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle op 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11
  scuttle op 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11 -o json | jq .operation.waiting_for")]
pub(crate) struct Op {
    /// The operation's id.
    #[arg(value_name = "ID", add = complete::operations())]
    id: OperationId,
    #[command(flatten)]
    nats: Connect,
}

impl Op {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let operation = lists::operation(&bus, self.id).await?;
        if format == Format::Jsonl {
            return output::line(&operation);
        }
        let answer = OperationGetAnswer { operation };
        format.one(&answer, || {
            let operation = &answer.operation;
            describe(operation, look::now(), output::width(), Paint::stdout())
        })
    }
}

/// The whole story.
pub(crate) fn describe(
    operation: &OperationRecord,
    now: Timestamp,
    width: Option<usize>,
    paint: Paint,
) -> String {
    let state = look::operation(operation.state);
    let what = match &operation.decky_id {
        Some(_) => "teardown of",
        None => "teardown of the whole host",
    };
    let mut text = format!(
        "{}  {what} {}\n",
        paint.text(state.tone, &state.text()),
        paint.text(Tone::Head, &target(operation))
    );
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(
            text,
            "  {}  {value}",
            paint.text(Tone::Dim, &format!("{name:<12}"))
        );
    };
    let at = |at: Timestamp| format!("{at} ({})", ago(at, now));
    line("operation", &operation.operation_id.to_string());
    line("host", operation.host_uuid.as_str());
    line("asked by", &plain(&operation.requested_by));
    if let Some(reason) = &operation.reason {
        line("reason", &plain(reason));
    }
    line("accepted", &at(operation.accepted_at));
    let sent = match operation.attempts {
        0 => "not yet".to_owned(),
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    line("sent", &sent);
    match operation.finished_at {
        Some(finished) => {
            let after = took(finished.since(operation.accepted_at));
            line("ended", &format!("{}, after {after}", at(finished)));
        }
        None => line("given up", &at(operation.deadline)),
    }
    let counts = counts(operation);
    line(
        "deckies",
        if counts.is_empty() {
            "none on the record"
        } else {
            &counts
        },
    );
    if let Some(waiting) = &operation.waiting_for {
        let detail = look::short_times(&waiting.detail);
        line(
            "waits for",
            &format!("{detail}, {}", paint_since(waiting.since, now)),
        );
        if let Some(next) = waiting.next_attempt_at {
            line("sent again", &ago(next, now));
        }
    }
    if let Some(error) = &operation.error {
        line("error", &paint.text(Tone::Bad, &plain(error.as_str())));
    }
    if let Some(to_do) = to_do(operation) {
        line("next", &to_do);
    }
    text + &deckies(operation, width, paint)
}

fn paint_since(since: Timestamp, now: Timestamp) -> String {
    format!("since {}", ago(since, now))
}

/// What the operator can do about it.
fn to_do(operation: &OperationRecord) -> Option<String> {
    let id = operation.operation_id;
    match operation.state {
        OperationState::Queued => Some(format!("`scuttle cancel {id}` withdraws it")),
        OperationState::Failed | OperationState::TimedOut => {
            Some(format!("`scuttle retry {id}` asks again for what is left"))
        }
        _ => None,
    }
}

/// What became of each decky, failed ones first.
fn deckies(operation: &OperationRecord, width: Option<usize>, paint: Paint) -> String {
    let shards = operation.shards.as_deref().unwrap_or_default();
    let mut table = Table::new(&[
        Column::new("DECKY"),
        Column::new("OUTCOME"),
        Column::new("ERROR"),
    ]);
    for shard in shards {
        let error = shard.error.as_ref().map_or("", |error| error.as_str());
        table.row([
            shard.decky_id.as_str().into(),
            look::outcome(shard.outcome).into(),
            Cell::toned(Tone::Bad, error),
        ]);
    }
    let mut text = table.render(width, paint);
    if !text.is_empty() {
        text.insert(0, '\n');
    }
    let all = operation.counts;
    let all = all.pending + all.removed + all.absent + all.failed;
    if all > shards.len() && !shards.is_empty() {
        let _ = writeln!(text, "… and {} more", all - shards.len());
    }
    text
}

/// Whether an outcome counts as gone.
pub(crate) fn is_gone(outcome: ShardOutcome) -> bool {
    matches!(outcome, ShardOutcome::Removed | ShardOutcome::Absent)
}
