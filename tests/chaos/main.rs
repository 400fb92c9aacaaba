//! `scuttle-chaos`, which `cargo xtask chaos` becomes: real processes, really killed, and an audit of what is left.
//!
//! `processes` runs the processes, each behind a `proxy`; `faults` plans what goes wrong, `injector` does it; `load` asks for
//! teardowns and notes the answers in the `request_log`; `recorder` and `viewer` listen; `tail` waits until all is over;
//! `ground_truth` reads what really happened, `downs` when the controller was away, `durable` and `audit` compare. `counters` counts, `report`
//! prints. With `--cluster` there are three servers and three controllers: `availability` measures how long nobody leads, and one of the
//! servers has a `small_disk`.

mod checks;
mod request_log;
mod counters;
mod faults;
mod load;
mod report;
mod availability;
mod processes;

mod counters;
mod injector;
mod ground_truth;
mod recorder;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use scuttle_agent_sim::action_log::Action;
use scuttle_schemas::PartitionCount;
use scuttle_tests::clients::replica_view::{clear_last_seen, clear_revisions};
use scuttle_tests::programs::program_path;
use scuttle_tests::programs::shutdown::{self, StopRequests};
use scuttle_tests::wait::lock;
use scuttle_tests::{Client, Role};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::checks::audit::{self, Evidence};
use crate::checks::{broadcast_audit, final_record, ground_truth, settling};
use crate::cluster::controller_log;
use crate::cluster::processes::{self, Processes};
use crate::cluster::scale::{CLUSTER, DECKIES, GROUPS, SINGLE, Scale};
use crate::cluster::small_disk::SmallDisk;
use crate::cluster::targets::Route;
use crate::faults::fault_injector::FaultInjector;
use crate::faults::plan;
use crate::load::operator::{OPERATORS, Operator};
use crate::load::request_log::{Outcome, RequestLog};
use crate::observers::broadcast_recorder::BroadcastRecorder;
use crate::observers::viewer::Viewer;
use crate::report::{Summary, print_line};


/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Kills, stops and cuts off a whole swarm under load, then checks that nothing was lost.
///
/// It starts a nats-server, a controller and 50 simulated hosts in 10 processes, each behind a TCP proxy, all on loopback, and
/// stops them again, whatever happens. With --cluster they are three servers, three controllers, of which one leads, and 200
/// hosts; then one server's disk is also filled, a small one of its own, where this may mount one. The seed decides which
/// faults happen when, and what the operators ask for; real processes have a timing of their own, so two runs of one seed
/// are alike, not the same. The faults last as long as asked; some time more passes until the last operation has ended.
/// Exits with 1 when anything was lost, and keeps the logs.
#[derive(Debug, Parser)]
#[command(name = "scuttle-chaos", version)]
struct Args {
    /// How long there are faults.
    #[arg(long, default_value = "3", value_parser = minutes, value_name = "MINUTES")]
    minutes: Duration,
    /// Decides the faults and the load; a new one each time if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Three servers and three controllers, which take over from each other.
    #[arg(long)]
    cluster: bool,
    /// Over how many journals, each with a leader of its own, the cluster's hosts are divided.
    #[arg(long, default_value = "1", value_parser = partitions, value_name = "NUMBER", requires = "cluster")]
    partitions: PartitionCount,
    /// In a mount namespace of its own.
    #[arg(long, hide = true)]
    own_mounts: bool,
    /// In the process group of the children.
    #[arg(long, hide = true)]
    inside: bool,
}

fn minutes(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.05..=600.0).contains(&minutes) => {
            Ok(Duration::from_secs_f64(minutes * 60.0))
        }
        _ => Err("it must be a number of minutes from 0.05 to 600".to_owned()),
    }
}

fn partitions(text: &str) -> Result<PartitionCount, String> {
    let count = text.parse().ok().and_then(PartitionCount::new);
    count.ok_or_else(|| format!("it must be a number from 1 to {}", PartitionCount::MAX))
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = if args.inside {
        Box::pin(inside(&args)).await
    } else {
        outside(&args).await
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scuttle-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn outside(args: &Args) -> Result<ExitCode> {
    if args.cluster
        && let Some(code) = shutdown::run_inner_program_with_own_mounts().await?
    {
        return Ok(code);
    }
    shutdown::run_inner_program().await
}

async fn inside(args: &Args) -> Result<ExitCode> {
    let mut stop = StopRequests::listen()?;
    let mut dir = tempfile::Builder::new()
        .prefix("chaos-")
        .tempdir_in(on_disk()?)?;
    let done = stop
        .run_until_stopped(Box::pin(run(args, dir.path())))
        .await;
    if args.own_mounts {
        SmallDisk::unmount(&processes::small_store(dir.path()));
    }
    let kept = |dir: &mut tempfile::TempDir| {
        dir.disable_cleanup(true);
        print_line(&format!(
            "data and logs are kept in {}",
            dir.path().display()
        ));
    };
    match done {
        Ok(None) => Ok(ExitCode::from(INTERRUPTED)),
        Ok(Some(0)) => Ok(ExitCode::SUCCESS),
        Ok(Some(_)) => {
            kept(&mut dir);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            kept(&mut dir);
            Err(error)
        }
    }
}

/// The build's own folder: a real disk, where /tmp may be memory.
fn on_disk() -> Result<PathBuf> {
    let controller = program_path("scuttle-controller");
    ensure!(
        controller.is_file(),
        "no {}: run `cargo xtask chaos`, which builds it",
        controller.display()
    );
    let dir = controller.parent().and_then(Path::parent);
    Ok(dir.context("the controller's folder")?.canonicalize()?)
}

/// The whole run; how much was lost.
async fn run(args: &Args, dir: &Path) -> Result<usize> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let partitions = args.partitions;
    let size = if args.cluster {
        Scale {
            partitions,
            ..CLUSTER
        }
    } else {
        SINGLE
    };
    print_line(&format!(
        "Scuttle under faults: {} hosts with {DECKIES} deckies each in {GROUPS} processes, servers: {}, controllers: {}, partitions: {}, {} s, seed {seed}. Ctrl-C stops everything.",
        GROUPS * size.hosts,
        size.servers,
        size.controllers,
        size.partitions,
        args.minutes.as_secs()
    ));
    let small_disk = args.cluster.then(|| small_disk(args, dir)).flatten();
    let injector = FaultInjector {
        processes: Arc::new(Processes::start(dir, size, small_disk, seed).await?),
        counters: Arc::default(),
        availability: Arc::default(),
        away: Arc::default(),
    };
    let (processes, request_log) = (&injector.processes, Arc::<RequestLog>::default());
    let recorders = [
        BroadcastRecorder::start("beside the faults", processes, processes.direct()).await?,
        BroadcastRecorder::start("among the faults", processes, &processes.route(Route::Viewer).url()).await?,
    ];
    let viewer = processes.route(Route::Viewer).url();
    let viewer = Viewer::start(Client::with(processes.options(Role::Viewer), &viewer).await?);

    let probes = injector.availability.probe(processes).await?;
    let work = faults_and_load(&injector, &request_log, seed, args);
    tokio::select! {
        done = work => done?,
        () = report::live(&injector.counters, &recorders[0]) => {}
    }
    print_line("the faults are over: waiting until every operation has ended");
    tail::heal(processes).await?;
    let lost = finish(&injector, &request_log, &recorders, viewer).await;
    drop(probes);
    lost
}

/// None, with a word, where this may not mount one.
fn small_disk(args: &Args, dir: &Path) -> Option<SmallDisk> {
    let mounted = if args.own_mounts {
        SmallDisk::mount(&processes::small_store(dir))
    } else {
        Err(anyhow!("there is no mount namespace of its own"))
    };
    match mounted {
        Ok(disk) => Some(disk),
        Err(error) => {
            print_line(&format!("no disk is filled: {error:#}"));
            None
        }
    }
}

/// On return all faults are over, and every request has had its answer.
async fn faults_and_load(
    injector: &FaultInjector,
    request_log: &Arc<RequestLog>,
    seed: u64,
    args: &Args,
) -> Result<()> {
    let end = Instant::now() + args.minutes;
    let mut operators = JoinSet::new();
    for number in 0..OPERATORS {
        operators.spawn(Operator::new(injector, request_log, seed, number).await?.work(end));
    }
    let cluster = args.cluster.then_some(args.partitions);
    let plan = faults::plan(seed, args.minutes, cluster);
    injector.make(plan).await?;
    while let Some(ended) = operators.join_next().await {
        ended.context("an operator's task died")?;
    }
    Ok(())
}

/// Waits, stops everything, compares, and prints; how much was lost.
async fn finish(
    injector: &FaultInjector,
    request_log: &RequestLog,
    recorders: &[BroadcastRecorder],
    viewer: Viewer,
) -> Result<usize> {
    let processes = &injector.processes;
    let operator = processes.operator().await?;
    let (answered, cancelled, mut losses) = request_log.read();
    losses.extend(tail::quiet(processes, &operator).await);
    processes.stop_groups().await?;
    let accepted_ids = answered.iter().filter_map(|(_, answer)| match answer {
        Outcome::Accepted(accepted) => Some(accepted.operation_id),
        _ => None,
    });
    let record = tail::record(&operator, accepted_ids).await?;
    let (view, listings) = viewer.at(record.revision).await?;
    // A listing numbers anew what the first partition does not have.
    let shown = if processes.size.partitions == PartitionCount::ONE {
        told
    } else {
        clear_revisions
    };
    if shown(view) != shown(record.shards.clone()) {
        losses.push("the view that follows the broadcasts differs from the list".to_owned());
    }
    processes.stop_rest().await?;
    let ground_truths = ground_truth::read(processes)?;
    let away = lock(&injector.away).clone();
    for recorder in recorders {
        let mut recording = lock(&recorder.recording);
        losses.append(&mut recording.losses);
        let gaps = &recording.unexplained;
        let of = processes.size.partitions;
        losses.extend(downs::unexplained(gaps, &processes.logs(), &away, of)?);
        losses.extend(durable::told_in_vain(&recording, &record));
    }
    let recording = std::mem::take(&mut *lock(&recorders[0].recording));
    let otherwise = durable::heard_otherwise(&recording, &lock(&recorders[1].recording));
    losses.extend(otherwise);
    let findings = audit::audit(&Evidence {
        answered: &answered,
        cancelled: &cancelled,
        operations: &record.operations,
        shards: &record.shards,
        ground_truths: &ground_truths,
        removals: &recording.removals,
        registered: &recording.registered,
    });
    *lock(&recorders[0].recording) = recording;
    losses.extend(findings.losses);
    let did = |what: fn(&Action) -> bool| {
        let logs = ground_truths.values().flat_map(|ground_truth| &ground_truth.log);
        logs.filter(|line| what(&line.action)).count()
    };
    let operations: Vec<_> = record.operations.into_values().collect();
    Table {
        injector,
        operations: &operations,
        recorders,
        redeployed: did(|action| matches!(action, Action::Deployed { .. }))
            - GROUPS * processes.size.hosts * DECKIES,
        removed: did(|action| matches!(action, Action::Removed { .. })),
        resumed: did(|action| matches!(action, Action::Started { resumed: true, .. })),
        listings,
        unregistered: findings.unregistered,
        terms: downs::said(&processes.logs(), "it leads from now on")?,
        refused: downs::said(&processes.logs(), "it leads no more: another controller")?,
        losses: &losses,
    }
    .print();
    for loss in &losses {
        print_line(&format!("LOSS: {loss}"));
    }
    Ok(losses.len())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
