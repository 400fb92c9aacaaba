//! The steps of the README, from an empty machine to a project that is torn down. All programs are
//! real, and the agent is started with the exact command line that `scuttle enroll` prints.

use anyhow::Context;
use scuttle_schemas::operations::OperationState;
use scuttle_tests::ProvisionedServer;
use scuttle_tests::cluster::docker_host::{TRAP, wait_for_states};
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use scuttle_tests::servers::dockerd::Daemon;
use scuttle_tests::{TestResult, wait_until};
use tokio::process::Command;

/// The data directory in the command line that `scuttle enroll` prints. On a real host, only root
/// can create it.
const DATA_DIR: &str = "/var/lib/scuttle-agent";

/// Runs the command line that `scuttle enroll` printed, but with a temporary data directory and
/// with the Docker Engine of the test.
fn start_agent(bus: &ProvisionedServer, line: &str, docker: &str) -> anyhow::Result<Process> {
    anyhow::ensure!(line.contains(DATA_DIR), "{line}");
    let data_dir = bus.path("agent");
    let line = line.replace(DATA_DIR, &data_dir.to_string_lossy());
    let program = program_path("scuttle-agent");
    let line = line.replacen("scuttle-agent", &program.to_string_lossy(), 1);
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {line} --docker {docker}")]);
    Process::spawn("the agent", command, &data_dir.with_extension("log"))
}

#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn the_steps_of_the_readme_lead_to_a_project_that_is_torn_down() -> TestResult {
    let daemon = Daemon::start().await?;
    let bus = ProvisionedServer::start().await?;
    let _controller = bus.start_controller().await?;
    let alice = bus
        .connect(&bus.add_user("alice", "operator").await?)
        .await?;
    let line = bus
        .run_scuttle(&["enroll", "worker-a"])
        .await?
        .expect_success()?;
    let hosts = alice.list_hosts().await?;
    let host = hosts.keys().next().context("one host")?.clone();
    let agent = start_agent(&bus, &line, &daemon.host())?;

    daemon.compose("trap", TRAP, &["up", "--detach"]).await?;
    wait_for_states(&alice, &host, "trap running").await?;
    let accepted = alice.tear_down(&host, "trap").await?;
    let operation = alice.wait_for_end(accepted.operation_id).await?;
    anyhow::ensure!(
        operation.state == OperationState::Succeeded,
        "{operation:?}\n{}",
        agent.log()
    );
    assert_eq!(operation.requested_by, "alice");
    wait_for_states(&alice, &host, "").await?;
    assert_eq!(daemon.containers().await?, "");
    assert_eq!(daemon.networks().await?, "");

    bus.run_scuttle(&["decommission", "worker-a", "--yes"])
        .await?
        .expect_success()?;
    let log = || async { Ok::<_, anyhow::Error>(agent.log()) };
    wait_until("the server no longer accepts the agent", log, |log| {
        log.contains("no longer accepts this user")
    })
    .await?;
    Ok(())
}
