//! The rules for appends to the durable record, and for the changes that a process loads from it.

use std::collections::BTreeSet;

use scuttle_core::{Change, HostRow};
use scuttle_schemas::HostId;
use scuttle_schemas::hosts::HostStatus;

use crate::oracle::operations::Transitions;
use crate::oracle::partition::PartitionOracle;
use crate::oracle::record::Record;
use crate::oracle::violation::{
    AT_MOST_ONCE, GAPLESS_REVISIONS, NOTHING_LOST, OWN_HOST_ONLY, Violation, ensure,
};

impl PartitionOracle {
    /// Checks the changes that a process has loaded from its store: they must equal the durable
    /// record, with or without all changes of the last failed append.
    pub(crate) fn check_loaded(&mut self, stored: &[Change]) -> Result<(), Violation> {
        let mut rows = Record::default();
        for change in stored {
            rows.apply(change, 0);
        }
        let changed = self.record.find_difference(&rows);
        match (changed, self.uncertain.take()) {
            (None, _) => {}
            (Some(what), None) => {
                return Err(Violation::new(
                    NOTHING_LOST,
                    format!("after a restart: {what}"),
                ));
            }
            (Some(what), Some(appended)) => {
                self.check_append(self.writer, &appended, self.last_now)?;
                if let Some(other) = self.record.find_difference(&rows) {
                    let what = format!("part of a failed append is durable: {what}; {other}");
                    return Err(Violation::new(NOTHING_LOST, what));
                }
            }
        }
        Ok(())
    }

    /// Checks the changes that a controller has made durable, and applies them to the oracle's
    /// record.
    pub(crate) fn check_append(
        &mut self,
        controller: usize,
        changes: &[Change],
        at: u64,
    ) -> Result<(), Violation> {
        self.append_count += 1;
        self.last_now = at;
        self.writer = controller;
        let epoch = self.record.meta.epoch;
        let transitions = self.collect_transitions(changes)?;
        self.departing = self.find_departing_hosts(changes);
        self.ever_departed.extend(self.departing.iter().cloned());
        // When a host is enrolled again, reports from before may be applied again.
        let departing = &self.departing;
        self.removed
            .retain(|(host, _), _| !departing.contains(host));
        self.removed_before_append.clone_from(&self.removed);
        for change in changes {
            self.check_change(change, changes, &transitions, at)?;
            let append = self.append_count;
            self.record.apply(change, append);
        }
        if changes
            .iter()
            .any(|change| matches!(change, Change::Host(_)))
        {
            self.check_distinct_hosts()?;
        }
        if changes.is_empty() {
            return Ok(());
        }
        let now = self.record.meta.epoch;
        match self.terms[controller].epoch.replace(now) {
            None => ensure(now > epoch, AT_MOST_ONCE, || {
                format!("controller {controller} leads with epoch {now}, after epoch {epoch}")
            }),
            Some(own) => ensure(own == epoch && own == now, NOTHING_LOST, || {
                format!(
                    "controller {controller} with epoch {own} appends after a controller with epoch {epoch}"
                )
            }),
        }
    }

    /// Checks that one change of an append has a legitimate cause.
    pub(crate) fn check_change(
        &mut self,
        change: &Change,
        all: &[Change],
        transitions: &Transitions,
        at: u64,
    ) -> Result<(), Violation> {
        self.check_protection_change(change)?;
        match change {
            Change::Meta(meta) => {
                let before = self.record.meta;
                let (old, new) = (before.revisions, meta.revisions);
                let rises = meta.epoch >= before.epoch
                    && new.shards >= old.shards
                    && new.hosts >= old.hosts
                    && new.operations >= old.operations;
                ensure(rises, GAPLESS_REVISIONS, || {
                    format!("meta goes from {before:?} to {meta:?}")
                })?;
                let is_kept = meta.record.is_some()
                    && (before.record.is_none() || before.record == meta.record);
                ensure(is_kept, NOTHING_LOST, || {
                    format!("the record's identity goes from {before:?} to {meta:?}")
                })
            }
            Change::Shard(row) => self.check_shard_put(row, all, transitions),
            Change::ShardRemoved { host, decky } => {
                self.check_shard_removal(host, decky, all, transitions)
            }
            Change::Operation(row) => {
                if !self.record.operations.contains_key(&row.id) {
                    self.accepted_at.insert(row.id, at);
                    self.record_coverage(row);
                }
                self.check_evidence(row)?;
                self.check_operation_end(row, transitions)
            }
            Change::OperationRemoved { id } => Err(Violation::new(
                NOTHING_LOST,
                format!("operation {id} is removed from the record"),
            )),
            Change::Host(row) => {
                ensure(self.assignment.owns_host(&row.host), OWN_HOST_ONLY, || {
                    let partition = self.assignment.partition;
                    format!("{} is on the record of partition {partition}", row.host)
                })
            }
            Change::Key(_) | Change::KeyRemoved { .. } => Ok(()),
        }
    }

    /// Finds the hosts that an append decommissions, even if the append also enrolls them again.
    pub(crate) fn find_departing_hosts(&self, all: &[Change]) -> BTreeSet<HostId> {
        let hosts = all.iter().filter_map(|change| match change {
            Change::Host(row) => Some(&**row),
            _ => None,
        });
        let leaves = |row: &&HostRow| {
            let stored = self.record.hosts.get(&row.host);
            row.status == HostStatus::Decommissioned
                || stored.is_some_and(|stored| stored.enrolled_at != row.enrolled_at)
        };
        hosts.filter(leaves).map(|row| row.host.clone()).collect()
    }
}
