//! `cluster`: accepts a second of three controllers whose journal three servers keep together, beside raw publishes to a stream of the
//! same servers, kept in the same way: three replicas, in files, each fsynced before it is acknowledged.
//!
//! A raw publish is as large as what an accept has in the journal. All servers, all controllers and the generator share the machine and
//! its disk. In each round the controllers are new ones over a new stream, and who asks is at another server.

use std::collections::HashMap;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, context::Context as JetStream, stream};
use scuttle_schemas::{MAX_DECKIES_PER_HOST, Partition, PartitionCount, subjects};
use scuttle_tests::servers::nats_cluster::SERVERS;
use scuttle_tests::{Http, Role};
use serde::Serialize;

use crate::controllers::{Controllers, Servers};
use crate::load::{Load, Pace, Targets, What};
use crate::report::Report;
use crate::samples::{Sample, Samples, median, turned};
use crate::stage::Stage;
use crate::swarm::Stored;

const ACCEPT: &str = "accept, 3 replicas";
const RAW: &str = "JetStream, 3 replicas";
const IN_FLIGHT: [u16; 2] = [1, 256];

/// More than two cores accept in a second with all these processes. Who accepts more ends its turn earlier.
const SHARDS: usize = 10 * MAX_DECKIES_PER_HOST;

/// What raw publishes go to.
const STREAM: &str = "bench";
const SUBJECT: &str = "bench.stored";

/// What is beside the figures of a round of accepts.
#[derive(Debug, Serialize)]
struct Beside {
    in_flight: u16,
    /// In the journal, for each accept.
    bytes: u64,
    /// Accepts in one message of it.
    batch: f64,
    /// How long such a message took to be acknowledged, in the mean, and the share of the time in which one was on its way.
    append_us: f64,
    appending: f64,
    /// Microseconds on a processor for each accept: of the controller that leads, and of one that follows.
    leader_us: f64,
    follower_us: f64,
}

/// Measures and reports.
pub(crate) async fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let mut servers = Servers::start(&stage.dir().join("cluster")).await?;
    let (mut samples, mut beside) = (Samples::default(), Vec::new());
    // The first accepts say how large a raw publish is.
    let mut bytes = HashMap::new();
    for round in 0..stage.how.rounds {
        servers.turn = round as usize % SERVERS;
        for name in turned(&[ACCEPT, RAW], round) {
            if name == ACCEPT {
                let accepted = accepts(stage, &mut servers, round).await;
                for (sample, more) in accepted.context(ACCEPT)? {
                    let size = usize::try_from(more.bytes)?;
                    bytes.entry(more.in_flight).or_insert(size);
                    samples.0.push(sample);
                    beside.push(more);
                }
            } else {
                let written = raws(stage, &mut servers, &bytes, round).await;
                samples.0.extend(written.context(RAW)?);
            }
        }
    }
    show(report, &samples, &beside, &bytes)
}

fn show(
    report: &mut Report,
    samples: &Samples,
    beside: &[Beside],
    bytes: &HashMap<u16, usize>,
) -> Result<()> {
    let lines = [RAW, ACCEPT].map(|name| IN_FLIGHT.map(|in_flight| (name, in_flight)));
    let title = "Accepts of three controllers over three servers (CPU: all of a kind together)";
    report.table(title, samples, lines.as_flattened())?;
    for in_flight in IN_FLIGHT {
        let of = |figure: fn(&Beside) -> f64| {
            let these = beside.iter().filter(|each| each.in_flight == in_flight);
            median(these.map(figure).collect())
        };
        report.say(&format!(
            "{in_flight} in flight: an accept has {:.0} bytes in the journal (a raw publish {}), {:.1} of them are a message, \
             acknowledged after {:.0} µs, {:.0} % of the time one is on its way; CPU: the leader {:.1} µs, who follows {:.1} µs each",
            of(|each| each.bytes as f64)?,
            bytes[&in_flight],
            of(|each| each.batch)?,
            of(|each| each.append_us)?,
            of(|each| each.appending)? * 100.0,
            of(|each| each.leader_us)?,
            of(|each| each.follower_us)?,
        ));
    }
    let ratio = |in_flight, figure: fn(&Sample) -> f64| {
        let ratio = |accept: &Sample, raw: &Sample| figure(accept) / figure(raw);
        samples.paired((ACCEPT, in_flight), (RAW, in_flight), ratio)
    };
    report.say(&format!(
        "1 in flight: an accept's p50 is {:.2} × a raw publish's",
        ratio(1, |sample| sample.p50_us)?
    ));
    report.at_least(
        "accepts/s of three controllers, 256 in flight",
        "× raw publishes, 3 replicas",
        0.7,
        ratio(256, |sample| sample.per_second)?,
    );
    report.keep("cluster", samples)?;
    report.keep("cluster_beside", &beside)
}

/// Publishes to a stream that is made for it.
async fn raws(
    stage: &mut Stage,
    servers: &mut Servers,
    bytes: &HashMap<u16, usize>,
    round: u32,
) -> Result<Vec<Sample>> {
    let context = jetstream::new(servers.client().await?.nats().clone());
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec![SUBJECT.to_owned()],
        num_replicas: SERVERS,
        ..stream::Config::default()
    };
    context.create_stream(config).await?;
    let mut samples = Vec::new();
    for in_flight in IN_FLIGHT {
        let what = What::Written(bytes[&in_flight]);
        let pace = Pace::InFlight(in_flight);
        let order = stage.order(what, SUBJECT, Targets::any(), pace)?;
        let order = servers.order(order, None)?;
        let mut load = stage.generator.carry_out(&order).await?;
        let each = load.cpu.split_off(1);
        load.cpu.push(each.iter().sum());
        samples.push(Sample::of(RAW, in_flight, round, &load));
    }
    context.delete_stream(STREAM).await?;
    Ok(samples)
}

/// Asks new controllers.
async fn accepts(
    stage: &mut Stage,
    servers: &mut Servers,
    round: u32,
) -> Result<Vec<(Sample, Beside)>> {
    let client = servers.client().await?;
    let context = jetstream::new(client.nats().clone());
    let mut controllers = Controllers::start(stage, servers, SERVERS, PartitionCount::ONE).await?;
    let leader = controllers.leader(&client).await?;
    let mut stored = Stored::nothing(stage)?;
    let mut targets = Targets::at_least(SHARDS);
    let (hosts, deckies) = (targets.hosts.end, targets.deckies.end);
    let registered = stored.register(&client, hosts, deckies).await;
    registered.context("register")?;
    controllers.at_rest().await?;
    let door = controllers.doors().await?.swap_remove(leader);

    let mut asked = Vec::new();
    for in_flight in IN_FLIGHT {
        let pace = Pace::InFlight(in_flight);
        let order = stage.order(What::Accepted, subjects::TEARDOWN, targets.clone(), pace)?;
        let mut order = servers.order(order, Some(Role::Operator))?;
        order.watch.extend(controllers.ids()?);
        let before = Progress::look(&context, &door).await?;
        let mut load = stage.generator.carry_out(&order).await?;
        let after = Progress::look(&context, &door).await?;
        targets.skip += load.made;
        let beside = Beside::of(in_flight, &load, leader, (&before, &after));
        let each = load.cpu.split_off(1);
        let (servers, controllers) = each.split_at(SERVERS);
        let sums = [servers, controllers].map(|all| all.iter().sum::<f64>());
        load.cpu.extend(sums);
        asked.push((Sample::of(ACCEPT, in_flight, round, &load), beside));
    }
    controllers.end(&context).await?;
    Ok(asked)
}

/// How far the journal is, and what its leader has spent on it.
struct Progress {
    journal: stream::State,
    append_seconds: f64,
}

impl Progress {
    async fn look(context: &JetStream, leader: &Http) -> Result<Self> {
        let stream = context
            .get_stream(subjects::journal_stream_name(Partition::FIRST))
            .await?;
        let sum = "scuttle_commit_duration_seconds_sum";
        Ok(Self {
            journal: stream.cached_info().state.clone(),
            append_seconds: leader.metrics().await?.value(sum)?,
        })
    }
}

impl Beside {
    /// `leader` is among the controllers, which are watched after the servers, which are after the generator.
    fn of(
        in_flight: u16,
        load: &Load,
        leader: usize,
        (before, after): (&Progress, &Progress),
    ) -> Self {
        let controllers = &load.cpu[1 + SERVERS..];
        let all: f64 = controllers.iter().sum();
        let each = |seconds: f64| seconds * 1e6 / load.answers as f64;
        let followers = (controllers.len() - 1) as f64;
        let messages = (after.journal.messages - before.journal.messages) as f64;
        let appending = after.append_seconds - before.append_seconds;
        // Until the last answer, also to those that came too late to be counted.
        let seconds = load.seconds * load.made as f64 / load.answers as f64;
        Self {
            in_flight,
            bytes: (after.journal.bytes - before.journal.bytes) / load.made as u64,
            batch: load.made as f64 / messages,
            append_us: appending * 1e6 / messages,
            appending: appending / seconds,
            leader_us: each(controllers[leader]),
            follower_us: each(all - controllers[leader]) / followers,
        }
    }
}
