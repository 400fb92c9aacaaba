//! `scuttle-controller migrate`: from the store of one controller to the journal that several share and back, with nothing
//! lost; and what is refused.

use std::path::Path;
use std::process::Output;

use anyhow::Result;
use async_nats::jetstream::{self, object_store};
use scuttle_controller::store::{RedbStore, Store};
use scuttle_core::{Input, State};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{HostId, OperationId, Partition, Timestamp, subjects};
use scuttle_tests::clients::replica_view::{told, unnumbered};
use scuttle_tests::wait::{now, within};
use scuttle_tests::{Client, Controller, Role, Swarm, TestResult, until};
use serde_json::json;
use uuid::Uuid;

const DIVIDE: [&str; 5] = ["migrate", "--to", "jetstream", "--partitions", "4"];

const SHARED: [(&str, &str); 2] = [("SCUTTLE_STORE", "jetstream"), ("SCUTTLE_REPLICAS", "1")];

fn environment(swarm: &Swarm, shared: bool) -> Vec<(&'static str, String)> {
    let mut environment = Vec::from(swarm.nats.environment(Role::Controller));
    let settings = SHARED.iter().filter(|_| shared);
    environment.extend(settings.map(|(name, value)| (*name, (*value).to_owned())));
    environment
}

/// Runs `scuttle-controller` with these arguments on a data directory; its exit code, and what it said.
async fn run(swarm: &Swarm, arguments: &[&str], data_dir: &Path) -> Result<(Option<i32>, String)> {
    let mut command = Controller::command();
    command
        .args(arguments)
        .arg("--data-dir")
        .arg(data_dir)
        .envs(swarm.nats.environment(Role::Controller));
    if arguments[0] == "migrate" {
        command.args(["--nats-url", &swarm.nats.url(), "--replicas", "1"]);
    }
    let Output {
        status,
        stdout,
        stderr,
    } = within(arguments[0], command.output()).await??;
    let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
    Ok((status.code(), text))
}

#[track_caller]
fn check((code, text): (Option<i32>, String), wanted: i32, words: &[&str]) {
    assert_eq!(code, Some(wanted), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} is in: {text}");
    }
}

/// Stops the controller as its service manager would.
async fn stop(controller: &mut Controller) -> TestResult {
    let process = controller.process();
    process.signal("TERM").await?;
    assert!(process.exit().await?.success(), "{}", process.log());
    Ok(())
}

/// Starts a controller on this directory, in the place of the one that was stopped.
async fn start(swarm: &mut Swarm, data_dir: &Path, shared: bool) -> TestResult {
    let environment = environment(swarm, shared);
    swarm.controller = Controller::start_at(&swarm.nats.url(), environment, data_dir)?;
    swarm.operator.answered().await
}

/// Two hosts with shards of every kind, and an operation that has not ended.
async fn populated(swarm: &Swarm) -> Result<HostId> {
    let mut agent = swarm.agent("worker-a", &["d1", "d2", "d3"]).await?;
    let ended = swarm.operator.teardown(&agent.host, "d1").await?;
    agent.command().await?;
    agent.succeed(ended.operation_id, &["d1"]).await?;
    swarm.operator.teardown(&agent.host, "d2").await?;
    swarm.agent("worker-b", &["d1"]).await?;
    Ok(agent.host)
}

#[tokio::test]
async fn a_record_goes_there_and_back_whole() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let host = populated(&swarm).await?;
    let (shards, operations) = (
        swarm.operator.shards().await?,
        swarm.operator.operations().await?,
    );
    let data = swarm.path("controller");

    stop(&mut swarm.controller).await?;
    check(
        run(&swarm, &["migrate", "--to", "jetstream"], &data).await?,
        0,
        &["rows and compared each", "start the controllers with"],
    );
    check(
        run(&swarm, &["backup", "half"], &data).await?,
        1,
        &["holds only part of the record"],
    );
    start(&mut swarm, &data, true).await?;
    assert_eq!(told(swarm.operator.shards().await?), told(shards.clone()));
    assert_eq!(swarm.operator.operations().await?.len(), operations.len());

    // A controller without rows gets them from the object store, and a backup has what neither's file has.
    swarm.operator.teardown(&host, "d3").await?;
    let other = swarm.path("other");
    let mut joined = Controller::start_at(&swarm.nats.url(), environment(&swarm, true), &other)?;
    joined.process().line("following: 2 hosts").await?;
    let file = swarm.path("backup");
    let name = file.to_string_lossy().into_owned();
    check(
        run(&swarm, &["backup", &name], &other).await?,
        0,
        &["2 hosts, 3 shards, 2 open operations"],
    );
    check(
        run(&swarm, &["migrate", "--to", "redb"], &swarm.path("third")).await?,
        1,
        &["stop all controllers"],
    );
    stop(&mut swarm.controller).await?;
    swarm.operator.answered().await?;
    let shards = swarm.operator.shards().await?;
    stop(&mut joined).await?;

    check(
        run(&swarm, &["migrate", "--to", "redb"], &data).await?,
        0,
        &["rows and compared each", "without --store"],
    );
    start(&mut swarm, &data, false).await?;
    assert_eq!(told(swarm.operator.shards().await?), told(shards));
    let states = || swarm.operator.states(&host);
    until("both are being torn down", states, |states| {
        states.matches("tearing_down").count() == 2
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_is_there_is_not_replaced() -> TestResult {
    let mut swarm = Swarm::start().await?;
    populated(&swarm).await?;
    let data = swarm.path("controller");
    let to_jetstream = ["migrate", "--to", "jetstream"];
    check(
        run(&swarm, &["migrate", "--to", "redb"], &data).await?,
        1,
        &["does not exist: there is nothing to migrate"],
    );
    check(
        run(&swarm, &to_jetstream, &data).await?,
        1,
        &["in use by another controller"],
    );
    stop(&mut swarm.controller).await?;
    let other = swarm.path("other");
    let mut shared = Controller::start_at(&swarm.nats.url(), environment(&swarm, true), &other)?;
    shared.process().line("ready").await?;
    check(
        run(&swarm, &to_jetstream, &data).await?,
        1,
        &["already exists and holds another record"],
    );
    stop(&mut shared).await?;
    let mut refused = Controller::start_at(&swarm.nats.url(), environment(&swarm, true), &data)?;
    assert!(!refused.process().exit().await?.success());
    let said = refused.process().log();
    assert!(
        said.contains("belong to a journal in the file itself"),
        "{said}"
    );

    start(&mut swarm, &data, false).await?;
    let shards = swarm.operator.shards().await?;
    assert_eq!(shards.len(), 3);
    assert!(
        shards
            .iter()
            .any(|shard| shard.state == ShardState::TearingDown)
    );
    let operations = swarm.operator.operations().await?;
    let ended = |state| operations.iter().filter(|one| one.state == state).count();
    assert_eq!(ended(OperationState::Succeeded), 1);
    Ok(())
}

/// A snapshot of a stream that was removed would be taken for the newest of the one that is made.
#[tokio::test]
async fn snapshots_of_an_earlier_stream_are_in_the_way() -> TestResult {
    let mut swarm = Swarm::start().await?;
    populated(&swarm).await?;
    stop(&mut swarm.controller).await?;
    let options = swarm.nats.options(Role::Controller);
    let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
    let controller = Client::with(options, &swarm.nats.url()).await?;
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

    let data = swarm.path("controller");
    let to_jetstream = ["migrate", "--to", "jetstream"];
    let refused = run(&swarm, &to_jetstream, &data).await?;
    check(
        refused,
        1,
        &["scuttle-snapshots", "delete the object store"],
    );
    // As it was: it goes on.
    start(&mut swarm, &data, false).await?;
    assert_eq!(swarm.operator.shards().await?.len(), 3);
    Ok(())
}

/// Into four journals, each with the rows of its own hosts, and back into one file; a backup has them all.
#[tokio::test]
async fn a_record_is_divided_and_put_together_again() -> TestResult {
    let mut swarm = Swarm::start().await?;
    let host = populated(&swarm).await?;
    for number in 0..6 {
        swarm.agent(&format!("more-{number}"), &["d1"]).await?;
    }
    let shards = swarm.operator.shards().await?;
    let (hosts, operations) = (
        swarm.operator.hosts().await?,
        swarm.operator.operations().await?,
    );
    let data = swarm.path("controller");
    stop(&mut swarm.controller).await?;
    check(
        run(&swarm, &DIVIDE, &data).await?,
        0,
        &["rows and compared each", "--store jetstream --partitions 4"],
    );

    let mut divided = environment(&swarm, true);
    divided.push(("SCUTTLE_PARTITIONS", "4".to_owned()));
    swarm.controller = Controller::start_at(&swarm.nats.url(), divided, &data)?;
    swarm.operator.answered().await?;
    assert_eq!(
        unnumbered(swarm.operator.shards().await?),
        unnumbered(shards)
    );
    assert_eq!(swarm.operator.hosts().await?.len(), hosts.len());
    for operation in &operations {
        let found = swarm.operator.operation(operation.operation_id).await?;
        assert_eq!(found.accepted_at, operation.accepted_at);
    }
    // The names are still theirs.
    for record in hosts.values() {
        let again = swarm.operator.enroll(record.name.as_str()).await?;
        assert!(again.repeated && again.host.host_uuid == record.host_uuid);
    }
    swarm.operator.teardown(&host, "d3").await?;
    let shards = swarm.operator.shards().await?;
    let file = swarm.path("backup");
    let name = file.to_string_lossy().into_owned();
    check(
        run(&swarm, &["backup", &name], &data).await?,
        0,
        &["8 hosts, 9 shards, 2 open operations"],
    );
    stop(&mut swarm.controller).await?;

    let back = ["migrate", "--to", "redb", "--partitions", "4"];
    check(
        run(&swarm, &back, &data).await?,
        0,
        &[
            "rows and compared each",
            "SCUTTLE_0, SCUTTLE_1, SCUTTLE_2, SCUTTLE_3",
        ],
    );
    start(&mut swarm, &data, false).await?;
    assert_eq!(
        unnumbered(swarm.operator.shards().await?),
        unnumbered(shards.clone())
    );
    stop(&mut swarm.controller).await?;
    let restored = swarm.path("restored");
    check(run(&swarm, &["restore", &name], &restored).await?, 0, &[]);
    start(&mut swarm, &restored, false).await?;
    assert_eq!(
        unnumbered(swarm.operator.shards().await?),
        unnumbered(shards)
    );
    Ok(())
}

/// An open operation whose id does not say where it is could not be withdrawn any more: it is waited for.
#[tokio::test]
async fn a_record_with_open_operations_of_before_is_not_divided() -> TestResult {
    let mut swarm = Swarm::start().await?;
    stop(&mut swarm.controller).await?;
    let data = swarm.path("of-before");
    of_before(&data, "a", now())?;
    let refused = run(&swarm, &DIVIDE, &data).await?;
    check(
        refused,
        1,
        &["is open", "wait until the operation has ended"],
    );
    start(&mut swarm, &data, false).await?;
    let operations = swarm.operator.operations().await?;
    assert_eq!(operations.len(), 1);
    Ok(())
}

/// A store with one open operation, whose id ends otherwise than its host has it.
fn of_before(data_dir: &Path, host: &str, now: Timestamp) -> TestResult {
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
    let teardown = Input::Teardown {
        request: serde_json::from_value(json!({ "host_uuid": host }))?,
        operation_id: other,
        requested_by: "alice".to_owned(),
        key: None,
        trace: None,
    };
    state.step(now, teardown);
    let mut store = RedbStore::open(data_dir)?;
    store.load(&mut |_| Ok(()))?;
    store.append(&state.close(now).changes)?;
    Ok(())
}
