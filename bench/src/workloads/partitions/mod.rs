//! `partitions`: the effect of dividing the hosts among 1, 2 and 4 journals. The journals are on
//! three servers, and two controllers share the partitions evenly.
//!
//! All processes share two cores, so more leaders cannot do more work than one. The CPU time of the
//! leaders' threads shows how the system scales. Each partition has one thread, which reads and
//! writes all messages of its leader. This thread is the first to be fully used. The measurement
//! finds this thread by sending messages only for the hosts of one partition: the leaders of the
//! other partitions receive these messages and drop them. The CPU time that a thread uses when idle
//! is subtracted.

mod figures;
mod scaling_table;
mod thread_usage;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use scuttle_schemas::{Partition, PartitionCount, subjects};
use scuttle_tests::Role;

use crate::environment::controllers::{Controllers, Servers};
use crate::environment::shared::Environment;
use crate::environment::swarm::SwarmData;
use crate::load::outcome::LoadOutcome;
use crate::load::spec::{LoadSpec, Pace, RequestKind, Targets, host_id};
use crate::report::samples::rotate;
use crate::report::summary::Report;
use crate::workloads::partitions::figures::{
    AcceptFigures, CpuPerMessage, IN_FLIGHT, PARTITION_COUNTS, Run, mean, micros_per_message,
};
use crate::workloads::partitions::thread_usage::{CpuSnapshot, CpuUsage, ThreadId};

const CONTROLLERS: usize = 2;
/// The number of heartbeats in flight. It is lower than the number of hosts in a partition, so that
/// no heartbeat overtakes the host's previous heartbeat.
const HEARTBEATS_IN_FLIGHT: u16 = 256;

/// The number of hosts per partition if there are four partitions. With two partitions, each has
/// twice this number.
const HOSTS_PER_PARTITION: usize = 300;
/// The number of deckies of each host. All hosts together have more deckies than the number of
/// teardowns that the controllers accept in two seconds on two cores.
const DECKIES: u32 = 34;
/// The duration of the measurement of idle controllers.
const IDLE_DURATION: Duration = Duration::from_millis(1_500);
/// The number of shards on a page.
const PAGE_SIZE: u16 = 100;

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    let mut servers = Servers::start(&environment.dir().join("partitions")).await?;
    let mut runs = Vec::new();
    for round in 0..environment.options.rounds {
        for in_flight in IN_FLIGHT {
            for count in rotate(&PARTITION_COUNTS, round) {
                let partitions = PartitionCount::new(count).context("a number of partitions")?;
                let run = async {
                    let mut controllers =
                        PartitionedControllers::start(environment, &mut servers, partitions)
                            .await?;
                    let run = controllers.measure(in_flight, round).await?;
                    controllers.remove().await?;
                    anyhow::Ok(run)
                };
                let run = Box::pin(run).await;
                runs.push(run.with_context(|| format!("{count} partitions, round {round}"))?);
            }
        }
    }
    scaling_table::print(report, &runs)?;
    report.record("partitions", &runs)
}

/// New controllers that share the partitions evenly, and the state of their measurement.
struct PartitionedControllers<'a> {
    environment: &'a mut Environment,
    servers: &'a mut Servers,
    controllers: Controllers,
    partitions: PartitionCount,
    data: SwarmData,
    /// The numbers of the hosts for which messages are sent.
    hosts: Vec<u32>,
    /// The sequence number of each host's next heartbeat.
    sequence: u64,
    idle: CpuUsage,
}

/// Selects hosts that are spread evenly over the partitions for every partition count. Returns the
/// numbers of the hosts.
fn select_hosts() -> Vec<u32> {
    let max_count = PARTITION_COUNTS.into_iter().max();
    let partitions = max_count
        .and_then(PartitionCount::new)
        .unwrap_or(PartitionCount::ONE);
    let mut selected = vec![0; partitions.count()];
    let total = HOSTS_PER_PARTITION * partitions.count();
    let is_selected = |host: &u32| {
        let selected = &mut selected[partitions.partition_of_host(&host_id(*host)).index()];
        *selected += 1;
        *selected <= HOSTS_PER_PARTITION
    };
    (0..).filter(is_selected).take(total).collect()
}

impl<'a> PartitionedControllers<'a> {
    async fn start(
        environment: &'a mut Environment,
        servers: &'a mut Servers,
        partitions: PartitionCount,
    ) -> Result<Self> {
        let client = servers.client().await?;
        let mut controllers =
            Controllers::start(environment, servers, CONTROLLERS, partitions).await?;
        controllers.wait_until_balanced(&client).await?;
        let hosts = select_hosts();
        let host_count = hosts.last().context("there are no hosts")? + 1;
        let mut data = SwarmData::empty(environment)?;
        let registered = data.register(&client, host_count, DECKIES).await;
        registered.context("register")?;
        controllers.wait_until_journals_are_short().await?;
        let processes = controllers.ids()?;
        let before = CpuSnapshot::take(&processes)?;
        tokio::time::sleep(IDLE_DURATION).await;
        let idle = CpuSnapshot::take(&processes)?.since(&before);
        Ok(Self {
            environment,
            servers,
            controllers,
            partitions,
            data,
            hosts,
            sequence: 2,
            idle,
        })
    }

    async fn remove(mut self) -> Result<()> {
        let client = self.servers.client().await?;
        // If a partition has moved, the figures are not those of its leader.
        self.controllers.wait_until_balanced(&client).await?;
        let context = jetstream::new(client.nats().clone());
        self.controllers.remove(&context).await
    }

    async fn measure(&mut self, in_flight: u16, round: u32) -> Result<Run> {
        // Send the heartbeats of each partition's hosts, and find the thread that is busiest with
        // them.
        let (mut threads, mut measured) = (Vec::new(), Vec::new());
        for partition in self.partitions.iter() {
            let (load, used) = self.send_heartbeats(Some(partition)).await?;
            let (thread, _) = used.busiest().context("there are no threads")?;
            ensure!(
                !threads.contains(&thread),
                "two partitions have the same thread"
            );
            threads.push(thread);
            measured.push((partition, load, used));
        }
        let (mut own, mut dropped) = (Vec::new(), Vec::new());
        for (partition, load, used) in &measured {
            for (number, thread) in threads.iter().enumerate() {
                let micros = micros_per_message(load, used.of_thread(*thread));
                if number == partition.index() {
                    own.push(micros);
                } else {
                    dropped.push(micros);
                }
            }
        }
        let (load, used) = self.send_heartbeats(None).await?;
        let heartbeats_per_second = load.per_second();
        let heartbeat = CpuPerMessage::new(&load, &used, &threads)?;
        let request_dropped_us = self.measure_dropped_requests(&threads).await?;

        let kind = RequestKind::ListPage(PAGE_SIZE);
        let load = self.load(kind, subjects::SHARDS_LIST, 1)?;
        let (load, used) = self.send(load).await?;
        let list_p50_us = load.latency_us(0.5);
        let listing = CpuPerMessage::new(&load, &used, &threads)?;

        let (accept, used_deckies) = self.measure_accepts(1, 0, &threads).await?;
        let (accepts, _) = self
            .measure_accepts(in_flight, used_deckies, &threads)
            .await?;
        Ok(Run {
            partitions: u8::try_from(self.partitions.count())?,
            in_flight,
            round,
            heartbeats_per_second,
            heartbeat,
            heartbeat_own_us: mean(own.into_iter()).context("there is no leader")?,
            heartbeat_dropped_us: mean(dropped.into_iter()),
            request_dropped_us,
            list_p50_us,
            listing,
            accept,
            accepts,
        })
    }

    /// Measures the CPU time in microseconds that a leader spends on a request for another
    /// partition, which the leader drops. Returns `None` if there is only one partition.
    async fn measure_dropped_requests(&mut self, threads: &[ThreadId]) -> Result<Option<f64>> {
        if self.partitions == PartitionCount::ONE {
            return Ok(None);
        }
        let last = self.partitions.iter().last();
        let last = last.context("there is no partition")?;
        let mut load = self.load(RequestKind::UnknownDecky, subjects::TEARDOWN, 256)?;
        load.only = self.hosts_of(Some(last));
        let (load, used) = self.send(load).await?;
        let others = threads[..last.index()].iter();
        let micros = others.map(|thread| micros_per_message(&load, used.of_thread(*thread)));
        Ok(mean(micros))
    }

    /// Measures accepted teardowns. Skips the first `skip` deckies, which earlier requests have
    /// used. Returns the figures, and the number of deckies that this measurement has used.
    async fn measure_accepts(
        &mut self,
        in_flight: u16,
        skip: usize,
        threads: &[ThreadId],
    ) -> Result<(AcceptFigures, usize)> {
        let mut load = self.load(RequestKind::Accept, subjects::TEARDOWN, in_flight)?;
        load.targets.skip = skip;
        let (load, used) = self.send(load).await?;
        let figures = AcceptFigures {
            per_second: load.per_second(),
            p50_us: load.latency_us(0.5),
            spent: CpuPerMessage::new(&load, &used, threads)?,
        };
        Ok((figures, load.requests))
    }

    /// Sends heartbeats in a closed loop, for the hosts of `partition`, or for all hosts if
    /// `partition` is `None`.
    async fn send_heartbeats(
        &mut self,
        partition: Option<Partition>,
    ) -> Result<(LoadOutcome, CpuUsage)> {
        let kind = self.data.heartbeats(self.sequence);
        let pace = Pace::InFlight(HEARTBEATS_IN_FLIGHT);
        let load = self.environment.load(kind, "", self.data.targets(), pace)?;
        let mut load = self.servers.redirect(load, None)?;
        load.only = self.hosts_of(partition);
        let (load, used) = self.send(load).await?;
        // An upper bound: one host cannot have sent more heartbeats than all hosts together.
        self.sequence += u64::try_from(load.requests)?;
        Ok((load, used))
    }

    /// Returns a load of an operator's requests for all hosts.
    fn load(&mut self, kind: RequestKind, subject: &str, in_flight: u16) -> Result<LoadSpec> {
        let targets: Targets = self.data.targets();
        let pace = Pace::InFlight(in_flight);
        let load = self.environment.load(kind, subject, targets, pace)?;
        let mut load = self.servers.redirect(load, Some(Role::Operator))?;
        load.only = self.hosts_of(None);
        Ok(load)
    }

    fn hosts_of(&self, partition: Option<Partition>) -> Vec<u32> {
        let hosts = self.hosts.iter().copied();
        let is_in_partition = |host: &u32| {
            partition.is_none_or(|partition| {
                self.partitions.partition_of_host(&host_id(*host)) == partition
            })
        };
        hosts.filter(is_in_partition).collect()
    }

    async fn send(&mut self, load: LoadSpec) -> Result<(LoadOutcome, CpuUsage)> {
        let processes = self.controllers.ids()?;
        let before = CpuSnapshot::take(&processes)?;
        let outcome = self.environment.generator.run(&load).await?;
        let used = CpuSnapshot::take(&processes)?.since(&before);
        Ok((outcome, used.minus_idle(&self.idle)))
    }
}
