//! `/metrics`: the controller in numbers, for a Prometheus. Every number is counted where it arises, whether or not
//! anybody reads it; here they only get their names, when somebody does. No host, decky or user is named.

mod exposition;
mod process;
pub(crate) mod request_counters;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use scuttle_core::Stats;
use scuttle_core::state::stats::EventCounts;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{Partition, PartitionCount, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc::WeakSender;

use crate::admission::capacity::{Capacity, CapacityUsage, Usage, UsageByKind};
use crate::clock;
use crate::engine::stats::EngineStats;
use crate::engine::{
    CommittedBatch, IDLE_CHECKPOINT_THRESHOLD, MAX_OUTBOX_COMMITS, MAX_PENDING_BATCHES,
};
use crate::observability::audit::word;
use crate::observability::counters::Counters;
use crate::observability::health::{Health, Role};
use crate::request::context::RequestContext;
use crate::request::endpoint::Endpoint;
use exposition::Page;

/// How the answer to `/metrics` is to be read.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where work waits, as long as one NATS client lives.
#[derive(Debug)]
pub struct Queues {
    /// How much work is in progress.
    pub capacity: Capacity,
    /// The committed batches that wait to be sent. The reference does not keep the engine's receiver alive.
    pub outbox: WeakSender<Vec<CommittedBatch<Box<RequestContext>>>>,
}

/// Everything that is counted; clones show the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    sources: Arc<Sources>,
    /// The partition that is counted here.
    own: usize,
}

#[derive(Debug)]
struct Sources {
    started_at: Timestamp,
    health: Health,
    counters: Arc<Counters>,
    /// Of each partition.
    stats: Vec<Arc<EngineStats>>,
    queues: Mutex<Vec<Option<Queues>>>,
}

impl Metrics {
    /// Of a process that starts, with so many partitions; what is counted is counted of the first.
    pub fn new(health: Health, partitions: PartitionCount) -> Self {
        let first = EngineStats::default();
        let others = partitions
            .iter()
            .skip(1)
            .map(|_| first.new_for_other_partition());
        let others: Vec<EngineStats> = others.collect();
        let sources = Sources {
            started_at: clock::now(),
            health,
            counters: Arc::default(),
            queues: Mutex::new(partitions.iter().map(|_| None).collect()),
            stats: std::iter::once(first).chain(others).map(Arc::new).collect(),
        };
        Self {
            sources: Arc::new(sources),
            own: 0,
        }
    }

    /// To count what is one partition's.
    #[must_use]
    pub fn for_partition(&self, partition: Partition) -> Self {
        Self {
            sources: self.sources.clone(),
            own: partition.index(),
        }
    }

    /// What is answered, refused or ignored is counted here.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.sources.counters
    }

    /// The engine shows here how it is.
    pub fn stats(&self) -> &Arc<EngineStats> {
        &self.sources.stats[self.own]
    }

    /// These are the queues from now on.
    pub fn queues(&self, queues: Queues) {
        let all = self.sources.queues.lock();
        all.unwrap_or_else(PoisonError::into_inner)[self.own] = Some(queues);
    }

    /// All of it, as `OpenMetrics` text.
    pub fn text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.sources.clone()));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        self.process(&mut page)?;
        self.requests(&mut page)?;
        // No hosts would be another thing than none that are known yet.
        let censuses = self.stats.iter().filter_map(|stats| stats.state_stats());
        if let Some(census) = censuses.reduce(Stats::merge) {
            record(&mut page, &census)?;
            seen(&mut page, &census.events)?;
        }
        self.commits(&mut page)?;
        self.waiting(&mut page)?;
        self.connection(&mut page)
    }
}

impl Sources {
    fn process(&self, page: &mut Page) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.info("scuttle_build", "The controller's version.", &version)?;
        let help = "When the process started, in seconds since 1970.";
        let started_at = seconds(self.started_at.as_millis());
        page.gauge("process_start_time_seconds", help, started_at)?;
        if let Some(used) = process::cpu_seconds() {
            let help = "Processor time that the process used, in user and kernel mode.";
            page.counter("process_cpu_seconds", help, used)?;
        }
        if let Some(bytes) = process::resident_bytes() {
            let help = "Memory that the process has in use.";
            page.gauge("process_resident_memory_bytes", help, bytes)?;
        }
        let help = "1 while it answers requests or would take over, else 0: /readyz says why.";
        let ready = self.health.ready();
        page.gauge("scuttle_ready", help, u64::from(ready.is_ok()))?;
        let help =
            "1 while it answers requests: one of all controllers does, or one for each partition.";
        let leading = u64::from(ready == Ok(Role::Leader));
        page.gauge("scuttle_leading", help, leading)?;
        let (partitions, led) = self.health.led();
        let help = "Over how many journals, each with a leader of its own, the hosts are divided.";
        page.gauge("scuttle_partitions", help, partitions as u64)?;
        let help = "How many of them it leads: over all controllers, each is led once.";
        page.gauge("scuttle_partitions_led", help, led as u64)
    }

    fn requests(&self, page: &mut Page) -> fmt::Result {
        let answers = &self.counters.answers;
        let help = "Requests and reports that were answered, refusals included, by endpoint.";
        let all = Endpoint::ALL.map(|one| ([("endpoint", one.name())], answers.all(one)));
        page.counters("scuttle_requests", help, all)?;
        let help = "Requests and reports that were refused, by endpoint and error code.";
        let refused = Endpoint::ALL.into_iter().flat_map(|endpoint| {
            let name = endpoint.name().to_owned();
            answers.refused(endpoint).map(move |(code, count)| {
                ([("endpoint", name.clone()), ("code", label(code))], count)
            })
        });
        page.counters("scuttle_requests_refused", help, refused)?;
        let help = "Teardowns that were accepted; `repeated` is true where the answer is an operation that was there already.";
        let (made, repeated) = answers.teardowns();
        let accepted = [
            ([("repeated", false)], made),
            ([("repeated", true)], repeated),
        ];
        page.counters("scuttle_teardowns_accepted", help, accepted)?;
        let help = "What was refused or ignored, by source and cause: also what no answer tells.";
        let ignored = self.counters.ignored();
        let ignored = ignored.filter(|(source, cause, count)| *count > 0 || cause.is_of(*source));
        let ignored = ignored.map(|(source, cause, count)| {
            ([("source", source.name()), ("cause", cause.label())], count)
        });
        page.counters("scuttle_ignored", help, ignored)
    }

    fn commits(&self, page: &mut Page) -> fmt::Result {
        // All partitions' are counted in the same.
        let stats = &self.stats[0];
        let help = "Changes in one append to the journal: how many share an fsync.";
        page.histogram("scuttle_commit_changes", help, &stats.commit_changes)?;
        let help = "What an append to the journal took, until it was on disk.";
        page.histogram(
            "scuttle_commit_duration_seconds",
            help,
            &stats.commit_seconds,
        )?;
        let help =
            "What a checkpoint took, which moves the oldest part of the journal to the rows.";
        let checkpoints = &stats.checkpoint_seconds;
        page.histogram("scuttle_checkpoint_duration_seconds", help, checkpoints)?;
        let help = format!(
            "Changes in the journal; above {IDLE_CHECKPOINT_THRESHOLD} a checkpoint is due, as soon as nothing else is to do."
        );
        let journal: usize = self.stats.iter().map(|stats| stats.journal_len()).sum();
        page.gauge("scuttle_journal_changes", &help, journal as u64)
    }

    fn waiting(&self, page: &mut Page) -> fmt::Result {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let usages = queues.iter().flatten();
        let usages = usages.map(|queues| queues.capacity.usage());
        let CapacityUsage { messages, bytes } = usages.reduce(add_usage).unwrap_or_default();
        let used = |usage: &Usage| usage.used;
        let limit = |usage: &Usage| usage.limit;
        let help = "Requests and reports in hand, until they are answered, by kind.";
        page.gauges(
            "scuttle_inbox_messages",
            help,
            usage_gauges(&messages, used),
        )?;
        let help = "How many there is room for: beyond that the answer is `overloaded`.";
        page.gauges(
            "scuttle_inbox_capacity_messages",
            help,
            usage_gauges(&messages, limit),
        )?;
        let help = "Payload in hand, of requests and of reports.";
        page.gauges("scuttle_inbox_bytes", help, usage_gauges(&bytes, used))?;
        let help = "How much there is room for: beyond that the answer is `overloaded`.";
        page.gauges(
            "scuttle_inbox_capacity_bytes",
            help,
            usage_gauges(&bytes, limit),
        )?;
        let help = format!(
            "Batches that were decided and wait for the disk; at {} deciding waits, too.",
            MAX_PENDING_BATCHES + 1
        );
        let waiting: usize = self.stats.iter().map(|stats| stats.pending_batches()).sum();
        page.gauge("scuttle_decided_batches", &help, waiting as u64)?;
        let outboxes = queues.iter().flatten();
        let outboxes = outboxes.filter_map(|queues| queues.outbox.upgrade());
        let outbox = outboxes.map(|outbox| outbox.max_capacity() - outbox.capacity());
        let outbox: usize = outbox.sum();
        let help = format!(
            "Commits whose answers and messages wait to be sent; at {MAX_OUTBOX_COMMITS} committing waits, too."
        );
        page.gauge("scuttle_outbox_commits", &help, outbox as u64)
    }

    fn connection(&self, page: &mut Page) -> fmt::Result {
        let help = "How often the NATS server was lost and found again.";
        page.counter("scuttle_nats_reconnects", help, self.counters.reconnects())
    }
}

/// What is on record.
fn record(page: &mut Page, census: &Stats) -> fmt::Result {
    let now = clock::now();
    let since = |time| seconds(now.millis_since(time).max(0));
    let help = "Hosts on record, by status.";
    let hosts = by("status", &HostStatus::ALL, &census.hosts);
    page.gauges("scuttle_hosts", help, hosts)?;
    let help = "Deckies on record, by state.";
    let shards = by("state", &ShardState::ALL, &census.shards);
    page.gauges("scuttle_shards", help, shards)?;
    let help = "Operations on record, by state; ended ones are kept for a time.";
    let operations = by("state", &OperationState::ALL, &census.operations);
    page.gauges("scuttle_operations", help, operations)?;
    let help = "For how long the oldest open operation has been open; 0 if none is.";
    let age = census.oldest_open_accepted_at.map_or(0.0, since);
    page.gauge("scuttle_operation_oldest_open_age_seconds", help, age)?;
    let help = "For how long what the engine should have done by now has been due: above some seconds it hangs, with its disk.";
    page.gauge(
        "scuttle_engine_overdue_seconds",
        help,
        since(census.next_deadline),
    )
}

/// What the core saw happen.
fn seen(page: &mut Page, seen: &EventCounts) -> fmt::Result {
    let help = "Operations that ended, by how; one whose result came late counts again.";
    let ended = OperationState::ALL.into_iter().zip(seen.ended);
    let open = [OperationState::Queued, OperationState::Running];
    let ended = ended.filter(|(state, _)| !open.contains(state));
    let ended = ended.map(|(state, count)| ([("state", label(state))], count));
    page.counters("scuttle_operations_ended", help, ended)?;
    let help = "Teardown commands that were sent again.";
    page.counter("scuttle_commands_retried", help, seen.retries)?;
    let help =
        "Results of operations that had timed out or were cancelled: they count all the same.";
    page.counter("scuttle_results_late", help, seen.late_results)?;
    let help = "Results of operations whose result was known: they change nothing.";
    page.counter("scuttle_results_repeated", help, seen.repeated_results)?;
    let help = "Heartbeats and progress from before what was applied already: they change nothing.";
    page.counter("scuttle_reports_stale", help, seen.stale_reports)
}

/// Adds up the usage of two engines.
fn add_usage(one: CapacityUsage, other: CapacityUsage) -> CapacityUsage {
    let add = |one: UsageByKind, other: UsageByKind| {
        let pairs = one.into_iter().zip(other);
        pairs
            .map(|((kind, one), (_, other))| (kind, one.add(other)))
            .collect()
    };
    CapacityUsage {
        messages: add(one.messages, other.messages),
        bytes: add(one.bytes, other.bytes),
    }
}

/// Returns a gauge for each kind of input.
fn usage_gauges(
    usages: &UsageByKind,
    value: impl Fn(&Usage) -> usize,
) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
    let usages = usages.iter();
    usages.map(move |(kind, usage)| ([("kind", *kind)], value(usage) as u64))
}

/// A count for each state.
fn by<S: Serialize>(
    name: &'static str,
    states: &[S],
    counts: &[u64],
) -> impl Iterator<Item = ([(&'static str, String); 1], u64)> {
    let counts = states.iter().zip(counts);
    counts.map(move |(state, count)| ([(name, label(state))], *count))
}

/// As it is written on the wire.
fn label(state: impl Serialize) -> String {
    word(state).unwrap_or_default()
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
