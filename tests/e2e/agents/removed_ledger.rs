//! An agent whose files are removed while it runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use scuttle_schemas::HostId;
use scuttle_tests::{Cluster, TestResult, wait_until};

#[tokio::test]
async fn an_agent_writes_a_removed_ledger_again_and_reports_that() -> TestResult {
    let cluster = Cluster::start().await?;
    let dir = cluster.path("sim");
    let arguments = [
        "--hosts=1",
        "--deckies-per-host=2",
        "--enroll",
        "--heartbeat-ms=200",
    ];
    let mut simulator = cluster.start_simulator(&dir, &arguments).await?;
    let host: HostId = "sim-0001".parse()?;
    let ledger = dir.join("sim-0001/ledger.jsonl");
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    assert_eq!(mode(&ledger)?, 0o600);
    assert_eq!(mode(&dir.join("sim-0001"))?, 0o700);
    let accepted = cluster.operator.tear_down(&host, "decky-01").await?;
    cluster.operator.wait_for_end(accepted.operation_id).await?;

    fs::remove_file(&ledger)?;
    let line = simulator.process().wait_for_line("ledger was removed");
    assert!(line.await?.contains("sim-0001"));
    wait_until(
        "the host's notes report it",
        || cluster.operator.host(&host),
        |host| {
            host.notes
                .iter()
                .any(|note| note.as_str().contains("the agent's ledger was missing"))
        },
    )
    .await?;
    assert_eq!(mode(&ledger)?, 0o600);
    let written = fs::read_to_string(&ledger)?;
    assert!(
        written.contains(&accepted.operation_id.to_string()),
        "{written}"
    );
    Ok(())
}
