//! All hostile payloads in `tests/corpus/`, sent repeatedly to every subject. Each request gets its
//! reply, other messages are counted, and neither the memory nor the log of a program grows with
//! the load.

use anyhow::Context;
use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::programs::process::Process;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, Cluster, Role, TestResult, corpus, wait_until};

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// The number of rounds after the first one. Each round sends the small payloads to every subject.
/// The controller receives about 20,000 messages in all rounds together.
const ROUNDS: usize = 25;

/// The total size in bytes of the large payloads that a program receives in the last rounds.
const LARGE_BYTES: usize = 768 << 20;

/// The maximum growth of a program's memory in KiB. It allows for the memory that the allocator
/// keeps for reuse. A program that kept a fifth of `LARGE_BYTES` would exceed it.
const MAX_GROWTH_KIB: usize = 128 * 1024;

/// The maximum length in bytes of a log line about a payload. `MAX_LOG_LENGTH` is the maximum for
/// the whole log.
const MAX_LINE_LENGTH: usize = 2000;
const MAX_LOG_LENGTH: usize = 64 * 1024;

fn check_log(process: &Process) {
    let log = process.log();
    assert!(log.len() < MAX_LOG_LENGTH, "{} bytes of log", log.len());
    for line in log.lines() {
        assert!(line.len() < MAX_LINE_LENGTH, "{line}");
    }
    assert!(!log.contains("panicked"), "{log}");
    let mut first: Vec<_> = log
        .lines()
        .filter(|line| line.contains("are only counted"))
        .filter_map(|line| line.split_once(" WARN ").map(|(_, rest)| rest))
        .collect();
    let lines = first.len();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), lines, "a line is repeated");
    assert!(lines > 0, "{log}");
}

/// Waits until a program uses less than `MAX_GROWTH_KIB` more memory than `before`, in KiB. Memory
/// that the program holds only for a moment does not count.
async fn wait_until_memory_is_released(process: &Process, before: usize) -> TestResult {
    let memory = async || process.resident_kib();
    let after = wait_until("the memory is released", memory, |after| {
        *after < before + MAX_GROWTH_KIB
    });
    println!("{before} KiB before, {} KiB after", after.await?);
    Ok(())
}

/// Publishes every payload to every subject, requests no replies, and waits until the server has
/// received all messages.
async fn publish(client: &Client, subjects: &[String], payloads: &[Bytes]) -> TestResult {
    for payload in payloads {
        for subject in subjects {
            let nats = client.nats();
            nats.publish(subject.clone(), payload.clone()).await?;
        }
    }
    client.nats().flush().await?;
    Ok(())
}

/// A client that sends requests and receives their replies.
struct Requester<'a> {
    client: &'a Client,
    inbox: String,
    replies: Subscriber,
}

impl<'a> Requester<'a> {
    async fn new(client: &'a Client) -> anyhow::Result<Self> {
        let inbox = client.nats().new_inbox();
        let replies = client.nats().subscribe(inbox.clone()).await?;
        Ok(Self {
            client,
            inbox,
            replies,
        })
    }

    /// Sends every payload to every subject, and waits until each request has a reply.
    async fn request_all(&mut self, subjects: &[String], payloads: &[Bytes]) -> TestResult {
        for payload in payloads {
            for subject in subjects {
                let (nats, payload) = (self.client.nats(), payload.clone());
                nats.publish_with_reply(subject.clone(), self.inbox.clone(), payload)
                    .await?;
            }
            for _ in subjects {
                with_timeout("a reply arrives", self.replies.next()).await?;
            }
        }
        Ok(())
    }
}

/// Returns in how many of the last rounds the large payloads must be sent, so that a program
/// receives at least `LARGE_BYTES` of them. Each of these rounds sends every payload to `subjects`
/// subjects.
fn large_rounds(payloads: &[Bytes], subjects: usize) -> usize {
    LARGE_BYTES.div_ceil(subjects * payloads.iter().map(Bytes::len).sum::<usize>())
}

fn to_bytes(payloads: Vec<(String, Vec<u8>)>) -> Vec<Bytes> {
    payloads
        .into_iter()
        .map(|(_, payload)| payload.into())
        .collect()
}

#[tokio::test]
async fn the_memory_and_log_of_the_controller_do_not_grow_with_hostile_payloads() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-x", &["decky-1"]).await?;
    let request_subjects = [
        subjects::TEARDOWN,
        subjects::OPERATIONS_CANCEL,
        subjects::HOSTS_ENROLL,
        subjects::HOSTS_UPDATE,
        subjects::HOSTS_DECOMMISSION,
        subjects::SHARDS_LIST,
        subjects::HOSTS_LIST,
        subjects::OPERATIONS_LIST,
        subjects::OPERATIONS_GET,
    ]
    .map(str::to_owned);
    // One round is within the rate limit of a host. Messages beyond the limit are dropped unread,
    // so each round uses another host.
    let mut hosts = vec![agent.host.clone()];
    for round in 1..=ROUNDS {
        hosts.push(cluster.enroll_host(&format!("worker-{round}")).await?);
    }
    let (operator, worker) = (&cluster.operator, agent.client());
    let mut operators = Requester::new(operator).await?;
    let mut workers = Requester::new(worker).await?;

    let (small, large) = (
        to_bytes(corpus::load_files(PACKAGE)),
        to_bytes(corpus::generate_large()),
    );
    let large_rounds = large_rounds(&large, request_subjects.len() + 3);
    let mut before = 0;
    for (round, host) in hosts.iter().enumerate() {
        let reported = [AgentChannel::Heartbeat, AgentChannel::Results].map(|c| c.subject(host));
        let progress = [AgentChannel::Progress.subject(host)];
        // The large payloads are sent before the first measurement, and repeatedly before the last
        // one.
        let large = if round == 0 || round + large_rounds > ROUNDS {
            &large[..]
        } else {
            &[]
        };
        for payloads in [&small[..], large] {
            operators.request_all(&request_subjects, payloads).await?;
            workers.request_all(&reported, payloads).await?;
            publish(worker, &progress, payloads).await?;
        }
        if round == 0 {
            before = cluster.controllers[0].process().resident_kib()?;
        }
    }
    cluster.operator.wait_until_ready().await?;
    wait_until_memory_is_released(cluster.controllers[0].process(), before).await?;
    check_log(cluster.controllers[0].process());
    assert_eq!(
        cluster.operator.shard_states(&agent.host).await?,
        "decky-1 running"
    );
    assert_eq!(cluster.operator.list_operations().await?, []);

    cluster.controllers[0].process().send_signal("TERM").await?;
    assert!(
        cluster.controllers[0]
            .process()
            .wait_for_exit()
            .await?
            .success()
    );
    let counted = cluster.controllers[0]
        .process()
        .wait_for_line("rejected or ignored")
        .await?;
    assert!(counted.contains("agent-progress: "), "{counted}");
    Ok(())
}

/// The payloads arrive on an agent's command subject and on the reply subjects of its reports.
#[tokio::test]
async fn the_memory_and_log_of_agents_do_not_grow_with_hostile_payloads() -> TestResult {
    let cluster = Cluster::start().await?;
    let arguments = "--hosts 3 --enroll --heartbeat-ms 500 --teardown-ms 0..1";
    let arguments: Vec<_> = arguments.split(' ').collect();
    let mut sim = cluster
        .start_simulator(&cluster.path("sim"), &arguments)
        .await?;
    let controller = Client::connect(&cluster.servers[0], Role::Controller).await?;
    let heartbeats = AgentChannel::Heartbeat.wildcard_subject();
    let mut heartbeats = controller.nats().subscribe(heartbeats).await?;
    let heartbeat = with_timeout("a heartbeat", heartbeats.next()).await?;
    let heartbeat = heartbeat.context("the connection is closed")?;
    let host = AgentChannel::Heartbeat.parse_host(&heartbeat.subject);
    let host = host.context("a host")?;
    let commands = AgentChannel::Commands.subject(&host);
    let reply = heartbeat.reply.context("no process id")?.to_string();
    let nonsense = reply.replace("h-", "x-");
    let subjects = [commands, reply, nonsense];

    let (small, large) = (
        to_bytes(corpus::load_files(PACKAGE)),
        to_bytes(corpus::generate_large()),
    );
    let large_rounds = large_rounds(&large, subjects.len());
    let mut before = 0;
    for round in 0..=3 * ROUNDS {
        let large = if round == 0 || round + large_rounds > 3 * ROUNDS {
            &large[..]
        } else {
            &[]
        };
        publish(&controller, &subjects, &small).await?;
        publish(&controller, &subjects, large).await?;
        if !large.is_empty() {
            // This operation ends after all earlier messages have been read.
            let accepted = cluster.operator.tear_down(&host, None).await?;
            let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
            assert_eq!(ended.state, OperationState::Succeeded);
        }
        if round == 0 {
            before = sim.process().resident_kib()?;
        }
    }
    // The agents still run: the controller receives heartbeats from all of them.
    let online = |hosts: &std::collections::BTreeMap<_, scuttle_schemas::hosts::HostRecord>| {
        let status = |host: &scuttle_schemas::hosts::HostRecord| {
            host.status == scuttle_schemas::hosts::HostStatus::Online
        };
        hosts.len() == 3 && hosts.values().all(status)
    };
    wait_until("all are online", || cluster.operator.list_hosts(), online).await?;
    wait_until_memory_is_released(sim.process(), before).await?;
    check_log(sim.process());
    Ok(())
}
