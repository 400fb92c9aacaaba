//! A host and its agent's process, with the real state machine and ledger.

use std::collections::BTreeMap;

use scuttle_agent::ledger::DiskLedger;
use scuttle_agent::machine::Machine;
use scuttle_schemas::{BootId, HostId, OperationId};

use crate::seed::plan::SeedPlan;
use crate::seed::seeded_rng::SeededRng;
use crate::state::agents::deckies::{Deckies, RemovedGenerations, RunningTeardown};
use crate::storage::agent_file::AgentFile;

pub(crate) struct AgentHost {
    pub(crate) id: HostId,
    pub(crate) name: String,
    pub(crate) file: AgentFile,
    pub(crate) process: Option<AgentProcess>,
    /// The number of agent processes that have been started so far.
    pub(crate) boots: u64,
    pub(crate) connected: bool,
    pub(crate) clock: i64,
    pub(crate) deckies: Deckies,
    pub(crate) inventory_fails: bool,
    /// Whether a forged heartbeat may have made the agent's reports stale.
    pub(crate) needs_reset: bool,
    /// The process that an operator's reset concerns, and the sequence number of its first
    /// heartbeat after the reply to the reset.
    pub(crate) reset: Option<(u64, u64)>,
    /// The sequence number of the last heartbeat.
    pub(crate) last_heartbeat: u64,
    pub(crate) stray: Option<StrayAgent>,
    /// The boot id of the last process.
    pub(crate) last_boot: Option<BootId>,
}

/// A second agent with the credentials of the host, which only sends heartbeats.
pub(crate) struct StrayAgent {
    pub(crate) boot_id: BootId,
    /// The sequence number of its last heartbeat.
    pub(crate) sequence: u64,
    pub(crate) until: u64,
}

/// One process of an agent, from its start to its end.
pub(crate) struct AgentProcess {
    pub(crate) machine: Machine,
    pub(crate) ledger: DiskLedger<AgentFile>,
    pub(crate) started_at: u64,
    /// Whether the agent's state machine believes that it is connected.
    pub(crate) believes_connected: bool,
    pub(crate) teardowns: BTreeMap<OperationId, RunningTeardown>,
    pub(crate) tick_at: u64,
    /// For the inventory that the agent is about to send, the generations that had really been
    /// removed when the agent read it.
    pub(crate) sending: Option<RemovedGenerations>,
}

impl AgentHost {
    pub(crate) fn new(index: usize, plan: &SeedPlan, rng: &mut SeededRng) -> Self {
        let name = format!("h{index}");
        Self {
            id: name.parse().expect("a valid host_uuid"),
            file: AgentFile::new(rng.next_u64()),
            process: None,
            boots: 0,
            connected: true,
            clock: rng.pick_below(120_001).cast_signed() - 60_000,
            deckies: Deckies::new(plan, rng),
            inventory_fails: false,
            needs_reset: false,
            reset: None,
            last_heartbeat: 0,
            stray: None,
            last_boot: None,
            name,
        }
    }
}
