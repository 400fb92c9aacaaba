//! Consistent snapshots of a store as of one commit, taken while the store is in use or closed.
//! Backups, exports, and the files of rows for other controllers are made from snapshots.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use bytes::Bytes;
use scuttle_core::{Change, State};
use tokio::runtime::Handle;

use crate::store::disk_format::{self, HOSTS, JOURNAL, KEYS, META, OPERATIONS, SHARDS, SWARM_KEY};
use crate::store::error::StoreError;
use crate::store::format_3;
use crate::store::format_version::{FORMAT, KnownStream, StreamPosition};
use crate::store::redb::database::{failed, open_without_writing};
use crate::store::replicated::jetstream::{JournalStream, StreamJournal};
use crate::store::replicated::shared_journal::read_batches;

/// A table of a store. The variants are in the order in which a load reads the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The single row with the data of the swarm as a whole.
    Meta,
    Hosts,
    Shards,
    Operations,
    /// Idempotency keys.
    Keys,
    /// Batches of changes that no checkpoint has moved to the rows yet.
    Journal,
}

impl Table {
    /// All tables, in the order in which a load reads them.
    pub const ALL: [Self; 6] = [
        Self::Meta,
        Self::Hosts,
        Self::Shards,
        Self::Operations,
        Self::Keys,
        Self::Journal,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Hosts => "hosts",
            Self::Shards => "shards",
            Self::Operations => "operations",
            Self::Keys => "keys",
            Self::Journal => "journal",
        }
    }
}

/// A decoded value of a store.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredValue {
    Row(Change),
    /// A batch of the journal.
    Batch(Vec<Change>),
}

impl StoredValue {
    /// Decodes a value of `table`. `number` and `path` identify the value in an error message.
    pub fn decode(
        table: Table,
        bytes: &[u8],
        number: u64,
        path: &Path,
    ) -> Result<Self, StoreError> {
        let read = match table {
            Table::Meta => disk_format::decode(bytes).map(|row| Self::Row(Change::Meta(row))),
            Table::Hosts => disk_format::decode(bytes).map(|row| Self::Row(Change::Host(row))),
            Table::Shards => disk_format::decode(bytes).map(|row| Self::Row(Change::Shard(row))),
            Table::Operations => {
                disk_format::decode(bytes).map(|row| Self::Row(Change::Operation(row)))
            }
            Table::Keys => disk_format::decode(bytes).map(|row| Self::Row(Change::Key(row))),
            Table::Journal => disk_format::decode(bytes).map(Self::Batch),
        };
        read.map_err(disk_format::damaged(
            path,
            table.name(),
            format_args!("value {number}"),
        ))
    }

    /// Returns the changes that the value consists of, in order.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Row(change) => std::slice::from_ref(change),
            Self::Batch(changes) => changes,
        }
    }

    /// Returns the value with `change` applied to each of its changes.
    #[must_use]
    pub fn map(self, change: impl Fn(Change) -> Change) -> Self {
        match self {
            Self::Row(row) => Self::Row(change(row)),
            Self::Batch(changes) => Self::Batch(changes.into_iter().map(change).collect()),
        }
    }
}

/// A source of snapshots of a store. Snapshots can be taken while another thread writes to the
/// store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    database: Arc<Database>,
    path: PathBuf,
    /// The stream that holds the journal. `None` if the journal is in the file.
    journal: Option<(Handle, JournalStream)>,
}

impl Snapshots {
    pub(super) fn new(database: Arc<Database>, path: PathBuf) -> Self {
        Self {
            database,
            path,
            journal: None,
        }
    }

    /// Adds the stream that holds the journal. Taking a snapshot then blocks until the servers
    /// respond, so it must not be done on a thread of the async runtime.
    #[must_use]
    pub fn with_journal(mut self, runtime: Handle, stream: JournalStream) -> Self {
        self.journal = Some((runtime, stream));
        self
    }

    /// Takes a snapshot of the store's current content without delaying the store. The store does
    /// not reuse freed pages while the snapshot exists. The snapshot becomes unreadable when the
    /// store is closed.
    ///
    /// # Errors
    /// If the store is closed or cannot be read, or if the journal's stream cannot be read.
    pub fn take(&self) -> Result<Snapshot, StoreError> {
        let transaction = self.database.begin_read();
        let mut snapshot = Snapshot {
            transaction: transaction.map_err(|e| failed("read", &self.path)(e.into()))?,
            path: self.path.clone(),
            format: FORMAT,
            tail: Vec::new(),
            _own_database: None,
        };
        if let Some((runtime, stream)) = self.journal.clone() {
            let position = snapshot.stream_position()?;
            let after = position.map_or(0, |position| position.sequence);
            let mut journal = StreamJournal::open_existing(runtime, stream)?;
            snapshot.tail = read_batches(&mut journal, after)?;
        }
        Ok(snapshot)
    }
}

/// The content of a store as of one commit.
pub struct Snapshot {
    // Declared before the database, so that it is dropped first.
    transaction: ReadTransaction,
    path: PathBuf,
    /// The format version of the file. Values in an older format are upgraded to the current format
    /// when they are read.
    format: u32,
    /// The journal's batches that are not in the file.
    tail: Vec<Bytes>,
    /// The database, if this snapshot has opened the file itself. The database must stay open until
    /// the snapshot is dropped.
    _own_database: Option<Database>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Snapshot").field(&self.path).finish()
    }
}

impl Snapshot {
    /// Opens a store's file without changing it and verifies the checksum of every page.
    ///
    /// # Errors
    /// If the file cannot be read, is open in a controller, is damaged or foreign, or has a
    /// format that this controller cannot read.
    pub fn open_file(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|cause| StoreError::io("read", path, cause))?;
        let (database, format) = open_without_writing(file, path)?;
        let transaction = database.begin_read();
        Ok(Self {
            transaction: transaction.map_err(|e| failed("read", path)(e.into()))?,
            path: path.to_owned(),
            format,
            tail: Vec::new(),
            _own_database: Some(database),
        })
    }

    /// Returns the stream position that the rows reflect, or `None` if their journal is in the
    /// file.
    pub(crate) fn stream_position(&self) -> Result<Option<StreamPosition>, StoreError> {
        disk_format::read_stream_position(&self.transaction, &self.path)
    }

    /// Returns the stream that the rows were read from, or `None` if it is not known.
    pub(crate) fn known_stream(&self) -> Result<Option<KnownStream>, StoreError> {
        disk_format::read_known_stream(&self.transaction, &self.path)
    }

    /// Returns the name of the stream that holds the journal, or `None` if the journal is in the
    /// file.
    pub fn stream(&self) -> Result<Option<String>, StoreError> {
        Ok(self.stream_position()?.map(|position| position.stream))
    }

    /// Calls `each` with every value, encoded in the current format, in the order in which a load
    /// reads them.
    ///
    /// # Errors
    /// If the store cannot be read or `each` fails.
    pub fn for_each_encoded<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(Table, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: ::redb::Error| StoreError::redb("read", &self.path, error);
        let meta = self.transaction.open_table(META);
        let meta = meta.map_err(|e| failed(e.into()))?;
        if let Some(row) = meta.get(SWARM_KEY).map_err(|e| failed(e.into()))? {
            each(Table::Meta, &self.upgrade(Table::Meta, row.value(), 0)?)?;
        }
        let mut number = 0;
        let mut each_upgraded = |table, bytes: &[u8]| {
            number += 1;
            each(table, &self.upgrade(table, bytes, number)?)
        };
        self.for_each_in(HOSTS, |bytes| each_upgraded(Table::Hosts, bytes))?;
        self.for_each_in(SHARDS, |bytes| each_upgraded(Table::Shards, bytes))?;
        self.for_each_in(OPERATIONS, |bytes| each_upgraded(Table::Operations, bytes))?;
        self.for_each_in(KEYS, |bytes| each_upgraded(Table::Keys, bytes))?;
        self.for_each_in(JOURNAL, |bytes| each_upgraded(Table::Journal, bytes))?;
        (self.tail.iter()).try_for_each(|bytes| each(Table::Journal, bytes))
    }

    /// Returns a value of the file in the current format.
    fn upgrade<'b>(
        &self,
        table: Table,
        bytes: &'b [u8],
        number: u64,
    ) -> Result<Cow<'b, [u8]>, StoreError> {
        if self.format == FORMAT {
            return Ok(Cow::Borrowed(bytes));
        }
        let upgraded = match table {
            Table::Keys => return Ok(Cow::Borrowed(bytes)),
            Table::Meta => format_3::upgrade_meta(bytes),
            Table::Hosts => format_3::upgrade_host(bytes),
            Table::Shards => format_3::upgrade_shard(bytes),
            Table::Operations => format_3::upgrade_operation(bytes),
            Table::Journal => format_3::upgrade_batch(bytes),
        };
        upgraded.map(Cow::Owned).map_err(disk_format::damaged(
            &self.path,
            table.name(),
            format_args!("value {number}"),
        ))
    }

    fn for_each_in<K: ::redb::Key + 'static, E: From<StoreError>>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: ::redb::Error| StoreError::redb("read", &self.path, error);
        let table = self.transaction.open_table(table);
        let table = table.map_err(|e| failed(e.into()))?;
        for entry in table.iter().map_err(|e| failed(e.into()))? {
            let (_, bytes) = entry.map_err(|e| failed(e.into()))?;
            each(bytes.value())?;
        }
        Ok(())
    }

    /// Calls `each` with every value and the size of its encoding in bytes.
    ///
    /// # Errors
    /// If the store cannot be read, a value cannot be decoded, or `each` fails.
    pub fn for_each_value<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(StoredValue, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut number = 0;
        self.for_each_encoded(|table, bytes| {
            number += 1;
            each(
                StoredValue::decode(table, bytes, number, &self.path)?,
                bytes.len(),
            )
        })
    }

    /// Loads the snapshot as the start of a controller would, calls `each` with every change, and
    /// returns the state.
    ///
    /// # Errors
    /// If the store cannot be read, is damaged, or `each` fails.
    pub fn load<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(&Change) -> Result<(), E>,
    ) -> Result<State, E> {
        let mut state = State::default();
        self.for_each_value(|value, _| {
            for change in value.changes() {
                each(change)?;
                let replayed = state.replay(change.clone());
                replayed.map_err(|cause| StoreError::Replay {
                    path: self.path.clone(),
                    cause,
                })?;
            }
            Ok::<_, E>(())
        })?;
        Ok(state)
    }
}
