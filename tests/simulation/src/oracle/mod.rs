//! The oracle: what must hold, whatever the code under test thinks. Its truth is what was made durable, what
//! was answered, what agents reported, and what their runtimes really did; it decides nothing.
//!
//! `shards` holds the rules for what is made durable, `told` those for what leaves, `end` the agreement that
//! is due once faults have stopped.

mod controllers;
mod divided;
mod end;
mod rules;
mod told;

pub(crate) use divided::Oracles;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scuttle_agent::Teardown;
use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::store::StoreError;
use scuttle_core::{Change, HostRow, Input, KeyId, KeyRow, Meta, OperationRow, ShardRow};
use scuttle_schemas::agents::{ReportedOutcome, ResultOutcome};
use scuttle_schemas::{BootId, DeckyId, HostId, OperationId, Partition, Timestamp};

use crate::agents::ByDecky;
use crate::deckies::Gone;
use crate::divided::Divided;

/// An invariant that does not hold, and what shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which invariant, by its number in the architecture, and in words.
    pub invariant: &'static str,
    /// What happened.
    pub what: String,
}

impl Broken {
    pub(crate) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.what)
    }
}

/// Breaks with this invariant, unless it holds.
fn ensure(
    holds: bool,
    invariant: &'static str,
    what: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(Broken::new(invariant, what()))
    }
}

const LOST: &str = "1 nothing accepted is lost";
const EVIDENCE: &str = "2 a shard leaves only when its agent said so";
const OTHERS: &str = "3 no host changes another's shards";
const BACK: &str = "4 what was removed does not come back";
const ONCE: &str = "5 executed at most once";
const DURABLE: &str = "6 what is told is durable";
const REVISIONS: &str = "7 revisions have no gaps and one content";
const AGREE: &str = "8 record and reality agree";
const SEEN: &str = "9 a failure is seen";

/// A report of an agent that reached the controller.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    Inventory {
        host: HostId,
        boot: BootId,
        sequence: u64,
        listed: BTreeSet<DeckyId>,
    },
    Result {
        host: HostId,
        boot: BootId,
        sequence: u64,
        operation: OperationId,
        outcome: ResultOutcome,
        said: ByDecky<ReportedOutcome>,
    },
}

impl Report {
    pub(crate) fn of(input: &Input) -> Option<Self> {
        match input {
            Input::Heartbeat { host, heartbeat } => Some(Self::Inventory {
                host: host.clone(),
                boot: heartbeat.boot_id,
                sequence: heartbeat.sequence,
                listed: (heartbeat.shards.as_ref()?.iter())
                    .map(|shard| shard.decky_id.clone())
                    .collect(),
            }),
            Input::Result { host, result, .. } => Some(Self::Result {
                host: host.clone(),
                boot: result.boot_id,
                sequence: result.sequence,
                operation: result.operation_id,
                outcome: result.outcome,
                said: (result.shards.iter())
                    .map(|shard| (shard.decky_id.clone(), shard.outcome))
                    .collect(),
            }),
            _ => None,
        }
    }
}

/// A shard on the durable record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shard {
    row: ShardRow,
    /// Which append brought it: which registration this is.
    born: u64,
}

/// The rows as they are on disk.
#[derive(Debug, Clone, Default)]
struct Rows {
    meta: Meta,
    hosts: BTreeMap<HostId, HostRow>,
    shards: BTreeMap<(HostId, DeckyId), Shard>,
    operations: BTreeMap<OperationId, OperationRow>,
    keys: BTreeMap<KeyId, KeyRow>,
}

impl Rows {
    fn take(&mut self, change: &Change, append: u64) {
        match change {
            Change::Meta(meta) => self.meta = *meta,
            Change::Host(row) => drop(self.hosts.insert(row.host.clone(), (**row).clone())),
            Change::Shard(row) => {
                let key = (row.host.clone(), row.decky.clone());
                let born = self.shards.get(&key).map_or(append, |shard| shard.born);
                let row = (**row).clone();
                self.shards.insert(key, Shard { row, born });
            }
            Change::ShardRemoved { host, decky } => {
                self.shards.remove(&(host.clone(), decky.clone()));
            }
            Change::Operation(row) => drop(self.operations.insert(row.id, (**row).clone())),
            Change::OperationRemoved { id } => drop(self.operations.remove(id)),
            Change::Key(row) => drop(self.keys.insert(row.id.clone(), (**row).clone())),
            Change::KeyRemoved { id } => drop(self.keys.remove(id)),
        }
    }

    /// What differs between two images of a disk.
    fn difference(&self, other: &Self) -> Option<String> {
        let shards = |rows: &Self| -> BTreeMap<_, _> {
            let rows = rows.shards.iter();
            rows.map(|(key, shard)| (key.clone(), shard.row.clone()))
                .collect()
        };
        if self.meta != other.meta {
            Some(format!("meta: {:?}, now {:?}", self.meta, other.meta))
        } else if self.hosts != other.hosts {
            Some(format!("hosts: {:?}, now {:?}", self.hosts, other.hosts))
        } else if self.operations != other.operations {
            Some(format!(
                "operations: {:?}, now {:?}",
                self.operations, other.operations
            ))
        } else if self.keys != other.keys {
            Some(format!("keys: {:?}, now {:?}", self.keys, other.keys))
        } else if shards(self) != shards(other) {
            Some(format!(
                "shards: {:?}, now {:?}",
                shards(self),
                shards(other)
            ))
        } else {
            None
        }
    }
}

/// What is known of a controller's term: of a process over a store of its own, from its start to its end.
#[derive(Debug, Clone, Default)]
struct Term {
    /// What reached it.
    reports: Vec<Report>,
    /// Its epoch, once that is durable.
    epoch: Option<u64>,
    /// By broadcast subject, the last revision that it told, or that was durable when it began.
    told: [u64; 3],
}

/// All that the oracle knows of one partition.
#[derive(Debug)]
pub(crate) struct Oracle {
    portion: PartitionAssignment,
    rows: Rows,
    appends: u64,
    /// Appends that failed: durable or not, the next start shows.
    unsure: Option<Vec<Change>>,
    /// By controller.
    terms: Vec<Term>,
    /// Whose append is looked at.
    writer: usize,
    inventories: BTreeMap<(usize, BootId, u64), Gone>,
    results: BTreeMap<(usize, OperationId), Gone>,
    /// Through which generation each decky was gone when it left the record.
    gone: BTreeMap<(HostId, DeckyId), u64>,
    /// The same before this append, which may hold several results about one decky.
    gone_before: BTreeMap<(HostId, DeckyId), u64>,
    /// What each operation covers: deckies, and which registration of each.
    covered: BTreeMap<OperationId, ByDecky<u64>>,
    /// Simulated time at which each operation was made durable.
    accepted: BTreeMap<OperationId, u64>,
    /// By shard and revision, a digest of the row.
    history: BTreeMap<(HostId, DeckyId, u64), u64>,
    /// By shard, the digests of its rows without their revisions, where another partition tells of them.
    unnumbered: BTreeMap<(HostId, DeckyId), BTreeSet<u64>>,
    /// By broadcast subject and a digest of the message without its revisions, the revision that it has here.
    messages: [BTreeMap<u64, u64>; 3],
    /// By broadcast subject and revision, a digest of the message that became durable with it.
    contents: [BTreeMap<u64, u64>; 3],
    /// By requester and key, the operation that was answered.
    answered: BTreeMap<(String, String), OperationId>,
    promised: BTreeSet<OperationId>,
    /// Hosts that the append that is looked at takes out of the swarm.
    leaving: BTreeSet<HostId>,
    last_now: u64,
}

fn index_of(host: &HostId) -> usize {
    host.as_str()[1..].parse().unwrap_or(usize::MAX)
}

impl Oracle {
    fn of(divided: Divided, partition: Partition) -> Self {
        Self {
            portion: PartitionAssignment {
                partition,
                of: divided.of,
            },
            rows: Rows::default(),
            appends: 0,
            unsure: None,
            terms: vec![Term::default(); divided.controllers()],
            writer: 0,
            inventories: BTreeMap::new(),
            results: BTreeMap::new(),
            gone: BTreeMap::new(),
            gone_before: BTreeMap::new(),
            covered: BTreeMap::new(),
            accepted: BTreeMap::new(),
            history: BTreeMap::new(),
            unnumbered: BTreeMap::new(),
            messages: Default::default(),
            contents: Default::default(),
            answered: BTreeMap::new(),
            promised: BTreeSet::new(),
            leaving: BTreeSet::new(),
            last_now: 0,
        }
    }

    pub(crate) fn delivered(&mut self, controller: usize, report: Report) {
        self.terms[controller].reports.push(report);
    }

    pub(crate) fn observed_result(&mut self, host: usize, operation: OperationId, gone: Gone) {
        self.results.insert((host, operation), gone);
    }

    pub(crate) fn observed_inventory(&mut self, host: usize, report: (BootId, u64), gone: Gone) {
        self.inventories.insert((host, report.0, report.1), gone);
    }

    /// A commit failed: what of it is durable is seen at the next start.
    pub(crate) fn unsure(&mut self, changes: Vec<Change>) {
        self.unsure = Some(changes);
    }

    pub(crate) fn unreadable(error: &StoreError) -> Result<(), Broken> {
        Err(Broken::new(
            LOST,
            format!("the store cannot be opened: {error}"),
        ))
    }

    /// A process has read this from its store: all that was ever durable, and nothing else.
    pub(crate) fn restarted(&mut self, stored: &[Change]) -> Result<(), Broken> {
        let mut rows = Rows::default();
        for change in stored {
            rows.take(change, 0);
        }
        let changed = self.rows.difference(&rows);
        match (changed, self.unsure.take()) {
            (None, _) => {}
            (Some(what), None) => {
                return Err(Broken::new(LOST, format!("after a restart: {what}")));
            }
            (Some(what), Some(appended)) => {
                self.appended(self.writer, &appended, self.last_now)?;
                if let Some(other) = self.rows.difference(&rows) {
                    let what = format!("part of a failed append is durable: {what}; {other}");
                    return Err(Broken::new(LOST, what));
                }
            }
        }
        Ok(())
    }

    /// A controller begins to lead.
    pub(crate) fn leads(&mut self, controller: usize) {
        let revisions = self.rows.meta.revisions;
        self.terms[controller] = Term {
            told: [revisions.shards, revisions.hosts, revisions.operations],
            ..Term::default()
        };
    }

    /// What a controller appended is durable.
    pub(crate) fn appended(
        &mut self,
        controller: usize,
        changes: &[Change],
        at: u64,
    ) -> Result<(), Broken> {
        self.appends += 1;
        self.last_now = at;
        self.writer = controller;
        let epoch = self.rows.meta.epoch;
        let ending = self.ending(changes)?;
        self.leaving = self.leaving(changes);
        self.gone_before.clone_from(&self.gone);
        for change in changes {
            self.rule(change, changes, &ending, at)?;
            let append = self.appends;
            self.rows.take(change, append);
        }
        if changes.is_empty() {
            return Ok(());
        }
        let now = self.rows.meta.epoch;
        match self.terms[controller].epoch.replace(now) {
            None => ensure(now > epoch, ONCE, || {
                format!("controller {controller} leads with epoch {now} after {epoch}")
            }),
            Some(own) => ensure(own == epoch && own == now, LOST, || {
                format!("controller {controller} of epoch {own} appends after one of {epoch}")
            }),
        }
    }

    /// What reached whoever appended.
    fn reports(&self) -> &[Report] {
        &self.terms[self.writer].reports
    }

    /// An agent is about to touch its runtime.
    pub(crate) fn begins(
        &self,
        host: usize,
        id: &HostId,
        teardown: &Teardown,
        wall: Timestamp,
    ) -> Result<(), Broken> {
        let operation = teardown.operation_id;
        let row = self.rows.operations.get(&operation);
        let Some(row) = row else {
            let what = format!("agent {host} begins {operation}, which is not durable");
            return Err(Broken::new(DURABLE, what));
        };
        ensure(
            row.host == *id && row.decky == teardown.decky_id,
            OTHERS,
            || {
                format!(
                    "agent {host} begins {operation} of {} {:?}",
                    row.host, row.decky
                )
            },
        )?;
        ensure(wall.since(row.deadline) <= 60_000, ONCE, || {
            format!(
                "agent {host} begins {operation} at {wall}, more than 60 s past its deadline {}",
                row.deadline
            )
        })
    }

    /// A runtime removes a decky.
    pub(crate) fn removes(
        &self,
        host: &HostId,
        decky: &DeckyId,
        operation: OperationId,
    ) -> Result<(), Broken> {
        let row = self.rows.operations.get(&operation);
        let asked = row.is_some_and(|row| {
            row.host == *host && row.decky.as_ref().is_none_or(|only| only == decky)
        });
        ensure(asked, OTHERS, || {
            format!("{host}/{decky} is removed for {operation}, which is not about it")
        })
    }
}
