//! The end: what was done, and whether the record, the simulated hosts and what was asked for agree.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::ShardState;
use scuttle_tests::wait_until;

use crate::operator::{Operator, Target};
use crate::record_view::Shard;
use crate::terminal::{self, Micros, Sign, count};

/// Checks, counts, and prints.
pub(crate) async fn print(operator: &mut Operator<'_>) -> Result<()> {
    let expected = untouched(operator);
    let record = running(operator).await?;
    let differ: Vec<&Shard> = record.symmetric_difference(&expected).collect();
    ensure!(
        differ.is_empty(),
        "on the record is not what was left alone; these differ: {differ:?}"
    );
    let (simulated, crashes) = simulator(operator, record.len()).await?;

    terminal::print("")?;
    let row = |name: &str, cells: &[String]| operator.terminal.row(name, &cells.join(" · "));
    row("teardowns", &teardowns(operator))?;
    row("accepted in", &accepted_in(operator))?;
    row("deckies", &deckies(operator, record.len()))?;
    row(
        "crashes",
        &[
            "controller 1 (SIGKILL)".to_owned(),
            format!("agents {crashes}, in mid-teardown"),
        ],
    )?;
    row(
        "in the end",
        &[
            format!("{} on the record", count(record.len(), "decky", "deckies")),
            format!("{simulated} on the simulated hosts"),
            "the ones that nobody asked for".to_owned(),
        ],
    )?;
    let text = "everything that was accepted has ended, and nothing else was touched";
    operator.terminal.line(Sign::Good, "done", text)
}

fn ended<'a>(operator: &'a Operator<'_>) -> impl Iterator<Item = &'a OperationRecord> {
    (operator.asked.values()).filter_map(|asked| asked.ended.as_ref())
}

fn teardowns(operator: &Operator<'_>) -> Vec<String> {
    let number = |state| ended(operator).filter(|one| one.state == state).count();
    vec![
        format!("{} accepted", operator.asked.len()),
        format!("{} succeeded", number(OperationState::Succeeded)),
        format!("{} failed", number(OperationState::Failed)),
        format!("{} timed out", number(OperationState::TimedOut)),
        format!("{} open", operator.open_operations().count()),
    ]
}

fn accepted_in(operator: &Operator<'_>) -> Vec<String> {
    let mut times: Vec<Duration> = (operator.asked.values())
        .map(|asked| asked.accepted_in)
        .collect();
    times.sort();
    let slowest = times.last().copied().unwrap_or_default();
    vec![
        format!("{} in the median", Micros(times[times.len() / 2])),
        format!("{} at most", Micros(slowest)),
        "each on disk (fsync) before its answer".to_owned(),
    ]
}

fn deckies(operator: &Operator<'_>, left: usize) -> Vec<String> {
    let sum = |of: fn(&OperationRecord) -> usize| ended(operator).map(of).sum::<usize>();
    vec![
        format!("{} at first", operator.begin.len()),
        format!("{} removed", sum(|one| one.counts.removed)),
        format!("{} absent", sum(|one| one.counts.absent)),
        format!("{left} left"),
        format!(
            "{} failed, then went when asked for again",
            operator.retried
        ),
    ]
}

/// What there was, without what was asked for.
fn untouched(operator: &Operator<'_>) -> BTreeSet<Shard> {
    let asked_for = |(host, decky): &&Shard| {
        let covers = |target: &Target| {
            target.host == *host && target.decky.as_ref().is_none_or(|asked| asked == decky)
        };
        operator.asked.values().any(|asked| covers(&asked.target))
    };
    operator
        .begin
        .iter()
        .filter(|shard| !asked_for(shard))
        .cloned()
        .collect()
}

/// What the record has now: all of it running.
async fn running(operator: &Operator<'_>) -> Result<BTreeSet<Shard>> {
    let shards = operator.processes.operator.list_shards().await?;
    let odd = shards
        .iter()
        .find(|shard| shard.state != ShardState::Running);
    ensure!(
        odd.is_none(),
        "not running, although nobody asked for it: {odd:?}"
    );
    Ok(shards
        .into_iter()
        .map(|shard| (shard.host_uuid, shard.decky_id))
        .collect())
}

/// How many deckies the simulated hosts have, once that is `expected`, and how often an agent crashed.
async fn simulator(operator: &mut Operator<'_>, expected: usize) -> Result<(usize, usize)> {
    let process = operator.processes.sim.process();
    let counted = || {
        let log = process.log();
        async move {
            let line = log
                .lines()
                .rfind(|line| line.contains(" crashes "))
                .context("no count yet")?;
            anyhow::Ok((number(line, "deckies")?, number(line, "crashes")?))
        }
    };
    wait_until(
        "the simulated hosts have what the record has",
        counted,
        |(deckies, _)| *deckies == expected,
    )
    .await
}

/// The number after a word.
fn number(line: &str, word: &str) -> Result<usize> {
    let mut words = line.split_whitespace().skip_while(|each| *each != word);
    let number = words.nth(1).and_then(|number| number.parse().ok());
    number.with_context(|| format!("no {word} in {line:?}"))
}
