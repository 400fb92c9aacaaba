//! The scenario: the steps that the operator takes, in order. The output is defined in `operator`.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use scuttle_schemas::{DeckyId, HostId, subjects};
use scuttle_tests::RequestError;
use serde_json::json;

use crate::operator::{Detail, Operator, Target, format_deckies};
use crate::scale::{HOSTS_AT_KILL, MIN_HOSTS, SINGLE_DECKY_HOSTS, WHOLE_HOSTS};
use crate::terminal::{Seconds, Sign};

/// The number of hosts, among the [`HOSTS_AT_KILL`] hosts, that are torn down completely.
const WHOLE_HOSTS_AT_KILL: usize = 3;
/// Runs all steps of the scenario.
///
/// # Errors
/// If a step does not have the expected outcome.
pub(crate) async fn run(operator: &mut Operator<'_>) -> Result<()> {
    let hosts = list_hosts(operator);
    ensure!(
        hosts.len() >= MIN_HOSTS,
        "the demo needs {MIN_HOSTS} hosts and found {}",
        hosts.len()
    );
    let (single, rest) = hosts.split_at(SINGLE_DECKY_HOSTS);
    let (whole, rest) = rest.split_at(WHOLE_HOSTS);
    let (at_kill, untouched) = rest.split_at(HOSTS_AT_KILL);
    tear_down_single_deckies(operator, single).await?;
    send_rejected_requests(operator, &untouched[0]).await?;
    tear_down_whole_hosts(operator, whole).await?;
    kill_controller(operator, at_kill, &untouched[0]).await?;
    retry_failed_teardowns(operator).await
}

/// Tears down one decky and prints every change, then tears down several deckies at once and prints
/// only how each ends.
async fn tear_down_single_deckies(operator: &mut Operator<'_>, hosts: &[HostId]) -> Result<()> {
    operator.terminal.heading("Single deckies")?;
    let targets: Vec<Target> = hosts
        .iter()
        .map(|host| first_decky(operator, host))
        .collect::<Result<_>>()?;
    let (first, others) = targets.split_at(1);
    let times = operator.tear_down(first).await?;
    operator.print_accepted(&first[0], times[0])?;
    repeat_request(operator, &first[0]).await?;
    operator.detail = Detail::Everything;
    operator.follow_until_ended().await?;
    operator.detail = Detail::Ends;
    let times = operator.tear_down(others).await?;
    operator.print_all_accepted(&format!("{} at once", format_deckies(others)), &times)?;
    operator.follow_until_ended().await
}

async fn repeat_request(operator: &Operator<'_>, target: &Target) -> Result<()> {
    let decky = target.decky.as_ref().map(DeckyId::as_str);
    let reply = operator
        .processes
        .operator
        .tear_down(&target.host, decky)
        .await?;
    ensure!(
        reply.repeated,
        "a repeated request got a new operation: {reply:?}"
    );
    let text = format!("requested again: {}, same operation", reply.detail);
    operator
        .terminal
        .line(Sign::Request, &target.to_string(), &text)
}

async fn send_rejected_requests(operator: &Operator<'_>, host: &HostId) -> Result<()> {
    operator.terminal.heading("Rejected requests")?;
    let unknown_host: HostId = "sim-9999".parse()?;
    for (host, decky) in [(host, Some("decky-99999")), (&unknown_host, None)] {
        match operator.processes.operator.tear_down(host, decky).await {
            Err(RequestError::Rejected(error)) => {
                let subject = decky.map_or(host.to_string(), |decky| format!("{host}/{decky}"));
                let text = format!("rejected: {} {}", error.status, error.message);
                operator.terminal.line(Sign::Failure, &subject, &text)?;
            }
            other => bail!("the teardown of {host} {decky:?} was not rejected: {other:?}"),
        }
    }
    let request = json!({ "host_uuid": host });
    operator
        .processes
        .viewer
        .expect_request_denied(subjects::TEARDOWN, &request)
        .await
        .context("request a teardown as a viewer")?;
    operator.terminal.line(
        Sign::Failure,
        host.as_str(),
        "requested by a viewer: denied by the NATS server",
    )
}

async fn tear_down_whole_hosts(operator: &mut Operator<'_>, hosts: &[HostId]) -> Result<()> {
    operator
        .terminal
        .heading("Whole hosts, all at once: no host waits for another")?;
    let targets: Vec<Target> = hosts.iter().map(whole_host).collect();
    let times = operator.tear_down(&targets).await?;
    operator.print_all_accepted(&format!("{} whole hosts", targets.len()), &times)?;
    operator.follow_until_ended().await
}

/// Kills the controller while operations are open and restarts it. Checks that every open operation
/// still exists, and that all of them end.
async fn kill_controller(
    operator: &mut Operator<'_>,
    hosts: &[HostId],
    other_host: &HostId,
) -> Result<()> {
    operator
        .terminal
        .heading("The controller is killed while operations are open")?;
    let (whole, single) = hosts.split_at(WHOLE_HOSTS_AT_KILL);
    let mut targets: Vec<Target> = whole.iter().map(whole_host).collect();
    for host in single {
        targets.push(first_decky(operator, host)?);
    }
    let times = operator.tear_down(&targets).await?;
    operator.print_all_accepted(&format!("{} teardowns", targets.len()), &times)?;

    let id = operator.processes.controller.process().id();
    let id = id.unwrap_or_default();
    operator.processes.controller.kill().await?;
    let killed_at = Instant::now();
    let open = operator.open_operations().count();
    let text = format!("process {id} killed (SIGKILL) with {open} operations open");
    operator.terminal.line(Sign::Kill, "controller", &text)?;
    send_unanswered_request(operator, other_host).await?;

    operator.processes.controller.restart().await?;
    operator.processes.operator.wait_until_ready().await?;
    let downtime = killed_at.elapsed();
    let ids: Vec<_> = operator.open_operations().map(|(id, _)| *id).collect();
    for id in &ids {
        operator
            .processes
            .operator
            .operation(*id)
            .await
            .context("the restarted controller has lost an operation")?;
    }
    let id = operator.processes.controller.process().id();
    let text = format!(
        "process {} ready after {}, all {} operations restored",
        id.unwrap_or_default(),
        Seconds(downtime),
        ids.len()
    );
    operator.terminal.line(Sign::Success, "controller", &text)?;
    operator.follow_until_ended().await?;
    let text = format!(
        "all {} operations have ended: no accepted request was lost",
        ids.len()
    );
    operator.terminal.line(Sign::Success, "controller", &text)
}

/// Checks that a request gets no reply while the controller is down, which means that it was not
/// accepted.
async fn send_unanswered_request(operator: &Operator<'_>, host: &HostId) -> Result<()> {
    match operator.processes.operator.tear_down(host, None).await {
        Err(RequestError::NoReply(_)) => {
            let text = "requested meanwhile: no reply, so nothing was accepted";
            operator.terminal.line(Sign::Failure, host.as_str(), text)
        }
        other => bail!("expected no reply while the controller is down: {other:?}"),
    }
}

async fn retry_failed_teardowns(operator: &mut Operator<'_>) -> Result<()> {
    let targets = std::mem::take(&mut operator.failed);
    if targets.is_empty() {
        return Ok(());
    }
    operator.terminal.heading("Failed teardowns are retried")?;
    let times = operator.tear_down(&targets).await?;
    operator.retried += targets.len();
    operator.print_all_accepted(&format_deckies(&targets), &times)?;
    operator.follow_until_ended().await?;
    ensure!(
        operator.failed.is_empty(),
        "these teardowns failed again: {:?}",
        operator.failed
    );
    Ok(())
}

fn list_hosts(operator: &Operator<'_>) -> Vec<HostId> {
    let shards = operator.initial_shards.iter();
    let mut hosts: Vec<HostId> = shards.map(|(host, _)| host.clone()).collect();
    hosts.dedup();
    hosts
}

fn whole_host(host: &HostId) -> Target {
    Target {
        host: host.clone(),
        decky: None,
    }
}

fn first_decky(operator: &Operator<'_>, host: &HostId) -> Result<Target> {
    let decky = operator
        .initial_shards
        .iter()
        .find(|(shard_host, _)| shard_host == host)
        .map(|(_, decky)| decky.clone());
    let decky = decky.with_context(|| format!("{host} has no decky"))?;
    Ok(Target {
        host: host.clone(),
        decky: Some(decky),
    })
}
