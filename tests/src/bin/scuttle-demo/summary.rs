//! The end: what was done, and whether the record, the simulated hosts and what was asked for agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::ShardState;
use scuttle_tests::client::word;
use scuttle_tests::until;

use crate::show::Show;
use crate::terminal::{self, Micros, Seconds, count};
use crate::view::Shard;

/// Counts, checks, and prints.
pub(crate) async fn print(show: &mut Show<'_>) -> Result<()> {
    let expected = untouched(show);
    let record = running(show).await?;
    ensure!(
        record == expected,
        "the record has not what was left alone: {:?} differ",
        record.symmetric_difference(&expected).collect::<Vec<_>>()
    );
    let (simulated, crashes) = simulator(show, record.len()).await?;
    let ended: Vec<&OperationRecord> = show
        .asked
        .values()
        .filter_map(|asked| asked.ended.as_ref())
        .collect();
    let sum = |of: fn(&OperationRecord) -> usize| {
        ended.iter().map(|operation| of(operation)).sum::<usize>()
    };
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for operation in &ended {
        *states.entry(word(&operation.state)).or_default() += 1;
    }
    let states: Vec<String> = states
        .iter()
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    let mut times: Vec<Duration> = show.asked.values().map(|asked| asked.accepted_in).collect();
    times.sort();
    let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);

    let terminal = show.terminal;
    terminal::print("")?;
    terminal.row(
        "operations",
        &format!("{} accepted: {}", ended.len(), states.join(", ")),
    )?;
    terminal.row(
        "accepted in",
        &format!(
            "median {}, slowest {}, each on disk (fsync) before its answer",
            Micros(median),
            Micros(slowest)
        ),
    )?;
    let absent = sum(|operation| operation.counts.absent);
    let gone = format!(
        "{} removed, {absent} found absent",
        sum(|operation| operation.counts.removed)
    );
    terminal.row(
        "deckies",
        &format!(
            "{gone}; {} failed at first, and went when asked for again",
            show.retried
        ),
    )?;
    terminal.row(
        "crashes",
        &format!(
            "the controller killed once; {} in mid-teardown",
            count(crashes, "agent crashed", "agents crashed")
        ),
    )?;
    terminal.row("remaining", &format!("{} deckies on the record, {simulated} on the simulated hosts: the ones that nobody asked for", record.len()))?;
    terminal.row(
        "✓",
        &format!(
            "everything has ended as it should, in {}",
            Seconds(terminal.elapsed())
        ),
    )
}

/// What there was, without what was asked for.
fn untouched(show: &Show<'_>) -> BTreeSet<Shard> {
    let asked_for = |(host, decky): &&Shard| {
        let covers = |target: &crate::show::Target| {
            target.host == *host && target.decky.as_ref().is_none_or(|asked| asked == decky)
        };
        show.asked.values().any(|asked| covers(&asked.target))
    };
    show.begin
        .iter()
        .filter(|shard| !asked_for(shard))
        .cloned()
        .collect()
}

/// What the record has now: all of it running.
async fn running(show: &Show<'_>) -> Result<BTreeSet<Shard>> {
    let shards = show.stage.operator.shards().await?;
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
async fn simulator(show: &mut Show<'_>, expected: usize) -> Result<(usize, usize)> {
    let process = show.stage.sim.process();
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
    until(
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
