//! What an agent has done, as numbers and as log lines. Nothing is decided here.

use std::sync::atomic::{AtomicU64, Ordering};

use scuttle_schemas::agents::ResultOutcome;
use scuttle_schemas::{HostId, Text, truncate_chars};
use tracing::field::display;

use crate::machine::{Ignored, Note};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Counts of one agent, over all its boots in this process.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64),* }

        impl Counters {
            /// Each count with its name.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.load(Ordering::Relaxed))),*].into_iter()
            }
        }
    };
}

counters! {
    /// Commands for this host, repeats included.
    commands,
    /// Messages on the command subject that are no commands, and answers that are none.
    bad_payloads,
    /// Commands left alone: another host's, an old epoch's, beyond the queue, withdrawn ones, and
    /// withdrawals that came too late.
    ignored,
    /// Operations that were withdrawn before they were begun.
    withdrawn,
    /// Commands that came too late.
    expired,
    /// Teardowns begun; those resumed after a restart count again.
    started,
    /// Teardowns that removed everything.
    succeeded,
    /// Teardowns that did not.
    failed,
    /// Results sent, repeats included.
    results_sent,
    /// Results that the controller has on disk.
    results_recorded,
    /// Heartbeats sent; each page counts.
    heartbeats_sent,
    /// Heartbeats that the controller applied.
    heartbeats_accepted,
    /// Those of them that carried the inventory.
    inventories_accepted,
}

impl Counters {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, note: &Note) {
        match note {
            Note::Command => Self::add(&self.commands),
            Note::Ignored(_) => Self::add(&self.ignored),
            Note::Expired { .. } => Self::add(&self.expired),
            Note::Withdrawn(_) => Self::add(&self.withdrawn),
            Note::TeardownStarted { .. } => Self::add(&self.started),
            Note::TeardownFinished {
                outcome: ResultOutcome::Succeeded,
                ..
            } => Self::add(&self.succeeded),
            Note::TeardownFinished {
                outcome: ResultOutcome::Failed,
                ..
            } => Self::add(&self.failed),
            Note::ResultRecorded { .. } => Self::add(&self.results_recorded),
            Note::HeartbeatAccepted { inventory } => {
                Self::add(&self.heartbeats_accepted);
                if *inventory {
                    Self::add(&self.inventories_accepted);
                }
            }
            Note::ResultRefused { .. }
            | Note::Stale
            | Note::HostRefused { .. }
            | Note::ControllerSilent
            | Note::ControllerBack
            | Note::InventoryUnreadable(_) => {}
        }
    }
}

/// Logs what the machine has noted.
pub(crate) fn log(host: &HostId, note: Note) {
    let host_uuid = host;
    match note {
        Note::Command | Note::HeartbeatAccepted { .. } => {}
        Note::Ignored(why) => ignored(host, &why),
        Note::Withdrawn(operation_id) => {
            tracing::info!(%operation_id, %host_uuid, "operation withdrawn");
        }
        Note::Expired {
            operation_id,
            decky_id,
        } => {
            let decky_id = decky_id.as_ref().map(display);
            tracing::warn!(%operation_id, %host_uuid, decky_id, "did not begin a teardown: its deadline has passed");
        }
        Note::TeardownStarted {
            operation_id,
            decky_id,
            resumed,
        } => {
            let decky_id = decky_id.as_ref().map(display);
            tracing::info!(%operation_id, %host_uuid, decky_id, resumed, "teardown started");
        }
        Note::TeardownFinished {
            operation_id,
            decky_id,
            outcome,
            error,
        } => {
            let decky_id = decky_id.as_ref().map(display);
            let error = error.as_ref().map(Text::as_str);
            tracing::info!(%operation_id, %host_uuid, decky_id, ?outcome, error, "teardown finished");
        }
        Note::ResultRecorded {
            operation_id,
            detail,
        } => {
            let detail = detail.as_deref().map(|detail| truncate_chars(detail, 128));
            tracing::info!(%operation_id, %host_uuid, detail = detail.as_deref(), "result recorded");
        }
        Note::ResultRefused {
            operation_id,
            refusal,
        } => {
            let reason = truncate_chars(&refusal.message, 512);
            tracing::warn!(%operation_id, %host_uuid, code = ?refusal.code, %reason, "the controller refused a result; it is sent again");
        }
        Note::Stale => tracing::error!(
            %host_uuid,
            "the controller calls this agent's reports stale: another agent runs under this host's id; stop one of them"
        ),
        Note::HostRefused { code, message } => {
            let reason = truncate_chars(&message, 512);
            tracing::error!(%host_uuid, ?code, %reason, "the controller does not take this host's heartbeats; enrol the host, or stop this agent");
        }
        Note::ControllerSilent => {
            tracing::warn!(%host_uuid, "no controller answers; heartbeats and results are repeated until one does");
        }
        Note::ControllerBack => tracing::info!(%host_uuid, "the controller answers again"),
        Note::InventoryUnreadable(why) => {
            tracing::warn!(%host_uuid, %why, "cannot read the inventory; heartbeats go without it");
        }
    }
}

fn ignored(host_uuid: &HostId, why: &Ignored) {
    match why {
        Ignored::OtherHost(operation_id) => {
            tracing::warn!(%operation_id, %host_uuid, "ignored a command that names another host");
        }
        Ignored::OldEpoch {
            operation_id,
            epoch,
            highest,
        } => {
            tracing::warn!(%operation_id, %host_uuid, epoch, highest, "ignored a command of an earlier controller");
        }
        Ignored::QueueFull(operation_id) => {
            tracing::warn!(%operation_id, %host_uuid, "ignored a command: too many wait already; the controller sends it again");
        }
        Ignored::TooLate(operation_id) => {
            tracing::info!(%operation_id, %host_uuid, "ignored a withdrawal: the teardown was begun");
        }
        Ignored::Withdrawn(operation_id) => {
            tracing::info!(%operation_id, %host_uuid, "ignored a late command: its operation was withdrawn");
        }
    }
}
