//! What a seed picks before it begins: which faults there are, how often, and how large the swarm is. Each
//! seed has a part of the faults only, so that some run into the depth that others would hide.

use crate::chance::Chance;

/// One seed's faults and sizes. Rates are per mille; times are milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// One over a store of its own, or several that share a journal.
    pub(crate) controllers: u64,
    /// How many such journals the hosts are divided over, each with as many controllers.
    pub(crate) partitions: u64,
    pub(crate) hosts: u64,
    /// How many names of deckies there are on a host.
    pub(crate) deckies: u64,
    pub(crate) interval_ms: u32,
    /// How long there is work and faults.
    pub(crate) active_ms: u64,
    /// How far apart two pieces of work are, at the most.
    pub(crate) work_gap_ms: u64,
    pub(crate) fault_gap_ms: u64,
    pub(crate) longest_timeout_s: u64,
    /// How long one decky takes to be removed, at the most.
    pub(crate) removal_ms: u64,
    pub(crate) removal_fails: u64,
    pub(crate) drop: u64,
    pub(crate) duplicate: u64,
    /// How many messages are late, and how late.
    pub(crate) late: u64,
    pub(crate) late_ms: u64,
    /// How long an append takes, at the most.
    pub(crate) fsync_ms: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) work: Vec<Work>,
    /// Agents' ledgers are rewritten at so many bytes.
    pub(crate) long_ledger: u64,
    pub(crate) subscribers: u64,
}

/// One thing that goes wrong now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillController,
    StopController,
    ControllerPower,
    ControllerDisk,
    ControllerDiskFull,
    KillAgent,
    AgentDisk,
    PartAgent,
    PartController,
    ControllerClock,
    AgentClock,
    UnreadableInventory,
    PauseController,
    LeaseLost,
    AppendUnanswered,
    ServersAway,
    ControllerDiskLost,
    JournalTrimmed,
}

const FAULTS: [Fault; 12] = [
    Fault::KillController,
    Fault::StopController,
    Fault::ControllerPower,
    Fault::ControllerDisk,
    Fault::ControllerDiskFull,
    Fault::KillAgent,
    Fault::AgentDisk,
    Fault::PartAgent,
    Fault::PartController,
    Fault::ControllerClock,
    Fault::AgentClock,
    Fault::UnreadableInventory,
];

/// Those that there are where several controllers share a journal.
const SHARED_FAULTS: [Fault; 6] = [
    Fault::PauseController,
    Fault::LeaseLost,
    Fault::AppendUnanswered,
    Fault::ServersAway,
    Fault::ControllerDiskLost,
    Fault::JournalTrimmed,
];

/// One thing that operators, or whoever deploys deckies, do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    TearDownDecky,
    TearDownHost,
    Repeat,
    Cancel,
    Plan,
    Decommission,
    Deploy,
    Redeploy,
    ChangeState,
    Look,
}

impl Plan {
    pub(crate) fn of(chance: &mut Chance) -> Self {
        let sometimes = |chance: &mut Chance, most: u64| {
            if chance.happens(600) {
                chance.below(most)
            } else {
                0
            }
        };
        let controllers = if chance.happens(333) {
            chance.within(2, 3)
        } else {
            1
        };
        let mut faults: Vec<Fault> = FAULTS.to_vec();
        if controllers > 1 {
            faults.extend(SHARED_FAULTS);
        }
        let kept = chance.within(150, 800);
        faults.retain(|_| chance.happens(kept));
        let mut work = vec![Work::TearDownDecky, Work::Deploy, Work::Redeploy];
        for (more, rate) in [
            (Work::TearDownDecky, 500),
            (Work::TearDownHost, 700),
            (Work::Repeat, 600),
            (Work::Cancel, 500),
            (Work::Plan, 250),
            (Work::Decommission, 250),
            (Work::Redeploy, 400),
            (Work::ChangeState, 300),
            (Work::Look, 300),
        ] {
            if chance.happens(rate) {
                work.push(more);
            }
        }
        let partitions = match controllers {
            1 => 1,
            _ if chance.happens(333) => 2 + u64::from(chance.happens(200)),
            _ => 1,
        };
        Self {
            controllers,
            partitions,
            hosts: chance.within(1, 4),
            deckies: chance.within(1, 5),
            interval_ms: chance.within(2_000, 10_000) as u32,
            active_ms: chance.within(20_000, 120_000),
            work_gap_ms: chance.within(500, 12_000),
            fault_gap_ms: chance.within(1_500, 20_000),
            longest_timeout_s: chance.within(3, 120),
            removal_ms: chance.within(1, 6_000),
            removal_fails: sometimes(chance, 400),
            drop: sometimes(chance, 250),
            duplicate: sometimes(chance, 250),
            late: sometimes(chance, 300),
            late_ms: chance.within(50, 40_000),
            fsync_ms: chance.within(1, 400),
            faults,
            work,
            long_ledger: chance.within(600, 20_000),
            subscribers: chance.within(0, 2),
        }
    }

    /// Whether controllers are killed now and then.
    pub(crate) fn dies(&self) -> bool {
        self.faults.contains(&Fault::KillController)
    }

    /// Whether agents are killed now and then.
    pub(crate) fn agents_die(&self) -> bool {
        self.faults.contains(&Fault::KillAgent)
    }

    /// Whether controllers are stopped now and then, and go on.
    pub(crate) fn pauses(&self) -> bool {
        self.faults.contains(&Fault::PauseController)
    }
}
