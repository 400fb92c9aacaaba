//! Ends the faults, then waits until all operations have ended and the record matches the hosts.

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use anyhow::Result;
use scuttle_schemas::hosts::HostStatus;
use scuttle_tests::Client;
use tokio::time::{Instant, MissedTickBehavior};

use crate::checks::final_record::has_ended;
use crate::checks::ground_truth;
use crate::cluster::processes::Processes;
use crate::cluster::scale::GROUPS;
use crate::faults::fault_injector::all_programs;

/// The timeout for all operations to end. It exceeds the longest deadline, because results may be
/// late.
const OPERATIONS_TIMEOUT: Duration = Duration::from_secs(90);
/// The timeout for the record to match the hosts. It leaves time for heartbeats and late results.
const AGREEMENT_TIMEOUT: Duration = Duration::from_mins(1);
/// The time between two checks in [`wait_until_none`].
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Checks that every program is running, then restarts the simulated hosts with neither faults nor
/// redeployments.
///
/// # Errors
/// If a program has exited by itself, or the hosts cannot be restarted.
pub(crate) async fn stop_faults(processes: &Processes) -> Result<()> {
    for program in all_programs(processes.size) {
        processes.ensure_running(program).await?;
    }
    for group in 0..GROUPS {
        processes.restart_without_faults(group).await?;
    }
    Ok(())
}

/// Waits until every operation has ended, then until all hosts are online and the record matches
/// them. Returns a description of each condition that was not met in time.
pub(crate) async fn wait_until_settled(processes: &Processes, operator: &Client) -> Vec<String> {
    let open = || async {
        let open = operator.list_operations().await?;
        let open: Vec<_> = open.into_iter().filter(|each| !has_ended(each)).collect();
        anyhow::Ok(
            (!open.is_empty()).then(|| format!("{} operations are open: {open:?}", open.len())),
        )
    };
    let mut losses = Vec::new();
    losses.extend(wait_until_none(OPERATIONS_TIMEOUT, open).await);
    losses.extend(wait_until_none(AGREEMENT_TIMEOUT, || differences(processes, operator)).await);
    losses
}

async fn differences(processes: &Processes, operator: &Client) -> Result<Option<String>> {
    let offline = operator.list_hosts().await?;
    let offline = offline
        .values()
        .filter(|host| host.status != HostStatus::Online);
    let offline: Vec<_> = offline.map(|host| host.host_uuid.to_string()).collect();
    let shards = operator.list_shards().await?;
    let recorded = shards
        .into_iter()
        .map(|shard| (shard.host_uuid, shard.decky_id));
    let recorded: BTreeSet<_> = recorded.collect();
    let real = ground_truth::read_deckies(processes)?;
    if offline.is_empty() && recorded == real {
        return Ok(None);
    }
    let differing: Vec<_> = recorded.symmetric_difference(&real).collect();
    Ok(Some(format!(
        "record and hosts differ in {differing:?}; offline: {offline:?}"
    )))
}

/// Calls `find_missing` until nothing is missing, and then returns `None`. After `limit`, returns
/// what is still missing. An error counts as something missing.
async fn wait_until_none<F: Future<Output = Result<Option<String>>>>(
    limit: Duration,
    mut find_missing: impl FnMut() -> F,
) -> Option<String> {
    let give_up = Instant::now() + limit;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let missing = match find_missing().await {
            Ok(None) => return None,
            Ok(Some(missing)) => missing,
            Err(error) => format!("no reply: {error:#}"),
        };
        if Instant::now() > give_up {
            return Some(format!("after {limit:?}: {missing}"));
        }
    }
}
