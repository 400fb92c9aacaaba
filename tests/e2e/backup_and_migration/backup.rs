//! `scuttle-controller backup` and `restore`, with a running and with a stopped controller, and the
//! errors of both commands.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use scuttle_agent_sim::simulated_host::SimulatedHost;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{DeckyId, HostId, subjects};
use scuttle_tests::clients::replica_view::clear_last_seen;
use scuttle_tests::programs::program_path;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Cluster, Controller, ReplicaView, TestResult, wait_until};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Command;

const HOSTS: usize = 6;
const DECKIES: usize = 20;

/// The exit code and the output of a command.
#[derive(Debug)]
struct CommandResult {
    code: Option<i32>,
    text: String,
}

impl From<Output> for CommandResult {
    fn from(output: Output) -> Self {
        let text = [output.stdout, output.stderr].concat();
        Self {
            code: output.status.code(),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    }
}

impl CommandResult {
    #[track_caller]
    fn check(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.text);
        for text in texts {
            assert!(self.text.contains(text), "no {text:?} in: {}", self.text);
        }
    }
}

/// Runs `scuttle-controller backup` or `restore`.
async fn run(verb: &str, file: &Path, data_dir: &Path) -> Result<CommandResult> {
    let mut command = Controller::command();
    command.arg(verb).arg(file).arg("--data-dir").arg(data_dir);
    Ok(with_timeout(verb, command.output()).await??.into())
}

fn list_names(dir: &Path) -> Result<Vec<String>> {
    let name = |entry: std::io::Result<fs::DirEntry>| -> Result<String> {
        Ok(entry?.file_name().to_string_lossy().into_owned())
    };
    fs::read_dir(dir)?.map(name).collect()
}

/// Creates a directory for backups.
fn create_backup_dir(cluster: &Cluster) -> Result<PathBuf> {
    let shelf = cluster.path("shelf");
    fs::create_dir_all(&shelf)?;
    Ok(shelf)
}

/// Stops the controller as a service manager would (SIGTERM).
async fn stop(cluster: &mut Cluster) -> TestResult {
    let process = cluster.controllers[0].process();
    process.send_signal("TERM").await?;
    assert!(
        process.wait_for_exit().await?.success(),
        "{}",
        process.log()
    );
    Ok(())
}

/// Moves the data directory away, restores the backup in its place, and starts the controller.
/// Returns when the controller is ready.
async fn restore_and_start(cluster: &mut Cluster, file: &Path) -> TestResult {
    let data = cluster.path("controller");
    fs::rename(&data, cluster.path("old"))?;
    run("restore", file, &data)
        .await?
        .check(0, &["start the controller"]);
    cluster.controllers[0].restart().await?;
    cluster.operator.wait_until_ready().await
}

type Decky = (HostId, DeckyId);

fn key(shard: &ShardRecord) -> Decky {
    (shard.host_uuid.clone(), shard.decky_id.clone())
}

/// Reads from the simulator's files which deckies really exist on the hosts.
fn read_actual_deckies(cluster: &Cluster) -> Result<BTreeSet<Decky>> {
    let mut all = BTreeSet::new();
    for entry in fs::read_dir(cluster.path("sim"))? {
        let dir = entry?.path();
        let host = dir.file_name().context("a name")?.to_string_lossy();
        let host: HostId = host.parse()?;
        let deckies = SimulatedHost::read_deckies(&dir)?.into_iter();
        all.extend(deckies.map(|decky| (host.clone(), decky)));
    }
    Ok(all)
}

/// Waits until the record agrees with the simulated hosts: each decky that exists is `running`, and
/// each other shard is `degraded`. Returns the `degraded` shards.
async fn wait_until_consistent(cluster: &Cluster) -> Result<Vec<ShardRecord>> {
    let ask = || async {
        let shards = cluster.operator.list_shards().await?;
        let (removed, present): (Vec<_>, Vec<_>) = shards
            .into_iter()
            .partition(|shard| shard.state == ShardState::Degraded);
        let recorded: BTreeSet<_> = present.iter().map(key).collect();
        let real = read_actual_deckies(cluster)?;
        let wrong: Vec<_> = recorded.symmetric_difference(&real).cloned().collect();
        ensure!(wrong.is_empty(), "not as on the hosts: {wrong:?}");
        ensure!(
            present
                .iter()
                .all(|shard| shard.state == ShardState::Running)
        );
        ensure!(!removed.iter().any(|shard| real.contains(&key(shard))));
        Ok(removed)
    };
    wait_until("the record agrees with reality", ask, |_| true).await
}

/// Tears down the shards of deckies that no longer exist, so that these shards leave the record.
async fn tear_down(cluster: &Cluster, removed: Vec<ShardRecord>) -> TestResult {
    for shard in removed {
        let decky = shard.decky_id.as_str();
        let accepted = cluster.operator.tear_down(&shard.host_uuid, decky).await?;
        let operation = cluster.operator.wait_for_end(accepted.operation_id).await?;
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    }
    Ok(())
}

/// A cluster is backed up under load, continues under load, and is then restored from the backup:
///
/// - Every operation that was accepted before the backup ends successfully.
/// - The agents' reports correct the record for everything that changed after the backup.
/// - The view of a subscriber that started before the backup agrees with a new list.
#[tokio::test]
async fn a_cluster_under_load_is_restored_from_its_backup() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let (hosts, deckies) = (HOSTS.to_string(), DECKIES.to_string());
    let mut arguments = vec![
        "--hosts",
        &hosts,
        "--deckies-per-host",
        &deckies,
        "--enroll",
    ];
    arguments.extend(["--teardown-ms", "50..300", "--heartbeat-ms", "200"]);
    let _sim = cluster
        .start_simulator(&cluster.path("sim"), &arguments)
        .await?;
    let all: Vec<Decky> = cluster
        .operator
        .list_shards()
        .await?
        .iter()
        .map(key)
        .collect();
    assert_eq!(all.len(), HOSTS * DECKIES);
    let file = create_backup_dir(&cluster)?.join("backup.redb");
    let data = cluster.path("controller");
    let follower =
        scuttle_tests::Client::connect(&cluster.servers[0], scuttle_tests::Role::Viewer).await?;
    let mut view = ReplicaView::open(&follower, 25).await?;

    // A quarter each: before the backup, during it, after it, and never.
    let quarter = |number: usize| all.iter().skip(number).step_by(4);
    let teardowns = async |number: usize| -> Result<BTreeSet<_>> {
        let mut accepted = BTreeSet::new();
        for (host, decky) in quarter(number) {
            let reply = cluster.operator.tear_down(host, decky.as_str()).await?;
            accepted.insert(reply.operation_id);
        }
        Ok(accepted)
    };
    let before = teardowns(0).await?;
    let (result, during) = tokio::join!(run("backup", &file, &data), teardowns(1));
    result?.check(0, &["6 hosts", "from the running controller"]);
    let after = teardowns(2).await?;
    for id in before.iter().chain(&during?).chain(&after) {
        cluster.operator.wait_for_end(*id).await?;
    }
    let (revision, _) = cluster.operator.list_shards_paged(1000).await?;

    stop(&mut cluster).await?;
    assert!(!list_names(&data)?.contains(&"backup.sock".to_owned()));
    restore_and_start(&mut cluster, &file).await?;
    let operations = cluster.operator.list_operations().await?;
    let known = operations.iter().map(|operation| operation.operation_id);
    let known: BTreeSet<_> = known.collect();
    assert!(
        known.is_superset(&before),
        "lost: {:?}",
        before.difference(&known)
    );
    assert!(
        known.is_disjoint(&after),
        "they were accepted after the backup"
    );
    for id in &known {
        let operation = cluster.operator.wait_for_end(*id).await?;
        assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    }
    let (restored, _) = cluster.operator.list_shards_paged(1000).await?;
    assert!(restored > revision, "{restored} after {revision}");
    let removed = wait_until_consistent(&cluster).await?;
    assert!(
        removed.len() >= after.len(),
        "{} of {}",
        removed.len(),
        after.len()
    );
    tear_down(&cluster, removed).await?;
    assert_eq!(wait_until_consistent(&cluster).await?, []);
    let (revision, shards) = cluster.operator.list_shards_paged(1000).await?;
    view.follow_until(revision).await?;
    assert_eq!(clear_last_seen(view.shards()), clear_last_seen(shards));
    assert!(view.listings() > 1, "the view did not notice the restore");
    Ok(())
}

/// The number of hosts whose rows together exceed the buffers of the backup socket and of both its
/// ends. Their backup blocks until the client reads it.
const LARGE_HOSTS: usize = 200;

/// Enrolls [`LARGE_HOSTS`] hosts with the largest labels, so that a backup cannot be sent unless
/// the client reads it.
async fn enroll_large_hosts(cluster: &Cluster) -> TestResult {
    let label = |number: usize| {
        let (key, value) = ("€".repeat(61), "€".repeat(63));
        (format!("{number:02}{key}"), json!(value))
    };
    let labels: Value = Value::Object((0..16).map(label).collect());
    for number in 0..LARGE_HOSTS {
        let request = json!({ "name": format!("worker-{number}"), "labels": labels });
        let enrol = || (cluster.operator).request::<Value>(subjects::HOSTS_ENROLL, &request);
        wait_until("it is enrolled", enrol, |reply| reply["accepted"] == true).await?;
    }
    Ok(())
}

/// Requests a backup over the controller's socket, but reads only the start of the greeting.
async fn request_without_reading(data_dir: &Path) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(data_dir.join("backup.sock")).await?;
    let mut greeting = [0; 12];
    with_timeout("a greeting", stream.read_exact(&mut greeting)).await??;
    assert_eq!(greeting[..8], *b"scuttle\x01");
    Ok(stream)
}

#[tokio::test]
async fn only_one_backup_runs_at_a_time() -> TestResult {
    let cluster = Cluster::start().await?;
    enroll_large_hosts(&cluster).await?;
    let data = cluster.path("controller");
    let mode = fs::metadata(data.join("backup.sock"))?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (shelf, idle) = (
        create_backup_dir(&cluster)?,
        request_without_reading(&data).await?,
    );
    let file = shelf.join("backup.redb");
    for _ in 0..3 {
        let result = run("backup", &file, &data).await?;
        result.check(1, &["another backup is being made"]);
        assert_eq!(list_names(&shelf)?, [""; 0]);
        cluster
            .enroll_host(&format!("host-{}", uuid::Uuid::now_v7()))
            .await?;
    }
    // The controller does not wait for a client that has disconnected.
    drop(idle);
    let run_backup = || run("backup", &file, &data);
    let result = wait_until("the backup succeeds", run_backup, |result| {
        result.code == Some(0)
    })
    .await?;
    result.check(0, &["203 hosts"]);
    run("backup", &file, &data).await?.check(1, &["--force"]);
    Ok(())
}

/// The connection of the backup ends, and the next start of the controller finds the store
/// unlocked.
#[tokio::test]
async fn a_stop_of_the_controller_aborts_a_backup() -> TestResult {
    let mut cluster = Cluster::start().await?;
    enroll_large_hosts(&cluster).await?;
    let mut idle = request_without_reading(&cluster.path("controller")).await?;
    stop(&mut cluster).await?;
    let mut rest = Vec::new();
    with_timeout("the connection ends", idle.read_to_end(&mut rest)).await??;
    assert!(rest.len() < 1 << 20, "{}", rest.len());
    cluster.controllers[0].restart().await?;
    cluster.operator.wait_until_ready().await?;
    assert_eq!(cluster.operator.list_hosts().await?.len(), LARGE_HOSTS);
    Ok(())
}

/// A killed controller leaves its socket file behind. The file prevents neither a backup of the
/// store nor the next start of the controller.
#[tokio::test]
async fn the_store_of_a_killed_controller_can_be_backed_up() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let (data, shelf) = (cluster.path("controller"), create_backup_dir(&cluster)?);
    let (file, again) = (shelf.join("backup.redb"), shelf.join("again.redb"));
    cluster.controllers[0].kill().await?;
    assert!(list_names(&data)?.contains(&"backup.sock".to_owned()));
    let result = run("backup", &file, &data).await?;
    result.check(0, &["1 host, 2 deckies, 1 open", "a stopped controller"]);
    cluster.crash_controller().await?;
    let result = run("backup", &again, &data).await?;
    result.check(0, &["1 host, 2 deckies, 1 open", "the running controller"]);
    Ok(())
}

/// The controller continues to run, and the next backup is complete.
#[tokio::test]
async fn a_killed_backup_leaves_no_file() -> TestResult {
    let cluster = Cluster::start().await?;
    enroll_large_hosts(&cluster).await?;
    let (data, shelf) = (cluster.path("controller"), create_backup_dir(&cluster)?);
    let mut caught = 0;
    for round in 0..40 {
        let file = shelf.join(format!("{round}.redb"));
        let mut command = Controller::command();
        command
            .arg("backup")
            .arg(&file)
            .arg("--data-dir")
            .arg(&data);
        let mut child = command.kill_on_drop(true).spawn()?;
        let prefix = format!(".{round}.redb.");
        let begun = || async {
            let names = list_names(&shelf)?;
            Ok::<_, anyhow::Error>(
                names.iter().any(|name| name.starts_with(&prefix)) || file.exists(),
            )
        };
        wait_until("the backup has started", begun, |begun| *begun).await?;
        child.kill().await?;
        if !file.exists() {
            caught += 1;
        }
        cluster.operator.wait_until_ready().await?;
        if caught == 3 {
            break;
        }
    }
    assert_eq!(caught, 3, "the backup always ended before it was killed");
    let file = shelf.join("whole.redb");
    let run_backup = || run("backup", &file, &data);
    let result = wait_until("the backup succeeds", run_backup, |result| {
        result.code == Some(0)
    })
    .await?;
    result.check(0, &["200 hosts"]);
    run("restore", &file, &cluster.path("other"))
        .await?
        .check(0, &["200 hosts"]);
    Ok(())
}

/// If a backup or a restore fails because the disk is full, the error names the file that could not
/// be written, and no file is left behind.
#[tokio::test]
async fn a_backup_to_a_full_disk_fails_and_leaves_no_file() -> TestResult {
    let cluster = Cluster::start().await?;
    enroll_large_hosts(&cluster).await?;
    let (data, shelf) = (cluster.path("controller"), create_backup_dir(&cluster)?);
    let whole = shelf.join("whole.redb");
    run("backup", &whole, &data).await?.check(0, &[]);
    let full = cluster.path("full");
    fs::create_dir(&full)?;
    let size = fs::metadata(&whole)?.len();
    for (verb, file, data_dir) in [
        ("backup", full.join("backup.redb"), data.clone()),
        ("restore", whole, full.clone()),
    ] {
        for bytes in [0, 4096, size / 2, size - 4096] {
            // `ulimit` counts blocks of 512 bytes. SIGXFSZ is ignored, because otherwise it would
            // end the program before the error.
            let mut command = Command::new("sh");
            let confine = "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"";
            command
                .args(["-c", confine, "sh"])
                .arg((bytes / 512).to_string());
            command
                .arg(program_path("scuttle-controller"))
                .arg(verb)
                .arg(&file);
            command.arg("--data-dir").arg(&data_dir);
            let result: CommandResult = with_timeout(verb, command.output()).await??.into();
            let name = if verb == "backup" {
                "full/backup.redb"
            } else {
                "full/scuttle.redb"
            };
            result.check(1, &["cannot write", name, "free some space"]);
            assert_eq!(list_names(&full)?, [""; 0], "{bytes} bytes");
        }
    }
    cluster.operator.wait_until_ready().await
}

/// The restore is rejected even if the store's file was moved away while the controller is running.
#[tokio::test]
async fn a_restore_does_not_replace_the_store_of_a_running_controller() -> TestResult {
    let cluster = Cluster::start().await?;
    let (data, shelf) = (cluster.path("controller"), create_backup_dir(&cluster)?);
    let file = shelf.join("backup.redb");
    run("backup", &file, &data).await?.check(0, &[]);
    let running = ["a controller is running on", "stop it"];
    run("restore", &file, &data).await?.check(1, &running);
    fs::rename(data.join("scuttle.redb"), data.join("scuttle.redb.old"))?;
    run("restore", &file, &data).await?.check(1, &running);
    assert!(!list_names(&data)?.contains(&"scuttle.redb".to_owned()));
    cluster.operator.wait_until_ready().await
}

/// The path of a Unix socket can be at most 107 bytes long, but the path of a data directory may be
/// longer.
#[tokio::test]
async fn backups_work_with_a_long_path_of_the_data_directory() -> TestResult {
    let cluster = Cluster::start().await?;
    let data = cluster.path(&"long".repeat(60));
    let _controller = cluster.servers[0].start_controller(&data)?;
    let socket = || async { Ok::<_, ()>(data.join("backup.sock").exists()) };
    wait_until("the controller listens", socket, |present| *present).await?;
    let file = create_backup_dir(&cluster)?.join("backup.redb");
    let result = run("backup", &file, &data).await?;
    result.check(0, &["0 hosts", "from the running controller"]);
    Ok(())
}
