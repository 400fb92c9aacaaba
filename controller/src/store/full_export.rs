//! A whole record in memory: every row as it is after all of the journal. To be written as a store of either kind, and to be
//! compared with another, row by row.

use std::collections::BTreeMap;
use std::path::Path;

use scuttle_core::{Change, Meta};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::{HostId, HostName, OperationId, PartitionCount};

use crate::partition::assignment::PartitionAssignment;
use crate::store::codec::StreamPosition;
use crate::store::snapshot::{Snapshot, StoredValue};
use crate::store::staged_file::{StagedFile, StagedStore};
use crate::store::{Key, LatestChanges, StoreError};

/// About how many bytes a row has when it is written.
const ROW: usize = 256;

/// Every row of a record.
#[derive(Debug)]
pub struct FullExport(BTreeMap<Key, Change>);

impl FullExport {
    /// Reads all of a snapshot.
    ///
    /// # Errors
    /// It cannot be read, or its rows do not fit each other.
    pub fn read(snapshot: &Snapshot) -> Result<Self, StoreError> {
        let mut fold = LatestChanges::default();
        snapshot.load(|change| {
            fold.take(change.clone());
            Ok::<_, StoreError>(())
        })?;
        fold.0.retain(|_, change| !removes(change));
        Ok(Self(fold.0))
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// The rows of these hosts alone.
    #[must_use]
    pub fn portion(&self, assignment: PartitionAssignment) -> Self {
        let has = |change: &Change| match change {
            Change::Meta(_) => true,
            Change::Host(row) => assignment.owns_host(&row.host),
            Change::Shard(row) => assignment.owns_host(&row.host),
            Change::Operation(row) => assignment.owns_host(&row.host),
            Change::Key(row) => assignment.owns_host(&row.host),
            Change::ShardRemoved { .. }
            | Change::OperationRemoved { .. }
            | Change::KeyRemoved { .. } => false,
        };
        let rows = self.0.iter().filter(|(_, change)| has(change));
        Self(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    /// All rows of several portions. Of what each counts, the most.
    #[must_use]
    pub fn together(portions: Vec<Self>) -> Self {
        let (mut all, mut meta) = (BTreeMap::new(), None);
        for Self(mut rows) in portions {
            if let Some(Change::Meta(more)) = rows.remove(&Key::Meta) {
                meta = Some(meta.map_or(more, |meta: Meta| meta.merge(more)));
            }
            all.append(&mut rows);
        }
        all.extend(meta.map(|meta| (Key::Meta, Change::Meta(meta))));
        Self(all)
    }

    /// The living hosts, and their names.
    pub fn living(&self) -> impl Iterator<Item = (&HostId, &HostName)> {
        self.0.values().filter_map(|change| match change {
            Change::Host(row) if row.status != HostStatus::Decommissioned => {
                Some((&row.host, &row.name))
            }
            _ => None,
        })
    }

    /// An open operation that whoever names it would not find in its host's assignment: it was made before there were several.
    pub fn misplaced(&self, of: PartitionCount) -> Option<OperationId> {
        self.0.values().find_map(|change| match change {
            Change::Operation(row) => {
                let misplaced =
                    of.partition_of_operation(row.id) != of.partition_of_host(&row.host);
                (misplaced && row.finished_at.is_none()).then_some(row.id)
            }
            _ => None,
        })
    }

    /// A row that the other has otherwise, or that one of both has not.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let missing = |one: &Self, other: &Self| {
            let mut rows = one.0.iter();
            let found = rows.find(|(key, row)| other.0.get(key) != Some(row));
            found.map(|(key, _)| format!("{key:?}"))
        };
        missing(self, other).or_else(|| missing(other, self))
    }

    /// Writes it as a store that is to be `target`, under a name of its own still: with its journal in the file, or as what a
    /// stream has up to a message.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(
        &self,
        target: &Path,
        stream: Option<(&str, u64)>,
    ) -> Result<StagedFile, StoreError> {
        let mut draft = StagedStore::beside(target)?;
        if let Some((stream, sequence)) = stream {
            draft.set_stream_position(&StreamPosition {
                stream: stream.to_owned(),
                sequence,
            })?;
        }
        for row in self.0.values() {
            draft.put(StoredValue::Row(row.clone()), ROW)?;
        }
        draft.seal()
    }
}

fn removes(change: &Change) -> bool {
    matches!(
        change,
        Change::ShardRemoved { .. } | Change::OperationRemoved { .. } | Change::KeyRemoved { .. }
    )
}
