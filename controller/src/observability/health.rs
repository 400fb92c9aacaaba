//! The readiness of the controller, which `/readyz` and the metrics report.

use std::sync::Arc;

use scuttle_schemas::{Partition, PartitionCount};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::nats::connection::Connected;

/// The phase that the controller is in for one partition.
#[derive(Debug, Clone)]
enum Phase {
    Loading,
    Connecting,
    Halted,
    /// The NATS server denies the permissions of a controller. The text says what to do.
    Denied(String),
    /// Another controller serves the swarm. The text says which.
    Refused(String),
    Following(Connected),
    /// The connections of the leader, of which all must be up.
    Leading(Vec<Connected>),
}

impl Phase {
    fn ready(&self) -> Result<Role, String> {
        let not_ready = |reason: &str| Err(reason.to_owned());
        let (role, connected) = match self {
            Self::Loading => return not_ready("loading the record"),
            Self::Connecting => return not_ready("connecting to the NATS server; see the log"),
            Self::Halted => {
                return not_ready(
                    "halted: the journal lacks accepted changes; see the log and `scuttle doctor`",
                );
            }
            Self::Denied(reason) | Self::Refused(reason) => return not_ready(reason),
            Self::Following(connected) => (Role::Follower, connected.is_up()),
            Self::Leading(connections) => (Role::Leader, connections.iter().all(Connected::is_up)),
        };
        if connected {
            Ok(role)
        } else {
            not_ready("the NATS server is unreachable: reconnecting")
        }
    }
}

/// The role of a ready controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    Leader,
}

/// The readiness of the controller, and a handle that sets its phase for one partition. Clones
/// share the readiness.
#[derive(Debug, Clone)]
pub struct Health {
    /// The phase of each partition.
    phases: Arc<[watch::Sender<Phase>]>,
    /// For each partition that this controller leads, the conflict with another controller, if
    /// there is one.
    conflicts: Arc<[watch::Sender<Option<String>>]>,
    /// The index of the partition whose phase and conflict this handle sets.
    partition: usize,
    shutdown: CancellationToken,
}

impl Health {
    /// Creates the readiness of a controller that is starting. The returned handle sets the phase
    /// of the first partition.
    pub fn new(shutdown: CancellationToken, partitions: PartitionCount) -> Self {
        let phases = partitions
            .iter()
            .map(|_| watch::Sender::new(Phase::Loading));
        let conflicts = partitions.iter().map(|_| watch::Sender::new(None));
        Self {
            phases: phases.collect(),
            conflicts: conflicts.collect(),
            partition: 0,
            shutdown,
        }
    }

    /// Returns a handle for the same readiness that sets the phase of `partition`.
    #[must_use]
    pub fn for_partition(&self, partition: Partition) -> Self {
        Self {
            partition: partition.index(),
            ..self.clone()
        }
    }

    fn set(&self, phase: Phase) {
        self.phases[self.partition].send_replace(phase);
    }

    pub fn set_loading(&self) {
        self.set(Phase::Loading);
    }

    pub fn set_connecting(&self) {
        self.set(Phase::Connecting);
    }

    /// Records that the journal lacks accepted changes, so that this controller must not serve.
    pub fn set_halted(&self) {
        self.set(Phase::Halted);
    }

    /// Records that the NATS server denies the permissions of a controller.
    pub fn set_denied(&self, reason: String) {
        self.set(Phase::Denied(reason));
    }

    /// Records that this controller must not serve, because another controller serves the swarm.
    pub fn set_refused(&self, reason: String) {
        self.set(Phase::Refused(reason));
    }

    /// Records the conflict of this leader with another controller. `None` ends the conflict.
    pub fn set_conflict(&self, conflict: Option<String>) {
        self.conflicts[self.partition].send_replace(conflict);
    }

    /// Returns the first conflict among the partitions that this controller leads.
    pub(crate) fn conflict(&self) -> Option<String> {
        self.conflicts
            .iter()
            .find_map(|conflict| conflict.borrow().clone())
    }

    /// Returns whether this controller has refused to serve, or leads a partition while a
    /// conflicting controller answers for the swarm.
    pub(crate) fn has_conflict(&self) -> bool {
        let is_refused =
            |phase: &watch::Sender<Phase>| matches!(&*phase.borrow(), Phase::Refused(_));
        self.phases.iter().any(is_refused) || self.conflict().is_some()
    }

    pub fn set_following(&self, connected: Connected) {
        self.set(Phase::Following(connected));
    }

    pub fn set_leading(&self, connections: Vec<Connected>) {
        self.set(Phase::Leading(connections));
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.phases.len()
    }

    /// Returns the number of partitions whose journal lacks accepted changes.
    pub(crate) fn halted_partition_count(&self) -> usize {
        let is_halted = |phase: &&watch::Sender<Phase>| matches!(&*phase.borrow(), Phase::Halted);
        self.phases.iter().filter(is_halted).count()
    }

    /// Returns the number of partitions that this controller leads and for which it is connected to
    /// the NATS server.
    pub(crate) fn led_partition_count(&self) -> usize {
        let is_led = |phase: &&watch::Sender<Phase>| phase.borrow().ready() == Ok(Role::Leader);
        self.phases.iter().filter(is_led).count()
    }

    /// Returns the controller's role, or the reason why the controller is not ready. A controller
    /// is ready if it is ready in every partition. It is a leader if it leads at least one
    /// partition.
    pub(crate) fn ready(&self) -> Result<Role, String> {
        if self.shutdown.is_cancelled() {
            return Err("stopping".to_owned());
        }
        let mut role = Role::Follower;
        for phase in &*self.phases {
            if phase.borrow().ready()? == Role::Leader {
                role = Role::Leader;
            }
        }
        Ok(role)
    }
}
