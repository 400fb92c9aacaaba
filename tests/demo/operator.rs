//! The operator: sends teardown requests, measures how quickly each is accepted, and prints what
//! happens to the operations.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::truncate_chars;
use scuttle_schemas::{DeckyId, HostId, OperationId};
use scuttle_tests::clients::client::to_wire_name;

use crate::processes::Processes;
use crate::record_view::{Change, RecordView, Shard};
use crate::terminal::{Micros, Seconds, Sign, Terminal, format_count};

/// The maximum time for the accepted operations to end, far longer than they need. If it is
/// exceeded, the demo fails.
const OPERATIONS_TIMEOUT: Duration = Duration::from_mins(1);
/// The maximum length of an error text in one line, in characters.
const MAX_ERROR_CHARS: usize = 68;

/// The decky or the whole host that a request tears down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: HostId,
    /// The decky, or `None` for the whole host.
    pub(crate) decky: Option<DeckyId>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.decky {
            Some(decky) => write!(f, "{}/{decky}", self.host),
            None => write!(f, "{}", self.host),
        }
    }
}

/// A teardown that the controller accepted.
pub(crate) struct AcceptedTeardown {
    pub(crate) target: Target,
    pub(crate) accepted_in: Duration,
    sent_at: Instant,
    /// The final record of the operation, or `None` while the operation is open.
    pub(crate) ended: Option<OperationRecord>,
}

/// The changes that are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Only the ends of operations.
    Ends,
    Everything,
}

/// The operator, with everything that the operator knows about the swarm.
pub(crate) struct Operator<'a> {
    pub(crate) processes: &'a mut Processes,
    pub(crate) terminal: &'a Terminal,
    pub(crate) view: RecordView,
    pub(crate) detail: Detail,
    /// The accepted teardowns, sorted by operation id and therefore by time.
    pub(crate) accepted: BTreeMap<OperationId, AcceptedTeardown>,
    /// The deckies whose teardown has failed and has not been retried yet.
    pub(crate) failed: Vec<Target>,
    /// The number of failed teardowns that have been retried.
    pub(crate) retried: usize,
    /// All deckies that existed at the start, sorted.
    pub(crate) initial_shards: Vec<Shard>,
}

impl<'a> Operator<'a> {
    /// Starts to follow the record, and prints the number of hosts and deckies.
    pub(crate) async fn open(processes: &'a mut Processes, terminal: &'a Terminal) -> Result<Self> {
        let view = RecordView::open(&processes.operator).await?;
        let initial_shards: Vec<Shard> = view.shards.keys().cloned().collect();
        let online = view.hosts.len();
        let text = format!(
            "{online} hosts online, {} deckies running",
            initial_shards.len()
        );
        terminal.line(Sign::Success, "simulated hosts", &text)?;
        Ok(Self {
            processes,
            terminal,
            view,
            detail: Detail::Ends,
            accepted: BTreeMap::new(),
            failed: Vec::new(),
            retried: 0,
            initial_shards,
        })
    }

    /// Concurrently sends a teardown request for each target. Returns the time until each reply.
    pub(crate) async fn tear_down(&mut self, targets: &[Target]) -> Result<Vec<Duration>> {
        let client = &self.processes.operator;
        let requests = targets.iter().map(|target| async move {
            let sent_at = Instant::now();
            let decky = target.decky.as_ref().map(DeckyId::as_str);
            let reply = client.tear_down(&target.host, decky).await;
            let accepted_in = sent_at.elapsed();
            let reply = reply.with_context(|| format!("tear down {target}"))?;
            ensure!(
                reply.accepted && !reply.repeated,
                "expected a new operation for {target}: {reply:?}"
            );
            let teardown = AcceptedTeardown {
                target: target.clone(),
                accepted_in,
                sent_at,
                ended: None,
            };
            Ok((reply.operation_id, teardown))
        });
        let accepted: Vec<(OperationId, AcceptedTeardown)> = join_all(requests)
            .await
            .into_iter()
            .collect::<Result<_>>()?;
        let times = accepted
            .iter()
            .map(|(_, teardown)| teardown.accepted_in)
            .collect();
        self.accepted.extend(accepted);
        Ok(times)
    }

    /// Returns the accepted teardowns whose operations have not ended.
    pub(crate) fn open_operations(
        &self,
    ) -> impl Iterator<Item = (&OperationId, &AcceptedTeardown)> {
        let accepted = self.accepted.iter();
        accepted.filter(|(_, teardown)| teardown.ended.is_none())
    }

    /// Prints changes until every accepted operation has ended.
    ///
    /// # Errors
    /// If an operation is still open after [`OPERATIONS_TIMEOUT`], or the changes cannot be
    /// followed.
    pub(crate) async fn follow_until_ended(&mut self) -> Result<()> {
        let following = async {
            while self.open_operations().next().is_some() {
                self.print_next_change().await?;
            }
            anyhow::Ok(())
        };
        if let Ok(result) = tokio::time::timeout(OPERATIONS_TIMEOUT, following).await {
            return result;
        }
        let open = format!(
            "operations are still open after {OPERATIONS_TIMEOUT:?}:\n{}",
            self.describe_open_operations()
        );
        self.processes.ensure_running().context(open.clone())?;
        bail!(open)
    }

    /// Waits for one change, and prints the change if the detail level includes it.
    pub(crate) async fn print_next_change(&mut self) -> Result<()> {
        match self.view.next_change(&self.processes.operator).await? {
            Change::Operation { from, record } => self.print_operation(from, *record).await,
            Change::Shard { shard, from, to } if self.detail == Detail::Everything => {
                let to_text = |state: Option<ShardState>| state.map(|state| to_wire_name(&state));
                let from = to_text(from).unwrap_or_else(|| "new".to_owned());
                let to = to_text(to).unwrap_or_else(|| "removed".to_owned());
                let (host, decky) = shard;
                self.terminal.line(
                    Sign::Change,
                    &format!("{host}/{decky}"),
                    &format!("{from} → {to}"),
                )
            }
            Change::Host { host, to } if self.detail == Detail::Everything => {
                self.terminal
                    .line(Sign::Change, host.as_str(), &to_wire_name(&to))
            }
            Change::Shard { .. } | Change::Host { .. } => Ok(()),
        }
    }

    async fn print_operation(
        &mut self,
        from: Option<OperationState>,
        record: OperationRecord,
    ) -> Result<()> {
        let target = Target {
            host: record.host_uuid.clone(),
            decky: record.decky_id.clone(),
        };
        let subject = target.to_string();
        match record.state {
            OperationState::Queued
                if self.detail == Detail::Everything
                    && !self.accepted.contains_key(&record.operation_id) =>
            {
                let text = format!("teardown accepted, requested by {}", record.requested_by);
                self.terminal.line(Sign::Request, &subject, &text)
            }
            OperationState::Running if self.detail == Detail::Everything => {
                let text = format!(
                    "{} → running: agent started",
                    from.map_or("queued".to_owned(), |from| to_wire_name(&from))
                );
                self.terminal.line(Sign::Change, &subject, &text)
            }
            OperationState::Queued | OperationState::Running => Ok(()),
            _ => self.print_end(&target, record).await,
        }
    }

    async fn print_end(&mut self, target: &Target, record: OperationRecord) -> Result<()> {
        let mut text = to_wire_name(&record.state);
        if let Some(teardown) = self.accepted.get(&record.operation_id) {
            let _ = write!(text, " after {}", Seconds(teardown.sent_at.elapsed()));
        }
        let _ = write!(text, ": {}", format_outcomes(&record));
        match record.attempts {
            0 | 1 => {}
            2 => text.push_str(" (command resent once)"),
            attempts => {
                let _ = write!(text, " (command resent {} times)", attempts - 1);
            }
        }
        let succeeded = record.state == OperationState::Succeeded;
        self.terminal.line(
            if succeeded {
                Sign::Success
            } else {
                Sign::Failure
            },
            &target.to_string(),
            &text,
        )?;
        if !succeeded {
            self.print_errors(&record).await?;
        }
        if let Some(teardown) = self.accepted.get_mut(&record.operation_id) {
            teardown.ended = Some(record);
        }
        Ok(())
    }

    /// Prints the error of every shard whose outcome is failed or still pending, and remembers the
    /// shard for a retry.
    async fn print_errors(&mut self, operation: &OperationRecord) -> Result<()> {
        let with_shards = self
            .processes
            .operator
            .operation(operation.operation_id)
            .await?;
        let has_failed = |outcome| matches!(outcome, ShardOutcome::Failed | ShardOutcome::Pending);
        for shard in with_shards.shards.unwrap_or_default() {
            if has_failed(shard.outcome) {
                let error = shard.error.or_else(|| operation.error.clone());
                let error = error.map_or("no error reported".to_owned(), |error| error.to_string());
                let target = Target {
                    host: operation.host_uuid.clone(),
                    decky: Some(shard.decky_id),
                };
                self.terminal.line(
                    Sign::Failure,
                    &format!("  {target}"),
                    &truncate_error(&error),
                )?;
                self.failed.push(target);
            }
        }
        Ok(())
    }

    fn describe_open_operations(&self) -> String {
        let describe = |(id, teardown): (&OperationId, &AcceptedTeardown)| {
            let mut line = format!("  {} ({id})", teardown.target);
            if let Some(record) = self.view.operations.get(id) {
                let _ = write!(line, ": {}", to_wire_name(&record.state));
                if let Some(waits) = &record.waiting_for {
                    let _ = write!(line, ", waiting for {}: {}", waits.what, waits.detail);
                }
            }
            line
        };
        let lines: Vec<String> = self.open_operations().map(describe).collect();
        lines.join("\n")
    }

    /// Prints one line for several teardowns that were requested concurrently, with the longest
    /// time until a reply.
    pub(crate) fn print_all_accepted(&self, what: &str, times: &[Duration]) -> Result<()> {
        let slowest = times.iter().max().copied().unwrap_or_default();
        let all = if times.len() == 1 { "" } else { "all " };
        let text = format!("{all}accepted within {}, on disk", Micros(slowest));
        self.terminal.line(Sign::Request, what, &text)
    }

    /// Prints how long one teardown took to be accepted.
    pub(crate) fn print_accepted(&self, target: &Target, time: Duration) -> Result<()> {
        let text = format!("teardown accepted in {}, on disk", Micros(time));
        self.terminal
            .line(Sign::Request, &target.to_string(), &text)
    }
}

/// Formats the number of targets as a number of deckies, for example `3 deckies`.
pub(crate) fn format_deckies(targets: &[Target]) -> String {
    format_count(targets.len(), "decky", "deckies")
}

fn truncate_error(error: &str) -> String {
    match truncate_chars(error, MAX_ERROR_CHARS) {
        Cow::Borrowed(whole) => whole.to_owned(),
        Cow::Owned(part) => format!("{}…", part.trim_end()),
    }
}

/// Formats the outcomes of an operation, for example `4 removed, 1 failed`.
fn format_outcomes(operation: &OperationRecord) -> String {
    let counts = operation.counts;
    let outcomes = [
        (counts.removed, "removed"),
        (counts.absent, "absent"),
        (counts.failed, "failed"),
        (counts.pending, "pending"),
    ];
    let parts: Vec<String> = outcomes
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, outcome)| format!("{number} {outcome}"))
        .collect();
    parts.join(", ")
}
