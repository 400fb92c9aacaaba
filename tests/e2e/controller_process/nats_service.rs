//! The controller as a NATS Micro service (ADR-32) and as a process: discovery, start and stop.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, RequestErrorKind};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scuttle_schemas::ErrorCode;
use scuttle_schemas::subjects::{self, AgentChannel, SERVICE_NAME};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{
    Client, Cluster, Controller, ExpectRejection, Nats, RequestError, Role, TestResult,
    absent_shard,
};
use serde_json::{Value, json};

/// The maximum duration of a normal stop when no slow work is in progress.
const MAX_STOP_TIME: Duration = Duration::from_secs(5);

async fn discover(client: &Client, verb: &str) -> anyhow::Result<Value> {
    let subject = format!("$SRV.{verb}.{SERVICE_NAME}");
    let reply = client.request_raw(&subject, HeaderMap::new(), "").await?;
    Ok(serde_json::from_slice(&reply.payload)?)
}

/// Returns the endpoint with this subject in a discovery reply. Panics if no endpoint has it.
fn find_endpoint<'a>(about: &'a Value, subject: &str) -> &'a Value {
    let endpoints = about["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    endpoints
        .iter()
        .find(|endpoint| endpoint["subject"] == subject)
        .unwrap_or_else(|| panic!("no endpoint {subject}: {about:#}"))
}

#[tokio::test]
async fn every_request_subject_is_an_endpoint_with_its_own_name() -> TestResult {
    let cluster = Cluster::start().await?;
    let ping = discover(&cluster.operator, "PING").await?;
    assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
    let info = discover(&cluster.operator, "INFO").await?;
    assert_eq!(info["type"], "io.nats.micro.v1.info_response");
    assert_eq!(
        (&info["name"], &info["id"]),
        (&json!(SERVICE_NAME), &ping["id"])
    );
    let mut names = BTreeSet::new();
    let reports =
        [AgentChannel::Heartbeat, AgentChannel::Results].map(AgentChannel::wildcard_subject);
    for subject in [
        subjects::TEARDOWN,
        subjects::HOST_TEARDOWNS,
        subjects::HOSTS_ENROLL,
        subjects::HOSTS_LIST,
        subjects::SHARDS_LIST,
        subjects::OPERATIONS_LIST,
        subjects::OPERATIONS_GET,
        &reports[0],
        &reports[1],
    ] {
        let name = find_endpoint(&info, subject)["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(
            !name.is_empty() && names.insert(name),
            "{subject}: {info:#}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_service_statistics_count_requests_and_rejections_by_endpoint() -> TestResult {
    let cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let before = discover(&cluster.operator, "STATS").await?;
    assert_eq!(before["type"], "io.nats.micro.v1.stats_response");
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let reply = cluster.operator.tear_down(&agent.host, "decky-9").await;
    reply.expect_rejection();
    cluster.operator.list_shards().await?;
    let after = discover(&cluster.operator, "STATS").await?;
    for (subject, requests, errors) in [
        (subjects::TEARDOWN, 3, 1),
        (subjects::SHARDS_LIST, 1, 0),
        (subjects::HOSTS_ENROLL, 0, 0),
    ] {
        let risen = |field: &str| {
            let count = |stats: &Value| find_endpoint(stats, subject)[field].as_u64().unwrap_or(0);
            count(&after) - count(&before)
        };
        let counted = (risen("num_requests"), risen("num_errors"));
        assert_eq!(counted, (requests, errors), "{subject}");
    }
    Ok(())
}

#[tokio::test]
async fn a_discovery_message_without_a_reply_subject_does_not_stop_the_service() -> TestResult {
    let cluster = Cluster::start().await?;
    let id = discover(&cluster.operator, "PING").await?["id"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for verb in ["PING", "INFO", "STATS"] {
        for name in ["", ".scuttle", &format!(".scuttle.{id}")] {
            let subject = format!("$SRV.{verb}{name}");
            cluster.operator.nats().publish(subject, "".into()).await?;
        }
    }
    for verb in ["PING", "INFO", "STATS"] {
        assert_eq!(discover(&cluster.operator, verb).await?["id"], *id);
    }
    cluster.operator.wait_until_ready().await
}

/// A controller that is stopped during a burst of requests
///
/// - replies to every request that it has admitted,
/// - rejects further requests as `shutting_down`,
/// - exits quickly with code 0, and
/// - has exactly the accepted operations in its record at the next start.
#[tokio::test]
async fn a_stop_during_a_burst_replies_to_every_admitted_request() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let names: Vec<String> = (0..600).map(|number| format!("decky-{number}")).collect();
    let deckies: Vec<&str> = names.iter().map(String::as_str).collect();
    let agent = cluster.start_agent("worker-a", &deckies).await?;
    let mut accepted = BTreeSet::new();
    for (signal, round) in ["TERM", "INT"].into_iter().zip(deckies.chunks(300)) {
        let Cluster {
            operator,
            controllers,
            ..
        } = &mut cluster;
        let mut requests: FuturesUnordered<_> = round
            .iter()
            .map(|decky| operator.tear_down(&agent.host, *decky))
            .collect();
        let first = requests.next().await.expect("a reply")?;
        accepted.insert(first.operation_id);
        let start = Instant::now();
        controllers[0].process().send_signal(signal).await?;
        while let Some(reply) = requests.next().await {
            match reply {
                Ok(reply) => {
                    accepted.insert(reply.operation_id);
                }
                Err(RequestError::Rejected(rejection)) => {
                    assert_eq!(
                        (rejection.status, rejection.code),
                        (503, ErrorCode::ShuttingDown)
                    );
                }
                Err(RequestError::NoReply(error)) => {
                    assert_eq!(
                        error.kind(),
                        RequestErrorKind::NoResponders,
                        "left unanswered"
                    );
                }
                Err(broken) => return Err(broken.into()),
            }
        }
        let exit = controllers[0].process().wait_for_exit().await?;
        assert!(exit.success(), "{signal}: {exit}");
        assert!(
            start.elapsed() < MAX_STOP_TIME,
            "{signal}: {:?}",
            start.elapsed()
        );
        controllers[0].restart().await?;
        operator.wait_until_ready().await?;
    }
    let stored = cluster.operator.list_operations().await?;
    let stored: BTreeSet<_> = stored
        .iter()
        .map(|operation| operation.operation_id)
        .collect();
    assert_eq!(stored, accepted);
    Ok(())
}

#[tokio::test]
async fn an_idle_controller_stops_with_exit_code_0_and_starts_with_its_record() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mut agent = cluster
        .start_agent("worker-a", &["decky-1", "decky-2"])
        .await?;
    let accepted = cluster.operator.tear_down(&agent.host, "decky-1").await?;
    let before = cluster.operator.list_shards_paged(10).await?;
    cluster.controllers[0].process().send_signal("TERM").await?;
    assert!(
        cluster.controllers[0]
            .process()
            .wait_for_exit()
            .await?
            .success()
    );
    cluster.crash_controller().await?;
    let (revision, shards) = cluster.operator.list_shards_paged(10).await?;
    assert_eq!(revision, before.0);
    assert_eq!(
        scuttle_tests::clients::replica_view::clear_last_seen(shards),
        scuttle_tests::clients::replica_view::clear_last_seen(before.1)
    );
    let result = agent.next_success(accepted.operation_id, vec![absent_shard("decky-1")]);
    agent.send_result(&result).await?;
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-2 running"
    );
    Ok(())
}

/// The first controller is not affected.
#[tokio::test]
async fn a_second_controller_with_the_same_data_directory_ends_with_an_error() -> TestResult {
    let cluster = Cluster::start().await?;
    let dir = cluster.path("controller");
    let mut command = Controller::command();
    command
        .args(["--nats-url", &cluster.servers[0].url(), "--data-dir"])
        .arg(&dir)
        .envs(cluster.servers[0].environment(Role::Controller));
    let mut second = Process::spawn(
        "the second controller",
        command,
        &cluster.path("second.log"),
    )?;
    let exit = second.wait_for_exit().await?;
    assert!(!exit.success());
    let log = second.log();
    assert!(
        log.contains(&*dir.to_string_lossy()),
        "the directory is named: {log}"
    );
    assert!(!log.contains("panicked"), "{log}");
    assert!(!cluster.enroll_host("worker-a").await?.as_str().is_empty());
    Ok(())
}

/// The log names the address of the server that the controller waits for.
#[tokio::test]
async fn a_controller_that_starts_before_its_server_waits_for_it() -> TestResult {
    let mut nats = Nats::start_stopped().await?;
    let dir = tempfile::tempdir()?;
    let mut controller = nats.start_controller(&dir.path().join("controller"))?;
    let address = nats.url().replace("nats://", "");
    controller.process().wait_for_line(&address).await?;
    controller.process().ensure_running()?;
    nats.restart().await?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    operator.wait_until_ready().await?;
    assert_eq!(
        operator.enroll("worker-a").await?.host.name.as_str(),
        "worker-a"
    );
    Ok(())
}
