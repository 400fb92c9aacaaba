//! The play: what the operator does, in order. What it looks like is in `show`.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::RequestError;
use serde_json::json;

use crate::show::{Detail, Show, Target};
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
pub(crate) async fn play(show: &mut Show<'_>) -> Result<()> {
    let hosts = hosts(show);
    ensure!(
        hosts.len() >= HOSTS,
        "{HOSTS} hosts are needed, {} are there",
        hosts.len()
    );
    let (single, rest) = hosts.split_at(SINGLE);
    let (whole, rest) = rest.split_at(WHOLE);
    let (killed, untouched) = rest.split_at(KILLED);
    single_deckies(show, single).await?;
    refusals(show, &untouched[0]).await?;
    whole_hosts(show, whole).await?;
    kill_the_controller(show, killed, &untouched[0]).await?;
    retries(show).await
}

/// Every change of one, then several at once.
async fn single_deckies(show: &mut Show<'_>, hosts: &[HostId]) -> Result<()> {
    show.terminal.heading("Single deckies")?;
    let targets: Vec<Target> = hosts
        .iter()
        .map(|host| first_decky(show, host))
        .collect::<Result<_>>()?;
    let (first, others) = targets.split_at(1);
    let times = show.ask(first).await?;
    show.tell_accepted(&first[0], times[0])?;
    asked_again(show, &first[0]).await?;
    show.detail = Detail::All;
    show.follow().await?;
    show.detail = Detail::Ends;
    let times = show.ask(others).await?;
    show.tell_asked(&format!("{} at once", Show::deckies(others)), &times)?;
    show.follow().await
}

async fn asked_again(show: &Show<'_>, target: &Target) -> Result<()> {
    let decky = target.decky.as_ref().map(scuttle_schemas::DeckyId::as_str);
    let again = show.stage.operator.tear_down(&target.host, decky).await?;
    ensure!(
        again.repeated,
        "asked twice, and it is a new operation: {again:?}"
    );
    let text = format!("asked again: {}, the same operation", again.detail);
    show.terminal.line(Sign::Asked, &target.to_string(), &text)
}

async fn refusals(show: &Show<'_>, host: &HostId) -> Result<()> {
    show.terminal.heading("What is refused")?;
    let nowhere: HostId = "sim-9999".parse()?;
    for (host, decky) in [(host, Some("decky-99999")), (&nowhere, None)] {
        match show.stage.operator.tear_down(host, decky).await {
            Err(RequestError::Rejected(refused)) => {
                let about = decky.map_or(host.to_string(), |decky| format!("{host}/{decky}"));
                let text = format!("{} {}", refused.status, refused.message);
                show.terminal.line(Sign::Bad, &about, &text)?;
            }
            other => bail!("{host} {decky:?} was not refused: {other:?}"),
        }
    }
    let request = json!({ "host_uuid": host });
    let denied = show
        .stage
        .viewer
        .expect_request_denied(subjects::TEARDOWN, &request)
        .await;
    denied.context("a viewer's teardown")?;
    show.terminal.line(
        Sign::Bad,
        host.as_str(),
        "asked by a viewer: the NATS server denies it",
    )
}

async fn whole_hosts(show: &mut Show<'_>, hosts: &[HostId]) -> Result<()> {
    show.terminal
        .heading("Whole hosts, all at once: none waits for another")?;
    let targets: Vec<Target> = hosts.iter().map(whole).collect();
    let times = show.ask(&targets).await?;
    show.tell_asked(&format!("{} whole hosts", targets.len()), &times)?;
    show.follow().await
}

/// What was accepted ends, even when the controller is killed in the middle of it.
async fn kill_the_controller(show: &mut Show<'_>, hosts: &[HostId], other: &HostId) -> Result<()> {
    show.terminal
        .heading("The controller is killed with work open")?;
    let (all, single) = hosts.split_at(KILLED_WHOLE);
    let mut targets: Vec<Target> = all.iter().map(whole).collect();
    for host in single {
        targets.push(first_decky(show, host)?);
    }
    let times = show.ask(&targets).await?;
    show.tell_asked(&format!("{} teardowns", targets.len()), &times)?;

    let id = show.stage.controller.process().id().unwrap_or_default();
    show.stage.controller.kill().await?;
    let killed = Instant::now();
    let open = show.open_operations().count();
    let text = format!("process {id} killed (SIGKILL) with {open} teardowns open");
    show.terminal.line(Sign::Strike, "controller", &text)?;
    unanswered(show, other).await?;

    show.stage.controller.restart().await?;
    show.stage.operator.wait_until_ready().await?;
    let back = killed.elapsed();
    let ids: Vec<_> = show.open_operations().map(|(id, _)| *id).collect();
    for id in &ids {
        show.stage
            .operator
            .operation(*id)
            .await
            .context("the restarted controller has lost an operation")?;
    }
    let id = show.stage.controller.process().id().unwrap_or_default();
    let text = format!(
        "process {id} answers after {}, and knows all {}",
        Seconds(back),
        ids.len()
    );
    show.terminal.line(Sign::Good, "controller", &text)?;
    show.follow().await?;
    let text = format!(
        "all {} have ended: nothing that was accepted is lost",
        ids.len()
    );
    show.terminal.line(Sign::Good, "controller", &text)
}

/// No answer, no promise.
async fn unanswered(show: &Show<'_>, host: &HostId) -> Result<()> {
    match show.stage.operator.tear_down(host, None).await {
        Err(RequestError::NoReply(_)) => {
            let text = "asked meanwhile: nobody answers, so nothing was accepted";
            show.terminal.line(Sign::Bad, host.as_str(), text)
        }
        other => bail!("the controller is killed, and still: {other:?}"),
    }
}

/// What failed is asked for again.
async fn retries(show: &mut Show<'_>) -> Result<()> {
    let targets = std::mem::take(&mut show.failed);
    if targets.is_empty() {
        return Ok(());
    }
    show.terminal.heading("What failed is asked for again")?;
    let times = show.ask(&targets).await?;
    show.retried += targets.len();
    show.tell_asked(&Show::deckies(&targets), &times)?;
    show.follow().await?;
    ensure!(show.failed.is_empty(), "failed again: {:?}", show.failed);
    Ok(())
}

fn hosts(show: &Show<'_>) -> Vec<HostId> {
    let mut hosts: Vec<HostId> = show.begin.iter().map(|(host, _)| host.clone()).collect();
    hosts.dedup();
    hosts
}

fn whole(host: &HostId) -> Target {
    Target {
        host: host.clone(),
        decky: None,
    }
}

fn first_decky(show: &Show<'_>, host: &HostId) -> Result<Target> {
    let decky = show
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
