//! The whole corpus, again and again, on every subject: each request gets its answer, what has none is counted,
//! and neither the memory of a program nor its log grows with what is thrown at it.

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

/// How often the small payloads go to every subject: some 20,000 messages to the controller.
const ROUNDS: usize = 25;

/// How much of large payloads is thrown at a program in the last rounds, in bytes.
const LARGE: usize = 768 << 20;

/// By how much its memory may have grown when it has looked at all of that, in KiB: what its allocator keeps for later. Had
/// it kept a fifth of what was thrown at it, it were more.
const GROWTH: usize = 128 * 1024;

/// The longest line that a program may log about a payload, and all that it may log, in bytes.
const LINE: usize = 2000;
const LOG: usize = 64 * 1024;

fn check_log(process: &Process) {
    let log = process.log();
    assert!(log.len() < LOG, "{} bytes of log", log.len());
    for line in log.lines() {
        assert!(line.len() < LINE, "{line}");
    }
    assert!(!log.contains("panicked"), "{log}");
    let mut first: Vec<_> = log
        .lines()
        .filter(|line| line.contains("further ones are only counted"))
        .filter_map(|line| line.split_once(" WARN ").map(|(_, rest)| rest))
        .collect();
    let lines = first.len();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), lines, "a line twice");
    assert!(lines > 0, "{log}");
}

/// Returns when a program's memory has not grown: what waits in it at a moment is no measure.
async fn given_back(process: &Process, before: usize) -> TestResult {
    let memory = async || process.resident_kib();
    let after = wait_until("the memory is given back", memory, |after| {
        *after < before + GROWTH
    });
    println!("{before} KiB before, {} KiB after", after.await?);
    Ok(())
}

/// Throws payloads at subjects on which nobody answers, and returns when the server has them.
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

/// Somebody who asks, and hears the answers.
struct Asker<'a> {
    client: &'a Client,
    inbox: String,
    answers: Subscriber,
}

impl<'a> Asker<'a> {
    async fn new(client: &'a Client) -> anyhow::Result<Self> {
        let inbox = client.nats().new_inbox();
        let answers = client.nats().subscribe(inbox.clone()).await?;
        Ok(Self {
            client,
            inbox,
            answers,
        })
    }

    /// Throws payloads at request subjects, and returns when each has been answered.
    async fn ask(&mut self, subjects: &[String], payloads: &[Bytes]) -> TestResult {
        for payload in payloads {
            for subject in subjects {
                let (nats, payload) = (self.client.nats(), payload.clone());
                nats.publish_with_reply(subject.clone(), self.inbox.clone(), payload)
                    .await?;
            }
            for _ in subjects {
                with_timeout("an answer", self.answers.next()).await?;
            }
        }
        Ok(())
    }
}

/// In how many of the last rounds the large payloads go to so many subjects, too.
fn large_rounds(payloads: &[Bytes], subjects: usize) -> usize {
    LARGE.div_ceil(subjects * payloads.iter().map(Bytes::len).sum::<usize>())
}

fn bytes(payloads: Vec<(String, Vec<u8>)>) -> Vec<Bytes> {
    payloads
        .into_iter()
        .map(|(_, payload)| payload.into())
        .collect()
}

/// The controller, on all its subjects.
#[tokio::test]
async fn a_flood_leaves_nothing_in_the_controller() -> TestResult {
    let mut cluster = Cluster::start().await?;
    let agent = cluster.start_agent("worker-x", &["decky-1"]).await?;
    let asked = [
        subjects::TEARDOWN,
        subjects::OPERATIONS_CANCEL,
        subjects::HOSTS_ENROLL,
        subjects::HOSTS_DECOMMISSION,
        subjects::SHARDS_LIST,
        subjects::HOSTS_LIST,
        subjects::OPERATIONS_LIST,
        subjects::OPERATIONS_GET,
    ]
    .map(str::to_owned);
    // A round is within the share of one host, and of what is more than that nobody hears: so each has a host of its own.
    let mut hosts = vec![agent.host.clone()];
    for round in 1..=ROUNDS {
        hosts.push(cluster.enroll_host(&format!("worker-{round}")).await?);
    }
    let (operator, worker) = (&cluster.operator, agent.client());
    let mut operators = Asker::new(operator).await?;
    let mut workers = Asker::new(worker).await?;

    let (small, large) = (
        bytes(corpus::load_files(PACKAGE)),
        bytes(corpus::generate_large()),
    );
    let large_rounds = large_rounds(&large, asked.len() + 3);
    let mut before = 0;
    for (round, host) in hosts.iter().enumerate() {
        let reported = [AgentChannel::Heartbeat, AgentChannel::Results].map(|c| c.subject(host));
        let progress = [AgentChannel::Progress.subject(host)];
        // The large ones before the first measurement, and again and again before the last.
        let large = if round == 0 || round + large_rounds > ROUNDS {
            &large[..]
        } else {
            &[]
        };
        for payloads in [&small[..], large] {
            operators.ask(&asked, payloads).await?;
            workers.ask(&reported, payloads).await?;
            publish(worker, &progress, payloads).await?;
        }
        if round == 0 {
            before = cluster.controllers[0].process().resident_kib()?;
        }
    }
    cluster.operator.wait_until_ready().await?;
    given_back(cluster.controllers[0].process(), before).await?;
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

/// The simulator's agents, on their command subjects and on the subjects of their answers.
#[tokio::test]
async fn a_flood_leaves_nothing_in_the_agents() -> TestResult {
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
    let reply = heartbeat
        .reply
        .context("it waits for an answer")?
        .to_string();
    let nonsense = reply.replace("h-", "x-");
    let subjects = [commands, reply, nonsense];

    let (small, large) = (
        bytes(corpus::load_files(PACKAGE)),
        bytes(corpus::generate_large()),
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
            // Behind all that: when it has been done, that has been read.
            let accepted = cluster.operator.tear_down(&host, None).await?;
            let ended = cluster.operator.wait_for_end(accepted.operation_id).await?;
            assert_eq!(ended.state, OperationState::Succeeded);
        }
        if round == 0 {
            before = sim.process().resident_kib()?;
        }
    }
    // They go on: the controller still hears from all.
    let online = |hosts: &std::collections::BTreeMap<_, scuttle_schemas::hosts::HostRecord>| {
        let status = |host: &scuttle_schemas::hosts::HostRecord| {
            host.status == scuttle_schemas::hosts::HostStatus::Online
        };
        hosts.len() == 3 && hosts.values().all(status)
    };
    wait_until("all are online", || cluster.operator.list_hosts(), online).await?;
    given_back(sim.process(), before).await?;
    check_log(sim.process());
    Ok(())
}
