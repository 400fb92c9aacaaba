//! `scuttle op`: one operation, whole: how far it is, and why no further.

use std::fmt::Write;

use clap::Args;
use scuttle_schemas::operations::{
    OperationGetReply, OperationRecord, OperationState, ShardOutcome,
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
        let answer = OperationGetReply { operation };
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
    for (name, value) in asked(operation, now)
        .into_iter()
        .chain(done(operation, now))
    {
        let tone = if name == "error" {
            Tone::Bad
        } else {
            Tone::Plain
        };
        let name = paint.text(Tone::Dim, &format!("{name:<12}"));
        let _ = writeln!(text, "  {name}  {}", paint.text(tone, &plain(&value)));
    }
    text + &deckies(operation, width, paint)
}

/// Who asked, when and why.
fn asked(operation: &OperationRecord, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("operation", operation.operation_id.to_string()),
        ("host", operation.host_uuid.to_string()),
        ("asked by", operation.requested_by.clone()),
    ];
    let reason = operation.reason.clone();
    facts.extend(reason.map(|reason| ("reason", reason)));
    facts.push(("accepted", when(operation.accepted_at, now)));
    facts
}

/// How far it is, and why no further.
fn done(operation: &OperationRecord, now: Timestamp) -> Vec<(&'static str, String)> {
    let sent = match operation.attempts {
        0 => "not yet".to_owned(),
        1 => "once".to_owned(),
        times => format!("{times} times"),
    };
    let mut facts = vec![("sent", sent)];
    facts.push(match operation.finished_at {
        Some(finished) => {
            let after = took(finished.millis_since(operation.accepted_at));
            ("ended", format!("{}, after {after}", when(finished, now)))
        }
        None => ("given up", when(operation.deadline, now)),
    });
    let counts = counts(operation);
    let none = "none on the record".to_owned();
    facts.push(("deckies", if counts.is_empty() { none } else { counts }));
    if let Some(waiting) = &operation.waiting_for {
        let detail = look::short_times(&waiting.detail);
        let since = ago(waiting.since, now);
        facts.push(("waits for", format!("{detail}; since {since}")));
        let next = waiting.next_attempt_at.map(|next| ago(next, now));
        facts.extend(next.map(|next| ("sent again", next)));
    }
    let error = operation.error.as_ref();
    facts.extend(error.map(|error| ("error", error.to_string())));
    facts.extend(to_do(operation).map(|to_do| ("next", to_do)));
    facts
}

fn when(at: Timestamp, now: Timestamp) -> String {
    format!("{at} ({})", ago(at, now))
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

#[cfg(test)]
mod tests {
    use scuttle_schemas::Timestamp;
    use scuttle_schemas::operations::OperationRecord;
    use serde_json::json;

    use super::describe;
    use crate::look::Paint;

    #[test]
    fn an_operation_that_waits_says_why_since_when_and_what_comes_next() {
        let id = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
        let at = "2026-11-23T09:11:49.000Z";
        let operation: OperationRecord = serde_json::from_value(json!({
            "operation_id": id, "kind": "teardown", "host_uuid": "h-1", "host_name": "worker-a", "decky_id": null,
            "state": "queued", "requested_by": "alice", "reason": "rotating\nlures", "accepted_at": at,
            "deadline": "2026-11-23T09:21:49.000Z", "finished_at": null, "attempts": 3, "error": null,
            "counts": { "pending": 2, "removed": 0, "absent": 0, "failed": 0 },
            "shards": [{ "decky_id": "d-1", "outcome": "pending", "error": null }],
            "waiting_for": {
                "what": "agent", "detail": "host offline since 2026-11-23T09:00:00.000Z", "since": at,
                "next_attempt_at": "2026-11-23T09:12:59.000Z",
            },
        }))
        .expect("an operation");
        let now: Timestamp = "2026-11-23T09:12:49.000Z".parse().expect("a time");
        let text = describe(&operation, now, Some(80), Paint::NONE);
        let expected = format!(
            "\
○ queued  teardown of the whole host worker-a
  operation     {id}
  host          h-1
  asked by      alice
  reason        rotating lures
  accepted      2026-11-23T09:11:49.000Z (1 min ago)
  sent          3 times
  given up      2026-11-23T09:21:49.000Z (in 9 min)
  deckies       2 pending
  waits for     host offline since 09:00:00Z; since 1 min ago
  sent again    in 10 s
  next          `scuttle cancel {id}` withdraws it

DECKY  OUTCOME          ERROR
d-1    ○ not known yet
… and 1 more
"
        );
        assert_eq!(text, expected);
    }
}
