//! The evidence that the agent keeps of a decky before it removes the decky.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_tests::cluster::docker_host::DockerHost;
use scuttle_tests::faults::engine_proxy::{EngineProxy, Fault};
use scuttle_tests::programs::scuttle::run_scuttle;
use scuttle_tests::servers::dockerd::{Daemon, MANAGED};
use scuttle_tests::{Role, TestResult, wait_until};
use serde_json::Value;

use crate::teardown::shard_error;

/// The command of a container that writes a line to standard output, a line to standard error, and
/// a file.
const COMPROMISED: [&str; 3] = [
    "sh",
    "-c",
    "echo intruder-1; echo intruder-2 >&2; echo stolen > /loot; trap 'exit 0' TERM; sleep 1000 & wait",
];

/// Starts a decky with one compromised container, and waits until the container has done harm.
async fn start_compromised() -> Result<Daemon> {
    let daemon = Daemon::start().await?;
    daemon.run("trap", "bait", &MANAGED, &COMPROMISED).await?;
    // The container's log has both lines when the command returns.
    let until_harmed = "until [ -s /loot ]; do sleep 0.1; done";
    daemon
        .docker(&["exec", "bait", "sh", "-c", until_harmed])
        .await?;
    Ok(daemon)
}

/// Starts an agent that keeps evidence in `dir`. `flags` are further flags.
async fn start_collector(daemon: Daemon, dir: &Path, flags: &[&str]) -> Result<DockerHost> {
    let dir = dir.to_str().context("the path is not UTF-8")?;
    let keep = ["--evidence-dir", dir, "--evidence", "logs,changes,files"];
    let stage = DockerHost::start(daemon, &[&keep[..], flags].concat()).await?;
    stage.wait_for_states("trap running").await?;
    Ok(stage)
}

/// Returns all files below `dir` with their contents.
fn read_files(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else if entry.file_type()?.is_file() {
                files.push((entry.path(), fs::read(entry.path())?));
            }
        }
    }
    Ok(files)
}

/// Returns the only archive below `dir`.
fn find_archive(dir: &Path) -> Result<PathBuf> {
    let mut archives: Vec<_> = read_files(dir)?.into_iter().map(|(path, _)| path).collect();
    archives.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.contains(".tar") && !name.ends_with(".json")
    });
    ensure!(archives.len() == 1, "{archives:?}");
    archives.pop().context("no archive")
}

/// Unpacks an archive, and checks that it has the log, the changed files and a manifest of the
/// container `bait`.
fn check_archive(archive: &Path, scratch: &Path) -> TestResult {
    fs::create_dir_all(scratch)?;
    let unpacked = Command::new("tar")
        .args(["-xf".as_ref(), archive.as_os_str(), "-C".as_ref()])
        .arg(scratch)
        .output()?;
    let is_unpacked = unpacked.status.success();
    ensure!(is_unpacked, "{}: {unpacked:?}", archive.display());
    let files = read_files(scratch)?;
    let texts = || {
        files
            .iter()
            .map(|(_, content)| String::from_utf8_lossy(content))
    };
    let names: Vec<_> = files.iter().map(|(path, _)| path).collect();
    for expected in ["intruder-1", "intruder-2", "/loot", "stolen"] {
        let is_saved = texts().any(|text| text.contains(expected));
        ensure!(is_saved, "{expected} is not in the archive: {names:?}");
    }
    let is_manifest = |path: &&(PathBuf, Vec<u8>)| path.0.ends_with("manifest.json");
    let manifest = files.iter().find(is_manifest).context("no manifest")?;
    let manifest: Value = serde_json::from_slice(&manifest.1)?;
    assert_eq!(manifest["containers"][0]["name"], "bait", "{manifest}");
    assert_eq!(manifest["containers"][0]["image"], "bait", "{manifest}");
    Ok(())
}

fn hash_file(path: &Path) -> Result<String> {
    let printed = Command::new("sha256sum").arg(path).output()?;
    let printed = String::from_utf8(printed.stdout)?;
    let hash = printed.split_whitespace().next();
    Ok(hash.context("sha256sum printed nothing")?.to_owned())
}

/// The archive is complete while the container still exists, but no longer runs. The operation's
/// record and `scuttle op` show its path, size and hash.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn evidence_is_kept_after_the_stop_and_before_the_removal() -> TestResult {
    let daemon = start_compromised().await?;
    let bait = daemon.find_object("bait").await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    let removed = bait.clone();
    proxy.inject(Fault::Held, move |call| call.is("DELETE", &removed));
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("evidence");
    let dir_name = dir.display().to_string();
    let flags = [
        "--evidence-dir",
        &dir_name,
        "--evidence",
        "logs,changes,files",
    ];
    let stage = DockerHost::start_through(&proxy, daemon, &flags).await?;
    stage.wait_for_states("trap running").await?;

    let id = stage.start_teardown("trap").await?;
    proxy.wait_for_call(|call| call.is("DELETE", &bait)).await?;
    assert_eq!(stage.daemon.containers().await?, "bait");
    assert_eq!(stage.daemon.running_containers().await?, "");
    let archive = find_archive(&dir)?;
    check_archive(&archive, &scratch.path().join("unpacked"))?;
    let hash = hash_file(&archive)?;

    proxy.remove_faults();
    stage.wait_for_success(id).await?;
    assert_eq!(stage.daemon.containers().await?, "");
    let operation = stage.operation_json(id).await?;
    let evidence = &operation["shards"][0]["evidence"];
    assert_eq!(
        evidence["path"],
        archive.display().to_string(),
        "{operation}"
    );
    assert_eq!(
        evidence["bytes"],
        fs::metadata(&archive)?.len(),
        "{operation}"
    );
    assert_eq!(evidence["sha256"], hash, "{operation}");

    let server = &stage.cluster.servers[0];
    let url = server.url();
    let [user, password] = server.environment(Role::Operator);
    let login = [
        ("SCUTTLE_NATS_URL", url.as_str()),
        (user.0, &user.1),
        (password.0, &password.1),
        ("SCUTTLE_BUS_DIR", ""),
    ];
    let shown = run_scuttle(scratch.path(), &["op", &id.to_string()], &login).await?;
    let shown = shown.expect_success()?;
    let archive = archive.display().to_string();
    assert!(shown.contains(&archive) && shown.contains(&hash), "{shown}");
    Ok(())
}

/// Makes the directory of the evidence unusable: a file takes its place.
fn replace_by_file(dir: &Path) -> TestResult {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::write(dir, "")?;
    Ok(())
}

/// Checks that a teardown fails because of the evidence, and that the stopped container still
/// exists.
async fn check_kept(stage: &DockerHost) -> Result<OperationRecord> {
    let id = stage.start_teardown("trap").await?;
    let operation = stage.wait_for_end(id).await?;
    let error = shard_error(&operation);
    assert!(error.contains("evidence"), "{error}");
    stage.wait_for_states("trap teardown_failed").await?;
    assert_eq!(stage.daemon.containers().await?, "bait");
    assert_eq!(stage.daemon.running_containers().await?, "");
    Ok(operation)
}

/// When the directory can be written again, the decky can be torn down.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decky_without_its_required_evidence_is_kept() -> TestResult {
    let daemon = start_compromised().await?;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("evidence");
    let stage = start_collector(daemon, &dir, &["--evidence-required"]).await?;
    replace_by_file(&dir)?;
    check_kept(&stage).await?;
    fs::remove_file(&dir)?;
    fs::create_dir(&dir)?;
    stage.tear_down("trap").await?;
    assert_eq!(stage.daemon.containers().await?, "");
    check_archive(&find_archive(&dir)?, &scratch.path().join("unpacked"))
}

/// The file system of the evidence has no space left.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decky_is_kept_when_the_disk_of_the_evidence_is_full() -> TestResult {
    let daemon = start_compromised().await?;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("evidence");
    fs::create_dir(&dir)?;
    let mount = format!(
        "mount -t tmpfs -o size=64k,mode=700 tmpfs {}",
        dir.display()
    );
    daemon.run_script(&mount).await?;
    let launcher = daemon.mount_launcher();
    let mut stage = start_collector(daemon, &dir, &["--evidence-required"]).await?;
    stage.plan.launcher = launcher;
    stage.restart_agent().await?;
    stage.wait_for_heartbeat().await?;
    let fill = format!("cat /dev/zero > {}/ballast || true", dir.display());
    stage.daemon.run_script(&fill).await?;
    check_kept(&stage).await?;
    Ok(())
}

/// Without `--evidence-required`, the decky is removed all the same. The record says that the
/// evidence is missing.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn a_decky_whose_evidence_is_optional_is_removed() -> TestResult {
    let daemon = start_compromised().await?;
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("evidence");
    let stage = start_collector(daemon, &dir, &["--heartbeat-ms", "300"]).await?;
    replace_by_file(&dir)?;
    let operation = stage.tear_down("trap").await?;
    assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    assert_eq!(stage.daemon.containers().await?, "");
    stage.wait_for_note("evidence").await
}

/// The agent is killed when one decky is completely removed and another is not. The result of the
/// continued teardown has the evidence of both.
#[tokio::test]
#[ignore = "needs a Docker daemon: cargo xtask test --docker"]
async fn evidence_that_was_saved_before_a_kill_is_in_the_result() -> TestResult {
    let daemon = start_compromised().await?;
    daemon.run("snare", "lure", &MANAGED, &COMPROMISED).await?;
    let lure = daemon.find_object("lure").await?;
    let proxy = EngineProxy::start(&daemon.socket())?;
    let held = lure.clone();
    proxy.inject(Fault::Held, move |call| call.is("DELETE", &held));
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("evidence").display().to_string();
    let flags = ["--evidence-dir", &dir, "--evidence", "logs"];
    let mut stage = DockerHost::start_through(&proxy, daemon, &flags).await?;
    stage.wait_for_states("snare running, trap running").await?;

    let id = stage.start_teardown(None).await?;
    proxy.wait_for_call(|call| call.is("DELETE", &lure)).await?;
    let daemon = &stage.daemon;
    let containers = || daemon.containers();
    wait_until("bait is removed", containers, |left| left == "lure").await?;
    stage.agent.kill().await?;
    proxy.remove_faults();
    stage.restart_agent().await?;
    let operation = stage.wait_for_end(id).await?;
    assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    let shards = operation.shards.iter().flatten();
    let saved = shards.filter(|shard| shard.evidence.is_some());
    assert_eq!(saved.count(), 2, "{operation:?}");
    Ok(())
}
