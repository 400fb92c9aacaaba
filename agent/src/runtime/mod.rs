//! The interface between the agent and the software that runs the deckies of its host.
//!
//! Docker is in `docker`. The simulated runtime is in `scuttle-agent-sim`.

#[cfg(feature = "docker")]
pub mod docker;

use std::future::Future;
use std::sync::Arc;

use scuttle_schemas::agents::{ProgressStep, ReportedShard, ShardResult};
use scuttle_schemas::{DeckyId, Note, OperationId, Text, Timestamp};
use tokio::sync::{mpsc, watch};

/// All deckies of a host at one moment, each listed once. A runtime should return the same `Arc`s
/// while nothing changes, because the agent compares each inventory with the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    pub shards: Arc<[ReportedShard]>,
    /// Notes about objects that the runtime cannot attribute to a decky, or had to leave. At most
    /// 32.
    pub notes: Arc<[Note]>,
}

impl FromIterator<ReportedShard> for Inventory {
    /// Collects an inventory without notes.
    fn from_iter<I: IntoIterator<Item = ReportedShard>>(shards: I) -> Self {
        Self {
            shards: shards.into_iter().collect(),
            notes: Arc::default(),
        }
    }
}

/// The software that runs the deckies of a host.
///
/// The agent may drop the futures of both async methods at any point, as a crash would. After a
/// restart, it calls `teardown` again for each operation that had not finished.
///
/// # Example
///
/// A runtime whose deckies are names in a list:
///
/// ```
/// use std::sync::Mutex;
///
/// use scuttle_agent::runtime::{
///     Inventory, ProgressSink, Runtime, RuntimeError, Teardown, TeardownReport,
/// };
/// use scuttle_schemas::agents::{ReportedOutcome, ReportedShard, ReportedState, ShardResult};
/// use scuttle_schemas::{DeckyId, Labels, OperationId, Services};
/// use tokio::sync::watch;
///
/// struct ListRuntime {
///     deckies: Mutex<Vec<DeckyId>>,
///     changes: watch::Sender<u64>,
/// }
///
/// impl Runtime for ListRuntime {
///     async fn inventory(&self) -> Result<Inventory, RuntimeError> {
///         let deckies = self.deckies.lock().unwrap();
///         let shard = |decky_id: &DeckyId| ReportedShard {
///             decky_id: decky_id.clone(),
///             state: ReportedState::Running,
///             services: Services::default(),
///             decky_ip: None,
///             labels: Labels::default(),
///             deployment: None,
///             reason: None,
///         };
///         Ok(deckies.iter().map(shard).collect())
///     }
///
///     async fn teardown(&self, teardown: Teardown, _progress: ProgressSink) -> TeardownReport {
///         let mut deckies = self.deckies.lock().unwrap();
///         let target = teardown.decky_id.as_ref();
///         let removed = deckies.extract_if(.., |decky| target.is_none_or(|id| id == decky));
///         let shards = removed.map(|decky_id| ShardResult {
///             decky_id,
///             outcome: ReportedOutcome::Removed,
///             error: None,
///             evidence: None,
///         });
///         let report = TeardownReport { error: None, shards: shards.collect() };
///         self.changes.send_modify(|count| *count += 1);
///         report
///     }
///
///     fn changes(&self) -> watch::Receiver<u64> {
///         self.changes.subscribe()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let runtime = ListRuntime {
///     deckies: Mutex::new(vec!["web".parse().unwrap(), "mail".parse().unwrap()]),
///     changes: watch::Sender::new(0),
/// };
/// let operation_id: OperationId = "0197a8f1-0000-7000-8000-00000000dead".parse().unwrap();
/// let teardown = Teardown {
///     operation_id,
///     decky_id: Some("web".parse().unwrap()),
///     not_after: "2026-11-23T09:21:49.000Z".parse().unwrap(),
///     override_protection: false,
/// };
/// let report = runtime.teardown(teardown, ProgressSink::discard(operation_id)).await;
/// assert_eq!(report.shards[0].outcome, ReportedOutcome::Removed);
/// assert_eq!(runtime.inventory().await.unwrap().shards.len(), 1);
/// # }
/// ```
pub trait Runtime: Send + Sync + 'static {
    /// Returns all deckies of this host.
    ///
    /// # Errors
    /// If the inventory cannot be read now. The agent then sends a heartbeat without it.
    fn inventory(&self) -> impl Future<Output = Result<Inventory, RuntimeError>> + Send;

    /// Removes the decky that `teardown` names, or all deckies of the host.
    ///
    /// The agent may run several teardowns of different deckies at the same time. It runs no other
    /// teardown at the same time as a teardown of the whole host. A teardown should end by its
    /// deadline, because the later commands for its deckies wait for it.
    ///
    /// The report may list a decky as `Removed` or `Absent` only if the runtime has looked for it
    /// again and found nothing. If a decky is already gone, the teardown succeeds.
    fn teardown(
        &self,
        teardown: Teardown,
        progress: ProgressSink,
    ) -> impl Future<Output = TeardownReport> + Send;

    /// Returns a counter that changes whenever the inventory may have changed.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Restores an operation that was started before the agent was restarted, and whose result the
    /// controller has not recorded. The agent calls this method when it starts.
    fn restore_unrecorded(&self, _operation_id: OperationId, _not_after: Timestamp) {}

    /// Ends an operation. The agent calls this method when the controller has recorded the result.
    fn end_operation(&self, _operation_id: OperationId) {}
}

/// The reason why a runtime cannot read its inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuntimeError(pub String);

/// A teardown for the runtime to execute: its operation, its target and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teardown {
    pub operation_id: OperationId,
    /// `None` stands for all deckies of this host.
    pub decky_id: Option<DeckyId>,
    /// The deadline of the operation.
    pub not_after: Timestamp,
    /// Whether the teardown also removes protected deckies.
    pub override_protection: bool,
}

/// The outcome of a teardown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeardownReport {
    /// An error that concerns no single decky, such as a network that could not be removed.
    pub error: Option<Text>,
    /// The outcome for each target decky, each decky listed once.
    pub shards: Vec<ShardResult>,
}

/// The progress of a teardown in the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub operation_id: OperationId,
    pub step: ProgressStep,
    pub decky_id: Option<DeckyId>,
    /// The number of deckies for which this step is complete.
    pub done: Option<u32>,
    /// The number of deckies that the teardown removes, in any step.
    pub total: Option<u32>,
}

impl Progress {
    /// Creates the progress of a teardown that has just started.
    pub(crate) fn started(operation_id: OperationId) -> Self {
        Self {
            operation_id,
            step: ProgressStep::Started,
            decky_id: None,
            done: None,
            total: None,
        }
    }
}

/// A sender that passes the progress of one teardown from the runtime to the agent.
#[derive(Debug, Clone)]
pub struct ProgressSink {
    operation_id: OperationId,
    sender: mpsc::Sender<Progress>,
}

impl ProgressSink {
    pub(crate) fn new(operation_id: OperationId, sender: mpsc::Sender<Progress>) -> Self {
        Self {
            operation_id,
            sender,
        }
    }

    /// Creates a sink that discards all progress, for tests of a runtime.
    pub fn discard(operation_id: OperationId) -> Self {
        Self::new(operation_id, mpsc::channel(1).0)
    }

    /// Reports progress. The report is dropped if the agent's queue is full, because progress is
    /// only a hint.
    pub fn report(&self, step: ProgressStep, decky_id: Option<DeckyId>, done: u32, total: u32) {
        let _ = self.sender.try_send(Progress {
            operation_id: self.operation_id,
            step,
            decky_id,
            done: Some(done),
            total: Some(total),
        });
    }
}
