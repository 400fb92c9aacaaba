//! What deckies run on, seen from the agent. Docker is in `docker`; the simulated runtime is in
//! `scuttle-agent-sim`.

use std::future::Future;
use std::sync::Arc;

use scuttle_schemas::agents::{ProgressStep, ReportedShard, ShardResult};
use scuttle_schemas::{DeckyId, OperationId, Text};
use tokio::sync::{mpsc, watch};

use crate::machine::Progress;

/// All deckies of a host at one moment, each once. An unchanged inventory is best the same `Arc`.
pub type Inventory = Arc<[ReportedShard]>;

/// What runs deckies on this host.
///
/// Both futures may be dropped at any point, as a crash would end them; a teardown that was dropped is
/// called again, for the same operation, by the agent's next start.
pub trait Runtime: Send + Sync + 'static {
    /// All deckies of this host.
    ///
    /// # Errors
    /// The inventory cannot be read now: the heartbeat leaves it out.
    fn inventory(&self) -> impl Future<Output = Result<Inventory, RuntimeError>> + Send;

    /// Removes the target. `Removed` and `Absent` are said only after looking again and finding
    /// nothing; what is already gone is a success. One call at a time.
    fn teardown(
        &self,
        teardown: Teardown,
        progress: ProgressSink,
    ) -> impl Future<Output = TeardownReport> + Send;

    /// Changes whenever the inventory may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// Why a runtime cannot tell what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RuntimeError(pub String);

/// What is to be torn down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teardown {
    /// For which operation.
    pub operation_id: OperationId,
    /// The decky; `None`: everything on this host.
    pub decky_id: Option<DeckyId>,
}

/// How a teardown ended at the runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TeardownReport {
    /// What failed beside single deckies (a network, the runtime itself).
    pub error: Option<Text>,
    /// The deckies, each once.
    pub shards: Vec<ShardResult>,
}

/// Where a runtime says how far it is with one teardown.
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

    /// Says how far it is. Progress is advice: what the agent cannot take at once is dropped.
    pub fn tell(&self, step: ProgressStep, decky_id: Option<DeckyId>, done: u32, total: u32) {
        let _ = self.sender.try_send(Progress {
            operation_id: self.operation_id,
            step,
            decky_id,
            done: Some(done),
            total: Some(total),
        });
    }
}
