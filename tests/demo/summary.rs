//! The summary: counts what was done, and checks that the record and the simulated hosts agree with
//! the requests.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::ShardState;
use scuttle_tests::wait_until;

use crate::operator::{Operator, Target};
use crate::record_view::Shard;
use crate::terminal::{self, Micros, Sign, format_count};

/// Checks that the remaining deckies are exactly those that no request named, and prints the
/// summary.
///
/// # Errors
/// If the record or the simulated hosts have other deckies.
pub(crate) async fn check_and_print(operator: &mut Operator<'_>) -> Result<()> {
    let expected = find_untouched(operator);
    let recorded = fetch_running(operator).await?;
    let differing: Vec<&Shard> = recorded.symmetric_difference(&expected).collect();
    ensure!(
        differing.is_empty(),
        "the record differs from the deckies that should remain: {differing:?}"
    );
    let (simulated, crashes) = wait_for_simulator(operator, recorded.len()).await?;

    terminal::print("")?;
    let row = |name: &str, cells: &[String]| operator.terminal.row(name, &cells.join(" · "));
    row("teardowns", &count_teardowns(operator))?;
    row("accepted in", &summarize_times(operator))?;
    row("deckies", &count_deckies(operator, recorded.len()))?;
    row(
        "crashes",
        &[
            "controller 1 (SIGKILL)".to_owned(),
            format!("agents {crashes}, during a teardown"),
        ],
    )?;
    row(
        "at the end",
        &[
            format!(
                "{} in the record",
                format_count(recorded.len(), "decky", "deckies")
            ),
            format!("{simulated} on the simulated hosts"),
            "exactly those that no request named".to_owned(),
        ],
    )?;
    let text = "every accepted operation has ended, and no other decky was touched";
    operator.terminal.line(Sign::Success, "done", text)
}

fn ended_operations<'a>(operator: &'a Operator<'_>) -> impl Iterator<Item = &'a OperationRecord> {
    let accepted = operator.accepted.values();
    accepted.filter_map(|teardown| teardown.ended.as_ref())
}

fn count_teardowns(operator: &Operator<'_>) -> Vec<String> {
    let count = |state| {
        ended_operations(operator)
            .filter(|operation| operation.state == state)
            .count()
    };
    vec![
        format!("{} accepted", operator.accepted.len()),
        format!("{} succeeded", count(OperationState::Succeeded)),
        format!("{} failed", count(OperationState::Failed)),
        format!("{} timed out", count(OperationState::TimedOut)),
        format!("{} open", operator.open_operations().count()),
    ]
}

fn summarize_times(operator: &Operator<'_>) -> Vec<String> {
    let accepted = operator.accepted.values();
    let mut times: Vec<Duration> = accepted.map(|teardown| teardown.accepted_in).collect();
    times.sort();
    let slowest = times.last().copied().unwrap_or_default();
    vec![
        format!("{} median", Micros(times[times.len() / 2])),
        format!("{} maximum", Micros(slowest)),
        "each on disk (fsync) before its reply".to_owned(),
    ]
}

fn count_deckies(operator: &Operator<'_>, left: usize) -> Vec<String> {
    let sum =
        |count: fn(&OperationRecord) -> usize| ended_operations(operator).map(count).sum::<usize>();
    vec![
        format!("{} at the start", operator.initial_shards.len()),
        format!("{} removed", sum(|operation| operation.counts.removed)),
        format!("{} absent", sum(|operation| operation.counts.absent)),
        format!("{left} left"),
        format!("{} failed, then removed by a retry", operator.retried),
    ]
}

/// Returns the deckies that existed at the start and that no accepted request named.
fn find_untouched(operator: &Operator<'_>) -> BTreeSet<Shard> {
    let was_requested = |(host, decky): &&Shard| {
        let covers = |target: &Target| {
            let named = target.decky.as_ref();
            target.host == *host && named.is_none_or(|named| named == decky)
        };
        let mut accepted = operator.accepted.values();
        accepted.any(|teardown| covers(&teardown.target))
    };
    operator
        .initial_shards
        .iter()
        .filter(|shard| !was_requested(shard))
        .cloned()
        .collect()
}

/// Fetches all shards in the record, and checks that all of them are running.
async fn fetch_running(operator: &Operator<'_>) -> Result<BTreeSet<Shard>> {
    let shards = operator.processes.operator.list_shards().await?;
    let unexpected = shards
        .iter()
        .find(|shard| shard.state != ShardState::Running);
    ensure!(
        unexpected.is_none(),
        "a decky that should be untouched is not running: {unexpected:?}"
    );
    Ok(shards
        .into_iter()
        .map(|shard| (shard.host_uuid, shard.decky_id))
        .collect())
}

/// Waits until the simulated hosts have `expected` deckies in total. Returns this number and the
/// number of agent crashes, both from the simulator's log.
async fn wait_for_simulator(
    operator: &mut Operator<'_>,
    expected: usize,
) -> Result<(usize, usize)> {
    let process = operator.processes.simulator.process();
    let read_counts = || {
        let log = process.log();
        async move {
            let line = log
                .lines()
                .rfind(|line| line.contains(" crashes "))
                .context("the simulator has not logged its counts yet")?;
            anyhow::Ok((
                number_after(line, "deckies")?,
                number_after(line, "crashes")?,
            ))
        }
    };
    wait_until(
        "the simulated hosts have the same deckies as the record",
        read_counts,
        |(deckies, _)| *deckies == expected,
    )
    .await
}

fn number_after(line: &str, word: &str) -> Result<usize> {
    let mut words = line.split_whitespace().skip_while(|each| *each != word);
    let number = words.nth(1).and_then(|number| number.parse().ok());
    number.with_context(|| format!("no number after {word:?} in {line:?}"))
}
