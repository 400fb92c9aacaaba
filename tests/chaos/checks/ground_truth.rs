//! The ground truth of a run: what happened on the simulated hosts, according to their action logs,
//! their deckies and their agents' ledgers.
//!
//! `audit` compares the ground truth with the controllers' record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use scuttle_agent::ledger::Entry;
use scuttle_agent::{DiskLedger, Ledger};
use scuttle_agent_sim::action_log::{self, Action, ActionLine};
use scuttle_agent_sim::simulated_host::SimulatedHost;
use scuttle_schemas::agents::TeardownResult;
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};

use crate::cluster::processes::Processes;

/// What actually happened on one simulated host, regardless of what the controllers recorded.
#[derive(Debug)]
pub(crate) struct GroundTruth {
    pub(crate) host: HostId,
    /// The deckies that existed when the files were read.
    pub(crate) deckies: BTreeSet<DeckyId>,
    pub(crate) log: Vec<ActionLine>,
    /// The results in the agent's ledger, in the order of the ledger.
    pub(crate) finished: Vec<TeardownResult>,
}

/// Reads which deckies exist on each host. The simulators may still be running.
///
/// # Errors
/// If a file of a host cannot be read.
pub(crate) fn read_deckies(processes: &Processes) -> Result<BTreeSet<(HostId, DeckyId)>> {
    let mut all = BTreeSet::new();
    for (host, dir) in processes.hosts() {
        all.extend(
            SimulatedHost::read_deckies(&dir)?
                .into_iter()
                .map(|decky| (host.clone(), decky)),
        );
    }
    Ok(all)
}

/// Reads the ground truth of every host. The simulators must have exited.
///
/// # Errors
/// If a file cannot be read or is corrupt.
pub(crate) fn read(processes: &Processes) -> Result<BTreeMap<HostId, GroundTruth>> {
    let ground_truth = |(host, dir): (HostId, std::path::PathBuf)| {
        let ground_truth =
            read_host(&host, &dir).with_context(|| format!("read the ground truth of {host}"))?;
        Ok((host, ground_truth))
    };
    processes.hosts().into_iter().map(ground_truth).collect()
}

fn read_host(host: &HostId, dir: &Path) -> Result<GroundTruth> {
    let finished = |entry| match entry {
        Entry::Finished(finished) => Some(finished.result),
        _ => None,
    };
    let entries = DiskLedger::open(dir, host)?.load()?;
    Ok(GroundTruth {
        host: host.clone(),
        deckies: SimulatedHost::read_deckies(dir)?,
        log: action_log::read_lines(&action_log::log_path(dir))?,
        finished: entries.into_iter().filter_map(finished).collect(),
    })
}

impl GroundTruth {
    /// Returns how many times a decky was removed. A removal of an absent decky does not count.
    pub(crate) fn count_removals(&self, decky: &DeckyId) -> usize {
        let was_removed = |(there, after): &(bool, bool)| *there && !*after;
        let states: Vec<bool> = self.presence(decky).map(|(_, there)| there).collect();
        let pairs = states.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(was_removed).count()
    }

    /// Returns whether a decky was absent at any time from `from` to `to`, both inclusive.
    pub(crate) fn was_absent_between(
        &self,
        decky: &DeckyId,
        from: Timestamp,
        to: Timestamp,
    ) -> bool {
        let mut there = false;
        for (at, after) in self.presence(decky) {
            if at > to {
                break;
            }
            if at >= from && (!there || !after) {
                return true;
            }
            there = after;
        }
        !there
    }

    /// Returns whether a decky was deployed later than `time`.
    pub(crate) fn was_deployed_after(&self, decky: &DeckyId, time: Timestamp) -> bool {
        self.presence(decky).any(|(at, there)| there && at > time)
    }

    /// Returns whether the host's action log shows that an operation removed a decky.
    pub(crate) fn was_removed_by(&self, operation: OperationId, decky: &DeckyId) -> bool {
        let this = Action::Removed {
            operation_id: operation,
            decky_id: decky.clone(),
        };
        self.log.iter().any(|line| line.action == this)
    }

    /// Returns the times at which a decky was deployed (`true`) or removed (`false`), in the order
    /// of the action log.
    fn presence(&self, decky: &DeckyId) -> impl Iterator<Item = (Timestamp, bool)> {
        self.log.iter().filter_map(move |line| match &line.action {
            Action::Deployed { decky_id } if decky_id == decky => Some((line.at, true)),
            Action::Removed { decky_id, .. } if decky_id == decky => Some((line.at, false)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use scuttle_agent_sim::action_log::{Action, ActionLine};
    use scuttle_schemas::{DeckyId, OperationId, Timestamp};

    use super::GroundTruth;

    #[test]
    fn a_removal_that_is_repeated_after_a_kill_counts_once() {
        let decky: DeckyId = "decky-01".parse().expect("valid");
        let operation_id = OperationId(uuid::Uuid::now_v7());
        let at = Timestamp::from_millis;
        let deployed = |time| ActionLine {
            at: at(time),
            action: Action::Deployed {
                decky_id: decky.clone(),
            },
        };
        let removed = |time| ActionLine {
            at: at(time),
            action: Action::Removed {
                operation_id,
                decky_id: decky.clone(),
            },
        };
        let ground_truth = GroundTruth {
            host: "g00-0001".parse().expect("valid"),
            deckies: [decky.clone()].into(),
            log: vec![deployed(1), removed(5), removed(6), deployed(9)],
            finished: Vec::new(),
        };
        assert_eq!(ground_truth.count_removals(&decky), 1);
        assert!(ground_truth.was_removed_by(operation_id, &decky));
        assert!(
            ground_truth.was_deployed_after(&decky, at(8))
                && !ground_truth.was_deployed_after(&decky, at(9))
        );
        for (from, to, absent) in [
            (2, 4, false),
            (2, 5, true),
            (7, 8, true),
            (9, 20, true),
            (10, 20, false),
        ] {
            assert_eq!(
                ground_truth.was_absent_between(&decky, at(from), at(to)),
                absent,
                "{from} to {to}"
            );
        }
    }
}
