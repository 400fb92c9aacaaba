//! Abnormal exits: a second signal, a full disk, and a removed store. Normal stops are in
//! `nats_service.rs`, and kills are in `crashes.rs`.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::programs::controller::log_path;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use scuttle_tests::{Client, Cluster, Nats, RequestError, Role, TestResult, wait_until};
use serde_json::{Value, json};
use tokio::process::Command;

/// The maximum time that a stopping controller waits for the server to accept the last replies.
/// Equal to the controller's own `SHUTDOWN_TIMEOUT`.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// After the first signal, a controller waits until the server accepts the last replies. Here, the
/// server no longer reads, and the second signal ends the wait.
#[tokio::test]
async fn a_second_signal_ends_the_controller_immediately() -> TestResult {
    for signals in [["TERM", "INT"], ["INT", "TERM"]] {
        let mut nats = Nats::start().await?;
        let dir = tempfile::tempdir()?;
        let mut controller = nats.start_controller(&dir.path().join("controller"))?;
        let operator = Client::connect(&nats, Role::Operator).await?;
        operator.wait_until_ready().await?;
        nats.process().send_signal("STOP").await?;
        // The controller is stopped (SIGSTOP), so that it receives both signals when it continues.
        controller.process().send_signal("STOP").await?;
        for signal in signals {
            controller.process().send_signal(signal).await?;
        }
        let start = Instant::now();
        controller.process().send_signal("CONT").await?;
        let exit = controller.process().wait_for_exit().await?;
        assert_eq!(exit.code(), Some(130), "{signals:?}");
        assert!(start.elapsed() < SHUTDOWN_TIMEOUT, "{:?}", start.elapsed());
        let log = controller.process().log();
        assert!(log.contains("stopping at once"), "{log}");
    }
    Ok(())
}

/// The way in which the disk of a controller is limited.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// The controller cannot write files beyond this number of bytes.
    FileSize(usize),
    /// The data directory is on a small disk, in a mount namespace that ends with the controller.
    /// Needs root.
    DiskSize(usize),
}

/// Starts a controller with a limited disk.
fn start_with_limit(nats: &Nats, dir: &Path, limit: Limit) -> anyhow::Result<Process> {
    let mut command = match limit {
        Limit::FileSize(bytes) => {
            let mut command = Command::new("sh");
            // `ulimit` counts blocks of 512 bytes. SIGXFSZ is ignored, because otherwise it would
            // end the program before the error.
            command
                .args([
                    "-c",
                    "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"",
                    "sh",
                ])
                .arg((bytes / 512).to_string());
            command
        }
        Limit::DiskSize(bytes) => {
            let mut command = Command::new("unshare");
            command
                .args(["--mount", "sh", "-c"])
                .arg(
                    "mkdir -p \"$1\"; mount -t tmpfs -o size=$2 tmpfs \"$1\"; shift 2; exec \"$@\"",
                )
                .arg("sh")
                .arg(dir)
                .arg(bytes.to_string());
            command
        }
    };
    command
        .arg(program_path("scuttle-controller"))
        .args(["--nats-url", &nats.url(), "--data-dir"])
        .arg(dir)
        .envs(nats.environment(Role::Controller));
    Process::spawn("the confined controller", command, &log_path(dir))
}

/// Enrolls hosts, many at a time, until the disk of the controller is full. Each waiting requester
/// gets the reply `storage_failed`. Returns the names of the accepted hosts.
async fn enroll_until_full(operator: &Client) -> anyhow::Result<BTreeSet<String>> {
    let label = |number: usize| (format!("label-{number}"), json!("x".repeat(63)));
    let labels: Value = Value::Object((0..16).map(label).collect());
    let mut accepted = BTreeSet::new();
    for round in 0..200 {
        let requests = (0..50).map(|number| {
            let name = format!("worker-{round}-{number}");
            let request = json!({ "name": name, "labels": labels });
            async move {
                let reply = operator.request::<Value>(subjects::HOSTS_ENROLL, &request);
                (name, reply.await)
            }
        });
        let mut failed = 0;
        for (name, reply) in join_all(requests).await {
            match reply {
                Ok(reply) => {
                    assert_eq!(reply["accepted"], true, "{reply}");
                    accepted.insert(name);
                }
                Err(RequestError::Rejected(error)) => {
                    assert_eq!(error.code, ErrorCode::StorageFailed, "{error:?}");
                    failed += 1;
                }
                Err(other) => return Err(other.into()),
            }
        }
        if failed > 0 {
            return Ok(accepted);
        }
    }
    anyhow::bail!("the disk is never full")
}

#[tokio::test]
async fn a_full_small_disk_ends_the_controller_with_a_reply_to_each_requester() -> TestResult {
    let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
    if !is_root {
        eprintln!("skipped: mounting a small disk needs root");
        return Ok(());
    }
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("controller");
    let mut confined = start_with_limit(&nats, &data, Limit::DiskSize(4 << 20))?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    operator.wait_until_ready().await?;
    assert!(!enroll_until_full(&operator).await?.is_empty());
    let exit = confined.wait_for_exit().await?;
    assert_eq!(exit.code(), Some(1), "{}", confined.log());
    let log = confined.log();
    assert!(log.contains("free some space"), "{log}");
    Ok(())
}

/// What a program writes to a removed file is lost when the program ends.
#[tokio::test]
async fn a_removed_data_directory_and_a_removed_store_end_the_controller() -> TestResult {
    for shared in [false, true] {
        for only_file in [false, true] {
            let mut builder = Cluster::builder();
            if shared {
                builder = builder
                    .setting("SCUTTLE_STORE", "jetstream")
                    .setting("SCUTTLE_REPLICAS", "1");
            }
            let mut cluster = builder.start().await?;
            let data_dir = cluster.data_dir(0);
            if only_file {
                std::fs::remove_file(data_dir.join("scuttle.redb"))?;
            } else {
                std::fs::remove_dir_all(&data_dir)?;
            }
            let process = cluster.controllers[0].process();
            let exit = process.wait_for_exit().await?;
            let log = process.log();
            assert_eq!(exit.code(), Some(1), "{log}");
            let end = log.lines().rfind(|line| line.contains("ERROR"));
            let end = end.unwrap_or_default();
            assert!(end.contains("was removed or replaced"), "{log}");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
    Ok(())
}

/// The error names the file and what to do. After the next start, everything that was accepted is
/// in the record.
#[tokio::test]
async fn a_full_disk_ends_the_controller_without_losing_accepted_work() -> TestResult {
    const LIMIT: Limit = Limit::FileSize(2 << 20);
    let nats = Nats::start().await?;
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("controller");
    let mut confined = start_with_limit(&nats, &data, LIMIT)?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    operator.wait_until_ready().await?;
    let accepted = enroll_until_full(&operator).await?;
    let exit = confined.wait_for_exit().await?;
    assert_eq!(exit.code(), Some(1), "{}", confined.log());
    let log = confined.log();
    let end = log.lines().rfind(|line| line.contains("ERROR"));
    let end = end.unwrap_or_default();
    for text in ["scuttle.redb", "cannot write to", "free some space"] {
        assert!(end.contains(text), "{text}: {log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    assert!(!accepted.is_empty());

    let _controller = nats.start_controller(&data)?;
    let all = |hosts: &std::collections::BTreeMap<_, scuttle_schemas::hosts::HostRecord>| {
        let names: BTreeSet<_> = hosts.values().map(|host| host.name.to_string()).collect();
        accepted.is_subset(&names)
    };
    wait_until(
        "all that was accepted is there",
        || operator.list_hosts(),
        all,
    )
    .await?;
    assert!(operator.enroll("worker-z").await?.accepted);
    Ok(())
}
