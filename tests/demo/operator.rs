//! The operator: asks for teardowns, notes how fast each was accepted, and tells what the record says became of them.

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
use crate::terminal::{Micros, Seconds, Sign, Terminal, count};

/// How long what was asked for may take until the demo fails: far more than it needs.
const BOUND: Duration = Duration::from_mins(1);
/// The most characters of an error on a line.
const ERROR: usize = 68;

/// What is to be torn down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: HostId,
    /// None: the whole host.
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

/// A teardown that was accepted.
pub(crate) struct Asked {
    pub(crate) target: Target,
    pub(crate) accepted_in: Duration,
    at: Instant,
    pub(crate) ended: Option<OperationRecord>,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// How operations end.
    Ends,
    /// Every change.
    All,
}

/// The operator at work.
pub(crate) struct Operator<'a> {
    pub(crate) processes: &'a mut Processes,
    pub(crate) terminal: &'a Terminal,
    pub(crate) view: RecordView,
    pub(crate) detail: Detail,
    /// Ids sort by time.
    pub(crate) asked: BTreeMap<OperationId, Asked>,
    /// Failed, and not asked for again.
    pub(crate) failed: Vec<Target>,
    /// Failed once, and were asked for again.
    pub(crate) retried: usize,
    /// The deckies that there were, in order.
    pub(crate) begin: Vec<Shard>,
}

impl<'a> Operator<'a> {
    /// Follows the record from here on, and says what is there.
    pub(crate) async fn open(processes: &'a mut Processes, terminal: &'a Terminal) -> Result<Self> {
        let view = RecordView::open(&processes.operator).await?;
        let begin: Vec<Shard> = view.shards.keys().cloned().collect();
        let online = view.hosts.len();
        let text = format!("{online} hosts online, {} deckies running", begin.len());
        terminal.line(Sign::Good, "simulated hosts", &text)?;
        Ok(Self {
            processes,
            terminal,
            view,
            detail: Detail::Ends,
            asked: BTreeMap::new(),
            failed: Vec::new(),
            retried: 0,
            begin,
        })
    }

    /// Asks for all of these at once, and returns how long each answer took.
    pub(crate) async fn ask(&mut self, targets: &[Target]) -> Result<Vec<Duration>> {
        let operator = &self.processes.operator;
        let requests = targets.iter().map(|target| async move {
            let at = Instant::now();
            let decky = target.decky.as_ref().map(DeckyId::as_str);
            let answer = operator.tear_down(&target.host, decky).await;
            let accepted_in = at.elapsed();
            let answer = answer.with_context(|| format!("tear down {target}"))?;
            ensure!(
                answer.accepted && !answer.repeated,
                "{target} is not new: {answer:?}"
            );
            let asked = Asked {
                target: target.clone(),
                accepted_in,
                at,
                ended: None,
            };
            Ok((answer.operation_id, asked))
        });
        let answers: Vec<(OperationId, Asked)> = join_all(requests)
            .await
            .into_iter()
            .collect::<Result<_>>()?;
        let times = answers.iter().map(|(_, asked)| asked.accepted_in).collect();
        self.asked.extend(answers);
        Ok(times)
    }

    /// The accepted teardowns that have not ended.
    pub(crate) fn open_operations(&self) -> impl Iterator<Item = (&OperationId, &Asked)> {
        self.asked.iter().filter(|(_, asked)| asked.ended.is_none())
    }

    /// Tells what happens until everything that was accepted has ended.
    pub(crate) async fn follow(&mut self) -> Result<()> {
        let all = async {
            while self.open_operations().next().is_some() {
                self.tell_next().await?;
            }
            anyhow::Ok(())
        };
        if let Ok(done) = tokio::time::timeout(BOUND, all).await {
            return done;
        }
        let unfinished = format!("not ended within {BOUND:?}:\n{}", self.unfinished());
        self.processes.alive().context(unfinished.clone())?;
        bail!(unfinished)
    }

    /// Waits for one change, and tells it.
    pub(crate) async fn tell_next(&mut self) -> Result<()> {
        match self.view.next(&self.processes.operator).await? {
            Change::Operation { from, now } => self.tell_operation(from, *now).await,
            Change::Shard { shard, from, to } if self.detail == Detail::All => {
                let state = |state: Option<ShardState>| state.map(|state| to_wire_name(&state));
                let from = state(from).unwrap_or_else(|| "new".to_owned());
                let to = state(to).unwrap_or_else(|| "gone".to_owned());
                let (host, decky) = shard;
                self.terminal.line(
                    Sign::Change,
                    &format!("{host}/{decky}"),
                    &format!("{from} → {to}"),
                )
            }
            Change::Host { host, to } if self.detail == Detail::All => {
                self.terminal
                    .line(Sign::Change, host.as_str(), &to_wire_name(&to))
            }
            Change::Shard { .. } | Change::Host { .. } => Ok(()),
        }
    }

    async fn tell_operation(
        &mut self,
        from: Option<OperationState>,
        now: OperationRecord,
    ) -> Result<()> {
        let target = Target {
            host: now.host_uuid.clone(),
            decky: now.decky_id.clone(),
        };
        let about = target.to_string();
        match now.state {
            OperationState::Queued
                if self.detail == Detail::All && !self.asked.contains_key(&now.operation_id) =>
            {
                let text = format!("teardown accepted, asked for by {}", now.requested_by);
                self.terminal.line(Sign::Asked, &about, &text)
            }
            OperationState::Running if self.detail == Detail::All => {
                let text = format!(
                    "{} → running: its agent has begun",
                    from.map_or("queued".to_owned(), |from| to_wire_name(&from))
                );
                self.terminal.line(Sign::Change, &about, &text)
            }
            OperationState::Queued | OperationState::Running => Ok(()),
            _ => self.tell_end(&target, now).await,
        }
    }

    async fn tell_end(&mut self, target: &Target, now: OperationRecord) -> Result<()> {
        let mut text = to_wire_name(&now.state);
        if let Some(asked) = self.asked.get(&now.operation_id) {
            let _ = write!(text, " after {}", Seconds(asked.at.elapsed()));
        }
        let _ = write!(text, ": {}", outcomes(&now));
        if now.attempts > 1 {
            let _ = write!(text, " (command sent {} times)", now.attempts);
        }
        let succeeded = now.state == OperationState::Succeeded;
        self.terminal.line(
            if succeeded { Sign::Good } else { Sign::Bad },
            &target.to_string(),
            &text,
        )?;
        if !succeeded {
            self.tell_errors(&now).await?;
        }
        if let Some(asked) = self.asked.get_mut(&now.operation_id) {
            asked.ended = Some(now);
        }
        Ok(())
    }

    /// Every shard's error, and notes the shard as one to ask for again.
    async fn tell_errors(&mut self, operation: &OperationRecord) -> Result<()> {
        let whole = self
            .processes
            .operator
            .operation(operation.operation_id)
            .await?;
        let failed = |outcome| matches!(outcome, ShardOutcome::Failed | ShardOutcome::Pending);
        for shard in whole.shards.unwrap_or_default() {
            if failed(shard.outcome) {
                let error = shard.error.or_else(|| operation.error.clone());
                let error = error.map_or("no error told".to_owned(), |error| error.to_string());
                let target = Target {
                    host: operation.host_uuid.clone(),
                    decky: Some(shard.decky_id),
                };
                self.terminal
                    .line(Sign::Bad, &format!("  {target}"), &short(&error))?;
                self.failed.push(target);
            }
        }
        Ok(())
    }

    fn unfinished(&self) -> String {
        let line = |(id, asked): (&OperationId, &Asked)| {
            let mut line = format!("  {} ({id})", asked.target);
            if let Some(record) = self.view.operations.get(id) {
                let _ = write!(line, ": {}", to_wire_name(&record.state));
                if let Some(waits) = &record.waiting_for {
                    let _ = write!(line, ", waits for {}: {}", waits.what, waits.detail);
                }
            }
            line
        };
        let lines: Vec<String> = self.open_operations().map(line).collect();
        lines.join("\n")
    }

    /// Prints one line for many that were asked for at once.
    pub(crate) fn tell_asked(&self, what: &str, times: &[Duration]) -> Result<()> {
        let slowest = times.iter().max().copied().unwrap_or_default();
        let all = if times.len() == 1 { "" } else { "all " };
        let text = format!("{all}accepted within {}, on disk", Micros(slowest));
        self.terminal.line(Sign::Asked, what, &text)
    }

    /// Prints how fast one was accepted.
    pub(crate) fn tell_accepted(&self, target: &Target, time: Duration) -> Result<()> {
        let text = format!("teardown accepted in {}, on disk", Micros(time));
        self.terminal.line(Sign::Asked, &target.to_string(), &text)
    }

    /// `3 deckies`, of these targets.
    pub(crate) fn deckies(targets: &[Target]) -> String {
        count(targets.len(), "decky", "deckies")
    }
}

/// As much of an error as a line has place for.
fn short(error: &str) -> String {
    match truncate_chars(error, ERROR) {
        Cow::Borrowed(whole) => whole.to_owned(),
        Cow::Owned(part) => format!("{}…", part.trim_end()),
    }
}

/// `4 removed, 1 failed`.
fn outcomes(operation: &OperationRecord) -> String {
    let counts = operation.counts;
    let all = [
        (counts.removed, "removed"),
        (counts.absent, "absent"),
        (counts.failed, "failed"),
        (counts.pending, "pending"),
    ];
    let told = all.iter().filter(|(number, _)| *number > 0);
    let told: Vec<String> = told
        .map(|(number, outcome)| format!("{number} {outcome}"))
        .collect();
    told.join(", ")
}
