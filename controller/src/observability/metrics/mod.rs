//! `/metrics` in the OpenMetrics format. Values are counted where they arise. This module names
//! them, and encodes them on request. No label contains the name of a host, decky or user.

mod exposition;
mod process;

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
use crate::observability::counters::Counters;
use crate::observability::health::{Health, Role};
use crate::request::context::RequestContext;
use crate::wire_name::wire_name;
use exposition::FamilyWriter;

/// The `Content-Type` header of `/metrics`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The queues of a leader during one term.
#[derive(Debug)]
pub struct Queues {
    /// The capacity for requests, reports and relayed broadcasts.
    pub capacity: Capacity,
    /// The queue of committed batches that wait to be sent. The reference is weak, so that the
    /// metrics do not keep the publisher running.
    pub outbox: WeakSender<Vec<CommittedBatch<Box<RequestContext>>>>,
}

/// All metrics of the controller, and a handle that updates those of one partition. Clones share
/// the metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    sources: Arc<Sources>,
    registry: Arc<Registry>,
    /// The index of the partition whose values this handle updates.
    partition: usize,
}

#[derive(Debug)]
struct Sources {
    started_at: Timestamp,
    health: Health,
    counters: Arc<Counters>,
    /// The statistics of each partition's engine.
    stats: Vec<Arc<EngineStats>>,
    /// The queues of each partition. `None` for a partition that this controller has not led.
    queues: Mutex<Vec<Option<Queues>>>,
}

impl Metrics {
    /// Creates the metrics. The returned handle updates the values of the first partition.
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
        let sources = Arc::new(sources);
        let mut registry = Registry::default();
        sources.counters.register(&mut registry);
        registry.register_collector(Box::new(sources.clone()));
        Self {
            sources,
            registry: Arc::new(registry),
            partition: 0,
        }
    }

    /// Returns a handle for the same metrics that updates the values of `partition`.
    #[must_use]
    pub fn for_partition(&self, partition: Partition) -> Self {
        Self {
            partition: partition.index(),
            ..self.clone()
        }
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.sources.counters
    }

    /// Returns the statistics that the engine of this handle's partition updates.
    pub fn stats(&self) -> &Arc<EngineStats> {
        &self.sources.stats[self.partition]
    }

    /// Sets the queues whose lengths are reported for this handle's partition.
    pub fn set_queues(&self, queues: Queues) {
        let all = self.sources.queues.lock();
        all.unwrap_or_else(PoisonError::into_inner)[self.partition] = Some(queues);
    }

    /// Encodes all metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut families = FamilyWriter(encoder);
        self.process(&mut families)?;
        // A follower reports nothing here, because "0 hosts" would be wrong.
        let stats = self.stats.iter().filter_map(|stats| stats.state_stats());
        if let Some(stats) = stats.reduce(Stats::merge) {
            encode_record(&mut families, &stats)?;
            encode_events(&mut families, &stats.events)?;
        }
        self.commits(&mut families)?;
        self.queues(&mut families)
    }
}

impl Sources {
    fn process(&self, families: &mut FamilyWriter) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        families.info("scuttle_build", "The controller's version.", &version)?;
        let help = "Start time of the process, in seconds since 1970.";
        let started_at = to_seconds(self.started_at.as_millis());
        families.gauge("process_start_time_seconds", help, started_at)?;
        if let Some(used) = process::cpu_seconds() {
            let help = "Processor time of the process, user and system time together.";
            families.counter("process_cpu_seconds", help, used)?;
        }
        if let Some(bytes) = process::resident_bytes() {
            let help = "Resident memory of the process.";
            families.gauge("process_resident_memory_bytes", help, bytes)?;
        }
        let help = "1 if the controller serves requests or could take over, else 0; /readyz gives the reason.";
        let ready = self.health.ready();
        families.gauge("scuttle_ready", help, u64::from(ready.is_ok()))?;
        let help = "1 if the controller leads at least one partition, else 0.";
        let leading = u64::from(ready == Ok(Role::Leader));
        families.gauge("scuttle_leading", help, leading)?;
        let partitions = self.health.partition_count();
        let help =
            "Partitions over which the hosts are divided, each with a separate journal and leader.";
        families.gauge("scuttle_partitions", help, partitions as u64)?;
        let led = self.health.led_partition_count();
        let help = "Partitions that this controller leads; each partition has one leader.";
        families.gauge("scuttle_partitions_led", help, led as u64)?;
        let help = "Partitions that this controller does not serve because their journal lacks accepted changes; an operator must decide.";
        let halted = self.health.halted_partition_count();
        families.gauge("scuttle_partitions_halted", help, halted as u64)?;
        let help = "1 if another controller that must not serve next to this one answers for this swarm, else 0; /readyz names the controller.";
        let conflict = u64::from(self.health.has_conflict());
        families.gauge("scuttle_record_conflict", help, conflict)
    }

    fn commits(&self, families: &mut FamilyWriter) -> fmt::Result {
        // The partitions share these histograms.
        let stats = &self.stats[0];
        let help = "Changes in one append to the journal, which share one fsync.";
        families.histogram("scuttle_commit_changes", help, &stats.commit_changes)?;
        let help = "Duration of an append to the journal, until the changes are on disk.";
        families.histogram(
            "scuttle_commit_duration_seconds",
            help,
            &stats.commit_seconds,
        )?;
        let help =
            "Duration of a checkpoint, which moves the oldest part of the journal to the rows.";
        let checkpoints = &stats.checkpoint_seconds;
        families.histogram("scuttle_checkpoint_duration_seconds", help, checkpoints)?;
        let help = format!(
            "Changes in the journal; above {IDLE_CHECKPOINT_THRESHOLD} the controller makes a checkpoint when it is idle."
        );
        let journal: usize = self.stats.iter().map(|stats| stats.journal_len()).sum();
        families.gauge("scuttle_journal_changes", &help, journal as u64)?;
        let help = "Journals and buckets whose number of replicas differs from --replicas.";
        let differences = self.stats.iter().map(|stats| stats.replica_differences());
        let differences: usize = differences.sum();
        families.gauge("scuttle_replicas_differ", help, differences as u64)?;
        let help =
            "Messages in the shared journal that no controller has written; they are skipped.";
        let foreign = self.stats.iter().map(|stats| stats.foreign_messages());
        families.gauge(
            "scuttle_journal_foreign_messages",
            help,
            foreign.sum::<u64>(),
        )
    }

    fn queues(&self, families: &mut FamilyWriter) -> fmt::Result {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let usages = queues.iter().flatten();
        let usages = usages.map(|queues| queues.capacity.usage());
        let CapacityUsage { messages, bytes } = usages.reduce(add_usage).unwrap_or_default();
        let used = |usage: &Usage| usage.used;
        let limit = |usage: &Usage| usage.limit;
        let help = "Requests and reports in progress, until their reply is sent, by kind.";
        families.gauges(
            "scuttle_inbox_messages",
            help,
            usage_gauges(&messages, used),
        )?;
        let help =
            "Limit of requests and reports in progress; beyond it, the reply is `overloaded`.";
        families.gauges(
            "scuttle_inbox_capacity_messages",
            help,
            usage_gauges(&messages, limit),
        )?;
        let help = "Payload of the requests and reports in progress.";
        families.gauges("scuttle_inbox_bytes", help, usage_gauges(&bytes, used))?;
        let help = "Limit of the payload in progress; beyond it, the reply is `overloaded`.";
        families.gauges(
            "scuttle_inbox_capacity_bytes",
            help,
            usage_gauges(&bytes, limit),
        )?;
        let help = format!(
            "Decided batches that wait for the disk; at {} the engine stops deciding until one is written.",
            MAX_PENDING_BATCHES + 1
        );
        let waiting: usize = self.stats.iter().map(|stats| stats.pending_batches()).sum();
        families.gauge("scuttle_decided_batches", &help, waiting as u64)?;
        let outboxes = queues.iter().flatten();
        let outboxes = outboxes.filter_map(|queues| queues.outbox.upgrade());
        let outbox = outboxes.map(|outbox| outbox.max_capacity() - outbox.capacity());
        let outbox: usize = outbox.sum();
        let help = format!(
            "Commits whose replies and messages wait to be sent; at {MAX_OUTBOX_COMMITS} committing waits as well."
        );
        families.gauge("scuttle_outbox_commits", &help, outbox as u64)
    }
}

/// Encodes the metrics of the record, such as the counts of hosts, shards and operations.
fn encode_record(families: &mut FamilyWriter, stats: &Stats) -> fmt::Result {
    let now = clock::now();
    let seconds_since = |time| to_seconds(now.millis_since(time).max(0));
    let help = "Hosts on record, by status.";
    let hosts = counts_by("status", &HostStatus::ALL, &stats.hosts);
    families.gauges("scuttle_hosts", help, hosts)?;
    let help = "Hosts whose reports are not read, because their agent sends malformed messages.";
    families.gauge("scuttle_hosts_quarantined", help, stats.quarantined_hosts)?;
    let help = "Deckies on record, by state.";
    let shards = counts_by("state", &ShardState::ALL, &stats.shards);
    families.gauges("scuttle_shards", help, shards)?;
    let help = "Operations on record, by state; ended operations are kept for a limited time.";
    let operations = counts_by("state", &OperationState::ALL, &stats.operations);
    families.gauges("scuttle_operations", help, operations)?;
    let help = "Age of the oldest open operation; 0 if no operation is open.";
    let age = stats.oldest_open_accepted_at.map_or(0.0, seconds_since);
    families.gauge("scuttle_operation_oldest_open_age_seconds", help, age)?;
    let help = "Time since the engine's next timer was due; above a few seconds, the engine is stuck, usually because its disk hangs.";
    families.gauge(
        "scuttle_engine_overdue_seconds",
        help,
        seconds_since(stats.next_deadline),
    )
}

/// Encodes the events that the core counts, such as retries and late results.
fn encode_events(families: &mut FamilyWriter, events: &EventCounts) -> fmt::Result {
    let help =
        "Operations that ended, by final state; an operation with a late result counts again.";
    let ended = OperationState::ALL.into_iter().zip(events.ended);
    let open = [OperationState::Queued, OperationState::Running];
    let ended = ended.filter(|(state, _)| !open.contains(state));
    let ended = ended.map(|(state, count)| ([("state", wire_name(state))], count));
    families.counters("scuttle_operations_ended", help, ended)?;
    let help = "Resent teardown commands.";
    families.counter("scuttle_commands_retried", help, events.retries)?;
    let help = "Results that arrived after their operation had timed out or was cancelled; they were applied.";
    families.counter("scuttle_results_late", help, events.late_results)?;
    let help = "Results that had been recorded before; they changed nothing.";
    families.counter("scuttle_results_repeated", help, events.repeated_results)?;
    let help = "Heartbeats and progress reports older than a report that was already applied; they changed nothing.";
    families.counter("scuttle_reports_stale", help, events.stale_reports)
}

/// Adds up the capacity usage of two partitions.
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

/// Returns one gauge for each kind of input, with the kind as its label and the result of `value`
/// as its value.
fn usage_gauges(
    usages: &UsageByKind,
    value: impl Fn(&Usage) -> usize,
) -> impl Iterator<Item = ([(&'static str, &'static str); 1], u64)> {
    let usages = usages.iter();
    usages.map(move |(kind, usage)| ([("kind", *kind)], value(usage) as u64))
}

/// Returns the count of each state, with the state as the value of the label `name`. `counts` has
/// the same order as `states`.
fn counts_by<S: Serialize>(
    name: &'static str,
    states: &[S],
    counts: &[u64],
) -> impl Iterator<Item = ([(&'static str, String); 1], u64)> {
    let counts = states.iter().zip(counts);
    counts.map(move |(state, count)| ([(name, wire_name(state))], *count))
}

fn to_seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
