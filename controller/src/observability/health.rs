//! Whether the controller can do its work, as `/readyz` tells it.

use std::sync::Arc;

use scuttle_schemas::{Partition, PartitionCount};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::nats::connection::Connected;

/// What the controller is at.
#[derive(Debug, Clone)]
enum Phase {
    Loading,
    Connecting,
    Following(Connected),
    Leading(Connected),
}

impl Phase {
    fn ready(&self) -> Result<Role, &'static str> {
        let (part, connected) = match self {
            Self::Loading => return Err("the record is being read"),
            Self::Connecting => return Err("the NATS server does not answer; the log says why"),
            Self::Following(connected) => (Role::Follower, connected.is_up()),
            Self::Leading(connected) => (Role::Leader, connected.is_up()),
        };
        if connected {
            Ok(part)
        } else {
            Err("the NATS server is away: reconnecting")
        }
    }
}

/// What a controller that is ready does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    Leader,
}

/// What the controller is at, for whoever asks.
#[derive(Debug, Clone)]
pub struct Health {
    /// With each of the partitions.
    phases: Arc<[watch::Sender<Phase>]>,
    /// The one that is told of here.
    own: usize,
    shutdown: CancellationToken,
}

impl Health {
    /// Of a controller that starts, with so many partitions; what is told is told of the first.
    pub fn new(shutdown: CancellationToken, partitions: PartitionCount) -> Self {
        let phases = partitions
            .iter()
            .map(|_| watch::Sender::new(Phase::Loading));
        Self {
            phases: phases.collect(),
            own: 0,
            shutdown,
        }
    }

    /// To tell it of one of the partitions.
    #[must_use]
    pub fn for_partition(&self, partition: Partition) -> Self {
        Self {
            own: partition.index(),
            ..self.clone()
        }
    }

    fn is(&self, phase: Phase) {
        self.phases[self.own].send_replace(phase);
    }

    /// It reads its record.
    pub fn set_loading(&self) {
        self.is(Phase::Loading);
    }

    /// It looks for the NATS server.
    pub fn set_connecting(&self) {
        self.is(Phase::Connecting);
    }

    /// It keeps up with another that leads, and takes over when that is gone.
    pub fn set_following(&self, connected: Connected) {
        self.is(Phase::Following(connected));
    }

    /// It answers what comes over this connection.
    pub fn set_leading(&self, connected: Connected) {
        self.is(Phase::Leading(connected));
    }

    /// How many partitions there are, and how many of them it leads.
    pub(crate) fn led(&self) -> (usize, usize) {
        let leads = |phase: &&watch::Sender<Phase>| matches!(&*phase.borrow(), Phase::Leading(connected) if connected.is_up());
        (self.phases.len(), self.phases.iter().filter(leads).count())
    }

    /// What it does for the swarm; if nothing, why. With several partitions, it leads if it leads one, and is ready if it is with all.
    pub(crate) fn ready(&self) -> Result<Role, &'static str> {
        if self.shutdown.is_cancelled() {
            return Err("stopping");
        }
        let mut ready = Role::Follower;
        for phase in &*self.phases {
            if phase.borrow().ready()? == Role::Leader {
                ready = Role::Leader;
            }
        }
        Ok(ready)
    }
}
