//! A client that sends malformed messages all the time: others are served as before, and an agent
//! that does so is quarantined.

use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::clients::raw_client::{RawClient, RawMessage};
use scuttle_tests::teardown_load::{LoadResult, TeardownLoad};
use scuttle_tests::{Cluster, FakeAgent, Nats, Role, TestResult, wait_until};

/// The duration of each measurement.
const MEASUREMENT_TIME: Duration = Duration::from_secs(2);

/// The limit for the 99th percentile of the time until a teardown is accepted. On a slow machine,
/// the limit is raised to `MAX_SLOWDOWN` times the value without malformed messages.
const MAX_ACCEPT_TIME: Duration = Duration::from_millis(100);
const MAX_SLOWDOWN: u32 = 20;

/// The interval between two bursts, one of each malformed message: more than 100 messages per
/// second.
const BURST_INTERVAL: Duration = Duration::from_millis(100);

/// A client that sends malformed messages on a thread until it is stopped.
struct Sender {
    stop: SyncSender<()>,
    thread: JoinHandle<Result<u64>>,
}

impl Sender {
    fn start(nats: &Nats, role: Role, subject: &str) -> Result<Self> {
        let mut client = RawClient::connect(nats, role)?;
        let blocks = super::malformed_messages::header_blocks();
        let small = blocks.into_iter().filter(|(_, block)| block.len() < 1000);
        let burst: Vec<Vec<u8>> = small
            .map(|(_, block)| {
                let message = RawMessage {
                    subject: subject.as_bytes(),
                    reply: Some(b"_INBOX.unread"),
                    block: Some(&block),
                    payload: b"",
                };
                message.encode()
            })
            .collect();
        let (stop, stopped) = sync_channel(0);
        let thread = std::thread::spawn(move || {
            let mut sent = 0;
            while stopped.recv_timeout(BURST_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                client.send(&burst.concat())?;
                sent += burst.len() as u64;
            }
            client.flush()?;
            Ok(sent)
        });
        Ok(Self { stop, thread })
    }

    /// Stops the client, and returns the number of messages that it has sent.
    fn stop(self) -> Result<u64> {
        drop(self.stop);
        self.thread.join().expect("the thread does not panic")
    }
}

fn check(what: &str, result: &LoadResult, baseline: &LoadResult) -> TestResult {
    let p99 = |result: &LoadResult| LoadResult::percentile(&result.accept_times, 99);
    let limit = p99(baseline).unwrap_or_default() * MAX_SLOWDOWN;
    ensure!(result.failed_requests == 0, "{what}: {result:?}");
    ensure!(result.offline_hosts.is_empty(), "{what}: {result:?}");
    ensure!(
        p99(result).is_some_and(|p99| p99 < limit.max(MAX_ACCEPT_TIME)),
        "{what}: {result:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_malformed_messages_delays_no_teardown() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let mallory = cluster.enroll_host("mallory").await?;
    let mut load = TeardownLoad::start(&cluster).await?;
    let baseline = load.measure(MEASUREMENT_TIME).await?;
    let heartbeats = AgentChannel::Heartbeat.subject(&mallory);
    for (role, subject) in [
        (Role::Viewer, subjects::HOSTS_LIST),
        (Role::Viewer, "$SRV.PING"),
        (Role::Operator, subjects::TEARDOWN),
        (Role::Agents, &heartbeats),
    ] {
        let sender = Sender::start(&cluster.servers[0], role, subject)?;
        let result = load.measure(MEASUREMENT_TIME).await?;
        ensure!(sender.stop()? > 0);
        check(subject, &result, &baseline)?;
    }
    let log = cluster.controllers[0].process().log();
    ensure!(!log.contains("lost the NATS server"), "{log}");
    Ok(())
}

/// Returns the notes of a host.
async fn notes(cluster: &Cluster, agent: &FakeAgent) -> Result<Vec<String>> {
    let hosts = cluster.operator.list_hosts().await?;
    let notes = hosts.get(&agent.host).map(|host| host.notes.clone());
    Ok(notes.iter().flatten().map(ToString::to_string).collect())
}

async fn wait_for_quarantine(cluster: &Cluster, agent: &FakeAgent) -> TestResult {
    let read = || notes(cluster, agent);
    let is_quarantined =
        |notes: &Vec<String>| notes.iter().any(|note| note.starts_with("quarantined"));
    wait_until("the note on the quarantine", read, is_quarantined).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_sends_malformed_messages_is_quarantined() -> TestResult {
    let mut cluster = Cluster::builder()
        .settings(&[("SCUTTLE_HTTP", "127.0.0.1:0")])
        .start()
        .await?;
    let http = cluster.controllers[0].http().await?;
    let mut good = cluster.start_agent("worker-a", &["decky-1"]).await?;
    let mut bad = cluster.start_agent("worker-b", &["decky-1"]).await?;
    let subject = AgentChannel::Progress.subject(&bad.host);
    let sender = Sender::start(&cluster.servers[0], Role::Agents, &subject)?;
    wait_for_quarantine(&cluster, &bad).await?;
    sender.stop()?;

    let metrics = http.scrape().await?;
    ensure!(metrics.value("scuttle_hosts_quarantined")? > 0.5);
    let log = cluster.controllers[0].process().log();
    let line = log.lines().find(|line| line.contains("host quarantined"));
    assert!(
        line.is_some_and(|line| line.contains(bad.host.as_str())),
        "{log}"
    );
    let audit = cluster.controllers[0].read_audit_log()?;
    let line = audit.iter().find(|line| line["action"] == "quarantine");
    assert_eq!(
        line.map(|line| &line["host_uuid"]),
        Some(&bad.host.to_string().into())
    );

    // Nothing from the quarantined host is read, and its record stays as it is.
    bad.publish(AgentChannel::Heartbeat, &serde_json::json!({}))
        .await?;
    assert!(!good.send_heartbeat().await?.stale);
    assert_eq!(notes(&cluster, &bad).await?.len(), 1);

    // An operator readmits the host.
    let request = serde_json::json!({ "host_uuid": bad.host, "reset_agent": true });
    let _: serde_json::Value = cluster
        .operator
        .request(subjects::HOSTS_UPDATE, &request)
        .await?;
    assert!(!bad.send_heartbeat().await?.stale);
    assert_eq!(notes(&cluster, &bad).await?, [] as [String; 0]);
    let audit = cluster.controllers[0].read_audit_log()?;
    assert!(audit.iter().any(|line| line["action"] == "readmit"));
    let subject = AgentChannel::Heartbeat.subject(&bad.host);
    let sender = Sender::start(&cluster.servers[0], Role::Agents, &subject)?;
    wait_for_quarantine(&cluster, &bad).await?;
    sender.stop()?;

    // A restarted controller reads the host again.
    cluster.crash_controller().await?;
    assert!(!bad.send_heartbeat().await?.stale);
    assert_eq!(notes(&cluster, &bad).await?, [] as [String; 0]);
    Ok(())
}
