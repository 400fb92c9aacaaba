//! `cluster`: accepted teardowns per second of three controllers whose journal is on three servers.
//! The rate is compared with that of publishing to a stream on the same servers. The stream gives
//! the same guarantee: three replicas in files, each synced before the acknowledgement.
//!
//! A published message is as large as an accepted teardown in the journal. All servers, all
//! controllers and the generator share the machine and its disk. Each round uses new controllers
//! and a new stream, and sends its requests to a different server.

use std::collections::HashMap;

use anyhow::{Context, Result};
use async_nats::jetstream::{self, context::Context as JetStream, stream};
use scuttle_schemas::{MAX_DECKIES_PER_HOST, Partition, PartitionCount, subjects};
use scuttle_tests::servers::nats_cluster::SERVERS;
use scuttle_tests::{Http, Role};
use serde::Serialize;

use crate::environment::controllers::{Controllers, Servers};
use crate::environment::shared::Environment;
use crate::environment::swarm::SwarmData;
use crate::load::outcome::LoadOutcome;
use crate::load::spec::{Pace, RequestKind, Targets};
use crate::report::samples::{Sample, Samples, Series, median, rotate};
use crate::report::summary::Report;

const ACCEPT: &str = "accept, 3 replicas";
const PUBLISH: &str = "JetStream, 3 replicas";
const IN_FLIGHT: [u16; 2] = [1, 256];

/// The number of shards. Each request uses up one shard. On two cores, the controllers accept fewer
/// teardowns than this in one round. If they are faster, the shards run out and the measurement
/// ends early.
const SHARDS: usize = 10 * MAX_DECKIES_PER_HOST;

/// The name of the baseline stream. The rate of publishing to it is compared with the controllers'
/// rate of accepted teardowns.
const STREAM: &str = "bench";
const SUBJECT: &str = "bench.stored";

/// The costs of the accepted teardowns in one round, with one number of requests in flight.
#[derive(Debug, Serialize)]
struct AcceptCosts {
    in_flight: u16,
    /// The number of bytes in the journal per accepted teardown.
    bytes: u64,
    /// The number of accepted teardowns per message in the journal.
    batch: f64,
    /// The mean time in microseconds until a message in the journal was acknowledged.
    append_us: f64,
    /// The fraction of the time during which an append was waiting for its acknowledgement.
    appending: f64,
    /// The CPU time of the leader per accepted teardown, in microseconds.
    leader_us: f64,
    /// The CPU time of each follower per accepted teardown, in microseconds.
    follower_us: f64,
}

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    let mut servers = Servers::start(&environment.dir().join("cluster")).await?;
    let (mut samples, mut costs) = (Samples::default(), Vec::new());
    // The size of a published message for each number of requests in flight, which the first
    // accepted teardowns determine.
    let mut sizes = HashMap::new();
    for round in 0..environment.options.rounds {
        servers.selected = round as usize % SERVERS;
        for name in rotate(&[ACCEPT, PUBLISH], round) {
            if name == ACCEPT {
                let accepted = measure_accepts(environment, &mut servers, round).await;
                for (sample, cost) in accepted.context(ACCEPT)? {
                    let size = usize::try_from(cost.bytes)?;
                    sizes.entry(cost.in_flight).or_insert(size);
                    samples.0.push(sample);
                    costs.push(cost);
                }
            } else {
                let published = measure_publishes(environment, &mut servers, &sizes, round).await;
                samples.0.extend(published.context(PUBLISH)?);
            }
        }
    }
    show(report, &samples, &costs, &sizes)
}

fn show(
    report: &mut Report,
    samples: &Samples,
    costs: &[AcceptCosts],
    sizes: &HashMap<u16, usize>,
) -> Result<()> {
    let lines = [PUBLISH, ACCEPT].map(|name| IN_FLIGHT.map(|count| Series::new(name, count)));
    let title = "Accepts of three controllers over three servers (CPU: the sum over servers or controllers)";
    report.print_table(title, samples, lines.as_flattened())?;
    for in_flight in IN_FLIGHT {
        let median_cost = |figure: fn(&AcceptCosts) -> f64| {
            let costs = costs.iter().filter(|each| each.in_flight == in_flight);
            median(costs.map(figure).collect())
        };
        report.print_line(&format!(
            "{in_flight} in flight: an accept takes {:.0} bytes in the journal (a published message has {}); \
             a message has {:.1} accepts and is acknowledged after {:.0} µs; one is unacknowledged {:.0} % of \
             the time; CPU per accept: leader {:.1} µs, each follower {:.1} µs",
            median_cost(|each| each.bytes as f64)?,
            sizes.get(&in_flight).copied().unwrap_or_default(),
            median_cost(|each| each.batch)?,
            median_cost(|each| each.append_us)?,
            median_cost(|each| each.appending)? * 100.0,
            median_cost(|each| each.leader_us)?,
            median_cost(|each| each.follower_us)?,
        ));
    }
    let ratio = |in_flight, figure: fn(&Sample) -> f64| {
        let ratio = |accept: &Sample, publish: &Sample| figure(accept) / figure(publish);
        let (accept, publish) = (
            Series::new(ACCEPT, in_flight),
            Series::new(PUBLISH, in_flight),
        );
        samples.paired_median(accept, publish, ratio)
    };
    report.print_line(&format!(
        "1 in flight: an accept's p50 is {:.2} × that of publishing",
        ratio(1, |sample| sample.p50_us)?
    ));
    report.expect_at_least(
        "accepts/s of three controllers, 256 in flight",
        "× publishing, 3 replicas",
        0.7,
        ratio(256, |sample| sample.per_second)?,
    );
    report.record("cluster", samples)?;
    report.record("cluster_beside", &costs)
}

/// Measures publishing to a new stream. `sizes` contains the size of a message for each number of
/// requests in flight.
async fn measure_publishes(
    environment: &mut Environment,
    servers: &mut Servers,
    sizes: &HashMap<u16, usize>,
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
        let kind = RequestKind::PublishBytes(sizes[&in_flight]);
        let pace = Pace::InFlight(in_flight);
        let load = environment.load(kind, SUBJECT, Targets::arbitrary(), pace)?;
        let load = servers.redirect(load, None)?;
        let mut outcome = environment.generator.run(&load).await?;
        let servers = outcome.cpu.split_off(1);
        outcome.cpu.push(servers.iter().sum());
        let series = Series::new(PUBLISH, in_flight);
        samples.push(Sample::from_load(series, round, &outcome));
    }
    context.delete_stream(STREAM).await?;
    Ok(samples)
}

/// Measures how fast three new controllers accept teardowns, and what the teardowns cost.
async fn measure_accepts(
    environment: &mut Environment,
    servers: &mut Servers,
    round: u32,
) -> Result<Vec<(Sample, AcceptCosts)>> {
    let client = servers.client().await?;
    let context = jetstream::new(client.nats().clone());
    let mut controllers =
        Controllers::start(environment, servers, SERVERS, PartitionCount::ONE).await?;
    let leader = controllers.leader(&client).await?;
    let mut data = SwarmData::empty(environment)?;
    let mut targets = Targets::with_shards(SHARDS);
    let (hosts, deckies) = (targets.hosts.end, targets.deckies.end);
    let registered = data.register(&client, hosts, deckies).await;
    registered.context("register")?;
    controllers.wait_until_journals_are_short().await?;
    let http = controllers.http_clients().await?.swap_remove(leader);

    let mut measured = Vec::new();
    for in_flight in IN_FLIGHT {
        let load = environment.load(
            RequestKind::Accept,
            subjects::TEARDOWN,
            targets.clone(),
            Pace::InFlight(in_flight),
        )?;
        let mut load = servers.redirect(load, Some(Role::Operator))?;
        load.watch.extend(controllers.ids()?);
        let before = JournalState::read(&context, &http).await?;
        let mut outcome = environment.generator.run(&load).await?;
        let after = JournalState::read(&context, &http).await?;
        targets.skip += outcome.requests;
        let written = after.since(&before);
        let costs = AcceptCosts::new(in_flight, &outcome, leader, &written);
        let processes = outcome.cpu.split_off(1);
        let (servers, controllers) = processes.split_at(SERVERS);
        let sums = [servers, controllers].map(|all| all.iter().sum::<f64>());
        outcome.cpu.extend(sums);
        let series = Series::new(ACCEPT, in_flight);
        measured.push((Sample::from_load(series, round, &outcome), costs));
    }
    controllers.remove(&context).await?;
    Ok(measured)
}

/// The size of the journal, and the time that the leader has spent appending to it.
struct JournalState {
    messages: u64,
    bytes: u64,
    append_seconds: f64,
}

impl JournalState {
    async fn read(context: &JetStream, leader: &Http) -> Result<Self> {
        let stream = context
            .get_stream(subjects::journal_stream_name(Partition::FIRST))
            .await?;
        let state = &stream.cached_info().state;
        let sum = "scuttle_commit_duration_seconds_sum";
        Ok(Self {
            messages: state.messages,
            bytes: state.bytes,
            append_seconds: leader.scrape().await?.value(sum)?,
        })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
            append_seconds: self.append_seconds - before.append_seconds,
        }
    }
}

impl AcceptCosts {
    /// Computes the costs of a load. The load must have watched the servers and then the
    /// controllers. `leader` is the number of the leading controller. `written` is the growth of
    /// the journal during the load.
    fn new(in_flight: u16, load: &LoadOutcome, leader: usize, written: &JournalState) -> Self {
        let controllers = &load.cpu[1 + SERVERS..];
        let sum: f64 = controllers.iter().sum();
        let per_reply = |seconds: f64| seconds * 1e6 / load.replies as f64;
        let followers = (controllers.len() - 1) as f64;
        let messages = written.messages as f64;
        // The time until the last reply, including the replies that came too late to be counted.
        let seconds = load.seconds * load.requests as f64 / load.replies as f64;
        Self {
            in_flight,
            bytes: written.bytes / load.requests as u64,
            batch: load.requests as f64 / messages,
            append_us: written.append_seconds * 1e6 / messages,
            appending: written.append_seconds / seconds,
            leader_us: per_reply(controllers[leader]),
            follower_us: per_reply(sum - controllers[leader]) / followers,
        }
    }
}
