//! What a seed determines before its run starts: the size of the swarm, its work, and the kinds and
//! rates of faults. Each seed enables only some faults, because some states are reached only in a
//! long run with few faults.

use crate::seed::seeded_rng::SeededRng;

/// The faults and sizes of one seed. Rates are per mille. Times are in milliseconds, except
/// `max_timeout_s`.
#[derive(Debug, Clone)]
pub(crate) struct SeedPlan {
    /// The number of controllers in each partition: one with a local store, or several that share a
    /// journal.
    pub(crate) controllers: u64,
    /// The number of partitions. Each has its own journal and `controllers` controllers.
    pub(crate) partitions: u64,
    pub(crate) hosts: u64,
    /// The number of different deckies that can be deployed on each host.
    pub(crate) decky_names: u64,
    pub(crate) heartbeat_interval_ms: u32,
    /// The duration of the phase with work and faults.
    pub(crate) active_ms: u64,
    /// The maximum time between two pieces of work.
    pub(crate) max_work_gap_ms: u64,
    pub(crate) max_fault_gap_ms: u64,
    pub(crate) max_timeout_s: u64,
    /// The maximum number of teardowns that an agent runs at the same time. Each agent process
    /// chooses its own number up to this maximum.
    pub(crate) max_concurrency: u64,
    /// The maximum duration of the removal of one decky.
    pub(crate) max_removal_ms: u64,
    pub(crate) removal_failure_rate: u64,
    pub(crate) drop_rate: u64,
    pub(crate) duplicate_rate: u64,
    /// The share of messages that are delayed. The delay is up to `max_delay_ms`.
    pub(crate) delay_rate: u64,
    pub(crate) max_delay_ms: u64,
    /// The maximum duration of an append.
    pub(crate) max_fsync_ms: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) work: Vec<Work>,
    /// The ledger size in bytes at which an agent rewrites its ledger.
    pub(crate) ledger_rewrite_bytes: u64,
    pub(crate) subscribers: u64,
    /// Whether agents report deployments. Agents of earlier versions do not.
    pub(crate) reports_deployments: bool,
    pub(crate) saves_evidence: bool,
    /// The share of removals that fail because the evidence cannot be saved.
    pub(crate) evidence_failure_rate: u64,
    /// The share of teardown requests that override protection.
    pub(crate) override_rate: u64,
}

/// A kind of fault that occurs at random times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillController,
    StopController,
    CutControllerPower,
    FailControllerDisk,
    FillControllerDisk,
    KillAgent,
    FailAgentDisk,
    DisconnectAgent,
    DisconnectController,
    ShiftControllerClock,
    ShiftAgentClock,
    FailInventory,
    StrayAgent,
    PauseController,
    ExpireLease,
    LoseAppendReply,
    StopServers,
    ReplaceControllerDisk,
    TrimJournal,
    LoseJournal,
    AddForeignMessage,
}

const FAULTS: [Fault; 13] = [
    Fault::KillController,
    Fault::StopController,
    Fault::CutControllerPower,
    Fault::FailControllerDisk,
    Fault::FillControllerDisk,
    Fault::KillAgent,
    Fault::FailAgentDisk,
    Fault::DisconnectAgent,
    Fault::DisconnectController,
    Fault::ShiftControllerClock,
    Fault::ShiftAgentClock,
    Fault::FailInventory,
    Fault::StrayAgent,
];

/// The faults that can only occur if several controllers share a journal.
const SHARED_FAULTS: [Fault; 8] = [
    Fault::PauseController,
    Fault::ExpireLease,
    Fault::LoseAppendReply,
    Fault::StopServers,
    Fault::ReplaceControllerDisk,
    Fault::TrimJournal,
    Fault::LoseJournal,
    Fault::AddForeignMessage,
];

/// An action of an operator or of an attacker, or an event of the deckies on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    TearDownDecky,
    TearDownHost,
    Repeat,
    Cancel,
    DryRun,
    Decommission,
    Deploy,
    Redeploy,
    Recreate,
    Retry,
    ChangeState,
    List,
    ForgeReport,
    Protect,
}

impl SeedPlan {
    pub(crate) fn choose(rng: &mut SeededRng) -> Self {
        let sometimes = |rng: &mut SeededRng, max: u64| {
            if rng.roll_per_mille(600) {
                rng.pick_below(max)
            } else {
                0
            }
        };
        let controllers = if rng.roll_per_mille(333) {
            rng.pick_between(2, 3)
        } else {
            1
        };
        let mut faults: Vec<Fault> = FAULTS.to_vec();
        if controllers > 1 {
            faults.extend(SHARED_FAULTS);
        }
        let kept_per_mille = rng.pick_between(150, 800);
        faults.retain(|_| rng.roll_per_mille(kept_per_mille));
        let mut work = vec![Work::TearDownDecky, Work::Deploy, Work::Redeploy];
        for (more, rate) in [
            (Work::TearDownDecky, 500),
            (Work::TearDownHost, 700),
            (Work::Repeat, 600),
            (Work::Cancel, 500),
            (Work::DryRun, 250),
            (Work::Decommission, 250),
            (Work::Redeploy, 400),
            (Work::ChangeState, 300),
            (Work::List, 300),
            (Work::Recreate, 600),
            (Work::Retry, 500),
            (Work::ForgeReport, 200),
            (Work::Protect, 400),
        ] {
            if rng.roll_per_mille(rate) {
                work.push(more);
            }
        }
        let partitions = match controllers {
            1 => 1,
            _ if rng.roll_per_mille(333) => 2 + u64::from(rng.roll_per_mille(200)),
            _ => 1,
        };
        Self {
            controllers,
            partitions,
            hosts: rng.pick_between(1, 4),
            decky_names: rng.pick_between(1, 5),
            heartbeat_interval_ms: rng.pick_between(2_000, 10_000) as u32,
            active_ms: rng.pick_between(20_000, 120_000),
            max_work_gap_ms: rng.pick_between(500, 12_000),
            max_fault_gap_ms: rng.pick_between(1_500, 20_000),
            max_timeout_s: rng.pick_between(3, 120),
            max_removal_ms: rng.pick_between(1, 6_000),
            removal_failure_rate: sometimes(rng, 400),
            drop_rate: sometimes(rng, 250),
            duplicate_rate: sometimes(rng, 250),
            delay_rate: sometimes(rng, 300),
            max_delay_ms: rng.pick_between(50, 40_000),
            max_fsync_ms: rng.pick_between(1, 400),
            faults,
            work,
            ledger_rewrite_bytes: rng.pick_between(600, 20_000),
            subscribers: rng.pick_between(0, 2),
            max_concurrency: rng.pick_between(1, 5),
            reports_deployments: rng.roll_per_mille(850),
            saves_evidence: rng.roll_per_mille(500),
            evidence_failure_rate: sometimes(rng, 200),
            override_rate: sometimes(rng, 600),
        }
    }

    /// Returns whether the seed's faults include kills of controllers.
    pub(crate) fn kills_controllers(&self) -> bool {
        self.faults.contains(&Fault::KillController)
    }

    /// Returns whether the seed's faults include kills of agents.
    pub(crate) fn kills_agents(&self) -> bool {
        self.faults.contains(&Fault::KillAgent)
    }

    /// Returns whether the seed's faults include pauses of controllers.
    pub(crate) fn pauses_controllers(&self) -> bool {
        self.faults.contains(&Fault::PauseController)
    }
}
