//! The counters of one agent.

use std::sync::atomic::{AtomicU64, Ordering};

use scuttle_schemas::agents::ResultOutcome;

use crate::machine::AgentEvent;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// The counters of one agent, over all its boots in this process.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64),* }

        impl Counters {
            /// Returns the name and the current value of every counter.
            pub fn to_named_values(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Ordering::Relaxed))),*].into_iter()
            }
        }
    };
}

counters! {
    /// Commands for this host whose epoch is not outdated, repeats included.
    commands,
    /// Invalid messages on the command subject, and replies that are invalid or belong to no
    /// request.
    bad_payloads,
    /// Ignored commands: commands for another host or a cancelled operation, commands with an old
    /// epoch, commands that found the queue full, and cancel commands that were too late.
    ignored,
    /// Operations that were cancelled before they started.
    cancelled,
    /// Teardowns that were not started or resumed because their deadline had passed.
    expired,
    /// Started teardowns. A teardown that is resumed after a restart counts again.
    started,
    /// Teardowns that removed everything.
    succeeded,
    /// Teardowns that did not remove everything, expired ones included.
    failed,
    /// Sent results, repeats included.
    results_sent,
    /// Results that the controller has made durable.
    results_recorded,
    /// Sent heartbeats. Each page counts.
    heartbeats_sent,
    /// Heartbeats that the controller applied.
    heartbeats_accepted,
    /// Applied heartbeats that contained the inventory.
    inventories_accepted,
}

impl Counters {
    pub(crate) fn increment(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_event(&self, event: &AgentEvent) {
        match event {
            AgentEvent::CommandReceived => Self::increment(&self.commands),
            AgentEvent::CommandIgnored(_) => Self::increment(&self.ignored),
            AgentEvent::CommandExpired { .. } => Self::increment(&self.expired),
            AgentEvent::OperationCancelled(_) => Self::increment(&self.cancelled),
            AgentEvent::TeardownStarted { .. } => Self::increment(&self.started),
            AgentEvent::TeardownFinished {
                outcome: ResultOutcome::Succeeded,
                ..
            } => Self::increment(&self.succeeded),
            AgentEvent::TeardownFinished {
                outcome: ResultOutcome::Failed,
                ..
            } => Self::increment(&self.failed),
            AgentEvent::ResultRecorded { .. } => Self::increment(&self.results_recorded),
            AgentEvent::HeartbeatAccepted { inventory } => {
                Self::increment(&self.heartbeats_accepted);
                if *inventory {
                    Self::increment(&self.inventories_accepted);
                }
            }
            AgentEvent::ResultRejected { .. }
            | AgentEvent::ReportsStale
            | AgentEvent::OtherAgentReports
            | AgentEvent::BootReplaced { .. }
            | AgentEvent::HostRejected { .. }
            | AgentEvent::ControllerSilent
            | AgentEvent::ControllerBack
            | AgentEvent::InventoryUnreadable(_) => {}
        }
    }
}
