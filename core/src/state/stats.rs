//! Statistics of the record and of events, for the metrics page.
//!
//! No rule reads the statistics, and they are not stored. The counts of rows are updated with every
//! change, so that reading them is cheap.

use std::fmt;

use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;

use crate::plural::{format_count, format_deckies};
use crate::record::operation_state::is_open;

/// A count for each operation state, in the same order as `OperationState::ALL`.
pub type CountsByState = [u64; OperationState::ALL.len()];

/// The statistics of one partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// The number of operations in the record, by state.
    pub operations: CountsByState,
    /// The number of hosts in the record by status, in the same order as `HostStatus::ALL`.
    pub hosts: [u64; HostStatus::ALL.len()],
    /// The number of hosts that are quarantined.
    pub quarantined_hosts: u64,
    /// The number of shards in the record by state, in the same order as `ShardState::ALL`.
    pub shards: [u64; ShardState::ALL.len()],
    /// The time at which the oldest open operation was accepted. `None` if no operation is open.
    pub oldest_open_accepted_at: Option<Timestamp>,
    /// The time at which the next timer is due. A time in the past means that the controller is
    /// late.
    pub next_deadline: Timestamp,
    /// Counts of the events since this process started.
    pub events: EventCounts,
}

/// The numbers of rows in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowCounts {
    /// The number of hosts, decommissioned hosts included.
    pub hosts: usize,
    /// The number of shards.
    pub shards: usize,
    /// The number of operations that have not ended.
    pub open_operations: usize,
}

/// Prints the numbers for people: `1 host, 20 deckies, 0 open operations`.
impl fmt::Display for RowCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = format_count(self.hosts, "host", "hosts");
        let deckies = format_deckies(self.shards);
        let open = format_count(self.open_operations, "open operation", "open operations");
        write!(f, "{hosts}, {deckies}, {open}")
    }
}

/// Counts of the events since this process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Operations that ended, by the state in which they ended. An operation whose result arrives
    /// after a timeout or a cancellation ends twice, and is counted twice.
    pub ended: CountsByState,
    /// Teardown commands that were sent again.
    pub retries: u64,
    /// Results of operations that had already timed out or been cancelled.
    pub late_results: u64,
    /// Results of operations that had already succeeded or failed.
    pub repeated_results: u64,
    /// Heartbeats and progress reports that were older than the last applied report.
    pub stale_reports: u64,
}

impl Stats {
    /// Returns the statistics of two partitions together: the sums of their counts, and the
    /// earliest times.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        add(&mut self.operations, other.operations);
        add(&mut self.hosts, other.hosts);
        add(&mut self.shards, other.shards);
        self.quarantined_hosts += other.quarantined_hosts;
        let oldest = [self.oldest_open_accepted_at, other.oldest_open_accepted_at];
        self.oldest_open_accepted_at = oldest.into_iter().flatten().min();
        self.next_deadline = self.next_deadline.min(other.next_deadline);
        add(&mut self.events.ended, other.events.ended);
        self.events.retries += other.events.retries;
        self.events.late_results += other.events.late_results;
        self.events.repeated_results += other.events.repeated_results;
        self.events.stale_reports += other.events.stale_reports;
        self
    }

    /// Counts an operation that is new (`before` is `None`) or has changed.
    pub(crate) fn count_operation(
        &mut self,
        before: Option<OperationState>,
        state: OperationState,
    ) {
        let before_index = before.map(|before| before as usize);
        move_count(&mut self.operations, before_index, Some(state as usize));
        if before != Some(state) && !is_open(state) {
            self.events.ended[state as usize] += 1;
        }
    }

    pub(crate) fn count_removed_operation(&mut self, state: OperationState) {
        move_count(&mut self.operations, Some(state as usize), None);
    }

    /// Counts a host that is new (`before` is `None`) or has changed.
    pub(crate) fn count_host(&mut self, before: Option<HostStatus>, status: HostStatus) {
        let before = before.map(|before| before as usize);
        move_count(&mut self.hosts, before, Some(status as usize));
    }

    /// Counts a shard that is new (`before` is `None`), has changed, or is removed (`after` is
    /// `None`).
    pub(crate) fn count_shard(&mut self, before: Option<ShardState>, after: Option<ShardState>) {
        let index = |state| state as usize;
        move_count(&mut self.shards, before.map(index), after.map(index));
    }
}

fn add<const N: usize>(counts: &mut [u64; N], more: [u64; N]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += more;
    }
}

fn move_count(counts: &mut [u64], from: Option<usize>, to: Option<usize>) {
    if let Some(from) = from {
        counts[from] -= 1;
    }
    if let Some(to) = to {
        counts[to] += 1;
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState::{
        self, Cancelled, Failed, Queued, Running, Succeeded, TimedOut,
    };

    use super::{CountsByState, EventCounts};
    use crate::tests::scenario::{Scenario, report};

    fn by_state(counts: &[(OperationState, u64)]) -> CountsByState {
        let mut all = CountsByState::default();
        for (state, count) in counts {
            all[*state as usize] = *count;
        }
        all
    }

    /// Checks the event counts and the expected row counts. The scenario compares the row counts
    /// with a full count after every step.
    #[test]
    fn the_stats_count_rows_and_events() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(1, 1_000), Some(&["a", "b", "c"]));
        let accepted_at = swarm.now;
        let (late, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let oldest = swarm.state.stats().oldest_open_accepted_at;
        assert_eq!(oldest, Some(accepted_at));

        swarm.heartbeat("h", report(1, 999), None);
        assert_eq!(swarm.state.stats().events.stale_reports, 1);
        swarm.advance_online_ms("h", report(1, 1_000), 601_000);
        let stats = swarm.state.stats();
        assert_eq!(stats.oldest_open_accepted_at, None);
        assert_eq!(stats.operations, by_state(&[(TimedOut, 1)]));
        assert!(stats.events.retries > 5, "{stats:?}");
        let retries = stats.events.retries;

        let removed = [("a", None)];
        for _ in 0..2 {
            swarm.report_result("h", report(1, 2_000), late.operation_id, None, &removed);
        }
        let (cancelled, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.try_cancel(cancelled.operation_id);
        let (failed, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.report_started("h", 1, failed.operation_id);
        assert_eq!(
            swarm.state.stats().operations,
            by_state(&[(Succeeded, 1), (Cancelled, 1), (Running, 1)])
        );
        let busy = Some("busy");
        let not_removed = [("b", busy)];
        swarm.report_result(
            "h",
            report(1, 2_001),
            failed.operation_id,
            busy,
            &not_removed,
        );
        let (open, _) = swarm.teardown("h", Some("c")).expect("accepted");
        let stats = swarm.state.stats();
        assert_eq!(
            stats.operations,
            by_state(&[(Succeeded, 1), (Cancelled, 1), (Failed, 1), (Queued, 1)])
        );
        let ended = by_state(&[(TimedOut, 1), (Succeeded, 1), (Cancelled, 1), (Failed, 1)]);
        assert_eq!(
            stats.events,
            EventCounts {
                ended,
                retries,
                late_results: 1,
                repeated_results: 1,
                stale_reports: 1
            }
        );

        swarm.crash_and_restart();
        let restarted = swarm.state.stats();
        assert_eq!(restarted.operations, stats.operations);
        assert_eq!(
            restarted.events.ended,
            CountsByState::default(),
            "events before the restart do not count"
        );
        swarm.operation(open.operation_id);
    }
}
