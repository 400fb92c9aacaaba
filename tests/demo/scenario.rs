//! The play: what the operator does, in order. What it looks like is in `show`.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::RequestError;
use serde_json::json;

use crate::operator::{Detail, Operator, Target};
use crate::terminal::{Seconds, Sign};

/// Hosts of which single deckies are torn down.
const SINGLE: usize = 4;
/// Whole hosts that are torn down at once.
const WHOLE: usize = 6;
/// Hosts with a teardown open while the controller is killed; of the first ones, everything.
const KILLED: usize = 7;
const KILLED_WHOLE: usize = 3;
/// How many hosts the play needs: one of them nobody touches.
pub(crate) const HOSTS: usize = SINGLE + WHOLE + KILLED + 1;

/// Plays it to the end.
pub(crate) async fn play(operator: &mut Operator<'_>) -> Result<()> {
    let hosts = hosts(operator);
    ensure!(
        hosts.len() >= HOSTS,
        "{HOSTS} hosts are needed, {} are there",
        hosts.len()
    );
    let (single, rest) = hosts.split_at(SINGLE);
    let (whole, rest) = rest.split_at(WHOLE);
    let (killed, untouched) = rest.split_at(KILLED);
    single_deckies(operator, single).await?;
    refusals(operator, &untouched[0]).await?;
    whole_hosts(operator, whole).await?;
    kill_the_controller(operator, killed, &untouched[0]).await?;
    retries(operator).await
}

/// Every change of one, then several at once.
async fn single_deckies(operator: &mut Operator<'_>, hosts: &[HostId]) -> Result<()> {
    operator.terminal.heading("Single deckies")?;
    let targets: Vec<Target> = hosts
        .iter()
        .map(|host| first_decky(operator, host))
        .collect::<Result<_>>()?;
    let (first, others) = targets.split_at(1);
    let times = operator.ask(first).await?;
    operator.tell_accepted(&first[0], times[0])?;
    asked_again(operator, &first[0]).await?;
    operator.detail = Detail::All;
    operator.follow().await?;
    operator.detail = Detail::Ends;
    let times = operator.ask(others).await?;
    operator.tell_asked(&format!("{} at once", Operator::deckies(others)), &times)?;
    operator.follow().await
}

async fn asked_again(operator: &Operator<'_>, target: &Target) -> Result<()> {
    let decky = target.decky.as_ref().map(scuttle_schemas::DeckyId::as_str);
    let again = operator
        .processes
        .operator
        .tear_down(&target.host, decky)
        .await?;
    ensure!(
        again.repeated,
        "asked twice, and it is a new operation: {again:?}"
    );
    let text = format!("asked again: {}, the same operation", again.detail);
    operator
        .terminal
        .line(Sign::Asked, &target.to_string(), &text)
}

async fn refusals(operator: &Operator<'_>, host: &HostId) -> Result<()> {
    operator.terminal.heading("What is refused")?;
    let nowhere: HostId = "sim-9999".parse()?;
    for (host, decky) in [(host, Some("decky-99999")), (&nowhere, None)] {
        match operator.processes.operator.tear_down(host, decky).await {
            Err(RequestError::Rejected(refused)) => {
                let about = decky.map_or(host.to_string(), |decky| format!("{host}/{decky}"));
                let text = format!("{} {}", refused.status, refused.message);
                operator.terminal.line(Sign::Bad, &about, &text)?;
            }
            other => bail!("{host} {decky:?} was not refused: {other:?}"),
        }
    }
    let request = json!({ "host_uuid": host });
    let denied = operator
        .processes
        .viewer
        .expect_request_denied(subjects::TEARDOWN, &request)
        .await;
    denied.context("a viewer's teardown")?;
    operator.terminal.line(
        Sign::Bad,
        host.as_str(),
        "asked by a viewer: the NATS server denies it",
    )
}

async fn whole_hosts(operator: &mut Operator<'_>, hosts: &[HostId]) -> Result<()> {
    operator
        .terminal
        .heading("Whole hosts, all at once: none waits for another")?;
    let targets: Vec<Target> = hosts.iter().map(whole).collect();
    let times = operator.ask(&targets).await?;
    operator.tell_asked(&format!("{} whole hosts", targets.len()), &times)?;
    operator.follow().await
}

/// What was accepted ends, even when the controller is killed in the middle of it.
async fn kill_the_controller(
    operator: &mut Operator<'_>,
    hosts: &[HostId],
    other: &HostId,
) -> Result<()> {
    operator
        .terminal
        .heading("The controller is killed with work open")?;
    let (all, single) = hosts.split_at(KILLED_WHOLE);
    let mut targets: Vec<Target> = all.iter().map(whole).collect();
    for host in single {
        targets.push(first_decky(operator, host)?);
    }
    let times = operator.ask(&targets).await?;
    operator.tell_asked(&format!("{} teardowns", targets.len()), &times)?;

    let id = operator
        .processes
        .controller
        .process()
        .id()
        .unwrap_or_default();
    operator.processes.controller.kill().await?;
    let killed = Instant::now();
    let open = operator.open_operations().count();
    let text = format!("process {id} killed (SIGKILL) with {open} teardowns open");
    operator.terminal.line(Sign::Strike, "controller", &text)?;
    unanswered(operator, other).await?;

    operator.processes.controller.restart().await?;
    operator.processes.operator.wait_until_ready().await?;
    let back = killed.elapsed();
    let ids: Vec<_> = operator.open_operations().map(|(id, _)| *id).collect();
    for id in &ids {
        operator
            .processes
            .operator
            .operation(*id)
            .await
            .context("the restarted controller has lost an operation")?;
    }
    let id = operator
        .processes
        .controller
        .process()
        .id()
        .unwrap_or_default();
    let text = format!(
        "process {id} answers after {}, and knows all {}",
        Seconds(back),
        ids.len()
    );
    operator.terminal.line(Sign::Good, "controller", &text)?;
    operator.follow().await?;
    let text = format!(
        "all {} have ended: nothing that was accepted is lost",
        ids.len()
    );
    operator.terminal.line(Sign::Good, "controller", &text)
}

/// No answer, no promise.
async fn unanswered(operator: &Operator<'_>, host: &HostId) -> Result<()> {
    match operator.processes.operator.tear_down(host, None).await {
        Err(RequestError::NoReply(_)) => {
            let text = "asked meanwhile: nobody answers, so nothing was accepted";
            operator.terminal.line(Sign::Bad, host.as_str(), text)
        }
        other => bail!("the controller is killed, and still: {other:?}"),
    }
}

/// What failed is asked for again.
async fn retries(operator: &mut Operator<'_>) -> Result<()> {
    let targets = std::mem::take(&mut operator.failed);
    if targets.is_empty() {
        return Ok(());
    }
    operator
        .terminal
        .heading("What failed is asked for again")?;
    let times = operator.ask(&targets).await?;
    operator.retried += targets.len();
    operator.tell_asked(&Operator::deckies(&targets), &times)?;
    operator.follow().await?;
    ensure!(
        operator.failed.is_empty(),
        "failed again: {:?}",
        operator.failed
    );
    Ok(())
}

fn hosts(operator: &Operator<'_>) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = operator
        .begin
        .iter()
        .map(|(host, _)| host.clone())
        .collect();
    hosts.dedup();
    hosts
}

fn whole(host: &HostId) -> Target {
    Target {
        host: host.clone(),
        decky: None,
    }
}

fn first_decky(operator: &Operator<'_>, host: &HostId) -> Result<Target> {
    let decky = operator
        .begin
        .iter()
        .find(|(at, _)| at == host)
        .map(|(_, decky)| decky.clone());
    let decky = decky.with_context(|| format!("{host} has no decky"))?;
    Ok(Target {
        host: host.clone(),
        decky: Some(decky),
    })
}
