//! The permissions of the controller on `JetStream` are sufficient for its journal, its lease and
//! its snapshots, with `nats.conf` and with the configuration of `scuttle init`. No client can make
//! the controller write to its streams. The permissions on all other subjects are in
//! `permissions.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{self, kv, object_store};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use scuttle_schemas::Partition;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::cluster::provisioned_server::connect_options;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Cluster, Nats, ProvisionedServer, Role, TestResult, programs};
use tokio::io::AsyncReadExt;

fn journal_config() -> Config {
    Config {
        name: subjects::journal_stream_name(Partition::FIRST),
        subjects: vec![subjects::journal_subject(Partition::FIRST)],
        deny_delete: true,
        ..Config::default()
    }
}

/// Uses the controller's streams and buckets in every way that a controller does.
async fn use_streams(controller: &Client) -> TestResult {
    let context = jetstream::new(controller.nats().clone());
    let mut stream = context.create_stream(journal_config()).await?;
    for payload in ["one", "two"] {
        let appended = context
            .publish(subjects::journal_subject(Partition::FIRST), payload.into())
            .await?;
        appended.await?;
    }
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let read: Vec<Bytes> = consumer
        .messages()
        .await?
        .take(2)
        .map_ok(|message| message.payload.clone())
        .try_collect()
        .await?;
    assert_eq!(read, ["one", "two"]);
    stream.purge().sequence(2).await?;
    assert_eq!(stream.info().await?.state.first_sequence, 2);

    let leases = kv::Config {
        bucket: subjects::LEASES_BUCKET.to_owned(),
        max_age: Duration::from_mins(1),
        ..kv::Config::default()
    };
    let leases = context.create_key_value(leases).await?;
    let key = &subjects::lease_key(Partition::FIRST);
    let revision = leases.create(key, "a".into()).await?;
    let revision = leases.update(key, "a".into(), revision).await?;
    assert!(leases.entry(key).await?.is_some());
    leases.delete_expect_revision(key, Some(revision)).await?;
    let leases = context.get_key_value(subjects::LEASES_BUCKET).await?;
    assert!(leases.get(key).await?.is_none());
    let mut watch = leases
        .watch(format!("{}>", subjects::PRESENCE_KEY_PREFIX))
        .await?;
    let one = format!("{}one", subjects::PRESENCE_KEY_PREFIX);
    leases.put(&one, "1".into()).await?;
    let entry = with_timeout("the watch", watch.next()).await?;
    assert_eq!(entry.context("the watch ended")??.key, one);

    let names = kv::Config {
        bucket: subjects::NAMES_BUCKET.to_owned(),
        ..kv::Config::default()
    };
    let names = context.create_key_value(names).await?;
    let revision = names.create("worker-a", "a".into()).await?;
    names.update("worker-a", "b".into(), revision).await?;
    assert_eq!(names.get("worker-a").await?, Some("b".into()));

    let snapshots = object_store::Config {
        bucket: subjects::SNAPSHOTS_BUCKET.to_owned(),
        ..object_store::Config::default()
    };
    context.create_object_store(snapshots).await?;
    let snapshots = context.get_object_store(subjects::SNAPSHOTS_BUCKET).await?;
    use_snapshots(&snapshots).await
}

async fn use_snapshots(snapshots: &ObjectStore) -> TestResult {
    let rows = vec![7; 300 * 1024];
    for name in ["old", "new"] {
        snapshots.put(name, &mut rows.as_slice()).await?;
    }
    let mut read = Vec::new();
    snapshots.get("new").await?.read_to_end(&mut read).await?;
    assert!(read == rows, "another snapshot was read");
    snapshots.delete("old").await?;
    let names: Vec<_> = snapshots
        .list()
        .await?
        .map_ok(|info| info.name)
        .try_collect()
        .await?;
    assert_eq!(names, ["new"]);
    Ok(())
}

async fn check(controller: &Client) -> TestResult {
    let used = Box::pin(use_streams(controller));
    tokio::select! {
        used = with_timeout("the streams are used", used) => used?,
        rejection = controller.expect_server_error("") => bail!("the server refuses something: {rejection:?}"),
    }
}

#[tokio::test]
async fn the_controller_can_use_its_streams_with_nats_conf() -> TestResult {
    check(&connect_as_controller(&Nats::start().await?).await?).await
}

#[tokio::test]
async fn the_controller_can_use_its_streams_with_the_configuration_of_init() -> TestResult {
    let bus = ProvisionedServer::start().await?;
    let options = connect_options(&bus.credentials("controller"))?;
    let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
    check(&Client::connect_with(options, &bus.url()).await?).await
}

async fn connect_as_controller(nats: &Nats) -> anyhow::Result<Client> {
    let options = nats.connect_options(Role::Controller);
    let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
    Client::connect_with(options, &nats.url()).await
}

#[test]
fn nats_conf_and_init_give_the_controller_the_same_subjects() -> TestResult {
    let configuration = std::fs::read_to_string(programs::workspace().join("nats.conf"))?;
    let (_, user) = (configuration.split_once("user: controller")).context("the controller")?;
    let (_, list) = user
        .split_once("publish: [")
        .context("no list of subjects")?;
    let (list, _) = list
        .split_once("\n          ]")
        .context("the list is not closed")?;
    let lines = list.lines().filter(|line| !line.trim().starts_with('#'));
    let nats_conf_subjects: BTreeSet<String> = lines
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let mut init_subjects: BTreeSet<String> = subjects::controller_jetstream_subjects()
        .into_iter()
        .collect();
    init_subjects.extend(subjects::BROADCASTS.map(str::to_owned));
    init_subjects.extend(
        [
            subjects::ALL_INBOXES,
            subjects::CROSS_ACCOUNT_REPLIES,
            subjects::SERVER_INFO,
            subjects::CONTROLLER_PING,
            subjects::ALL_PARTITION_REQUESTS,
            subjects::ALL_RELAYED_BROADCASTS,
        ]
        .map(str::to_owned),
    );
    init_subjects.insert(AgentChannel::Commands.wildcard_subject());
    init_subjects.insert(format!("{}.>", subjects::CONTROLLER_INBOX_PREFIX));
    assert_eq!(nats_conf_subjects, init_subjects);
    Ok(())
}

/// A requester chooses the reply subject of its request, and the controller has permission to
/// publish to its journal. The controller must not send a reply there.
#[tokio::test]
async fn no_reply_is_sent_to_the_journal() -> TestResult {
    let cluster = Cluster::start().await?;
    let controller = connect_as_controller(&cluster.servers[0]).await?;
    let context = jetstream::new(controller.nats().clone());
    let mut stream: Stream = context.create_stream(journal_config()).await?;
    let inbox = format!("{}.forged", subjects::CONTROLLER_INBOX_PREFIX);
    let mut subscription = controller.nats().subscribe(inbox.clone()).await?;
    controller.nats().flush().await?;

    let mut agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let heartbeat: Bytes = serde_json::to_vec(&agent.next_heartbeat(None))?.into();
    for reply in [subjects::journal_subject(Partition::FIRST), inbox] {
        let subject = AgentChannel::Heartbeat.subject(&agent.host);
        let nats = agent.client().nats();
        nats.publish_with_reply(subject, reply, heartbeat.clone())
            .await?;
    }
    // The reply to this request arrives after all messages that the earlier requests could cause.
    agent.send_heartbeat().await?;
    let state = &stream.info().await?.state;
    ensure!(
        state.last_sequence == 0,
        "a reply is in the journal: {state:?}"
    );
    ensure!(
        subscription.next().now_or_never().is_none(),
        "a reply arrived"
    );
    Ok(())
}
