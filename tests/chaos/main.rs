//! The program `scuttle-chaos`, which `cargo xtask chaos` runs: faults in a real swarm under load,
//! then an audit.
//!
//! - `cluster` runs the programs, each behind a proxy, and reads the controllers' logs.
//! - `faults` plans the faults and injects them.
//! - `load` requests teardowns and logs the replies.
//! - `observers` follow the broadcasts and measure availability while faults occur.
//! - `checks` wait until all operations have ended, then compare the record with the replies, the
//!   broadcasts and the hosts.
//! - `outages` decides which gaps in the broadcasts are explained by an outage.
//! - `counters` counts requests, replies and faults. `report` prints the progress and the summary.
//!
//! With `--cluster`, there are three servers and three controllers. One of the servers then has a
//! small disk, which a fault can fill.

mod checks;
mod cluster;
mod counters;
mod faults;
mod load;
mod observers;
mod outages;
mod report;

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

/// The exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Kills, stops and disconnects the programs of a swarm under load, then checks that nothing was
/// lost.
///
/// Starts a nats-server, a controller and 50 simulated hosts in 10 processes, each behind a TCP
/// proxy, all on loopback. Stops all of them at the end, even after an error. With --cluster,
/// starts three servers, three controllers and 200 hosts. If this program may mount a file system,
/// one of the three servers gets a small disk, which faults fill.
///
/// The seed decides which faults occur when, and which requests the operators send. Real processes
/// have their own timing, so two runs with the same seed are similar but not identical.
///
/// The run continues after the faults until the last operation has ended. If anything was lost, the
/// program keeps the logs and exits with 1.
#[derive(Debug, Parser)]
#[command(name = "scuttle-chaos", version)]
struct Args {
    /// Duration of the faults, in minutes.
    #[arg(long, default_value = "3", value_parser = parse_minutes, value_name = "MINUTES")]
    minutes: Duration,
    /// Seed of the faults and the load [default: random].
    #[arg(long)]
    seed: Option<u64>,
    /// Run three servers, and three controllers that take over from each other.
    #[arg(long)]
    cluster: bool,
    /// Number of partitions that the cluster's hosts are divided into. Each partition has a journal
    /// and a leader.
    #[arg(long, default_value = "1", value_parser = parse_partitions, value_name = "NUMBER", requires = "cluster")]
    partitions: PartitionCount,
    /// This process runs in a separate mount namespace.
    #[arg(long, hide = true)]
    own_mounts: bool,
    /// This process is the inner program, in one process group with its children.
    #[arg(long, hide = true)]
    inside: bool,
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(minutes) if (0.05..=600.0).contains(&minutes) => {
            Ok(Duration::from_secs_f64(minutes * 60.0))
        }
        _ => Err("expected a number of minutes from 0.05 to 600".to_owned()),
    }
}

fn parse_partitions(text: &str) -> Result<PartitionCount, String> {
    let count = text.parse().ok().and_then(PartitionCount::new);
    count.ok_or_else(|| format!("expected a number from 1 to {}", PartitionCount::MAX))
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.inside {
        Box::pin(run_inside(&args)).await
    } else {
        run_outside(&args).await
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scuttle-chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_outside(args: &Args) -> Result<ExitCode> {
    if args.cluster
        && let Some(code) = shutdown::run_inner_program_with_own_mounts().await?
    {
        return Ok(code);
    }
    shutdown::run_inner_program().await
}

async fn run_inside(args: &Args) -> Result<ExitCode> {
    let mut stop = StopRequests::listen()?;
    let mut dir = tempfile::Builder::new()
        .prefix("chaos-")
        .tempdir_in(find_target_dir()?)?;
    let result = stop
        .run_until_stopped(Box::pin(run(args, dir.path())))
        .await;
    if args.own_mounts {
        SmallDisk::unmount(&processes::small_store_dir(dir.path()));
    }
    let keep_files = |dir: &mut tempfile::TempDir| {
        dir.disable_cleanup(true);
        print_line(&format!(
            "data and logs are kept in {}",
            dir.path().display()
        ));
    };
    match result {
        Ok(None) => Ok(ExitCode::from(INTERRUPTED)),
        Ok(Some(0)) => Ok(ExitCode::SUCCESS),
        Ok(Some(_)) => {
            keep_files(&mut dir);
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            keep_files(&mut dir);
            Err(error)
        }
    }
}

/// Returns the build's target directory, which is on a real disk, whereas `/tmp` may be in memory.
fn find_target_dir() -> Result<PathBuf> {
    let controller = program_path("scuttle-controller");
    ensure!(
        controller.is_file(),
        "{} does not exist: run `cargo xtask chaos`, which builds it",
        controller.display()
    );
    let dir = controller.parent().and_then(Path::parent);
    Ok(dir
        .context("find the controller's directory")?
        .canonicalize()?)
}

/// Runs the faults, the load and the checks. Returns the number of losses.
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
        "Scuttle under faults: {} hosts with {DECKIES} deckies each in {GROUPS} processes, servers: {}, controllers: {}, partitions: {}, {} s, seed {seed}. Press Ctrl-C to stop everything.",
        GROUPS * size.hosts,
        size.servers,
        size.controllers,
        size.partitions,
        args.minutes.as_secs()
    ));
    let small_disk = args.cluster.then(|| mount_small_disk(args, dir)).flatten();
    let injector = FaultInjector {
        processes: Arc::new(Processes::start(dir, size, small_disk, seed).await?),
        counters: Arc::default(),
        availability: Arc::default(),
        server_outages: Arc::default(),
    };
    let (processes, request_log) = (&injector.processes, Arc::<RequestLog>::default());
    let viewer_url = processes.route(Route::Viewer).url();
    let recorders = [
        BroadcastRecorder::start("direct", processes, processes.direct_urls()).await?,
        BroadcastRecorder::start("via proxy", processes, &viewer_url).await?,
    ];
    let options = processes.connect_options(Role::Viewer);
    let viewer = Viewer::start(Client::connect_with(options, &viewer_url).await?);

    let probes = injector.availability.start_probes(processes).await?;
    let work = run_faults_and_load(&injector, &request_log, seed, args);
    tokio::select! {
        result = work => result?,
        () = report::print_progress(&injector.counters, &recorders[0]) => {}
    }
    print_line("faults have ended: waiting for every operation to end");
    settling::stop_faults(processes).await?;
    let losses = check_and_report(&injector, &request_log, &recorders, viewer).await;
    drop(probes);
    losses
}

/// Mounts the small disk. If that fails, prints the reason and returns `None`.
fn mount_small_disk(args: &Args, dir: &Path) -> Option<SmallDisk> {
    let mounted = if args.own_mounts {
        SmallDisk::mount(&processes::small_store_dir(dir))
    } else {
        Err(anyhow!("this process has no mount namespace"))
    };
    match mounted {
        Ok(disk) => Some(disk),
        Err(error) => {
            print_line(&format!("no disk will be filled: {error:#}"));
            None
        }
    }
}

/// Injects all faults while operators send requests. Returns after the last fault has been undone
/// and the last request has received a reply or timed out.
async fn run_faults_and_load(
    injector: &FaultInjector,
    request_log: &Arc<RequestLog>,
    seed: u64,
    args: &Args,
) -> Result<()> {
    let end = Instant::now() + args.minutes;
    let mut operators = JoinSet::new();
    for number in 0..OPERATORS {
        let operator = Operator::new(injector, request_log, seed, number).await?;
        operators.spawn(operator.run(end));
    }
    let cluster = args.cluster.then_some(args.partitions);
    let planned = plan::plan_faults(seed, args.minutes, cluster);
    injector.run(planned).await?;
    while let Some(joined) = operators.join_next().await {
        joined.context("an operator's task panicked")?;
    }
    Ok(())
}

/// Waits for all operations to end, stops all programs, runs the checks and prints the summary.
/// Returns the number of losses.
async fn check_and_report(
    injector: &FaultInjector,
    request_log: &RequestLog,
    recorders: &[BroadcastRecorder],
    viewer: Viewer,
) -> Result<usize> {
    let processes = &injector.processes;
    let operator = processes.connect_operator().await?;
    let (requests, cancelled, mut losses) = request_log.read();
    losses.extend(settling::wait_until_settled(processes, &operator).await);
    processes.stop_groups().await?;
    let accepted_ids = requests.iter().filter_map(|(_, outcome)| match outcome {
        Outcome::Accepted(accepted) => Some(accepted.operation_id),
        _ => None,
    });
    let record = final_record::fetch(&operator, accepted_ids).await?;
    let (view, listings) = viewer.finish_at(record.revision).await?;
    // The revisions in a list differ from those in the broadcasts for shards of any partition but
    // the first: the relay numbers the broadcasts.
    let normalize = if processes.size.partitions == PartitionCount::ONE {
        clear_last_seen
    } else {
        clear_revisions
    };
    if normalize(view) != normalize(record.shards.clone()) {
        losses.push("the view that follows the broadcasts differs from the list".to_owned());
    }
    processes.stop_controllers_and_servers().await?;
    let ground_truths = ground_truth::read(processes)?;
    let server_outages = lock(&injector.server_outages).clone();
    for recorder in recorders {
        let mut recording = lock(&recorder.recording);
        losses.append(&mut recording.losses);
        losses.extend(outages::find_unexplained_gaps(
            &recording.unexplained,
            &processes.logs(),
            &server_outages,
            processes.size.partitions,
        )?);
        losses.extend(broadcast_audit::find_unrecorded_shards(&recording, &record));
    }
    let recording = std::mem::take(&mut *lock(&recorders[0].recording));
    losses.extend(broadcast_audit::find_conflicting_contents(
        &recording,
        &lock(&recorders[1].recording),
    ));
    let findings = audit::run_audit(&Evidence {
        requests: &requests,
        cancelled: &cancelled,
        operations: &record.operations,
        shards: &record.shards,
        ground_truths: &ground_truths,
        removals: &recording.removals,
        registered: &recording.registered,
    });
    *lock(&recorders[0].recording) = recording;
    losses.extend(findings.losses);
    let count_actions = |matches: fn(&Action) -> bool| {
        let lines = ground_truths.values().flat_map(|host| &host.log);
        lines.filter(|line| matches(&line.action)).count()
    };
    let operations: Vec<_> = record.operations.into_values().collect();
    let logs = processes.logs();
    Summary {
        injector,
        operations: &operations,
        recorders,
        redeployed: count_actions(|action| matches!(action, Action::Deployed { .. }))
            - GROUPS * processes.size.hosts * DECKIES,
        removed: count_actions(|action| matches!(action, Action::Removed { .. })),
        resumed: count_actions(|action| matches!(action, Action::Started { resumed: true, .. })),
        listings,
        unregistered: findings.unregistered,
        terms: controller_log::count_lines(&logs, "became leader")?,
        deposed: controller_log::count_lines(&logs, "stepped down: another controller")?,
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
