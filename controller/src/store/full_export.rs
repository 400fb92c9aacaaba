//! A complete copy of the record in memory: every row after the whole journal was applied. The copy
//! can be written as a store of either kind, and compared with another copy row by row.

use std::collections::BTreeMap;
use std::path::Path;

use scuttle_core::record::restore::RaisedRevisions;
use scuttle_core::{Change, HostIdentity, Meta};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{OperationId, PartitionCount, Timestamp};

use crate::partition::assignment::PartitionAssignment;
use crate::store::error::StoreError;
use crate::store::format_version::{KnownStream, StreamPosition};
use crate::store::latest_changes::{LatestChanges, RowKey};
use crate::store::snapshot::{Snapshot, StoredValue};
use crate::store::staged_file::{StagedFile, StagedStore};

/// The approximate size of an encoded row in bytes.
const ROW_SIZE: usize = 256;

/// Every row of the record.
#[derive(Debug)]
pub struct FullExport(BTreeMap<RowKey, Change>);

impl FullExport {
    /// Reads every row of a snapshot, with the changes of its journal applied.
    ///
    /// # Errors
    /// If the snapshot cannot be read or its changes contradict each other.
    pub fn read(snapshot: &Snapshot) -> Result<Self, StoreError> {
        let mut latest = LatestChanges::default();
        snapshot.load(|change| {
            latest.insert(change.clone());
            Ok::<_, StoreError>(())
        })?;
        latest.discard_removals();
        Ok(Self(latest.0))
    }

    pub fn row_count(&self) -> usize {
        self.0.len()
    }

    /// Returns a copy with only the meta row and the rows of one partition's hosts.
    #[must_use]
    pub fn select_partition(&self, assignment: PartitionAssignment) -> Self {
        let is_owned = |change: &Change| match change {
            Change::Meta(_) => true,
            Change::Host(row) => assignment.owns_host(&row.host),
            Change::Shard(row) => assignment.owns_host(&row.host),
            Change::Operation(row) => assignment.owns_host(&row.host),
            Change::Key(row) => assignment.owns_host(&row.host),
            Change::ShardRemoved { .. }
            | Change::OperationRemoved { .. }
            | Change::KeyRemoved { .. } => false,
        };
        let rows = self.0.iter().filter(|(_, change)| is_owned(change));
        Self(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    /// Combines the rows of all partitions. The meta row gets the highest epoch, and the highest
    /// revision of each kind.
    #[must_use]
    pub fn merge(partitions: Vec<Self>) -> Self {
        let (mut all, mut meta) = (BTreeMap::new(), None);
        for Self(mut rows) in partitions {
            if let Some(Change::Meta(more)) = rows.remove(&RowKey::Meta) {
                meta = Some(meta.map_or(more, |meta: Meta| meta.merge(more)));
            }
            all.append(&mut rows);
        }
        all.extend(meta.map(|meta| (RowKey::Meta, Change::Meta(meta))));
        Self(all)
    }

    /// Returns a copy with all revisions raised, based on `now`, so that subscribers do not take
    /// the record for an outdated one.
    #[must_use]
    pub fn raise_revisions(&self, now: Timestamp) -> Self {
        let revisions = match self.0.get(&RowKey::Meta) {
            Some(Change::Meta(meta)) => meta.revisions,
            _ => Meta::default().revisions,
        };
        let raised = RaisedRevisions::new(revisions, now);
        let rows = self.0.iter();
        let rows = rows.map(|(key, row)| (key.clone(), raised.apply_to(row.clone())));
        Self(rows.collect())
    }

    /// Returns the names and ids of the hosts that are not decommissioned.
    pub fn active_hosts(&self) -> impl Iterator<Item = HostIdentity<'_>> {
        self.0.values().filter_map(|change| match change {
            Change::Host(row) if row.status != HostStatus::Decommissioned => {
                Some(HostIdentity::from(&**row))
            }
            _ => None,
        })
    }

    /// Returns an open operation whose id does not identify its host's partition, or `None` if
    /// every id does. Only earlier versions of Scuttle gave operations such ids.
    pub fn find_misplaced_operation(&self, of: PartitionCount) -> Option<OperationId> {
        self.0.values().find_map(|change| match change {
            Change::Operation(row) => {
                let misplaced =
                    of.partition_of_operation(row.id) != of.partition_of_host(&row.host);
                (misplaced && row.finished_at.is_none()).then_some(row.id)
            }
            _ => None,
        })
    }

    /// Returns the key of a row that differs between two copies or is missing in one of them.
    /// Returns `None` if the copies are equal.
    pub fn find_difference(&self, other: &Self) -> Option<String> {
        let missing = |one: &Self, other: &Self| {
            let mut rows = one.0.iter();
            let found = rows.find(|(key, row)| other.0.get(key) != Some(row));
            found.map(|(key, _)| format!("{key:?}"))
        };
        missing(self, other).or_else(|| missing(other, self))
    }

    /// Writes the rows to a store under a temporary name, which the caller can rename to `target`.
    /// `position` is the stream position that the rows reflect, with the stream, if it is known.
    /// `None` if the journal is in the file.
    pub fn write(
        &self,
        target: &Path,
        position: Option<(&StreamPosition, Option<&KnownStream>)>,
    ) -> Result<StagedFile, StoreError> {
        let mut staged = StagedStore::create_for(target)?;
        if let Some((position, known)) = position {
            staged.set_stream_position(position, known)?;
        }
        for row in self.0.values() {
            staged.push(StoredValue::Row(row.clone()), ROW_SIZE)?;
        }
        staged.finish()
    }
}
