//! An agent that restarts all the time. Each new boot needs the commands of all open operations
//! again, and the controller must neither send nor announce them for every boot.

use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use futures_util::stream;
use scuttle_schemas::HostId;
use scuttle_schemas::agents::ProgressStep;
use scuttle_schemas::operations::{OperationsList, OperationsUpdated};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::teardown_load::LoadResult;
use scuttle_tests::{Cluster, Nats, Role, TestResult};
use serde_json::json;
use uuid::Uuid;

/// The number of open operations on the host of the agent that restarts.
const OPEN: usize = 4_000;
/// The number of teardowns in each measurement of another host.
const MEASURED: usize = 100;
/// The number of heartbeats every 10 ms: 1,500 per second.
const HEARTBEATS_PER_TICK: usize = 15;
/// The maximum ratio of the 99th percentiles with the flood of new boots and without it: on an idle
/// controller, or during as many heartbeats of one boot if that is slower. It must hold in one of
/// [`MAX_ROUNDS`] rounds, because the tests share the machine with other work.
const MAX_SLOWDOWN: f64 = 2.0;
const MAX_ROUNDS: usize = 5;
/// The number of times that the command of one operation may be sent within 5 s: a full resend, and
/// the retries until the agent acknowledges the command.
const MAX_SENT_IN_FIVE_SECONDS: usize = 4;

#[tokio::test]
async fn an_agent_with_ever_new_boots_does_not_delay_another_host() -> TestResult {
    let cluster = Cluster::start().await?;
    let names: Vec<String> = (0..OPEN).map(|number| format!("decky-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let other = cluster.start_agent("other", &names).await?;
    let agent = cluster.start_agent("restarting", &names).await?;
    let tear_down = async |name: &&str| {
        let accepted = cluster.operator.tear_down(&agent.host, *name).await?;
        let id = accepted.operation_id;
        agent.publish_progress(id, ProgressStep::Received).await
    };
    let accepted: Vec<Result<()>> = stream::iter(&names)
        .map(tear_down)
        .buffer_unordered(256)
        .collect()
        .await;
    accepted.into_iter().collect::<Result<()>>()?;

    let nats = cluster.operator.nats();
    let mut announced = nats.subscribe(subjects::OPERATIONS_UPDATED).await?;
    let commands = AgentChannel::Commands.subject(&agent.host);
    let mut commands = agent.client().nats().subscribe(commands).await?;
    // The broadcasts of the last teardowns may still arrive.
    let page: OperationsList = cluster
        .operator
        .request(subjects::OPERATIONS_LIST, &json!({ "limit": 1 }))
        .await?;
    loop {
        let message = announced.next().await.context("the connection is closed")?;
        let message: OperationsUpdated = serde_json::from_slice(&message.payload)?;
        if message.revision >= page.revision {
            break;
        }
    }
    let mut targets = names.chunks(MEASURED);
    let mut rounds = Vec::new();
    for _ in 0..MAX_ROUNDS {
        let idle = measure(&cluster, &other.host, targets.next().unwrap_or_default()).await?;
        let flood = Flood::start(&cluster.servers[0], &agent.host, Boots::One);
        let one_boot = measure(&cluster, &other.host, targets.next().unwrap_or_default()).await?;
        flood.stop()?;
        count_pending(&mut commands, |_| 1).await;
        let flood = Flood::start(&cluster.servers[0], &agent.host, Boots::EverNew);
        let started = Instant::now();
        let new_boots = measure(&cluster, &other.host, targets.next().unwrap_or_default()).await?;
        flood.stop()?;
        let five_seconds = 1 + (started.elapsed().as_secs() / 5) as usize;
        let sent = count_pending(&mut commands, |_| 1).await;
        assert!(
            sent <= OPEN * MAX_SENT_IN_FIVE_SECONDS * (five_seconds + 1),
            "{sent} commands in {:?}",
            started.elapsed()
        );
        let announced = count_pending(&mut announced, |payload| {
            let message: OperationsUpdated = serde_json::from_slice(payload).expect("a broadcast");
            let updated = message.updated.iter();
            updated.filter(|row| row.host_uuid == agent.host).count()
        });
        assert_eq!(announced.await, 0, "retries are not announced");
        if new_boots.as_secs_f64() <= idle.max(one_boot).as_secs_f64() * MAX_SLOWDOWN {
            return Ok(());
        }
        rounds.push(format!(
            "{idle:?} idle, {one_boot:?} with one boot, {new_boots:?} with new boots"
        ));
    }
    panic!("99th percentiles: {}", rounds.join("; "))
}

/// Requests teardowns of these deckies one after another, and returns the 99th percentile of the
/// times until they are accepted.
async fn measure(cluster: &Cluster, host: &HostId, deckies: &[&str]) -> Result<Duration> {
    let mut times = Vec::new();
    for decky in deckies {
        let start = Instant::now();
        cluster.operator.tear_down(host, *decky).await?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(LoadResult::percentile(&times, 99).unwrap_or_default())
}

/// The boots of the heartbeats in a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Boots {
    One,
    EverNew,
}

/// An agent that sends heartbeats on a separate thread until it is stopped, so that it does not
/// delay the requests that are measured.
struct Flood {
    stop: SyncSender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Flood {
    fn start(nats: &Nats, host: &HostId, boots: Boots) -> Self {
        let options = nats.connect_options(Role::Agents);
        let (url, host) = (nats.url(), host.clone());
        let (stop, stopped) = sync_channel(0);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let nats = options.connect(url).await?;
                let mut boot = Uuid::now_v7();
                let mut sequence = 0;
                let mut ticks = tokio::time::interval(Duration::from_millis(10));
                while stopped.try_recv() == Err(TryRecvError::Empty) {
                    ticks.tick().await;
                    for _ in 0..HEARTBEATS_PER_TICK {
                        sequence += 1;
                        if boots == Boots::EverNew {
                            boot = Uuid::now_v7();
                        }
                        send_heartbeat(&nats, &host, boot, sequence).await?;
                    }
                    nats.flush().await?;
                }
                Ok(())
            })
        });
        Self { stop, thread }
    }

    fn stop(self) -> Result<()> {
        drop(self.stop);
        self.thread.join().expect("the thread does not panic")
    }
}

async fn send_heartbeat(
    nats: &async_nats::Client,
    host: &HostId,
    boot: Uuid,
    sequence: u64,
) -> Result<()> {
    let heartbeat = json!({ "type": "scuttle.v1.heartbeat", "host_uuid": host,
        "agent_version": "restarting", "boot_id": boot, "sequence": sequence,
        "interval_ms": 10_000, "page": 1, "pages": 1 });
    let subject = AgentChannel::Heartbeat.subject(host);
    let payload = heartbeat.to_string().into();
    nats.publish_with_reply(subject, "_INBOX.flood", payload)
        .await?;
    Ok(())
}

/// Adds up a count of every message that has arrived.
async fn count_pending(
    messages: &mut async_nats::Subscriber,
    count: impl Fn(&[u8]) -> usize,
) -> usize {
    let mut sum = 0;
    while let Ok(Some(message)) =
        tokio::time::timeout(Duration::from_millis(100), messages.next()).await
    {
        sum += count(&message.payload);
    }
    sum
}
