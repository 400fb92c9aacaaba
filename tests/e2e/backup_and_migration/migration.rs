//! `scuttle-controller migrate`: lossless migrations from the store of a single controller to the
//! journal that several controllers share, migrations back, and errors.

use std::path::Path;
use std::process::Output;

use anyhow::Result;
use async_nats::jetstream::{self, object_store};
use scuttle_controller::store::{RedbStore, Store};
use scuttle_core::{Input, State, TeardownArgs};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{HostId, OperationId, Partition, Timestamp, subjects};
use scuttle_tests::clients::replica_view::{clear_last_seen, clear_revisions};
use scuttle_tests::wait::{current_timestamp, with_timeout};
use scuttle_tests::{Client, Cluster, Controller, Role, TestResult, wait_until};
use serde_json::json;
use uuid::Uuid;

const TO_FOUR_PARTITIONS: [&str; 5] = ["migrate", "--to", "jetstream", "--partitions", "4"];

const SHARED: [(&str, &str); 2] = [("SCUTTLE_STORE", "jetstream"), ("SCUTTLE_REPLICAS", "1")];

pub(super) fn environment(cluster: &Cluster, shared: bool) -> Vec<(&'static str, String)> {
    let mut environment = Vec::from(cluster.servers[0].environment(Role::Controller));
    let settings = SHARED.iter().filter(|_| shared);
    environment.extend(settings.map(|(name, value)| (*name, (*value).to_owned())));
    environment
}

/// The exit code and the output of a command.
pub(super) struct CommandResult {
    code: Option<i32>,
    pub(super) text: String,
}

/// Runs `scuttle-controller` with these arguments on a data directory. Returns the exit code and
/// the output.
pub(super) async fn run(
    cluster: &Cluster,
    arguments: &[&str],
    data_dir: &Path,
) -> Result<CommandResult> {
    let mut command = Controller::command();
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .envs(cluster.servers[0].environment(Role::Controller));
    if arguments[0] == "migrate" {
        command.args(["--nats-url", &cluster.servers[0].url(), "--replicas", "1"]);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = with_timeout(arguments[0], command.output()).await??;
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    Ok(CommandResult {
        code: status.code(),
        text,
    })
}

#[track_caller]
pub(super) fn check(result: CommandResult, code: i32, texts: &[&str]) {
    let CommandResult { code: found, text } = result;
    assert_eq!(found, Some(code), "{text}");
    for expected in texts {
        assert!(text.contains(expected), "no {expected:?} in: {text}");
    }
}

/// Stops the controller as a service manager would (SIGTERM).
pub(super) async fn stop(controller: &mut Controller) -> TestResult {
    let process = controller.process();
    process.send_signal("TERM").await?;
    assert!(
        process.wait_for_exit().await?.success(),
        "{}",
        process.log()
    );
    Ok(())
}

/// Starts a controller with this data directory in place of the stopped one, and waits until it is
/// ready. If `shared` is true, the controller uses the journal in `JetStream`.
pub(super) async fn start(cluster: &mut Cluster, data_dir: &Path, shared: bool) -> TestResult {
    let environment = environment(cluster, shared);
    cluster.controllers[0] = Controller::start(&cluster.servers[0].url(), environment, data_dir)?;
    cluster.operator.wait_until_ready().await
}

/// Creates two hosts with shards in several states, an ended operation and an open operation.
/// Returns the host of both operations.
pub(super) async fn populate(cluster: &Cluster) -> Result<HostId> {
    let mut agent = cluster.start_agent("worker-a", &["d1", "d2", "d3"]).await?;
    let ended = cluster.operator.tear_down(&agent.host, "d1").await?;
    agent.next_command().await?;
    agent.report_success(ended.operation_id, &["d1"]).await?;
    cluster.operator.tear_down(&agent.host, "d2").await?;
    cluster.start_agent("worker-b", &["d1"]).await?;
    Ok(agent.host)
}

#[tokio::test]
async fn a_record_is_migrated_to_the_shared_journal_and_back() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let host = populate(&cluster).await?;
    let (shards, operations) = (
        cluster.operator.list_shards().await?,
        cluster.operator.list_operations().await?,
    );
    let data = cluster.path("controller");

    stop(&mut cluster.controllers[0]).await?;
    check(
        run(&cluster, &["migrate", "--to", "jetstream"], &data).await?,
        0,
        &["rows and compared each", "Start the controllers with"],
    );
    check(
        run(&cluster, &["backup", "half"], &data).await?,
        1,
        &["holds only part of the record"],
    );
    start(&mut cluster, &data, true).await?;
    assert_eq!(
        clear_last_seen(cluster.operator.list_shards().await?),
        clear_last_seen(shards.clone())
    );
    assert_eq!(
        cluster.operator.list_operations().await?.len(),
        operations.len()
    );

    // A controller without rows downloads them from the object store. A backup has the complete
    // record, which neither file has.
    cluster.operator.tear_down(&host, "d3").await?;
    let other = cluster.path("other");
    let mut joined = Controller::start(
        &cluster.servers[0].url(),
        environment(&cluster, true),
        &other,
    )?;
    joined.process().wait_for_line("following: 2 hosts").await?;
    let file = cluster.path("backup");
    let name = file.to_string_lossy().into_owned();
    check(
        run(&cluster, &["backup", &name], &other).await?,
        0,
        &["2 hosts, 3 deckies, 2 open operations"],
    );
    check(
        run(
            &cluster,
            &["migrate", "--to", "redb"],
            &cluster.path("third"),
        )
        .await?,
        1,
        &["stop all controllers"],
    );
    stop(&mut cluster.controllers[0]).await?;
    cluster.operator.wait_until_ready().await?;
    let shards = cluster.operator.list_shards().await?;
    stop(&mut joined).await?;

    check(
        run(&cluster, &["migrate", "--to", "redb"], &data).await?,
        0,
        &["rows and compared each", "without --store"],
    );
    start(&mut cluster, &data, false).await?;
    assert_eq!(
        clear_last_seen(cluster.operator.list_shards().await?),
        clear_last_seen(shards)
    );
    let states = || cluster.operator.shard_states(&host);
    wait_until("both are being torn down", states, |states| {
        states.matches("tearing_down").count() == 2
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_migration_does_not_replace_an_existing_record() -> TestResult {
    let mut cluster = Cluster::start().await?;
    populate(&cluster).await?;
    let data = cluster.path("controller");
    let to_jetstream = ["migrate", "--to", "jetstream"];
    check(
        run(&cluster, &["migrate", "--to", "redb"], &data).await?,
        1,
        &["does not exist: there is nothing to migrate"],
    );
    check(
        run(&cluster, &to_jetstream, &data).await?,
        1,
        &["in use by another controller"],
    );
    stop(&mut cluster.controllers[0]).await?;
    let other = cluster.path("other");
    let mut shared = Controller::start(
        &cluster.servers[0].url(),
        environment(&cluster, true),
        &other,
    )?;
    shared.process().wait_for_line("ready").await?;
    check(
        run(&cluster, &to_jetstream, &data).await?,
        1,
        &["already exists and holds another record"],
    );
    stop(&mut shared).await?;
    let mut rejection = Controller::start(
        &cluster.servers[0].url(),
        environment(&cluster, true),
        &data,
    )?;
    assert!(!rejection.process().wait_for_exit().await?.success());
    let log = rejection.process().log();
    assert!(
        log.contains("belong to a journal in the file itself"),
        "{log}"
    );

    start(&mut cluster, &data, false).await?;
    let shards = cluster.operator.list_shards().await?;
    assert_eq!(shards.len(), 3);
    assert!(
        shards
            .iter()
            .any(|shard| shard.state == ShardState::TearingDown)
    );
    let operations = cluster.operator.list_operations().await?;
    let ended = |state| operations.iter().filter(|one| one.state == state).count();
    assert_eq!(ended(OperationState::Succeeded), 1);
    Ok(())
}

/// A snapshot of a removed stream would be mistaken for the newest snapshot of the new stream.
#[tokio::test]
async fn a_migration_fails_if_there_are_snapshots_of_a_removed_stream() -> TestResult {
    let mut cluster = Cluster::start().await?;
    populate(&cluster).await?;
    stop(&mut cluster.controllers[0]).await?;
    let options = cluster.servers[0].connect_options(Role::Controller);
    let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
    let controller = Client::connect_with(options, &cluster.servers[0].url()).await?;
    let store = object_store::Config {
        bucket: subjects::SNAPSHOTS_BUCKET.to_owned(),
        ..object_store::Config::default()
    };
    let context = jetstream::new(controller.nats().clone());
    let snapshots = context.create_object_store(store).await?;
    let earlier = format!(
        "{}{:020}",
        subjects::snapshot_name_prefix(Partition::FIRST),
        5000
    );
    snapshots.put(&*earlier, &mut "rows".as_bytes()).await?;

    let data = cluster.path("controller");
    let to_jetstream = ["migrate", "--to", "jetstream"];
    let rejection = run(&cluster, &to_jetstream, &data).await?;
    check(
        rejection,
        1,
        &["scuttle-snapshots", "delete the object store"],
    );
    // The record has not changed, and the controller can continue.
    start(&mut cluster, &data, false).await?;
    assert_eq!(cluster.operator.list_shards().await?.len(), 3);
    Ok(())
}

/// The journal of each partition has the rows of the partition's hosts. A backup has the rows of
/// all partitions.
#[tokio::test]
async fn a_record_is_migrated_to_four_partitions_and_back() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let host = populate(&cluster).await?;
    for number in 0..6 {
        cluster
            .start_agent(&format!("more-{number}"), &["d1"])
            .await?;
    }
    let shards = cluster.operator.list_shards().await?;
    let (hosts, operations) = (
        cluster.operator.list_hosts().await?,
        cluster.operator.list_operations().await?,
    );
    let data = cluster.path("controller");
    stop(&mut cluster.controllers[0]).await?;
    check(
        run(&cluster, &TO_FOUR_PARTITIONS, &data).await?,
        0,
        &["rows and compared each", "--store jetstream --partitions 4"],
    );

    let mut divided = environment(&cluster, true);
    divided.push(("SCUTTLE_PARTITIONS", "4".to_owned()));
    cluster.controllers[0] = Controller::start(&cluster.servers[0].url(), divided, &data)?;
    cluster.operator.wait_until_ready().await?;
    assert_eq!(
        clear_revisions(cluster.operator.list_shards().await?),
        clear_revisions(shards)
    );
    assert_eq!(cluster.operator.list_hosts().await?.len(), hosts.len());
    for operation in &operations {
        let found = cluster.operator.operation(operation.operation_id).await?;
        assert_eq!(found.accepted_at, operation.accepted_at);
    }
    // The names still belong to the same hosts.
    for record in hosts.values() {
        let again = cluster.operator.enroll(record.name.as_str()).await?;
        assert!(again.repeated && again.host.host_uuid == record.host_uuid);
    }
    cluster.operator.tear_down(&host, "d3").await?;
    let shards = cluster.operator.list_shards().await?;
    let file = cluster.path("backup");
    let name = file.to_string_lossy().into_owned();
    check(
        run(&cluster, &["backup", &name], &data).await?,
        0,
        &["8 hosts, 9 deckies, 2 open operations"],
    );
    stop(&mut cluster.controllers[0]).await?;

    let back = ["migrate", "--to", "redb", "--partitions", "4"];
    check(
        run(&cluster, &back, &data).await?,
        0,
        &[
            "rows and compared each",
            "SCUTTLE_0, SCUTTLE_1, SCUTTLE_2, SCUTTLE_3",
        ],
    );
    start(&mut cluster, &data, false).await?;
    assert_eq!(
        clear_revisions(cluster.operator.list_shards().await?),
        clear_revisions(shards.clone())
    );
    stop(&mut cluster.controllers[0]).await?;
    let restored = cluster.path("restored");
    check(run(&cluster, &["restore", &name], &restored).await?, 0, &[]);
    start(&mut cluster, &restored, false).await?;
    assert_eq!(
        clear_revisions(cluster.operator.list_shards().await?),
        clear_revisions(shards)
    );
    Ok(())
}

/// An old operation id does not encode the partition of its host. With several partitions, a cancel
/// request would not find such an operation, so the migration is rejected until the operation ends.
#[tokio::test]
async fn a_record_with_open_operations_from_before_partitions_is_not_divided() -> TestResult {
    let mut cluster = Cluster::start().await?;
    stop(&mut cluster.controllers[0]).await?;
    let data = cluster.path("of-before");
    create_old_record(&data, "a", current_timestamp())?;
    let rejection = run(&cluster, &TO_FOUR_PARTITIONS, &data).await?;
    check(
        rejection,
        1,
        &["is open", "wait until the operation has ended"],
    );
    start(&mut cluster, &data, false).await?;
    let operations = cluster.operator.list_operations().await?;
    assert_eq!(operations.len(), 1);
    Ok(())
}

/// Creates a store with one open operation whose id does not encode the partition of its host.
fn create_old_record(data_dir: &Path, host: &str, now: Timestamp) -> TestResult {
    let host: HostId = host.parse()?;
    let other = OperationId::new_for_host(Uuid::now_v7(), &"b".parse()?);
    assert_ne!(other, OperationId::new_for_host(other.0, &host));
    let mut state = State::default();
    state.step(now, Input::Start);
    let request = serde_json::from_value(json!({ "name": "worker-a", "host_uuid": host }))?;
    let enroll = Input::Enroll {
        request,
        host: host.clone(),
    };
    state.step(now, enroll);
    let teardown = Input::Teardown(TeardownArgs {
        request: serde_json::from_value(json!({ "host_uuid": host }))?,
        operation_id: other,
        requested_by: "alice".to_owned(),
        key: None,
        trace: None,
    });
    state.step(now, teardown);
    let mut store = RedbStore::open(data_dir)?;
    store.load(&mut |_| Ok(()))?;
    store.append(&state.close(now).changes)?;
    Ok(())
}
