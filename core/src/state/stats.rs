//! The stats: how much there is of each kind, counted as it comes and goes, and what only the core sees of what
//! happens. For whoever watches over the controller: no rule looks at it, and none of it is stored.

use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;

use crate::record::operation_state::is_open;

/// How many operations, by their state: in the order of `OperationState::ALL`.
pub type CountsByState = [u64; OperationState::ALL.len()];

/// The swarm's record in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations on record, by state.
    pub operations: CountsByState,
    /// Hosts, by status: in the order of `HostStatus::ALL`.
    pub hosts: [u64; HostStatus::ALL.len()],
    /// Shards, by state: in the order of `ShardState::ALL`.
    pub shards: [u64; ShardState::ALL.len()],
    /// When the oldest open operation was accepted, if any is open.
    pub oldest_open_accepted_at: Option<Timestamp>,
    /// When the next thing is due. In the past: it is late.
    pub next_deadline: Timestamp,
    /// What was seen to happen.
    pub events: EventCounts,
}

/// What happened since this process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventCounts {
    /// Operations that came to an end, by the state that they ended in. One that ends twice, because its result
    /// comes late, counts twice.
    pub ended: CountsByState,
    /// Teardown commands that were not their operation's first.
    pub retries: u64,
    /// Results of operations that had timed out, or were cancelled.
    pub late_results: u64,
    /// Results of operations whose result was known.
    pub repeated_results: u64,
    /// Heartbeats and progress that left their agent before something that was applied already.
    pub stale_reports: u64,
}

fn add<const N: usize>(counts: &mut [u64; N], more: [u64; N]) {
    for (count, more) in counts.iter_mut().zip(more) {
        *count += more;
    }
}

impl Stats {
    /// Of two parts of a swarm together.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        add(&mut self.operations, other.operations);
        add(&mut self.hosts, other.hosts);
        add(&mut self.shards, other.shards);
        let open = [self.oldest_open_accepted_at, other.oldest_open_accepted_at];
        self.oldest_open_accepted_at = open.into_iter().flatten().min();
        self.next_deadline = self.next_deadline.min(other.next_deadline);
        add(&mut self.events.ended, other.events.ended);
        self.events.retries += other.events.retries;
        self.events.late_results += other.events.late_results;
        self.events.repeated_results += other.events.repeated_results;
        self.events.stale_reports += other.events.stale_reports;
        self
    }

    pub(crate) fn operation(&mut self, before: Option<OperationState>, state: OperationState) {
        moved(&mut self.operations, before.map(place), Some(place(state)));
        if before != Some(state) && !is_open(state) {
            self.events.ended[place(state)] += 1;
        }
    }

    pub(crate) fn operation_removed(&mut self, state: OperationState) {
        moved(&mut self.operations, Some(place(state)), None);
    }

    pub(crate) fn host(&mut self, before: Option<HostStatus>, status: HostStatus) {
        let before = before.map(|before| before as usize);
        moved(&mut self.hosts, before, Some(status as usize));
    }

    pub(crate) fn shard(&mut self, before: Option<ShardState>, after: Option<ShardState>) {
        let place = |state| state as usize;
        moved(&mut self.shards, before.map(place), after.map(place));
    }
}

fn place(state: OperationState) -> usize {
    state as usize
}

/// One less where it was, one more where it is.
fn moved(counts: &mut [u64], from: Option<usize>, to: Option<usize>) {
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
        Cancelled, Failed, Queued, Running, Succeeded, TimedOut,
    };

    use super::{CountsByState, EventCounts};
    use crate::tests::scenario::Scenario;
    use scuttle_schemas::operations::OperationState;

    /// Some operations of each state.
    fn by_state(counts: &[(OperationState, u64)]) -> CountsByState {
        let mut all = CountsByState::default();
        for (state, count) in counts {
            all[*state as usize] = *count;
        }
        all
    }

    /// Each step of the scenario compares the stats with a full count; here is what it says.
    #[test]
    fn what_only_the_core_sees_is_counted() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", (1, 10), Some(&["a", "b", "c"]));
        let accepted_at = swarm.now;
        let (late, _) = swarm.teardown("h", Some("a")).expect("accepted");
        assert_eq!(
            swarm.state.stats().oldest_open_accepted_at,
            Some(accepted_at)
        );

        swarm.heartbeat("h", (1, 9), None);
        assert_eq!(swarm.state.stats().events.stale_reports, 1);
        swarm.after_ms(601_000);
        let stats = swarm.state.stats();
        assert_eq!(stats.oldest_open_accepted_at, None);
        assert_eq!(stats.operations, by_state(&[(TimedOut, 1)]));
        assert!(stats.events.retries > 5, "{stats:?}");
        let retries = stats.events.retries;

        swarm.result("h", (1, 11), late.operation_id, None, &[("a", None)]);
        swarm.result("h", (1, 11), late.operation_id, None, &[("a", None)]);
        let (withdrawn, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.cancel(withdrawn.operation_id);
        let (failed, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.started("h", 1, failed.operation_id);
        assert_eq!(
            swarm.state.stats().operations,
            by_state(&[(Succeeded, 1), (Cancelled, 1), (Running, 1)])
        );
        let busy = Some("busy");
        swarm.result("h", (1, 12), failed.operation_id, busy, &[("b", busy)]);
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

        swarm.crash();
        let again = swarm.state.stats();
        assert_eq!(again.operations, stats.operations);
        assert_eq!(
            again.events.ended,
            CountsByState::default(),
            "that was before"
        );
        swarm.operation(open.operation_id);
    }
}
