//! `partitions`: what dividing the hosts over 1, 2 and 4 journals gives. Three servers keep the journals, two controllers lead as many of
//! them each.
//!
//! All of it shares two processors, so more leaders cannot do more here than one. What shows how it grows is what each leader's
//! thread spends: each partition has one that reads and writes all that its leader hears and says (controller/src/main.rs), and that one
//! is full first. It is found by asking for one partition's hosts alone; the others' leaders only hear then, and drop. Time is taken
//! thread by thread, and what a thread spends when nothing is asked is taken off. `threads` does that, `growth` makes of it what is printed.

mod growth;
mod threads;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream;
use scuttle_schemas::{Partition, PartitionCount, subjects};
use scuttle_tests::Role;
use serde::Serialize;

use self::threads::{Moment, Thread, Used};
use crate::controllers::{Controllers, Servers};
use crate::load::{Load, Order, Pace, Targets, What, host_id};
use crate::report::Report;
use crate::samples::turned;
use crate::stage::Stage;
use crate::swarm::Stored;

/// How many partitions.
const COUNTS: [u8; 3] = [1, 2, 4];
/// Over how many controllers they are spread.
const CONTROLLERS: usize = 2;
/// Requests in flight: as `cluster` has it, and as many for each of four partitions.
const IN_FLIGHT: [u16; 2] = [256, 1_024];
/// Of what changes nothing: fewer than one partition has hosts, so that no host's next heartbeat overtakes the one before.
const HEARTBEATS_IN_FLIGHT: u16 = 256;

/// Of each of four partitions, and so as many of each of two.
const HOSTS_OF_EACH: usize = 300;
/// So that all hosts' are more than two cores accept in two seconds with all these processes.
const DECKIES: u32 = 34;
/// How long it is looked what is spent when nothing is asked.
const IDLE: Duration = Duration::from_millis(1_500);
/// Shards on a page.
const PAGE: u16 = 100;

/// One number of partitions, and of requests in flight, in one round. All but rates and latencies are microseconds on a processor, for each message that the whole
/// swarm says.
#[derive(Debug, Serialize)]
struct Run {
    partitions: u8,
    in_flight: u16,
    round: u32,
    heartbeats_per_second: f64,
    heartbeat: Spent,
    /// For one of its own hosts.
    heartbeat_own_us: f64,
    /// For one of another partition's; none if there is no other.
    heartbeat_dropped_us: Option<f64>,
    request_dropped_us: Option<f64>,
    /// Until a page of all shards is answered, one after another.
    list_p50_us: f64,
    listing: Spent,
    /// With one in flight.
    accept: Accepts,
    /// With as many as there were.
    accepts: Accepts,
}

#[derive(Debug, Serialize)]
struct Accepts {
    per_second: f64,
    p50_us: f64,
    spent: Spent,
}

/// Who spent how many microseconds on each, when hosts of all partitions were asked for alike.
#[derive(Debug, Serialize)]
struct Spent {
    /// The thread that spent most.
    busiest: f64,
    /// The thread of the first partition's leader.
    first: f64,
    /// Those of the others', in the mean.
    others: Option<f64>,
    /// All threads of all controllers, and all servers.
    controllers: f64,
    servers: f64,
}

/// Measures and reports.
pub(crate) async fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let mut servers = Servers::start(&stage.dir().join("partitions")).await?;
    let mut runs = Vec::new();
    for round in 0..stage.how.rounds {
        for in_flight in IN_FLIGHT {
            for count in turned(&COUNTS, round) {
                let how = (count, in_flight, round);
                let measured = Box::pin(measure(stage, &mut servers, how)).await;
                runs.push(measured.with_context(|| format!("{count} partitions, round {round}"))?);
            }
        }
    }
    growth::show(report, &runs)?;
    report.keep("partitions", &runs)
}

/// New controllers, and what is asked of them.
struct Divided<'a> {
    stage: &'a mut Stage,
    servers: &'a mut Servers,
    controllers: Controllers,
    of: PartitionCount,
    stored: Stored,
    /// The hosts that are asked for.
    hosts: Vec<u32>,
    /// The number of each host's next heartbeat.
    sequence: u64,
    /// When nothing is asked.
    idle: Used,
}

async fn measure(
    stage: &mut Stage,
    servers: &mut Servers,
    (count, in_flight, round): (u8, u16, u32),
) -> Result<Run> {
    let of = PartitionCount::new(count).context("a number of partitions")?;
    let client = servers.client().await?;
    let mut controllers = Controllers::start(stage, servers, CONTROLLERS, of).await?;
    controllers.balanced(&client).await?;
    let hosts = hosts();
    let all = hosts.last().context("some hosts")? + 1;
    let mut stored = Stored::nothing(stage)?;
    let registered = stored.register(&client, all, DECKIES).await;
    registered.context("register")?;
    controllers.at_rest().await?;
    let processes = controllers.ids()?;
    let before = Moment::now(&processes)?;
    tokio::time::sleep(IDLE).await;
    let idle = Moment::now(&processes)?.since(&before);
    let mut divided = Divided {
        stage,
        servers,
        controllers,
        of,
        stored,
        hosts,
        sequence: 2,
        idle,
    };
    let run = divided.run(in_flight, round).await?;
    // Else it was not what it was taken for.
    divided.controllers.balanced(&client).await?;
    let context = jetstream::new(client.nats().clone());
    divided.controllers.end(&context).await?;
    Ok(run)
}

/// As many of each partition, whichever number of them there is.
fn hosts() -> Vec<u32> {
    let most = COUNTS.into_iter().max().and_then(PartitionCount::new);
    let of = most.unwrap_or(PartitionCount::ONE);
    let mut taken = vec![0; of.count()];
    let wanted = HOSTS_OF_EACH * of.count();
    let even = |host: &u32| {
        let taken = &mut taken[of.partition_of_host(&host_id(*host)).index()];
        *taken += 1;
        *taken <= HOSTS_OF_EACH
    };
    (0..).filter(even).take(wanted).collect()
}

impl Divided<'_> {
    async fn run(&mut self, in_flight: u16, round: u32) -> Result<Run> {
        // What each partition's hosts say, and who spends most on it.
        let (mut threads, mut said) = (Vec::new(), Vec::new());
        for partition in self.of.iter() {
            let (load, used) = self.heartbeats(Some(partition)).await?;
            let (thread, _) = used.busiest().context("threads")?;
            ensure!(!threads.contains(&thread), "two partitions have one thread");
            threads.push(thread);
            said.push((partition, load, used));
        }
        let (mut own, mut dropped) = (Vec::new(), Vec::new());
        for (partition, load, used) in &said {
            for (number, thread) in threads.iter().enumerate() {
                let spent = each(load, used.by(*thread));
                let which = if number == partition.index() {
                    &mut own
                } else {
                    &mut dropped
                };
                which.push(spent);
            }
        }
        let (load, used) = self.heartbeats(None).await?;
        let heartbeats_per_second = load.per_second();
        let heartbeat = Spent::of(&load, &used, &threads)?;

        let last = self.of.iter().last().context("a partition")?;
        let request_dropped_us = if self.of == PartitionCount::ONE {
            None
        } else {
            let order = self.order(What::Unknown, subjects::TEARDOWN, 256, Some(last), 0)?;
            let (load, used) = self.carry_out(order).await?;
            let others = &threads[..last.index()];
            mean(others.iter().map(|thread| each(&load, used.by(*thread))))
        };

        let order = self.order(What::Listed(PAGE), subjects::SHARDS_LIST, 1, None, 0)?;
        let (load, used) = self.carry_out(order).await?;
        let (list_p50_us, listing) = (load.micros(0.5), Spent::of(&load, &used, &threads)?);

        let (accept, made) = self.accepts(1, 0, &threads).await?;
        let (accepts, _) = self.accepts(in_flight, made, &threads).await?;
        Ok(Run {
            partitions: u8::try_from(self.of.count())?,
            in_flight,
            round,
            heartbeats_per_second,
            heartbeat,
            heartbeat_own_us: mean(own.into_iter()).context("a leader")?,
            heartbeat_dropped_us: mean(dropped.into_iter()),
            request_dropped_us,
            list_p50_us,
            listing,
            accept,
            accepts,
        })
    }

    /// So many accepts at any time, and how many were made.
    async fn accepts(
        &mut self,
        in_flight: u16,
        skip: usize,
        threads: &[Thread],
    ) -> Result<(Accepts, usize)> {
        let order = self.order(What::Accepted, subjects::TEARDOWN, in_flight, None, skip)?;
        let (load, used) = self.carry_out(order).await?;
        let accepts = Accepts {
            per_second: load.per_second(),
            p50_us: load.micros(0.5),
            spent: Spent::of(&load, &used, threads)?,
        };
        Ok((accepts, load.made))
    }

    /// Of one partition's hosts, or of all, as many as are answered.
    async fn heartbeats(&mut self, of: Option<Partition>) -> Result<(Load, Used)> {
        let what = self.stored.heartbeats(self.sequence);
        let pace = Pace::InFlight(HEARTBEATS_IN_FLIGHT);
        let order = self.stage.order(what, "", self.stored.targets(), pace)?;
        let mut order = self.servers.order(order, None)?;
        order.only = self.hosts_of(of);
        let (load, used) = self.carry_out(order).await?;
        // No host says more than all say together.
        self.sequence += u64::try_from(load.made)?;
        Ok((load, used))
    }

    fn order(
        &mut self,
        what: What,
        subject: &str,
        in_flight: u16,
        of: Option<Partition>,
        skip: usize,
    ) -> Result<Order> {
        let targets = Targets {
            skip,
            ..self.stored.targets()
        };
        let pace = Pace::InFlight(in_flight);
        let order = self.stage.order(what, subject, targets, pace)?;
        let mut order = self.servers.order(order, Some(Role::Operator))?;
        order.only = self.hosts_of(of);
        Ok(order)
    }

    fn hosts_of(&self, partition: Option<Partition>) -> Vec<u32> {
        let hosts = self.hosts.iter().copied();
        let is_of = |host: &u32| {
            partition.is_none_or(|one| self.of.partition_of_host(&host_id(*host)) == one)
        };
        hosts.filter(is_of).collect()
    }

    async fn carry_out(&mut self, order: Order) -> Result<(Load, Used)> {
        let processes = self.controllers.ids()?;
        let before = Moment::now(&processes)?;
        let load = self.stage.generator.carry_out(&order).await?;
        let used = Moment::now(&processes)?.since(&before);
        Ok((load, used.beyond(&self.idle)))
    }
}

impl Spent {
    /// `threads` are the leaders', the first partition's first; the servers alone were watched.
    fn of(load: &Load, used: &Used, threads: &[Thread]) -> Result<Self> {
        let (_, busiest) = used.busiest().context("threads")?;
        let (first, others) = threads.split_first().context("a leader")?;
        Ok(Self {
            busiest: each(load, busiest),
            first: each(load, used.by(*first)),
            others: mean(others.iter().map(|thread| each(load, used.by(*thread)))),
            controllers: each(load, used.by_all()),
            servers: each(load, load.cpu[1..].iter().sum()),
        })
    }
}

/// Microseconds for each message.
fn each(load: &Load, seconds: f64) -> f64 {
    seconds * 1e6 / load.made as f64
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}
