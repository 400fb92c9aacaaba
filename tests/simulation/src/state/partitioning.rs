//! The division of controllers and NATS servers among partitions. The division of hosts uses the
//! rule of the real controller (`PartitionAssignment`).

use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_schemas::{Partition, PartitionCount};

use crate::seed::plan::SeedPlan;
use crate::seed::seeded_rng::SeededRng;
use crate::storage::nats_servers::NatsServers;

/// The assignment of controllers to partitions. Controllers are numbered partition by partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partitioning {
    pub(crate) count: PartitionCount,
    /// The number of controllers of each partition.
    pub(crate) controllers_per_partition: usize,
}

impl Partitioning {
    pub(crate) fn from_plan(plan: &SeedPlan) -> Self {
        let count = u8::try_from(plan.partitions)
            .ok()
            .and_then(PartitionCount::new);
        Self {
            count: count.expect("a plan has few partitions"),
            controllers_per_partition: plan.controllers as usize,
        }
    }

    pub(crate) fn controller_count(self) -> usize {
        self.count.count() * self.controllers_per_partition
    }

    /// Returns the partition that a controller belongs to.
    pub(crate) fn assignment(self, controller: usize) -> PartitionAssignment {
        let partition = self
            .count
            .iter()
            .nth(controller / self.controllers_per_partition);
        PartitionAssignment {
            partition: partition.unwrap_or_default(),
            partitions: self.count,
        }
    }

    pub(crate) fn controllers_of(self, partition: Partition) -> std::ops::Range<usize> {
        let first = partition.index() * self.controllers_per_partition;
        first..first + self.controllers_per_partition
    }
}

/// The NATS servers of each partition. Empty if each controller has a local store.
pub(crate) struct ServersByPartition {
    pub(crate) controllers_per_partition: usize,
    pub(crate) servers: Vec<NatsServers>,
}

impl ServersByPartition {
    pub(crate) fn new(partitioning: Partitioning, rng: &mut SeededRng) -> Self {
        let shared = if partitioning.controllers_per_partition > 1 {
            partitioning.count.count()
        } else {
            0
        };
        Self {
            controllers_per_partition: partitioning.controllers_per_partition,
            servers: (0..shared)
                .map(|_| NatsServers::new(rng.next_u64()))
                .collect(),
        }
    }

    /// Returns the servers of a controller's partition, or `None` if the controller has a local
    /// store.
    pub(crate) fn for_controller(&self, controller: usize) -> Option<&NatsServers> {
        self.servers
            .get(controller / self.controllers_per_partition)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &NatsServers> {
        self.servers.iter()
    }
}

/// Returns the endpoint that a leader serves on a subject, if any.
pub(crate) fn find_endpoint(assignment: PartitionAssignment, subject: &str) -> Option<Endpoint> {
    let matches =
        |endpoint: &Endpoint| match assignment.endpoint_subject(*endpoint).0.split_once('*') {
            Some((head, tail)) => subject.starts_with(head) && subject.ends_with(tail),
            None => assignment.endpoint_subject(*endpoint).0 == subject,
        };
    Endpoint::ALL.into_iter().find(matches)
}

/// Returns the endpoint of the list that is requested on `subject`, if the controller must gather
/// this list. Only the first of several partitions gathers lists.
pub(crate) fn find_gathered_list(
    assignment: PartitionAssignment,
    subject: &str,
) -> Option<Endpoint> {
    let gathers = assignment.is_one_of_several() && assignment.is_first();
    let is_list = |endpoint: &Endpoint| endpoint.is_read() && endpoint.subject() == subject;
    Endpoint::ALL
        .into_iter()
        .find(|endpoint| gathers && is_list(endpoint))
}
