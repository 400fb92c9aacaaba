//! The rule for which archives are dropped to make room for others. It is pure: `store` removes the
//! files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use scuttle_schemas::{DeckyId, OperationId};

use super::archive_name::ArchiveName;

/// The archives of the directory and their sizes, and the space that is reserved for archives that
/// are being written.
#[derive(Debug)]
pub(super) struct Retention {
    max_bytes: u64,
    /// The sizes of the complete archives with their sidecars, oldest archive first.
    archives: BTreeMap<ArchiveName, u64>,
    /// The archives that are being written.
    writing: BTreeSet<ArchiveName>,
    reserved: u64,
    /// The number of open users by operation. The archives of these operations are never dropped.
    open: HashMap<OperationId, usize>,
}

/// Whether some space is available.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// The space was reserved.
    Reserved,
    /// This archive must be dropped first. Its space stays in use until `end_drop` is called.
    Drop { name: ArchiveName, size: u64 },
    /// The rest of the directory belongs to open operations.
    Full,
}

impl Retention {
    pub(super) fn new(max_bytes: u64, archives: BTreeMap<ArchiveName, u64>) -> Self {
        Self {
            max_bytes,
            archives,
            writing: BTreeSet::new(),
            reserved: 0,
            open: HashMap::new(),
        }
    }

    pub(super) fn begin(&mut self, operation: OperationId) {
        *self.open.entry(operation).or_default() += 1;
    }

    pub(super) fn end(&mut self, operation: OperationId) {
        if let Some(count) = self.open.get_mut(&operation) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&operation);
            }
        }
    }

    /// Returns a name that no other archive has, whether complete or being written, and reserves it
    /// for an archive that is now being written.
    pub(super) fn claim_name(&mut self, operation: OperationId, decky: &DeckyId) -> ArchiveName {
        let names = self.archives.keys().chain(&self.writing);
        let last = names
            .filter(|name| name.operation == operation && name.decky == *decky)
            .map(|name| name.attempt)
            .max();
        let name = ArchiveName {
            operation,
            attempt: last.unwrap_or(0).saturating_add(1),
            decky: decky.clone(),
        };
        self.writing.insert(name.clone());
        name
    }

    /// Reserves space for an archive that is being written.
    pub(super) fn reserve(&mut self, bytes: u64) -> Room {
        let used: u64 = self.archives.values().sum();
        let needed = used.saturating_add(self.reserved).saturating_add(bytes);
        if needed <= self.max_bytes {
            self.reserved += bytes;
            return Room::Reserved;
        }
        let mut closed =
            (self.archives.iter()).filter(|(name, _)| !self.open.contains_key(&name.operation));
        let Some((name, size)) = closed.next() else {
            return Room::Full;
        };
        let (name, size) = (name.clone(), *size);
        // No other archive that is being written must choose the same one.
        self.archives.remove(&name);
        self.reserved += size;
        Room::Drop { name, size }
    }

    /// Releases the space of an archive that was dropped, or adds the archive again if it could not
    /// be dropped.
    pub(super) fn end_drop(&mut self, name: &ArchiveName, size: u64, is_dropped: bool) {
        self.reserved = self.reserved.saturating_sub(size);
        if !is_dropped {
            self.archives.insert(name.clone(), size);
        }
    }

    /// Ends the writing of an archive, and releases its reserved space. `size` is the size of the
    /// archive with its sidecar, or `None` if it was not completed.
    pub(super) fn end_writing(&mut self, name: &ArchiveName, reserved: u64, size: Option<u64>) {
        self.writing.remove(name);
        self.reserved = self.reserved.saturating_sub(reserved);
        if let Some(size) = size {
            self.archives.insert(name.clone(), size);
        }
    }

    /// Returns the names of the complete archives of an operation, earlier attempts first.
    pub(super) fn names_of(&self, operation: OperationId) -> impl Iterator<Item = &ArchiveName> {
        (self.archives.keys()).filter(move |name| name.operation == operation)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use scuttle_schemas::OperationId;
    use uuid::Uuid;

    use super::{ArchiveName, Retention, Room};

    fn name(operation: u128, decky: &str) -> ArchiveName {
        ArchiveName {
            operation: OperationId(Uuid::from_u128(operation)),
            attempt: 1,
            decky: decky.parse().expect("a decky"),
        }
    }

    #[test]
    fn the_oldest_archives_are_dropped_but_never_those_of_an_open_operation() {
        let (old, middle, new) = (name(1, "z"), name(2, "b"), name(3, "a"));
        let archives = [&new, &old, &middle].map(|name| (name.clone(), 30));
        let mut retention = Retention::new(100, BTreeMap::from(archives));
        assert_eq!(retention.reserve(10), Room::Reserved);
        let drop = |name: &ArchiveName| Room::Drop {
            name: name.clone(),
            size: 30,
        };
        assert_eq!(retention.reserve(10), drop(&old));
        retention.end_drop(&old, 30, false);
        retention.begin(old.operation);
        retention.begin(old.operation);
        retention.end(old.operation);
        assert_eq!(retention.reserve(10), drop(&middle));
        retention.end_drop(&middle, 30, true);
        assert_eq!(retention.reserve(30), Room::Reserved);
        retention.begin(new.operation);
        assert_eq!(retention.reserve(1), Room::Full);
        retention.end(old.operation);
        assert_eq!(retention.reserve(1), drop(&old));
    }

    #[test]
    fn each_attempt_gets_a_further_name() {
        let first = name(1, "web");
        let mut retention = Retention::new(100, BTreeMap::new());
        let claim = |retention: &mut Retention| retention.claim_name(first.operation, &first.decky);
        assert_eq!(claim(&mut retention), first);
        assert_eq!(claim(&mut retention).attempt, 2);
        retention.end_writing(&first, 0, Some(5));
        assert_eq!(claim(&mut retention).attempt, 3);
        assert_eq!(
            retention
                .claim_name(first.operation, &"b".parse().expect("a decky"))
                .attempt,
            1
        );
    }
}
