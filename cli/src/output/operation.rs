//! Describes an operation in text: its target, its counts, and all its details.

use std::fmt::Write;

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationRecord, OperationState, explain_error};
use scuttle_schemas::{Timestamp, escape_hidden};

use crate::client::teardown::{Target, format_target};
use crate::output::local_time;
use crate::output::style::{self, Colors, Tone, format_age, format_duration, format_relative};
use crate::output::table::{Cell, Column, Table};
use crate::output::truncate::wrap;

/// Formats the target of an operation for a table: `worker-a/decky-03`, or `worker-a` for the whole
/// host.
pub(crate) fn format_operation_target(operation: &OperationRecord) -> String {
    format_target(&operation.host_name, operation.decky_id.as_ref())
}

/// Describes the target of an operation in a question or an answer, with the id of its host.
pub(crate) fn describe_target(operation: &OperationRecord) -> String {
    let target = Target {
        host_uuid: operation.host_uuid.clone(),
        host_name: operation.host_name.clone(),
        decky_id: operation.decky_id.clone(),
    };
    target.to_string()
}

/// Formats the number of deckies per outcome, such as `1 pending, 2 removed`. Omits outcomes with
/// no decky.
pub(crate) fn format_counts(operation: &OperationRecord) -> String {
    let counts = operation.counts;
    let outcomes = [
        (counts.pending, "pending"),
        (counts.removed, "removed"),
        (counts.absent, "absent"),
        (counts.failed, "failed"),
    ];
    let present = outcomes.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = present
        .map(|(count, outcome)| format!("{count} {outcome}"))
        .collect();
    parts.join(", ")
}

/// Describes an operation on several lines: its state, its details, and the outcome of each decky.
/// `host` is the status of its host, if known.
pub(crate) fn describe(
    operation: &OperationRecord,
    host: Option<HostStatus>,
    now: Timestamp,
    width: Option<usize>,
    colors: Colors,
) -> String {
    let state = style::operation_label(operation.state);
    let kind = match &operation.decky_id {
        Some(_) => "teardown of",
        None => "teardown of the whole host",
    };
    let mut text = format!(
        "{}  {kind} {}\n",
        colors.apply(state.tone, &state.text()),
        colors.apply(Tone::Heading, &format_operation_target(operation))
    );
    let request = describe_request(operation, now);
    for (name, value) in request
        .into_iter()
        .chain(describe_progress(operation, host, now))
    {
        let tone = if name == "error" {
            Tone::Error
        } else {
            Tone::Plain
        };
        let value = escape_hidden(&value);
        let value_width = width.map_or(usize::MAX, |width| width.saturating_sub(16).max(20));
        // Further lines of a long value continue below its first line.
        let names = [name].into_iter().chain(std::iter::repeat(""));
        for (name, line) in names.zip(wrap(&value, value_width)) {
            let name = colors.apply(Tone::Dim, &format!("{name:<12}"));
            let _ = writeln!(text, "  {name}  {}", colors.apply(tone, &line));
        }
    }
    text + &render_deckies(operation, width, colors) + &render_evidence(operation, width, colors)
}

/// Returns named values that describe the request: the operation, the host, the requester, the
/// reason and the time.
fn describe_request(operation: &OperationRecord, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("operation", operation.operation_id.to_string()),
        ("host", operation.host_uuid.to_string()),
        ("requested by", operation.requested_by.clone()),
    ];
    let reason = operation.reason.clone();
    lines.extend(reason.map(|reason| ("reason", reason)));
    lines.push(("accepted", format_time(operation.accepted_at, now)));
    lines
}

/// Returns named values that describe the progress of the operation, the event that it waits for,
/// and the next step for the operator.
fn describe_progress(
    operation: &OperationRecord,
    host: Option<HostStatus>,
    now: Timestamp,
) -> Vec<(&'static str, String)> {
    let sent = match operation.attempts {
        0 => "not yet".to_owned(),
        1 => "once".to_owned(),
        attempts => format!("{attempts} times"),
    };
    let mut lines = vec![("sent", sent)];
    lines.push(match operation.finished_at {
        Some(finished) => {
            let duration = format_duration(finished.millis_since(operation.accepted_at));
            let finished = format_time(finished, now);
            ("ended", format!("{finished}, after {duration}"))
        }
        None => ("deadline", format_time(operation.deadline, now)),
    });
    let counts = format_counts(operation);
    let none = "none on record".to_owned();
    lines.push(("deckies", if counts.is_empty() { none } else { counts }));
    if let Some(waiting) = &operation.waiting_for {
        let detail = style::shorten_times(&waiting.detail);
        let age = format_age(waiting.since, now);
        lines.push(("waiting for", format!("{detail} (for {age})")));
        let next = waiting.next_attempt_at;
        let next = next.map(|next| format_relative(next, now));
        lines.extend(next.map(|next| ("next attempt", next)));
    }
    let error = operation.error.as_ref();
    lines.extend(error.map(|error| ("error", explain_error(error.as_str()).into_owned())));
    lines.extend(suggest_next_step(operation, host).map(|step| ("next step", step)));
    lines
}

fn format_time(at: Timestamp, now: Timestamp) -> String {
    let time = local_time::format_date_and_time(at);
    format!("{time} ({})", format_relative(at, now))
}

/// Returns the next step for the operator, or `None` if no step is useful in the operation's state.
fn suggest_next_step(operation: &OperationRecord, host: Option<HostStatus>) -> Option<String> {
    let id = operation.operation_id;
    let is_silent = matches!(host, Some(HostStatus::Offline | HostStatus::Enrolled));
    let start = format!(
        "start scuttle-agent on {}, or see in its log why it is not connected",
        operation.host_name
    );
    match operation.state {
        OperationState::Queued if is_silent => Some(format!(
            "{start}; `scuttle cancel {id}` cancels the operation"
        )),
        OperationState::Running if is_silent => Some(start),
        OperationState::Queued => Some(format!("`scuttle cancel {id}` cancels the operation")),
        OperationState::Failed | OperationState::TimedOut => Some(format!(
            "`scuttle retry {id}` retries the deckies that are left"
        )),
        _ => None,
    }
}

/// Renders the outcome of each decky as a table. The controller has put failed deckies first.
/// Returns an empty string if the operation has no outcomes.
fn render_deckies(operation: &OperationRecord, width: Option<usize>, colors: Colors) -> String {
    let shards = operation.shards.as_deref().unwrap_or_default();
    let mut table = Table::new(&[
        Column::name("DECKY"),
        Column::new("OUTCOME"),
        Column::wrapped("ERROR"),
    ]);
    for shard in shards {
        let error = shard.error.as_ref().map_or("", |error| error.as_str());
        table.add_row([
            shard.decky_id.as_str().into(),
            style::outcome_label(shard.outcome).into(),
            Cell::styled(Tone::Error, error),
        ]);
    }
    let mut text = table.render(width, colors);
    if !text.is_empty() {
        text.insert(0, '\n');
    }
    let counts = operation.counts;
    let total = counts.pending + counts.removed + counts.absent + counts.failed;
    if total > shards.len() && !shards.is_empty() {
        let _ = writeln!(text, "… and {} more", total - shards.len());
    }
    text
}

/// Renders the saved evidence as a table. Returns an empty string if no evidence was saved.
fn render_evidence(operation: &OperationRecord, width: Option<usize>, colors: Colors) -> String {
    let mut table = Table::new(&[
        Column::new("EVIDENCE"),
        Column::new("BYTES"),
        Column::uncut("PATH"),
        Column::uncut("SHA-256"),
    ]);
    for shard in operation.shards.iter().flatten() {
        if let Some(evidence) = &shard.evidence {
            table.add_row([
                shard.decky_id.as_str().into(),
                evidence.bytes.to_string().into(),
                evidence.path.as_str().into(),
                Cell::styled(Tone::Dim, &evidence.sha256),
            ]);
        }
    }
    let text = table.render(width, colors);
    if text.is_empty() {
        return text;
    }
    format!("\n{text}The evidence is on host {}.\n", operation.host_name)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::Timestamp;
    use scuttle_schemas::operations::OperationRecord;
    use serde_json::json;

    use super::describe;
    use crate::output::style::Colors;

    #[test]
    fn a_waiting_operation_shows_the_reason_the_time_and_the_next_step() {
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
        .expect("a valid operation record");
        let now: Timestamp = "2026-11-23T09:12:49.000Z".parse().expect("a valid time");
        let text = describe(&operation, None, now, Some(80), Colors::NONE);
        let expected = format!(
            "\
○ queued  teardown of the whole host worker-a
  operation     {id}
  host          h-1
  requested by  alice
  reason        rotating lures
  accepted      2026-11-23 09:11:49 UTC (1 min ago)
  sent          3 times
  deadline      2026-11-23 09:21:49 UTC (in 9 min)
  deckies       2 pending
  waiting for   host offline since 09:00:00 UTC (for 1 min)
  next attempt  in 10 s
  next step     `scuttle cancel {id}` cancels
                the operation

DECKY  OUTCOME    ERROR
d-1    ○ pending
… and 1 more
"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_evidence_of_a_decky_is_shown_without_control_characters() {
        let at = "2026-11-23T09:11:49.000Z";
        let sha256 = "0f".repeat(32);
        let evidence =
            json!({ "path": "/evidence/d-1\u{1b}[2J.tar.zst", "bytes": 18_211, "sha256": sha256 });
        let operation: OperationRecord = serde_json::from_value(json!({
            "operation_id": "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11", "kind": "teardown", "host_uuid": "h-1",
            "host_name": "worker-a", "decky_id": null, "state": "succeeded", "requested_by": "alice",
            "reason": null, "accepted_at": at, "deadline": at, "finished_at": at, "attempts": 1, "error": null,
            "counts": { "pending": 0, "removed": 2, "absent": 0, "failed": 0 },
            "shards": [
                { "decky_id": "d-1", "outcome": "removed", "error": null, "evidence": evidence },
                { "decky_id": "d-2", "outcome": "removed", "error": null },
            ],
            "waiting_for": null,
        }))
        .expect("a valid operation record");
        let now: Timestamp = at.parse().expect("a valid time");
        let text = describe(&operation, None, now, None, Colors::NONE);
        let expected = format!(
            "
EVIDENCE  BYTES  PATH                            SHA-256
d-1       18211  /evidence/d-1\\u{{1b}}[2J.tar.zst  {sha256}
The evidence is on host worker-a.
"
        );
        assert!(text.ends_with(&expected), "{text}");
    }
}
