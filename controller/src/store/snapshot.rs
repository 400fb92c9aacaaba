//! A store as it is at one commit, whole, while it is written to or left alone: what a backup is made of. It is read
//! as raw values, which [`StoredValue::read`] makes changes of.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition};
use bytes::Bytes;
use scuttle_core::{Change, State};
use tokio::runtime::Handle;

use super::codec::{
    self, HOSTS, JOURNAL, KEYS, META, OPERATIONS, SHARDS, SWARM_KEY, StreamPosition,
};
use super::redb::{failed, open_without_writing};
use super::replicated::{self, JetStream, StreamJournal};
use super::{StoreError, codec::damaged};

/// Where a stored value is. The order is that of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// The swarm's own row.
    Meta,
    /// A host's row.
    Hosts,
    /// A shard's row.
    Shards,
    /// An operation's row.
    Operations,
    /// An idempotency key's row.
    Keys,
    /// A batch of changes that are not among the rows yet.
    Journal,
}

impl Table {
    /// All, in the order of a load.
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

/// What a stored value says.
#[derive(Debug, Clone, PartialEq)]
pub enum StoredValue {
    /// A row.
    Row(Change),
    /// A batch of the journal.
    Batch(Vec<Change>),
}

impl StoredValue {
    /// Reads a value of a table; `number` and `path` say in an error which one it is.
    ///
    /// # Errors
    /// It does not decode.
    pub fn read(table: Table, bytes: &[u8], number: u64, path: &Path) -> Result<Self, StoreError> {
        let read = match table {
            Table::Meta => codec::decode(bytes).map(|row| Self::Row(Change::Meta(row))),
            Table::Hosts => codec::decode(bytes).map(|row| Self::Row(Change::Host(row))),
            Table::Shards => codec::decode(bytes).map(|row| Self::Row(Change::Shard(row))),
            Table::Operations => codec::decode(bytes).map(|row| Self::Row(Change::Operation(row))),
            Table::Keys => codec::decode(bytes).map(|row| Self::Row(Change::Key(row))),
            Table::Journal => codec::decode(bytes).map(Self::Batch),
        };
        read.map_err(damaged(path, table.name(), format_args!("value {number}")))
    }

    /// Its changes, in their order.
    pub fn changes(&self) -> &[Change] {
        match self {
            Self::Row(change) => std::slice::from_ref(change),
            Self::Batch(changes) => changes,
        }
    }

    /// The same with other changes.
    #[must_use]
    pub fn map(self, change: impl Fn(Change) -> Change) -> Self {
        match self {
            Self::Row(row) => Self::Row(change(row)),
            Self::Batch(changes) => Self::Batch(changes.into_iter().map(change).collect()),
        }
    }
}

/// Takes snapshots of a store that another thread writes to.
#[derive(Debug, Clone)]
pub struct Snapshots {
    database: Arc<Database>,
    path: PathBuf,
    /// Where what the rows do not contain is, if not in the file.
    journal: Option<(Handle, JetStream)>,
}

impl Snapshots {
    pub(super) fn of(database: Arc<Database>, path: PathBuf) -> Self {
        Self {
            database,
            path,
            journal: None,
        }
    }

    /// The same of a store whose journal is a stream. They are then not to be taken by a thread of the runtime's.
    #[must_use]
    pub fn with_journal(mut self, runtime: Handle, stream: JetStream) -> Self {
        self.journal = Some((runtime, stream));
        self
    }

    /// The store as it is now. It costs the store no time; what is freed meanwhile is not used again as long as the
    /// snapshot is there. Once the store is closed, a snapshot reads no more.
    ///
    /// # Errors
    /// The store is closed, or cannot be read.
    pub fn take(&self) -> Result<Snapshot, StoreError> {
        let transaction = self.database.begin_read();
        let mut snapshot = Snapshot {
            transaction: transaction.map_err(|e| failed("read", &self.path)(e.into()))?,
            path: self.path.clone(),
            tail: Vec::new(),
            _database: None,
        };
        if let Some((runtime, stream)) = self.journal.clone() {
            let contained = snapshot.stream_position()?;
            let after = contained.map_or(0, |contained| contained.sequence);
            let mut journal = StreamJournal::open(runtime, stream)?;
            snapshot.tail = replicated::batches(&mut journal, after)?;
        }
        Ok(snapshot)
    }
}

/// A store at one commit.
pub struct Snapshot {
    // Before the database: it ends first.
    transaction: ReadTransaction,
    path: PathBuf,
    /// Batches of the journal that are not in the file.
    tail: Vec<Bytes>,
    /// Of a file that nobody else has open.
    _database: Option<Database>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Snapshot").field(&self.path).finish()
    }
}

impl Snapshot {
    /// Of a store's file, which is read whole (every page's checksum), and in which nothing is changed.
    ///
    /// # Errors
    /// It cannot be read, a controller has it open, it is damaged, foreign, or of another format.
    pub fn open_file(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|cause| StoreError::io("read", path, cause))?;
        let database = open_without_writing(file, path)?;
        let transaction = database.begin_read();
        Ok(Self {
            transaction: transaction.map_err(|e| failed("read", path)(e.into()))?,
            path: path.to_owned(),
            tail: Vec::new(),
            _database: Some(database),
        })
    }

    /// How much of a stream its rows contain; none if their journal is in the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn stream_position(&self) -> Result<Option<StreamPosition>, StoreError> {
        codec::read_stream_position(&self.transaction, &self.path)
    }

    /// The stream whose rows these are, if their journal is not in the file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn stream(&self) -> Result<Option<String>, StoreError> {
        Ok(self.stream_position()?.map(|contained| contained.stream))
    }

    /// Hands every stored value to `each`, in the order of a load.
    ///
    /// # Errors
    /// The store cannot be read, or `each` refuses a value.
    pub fn each<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(Table, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error: ::redb::Error| StoreError::redb("read", &self.path, error);
        let meta = self.transaction.open_table(META);
        let meta = meta.map_err(|e| failed(e.into()))?;
        if let Some(row) = meta.get(SWARM_KEY).map_err(|e| failed(e.into()))? {
            each(Table::Meta, row.value())?;
        }
        self.each_of(HOSTS, |bytes| each(Table::Hosts, bytes))?;
        self.each_of(SHARDS, |bytes| each(Table::Shards, bytes))?;
        self.each_of(OPERATIONS, |bytes| each(Table::Operations, bytes))?;
        self.each_of(KEYS, |bytes| each(Table::Keys, bytes))?;
        self.each_of(JOURNAL, |bytes| each(Table::Journal, bytes))?;
        (self.tail.iter()).try_for_each(|bytes| each(Table::Journal, bytes))
    }

    fn each_of<K: ::redb::Key + 'static, E: From<StoreError>>(
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

    /// Hands every stored value to `each`, read, with its size in bytes.
    ///
    /// # Errors
    /// The store cannot be read, a value does not decode, or `each` refuses one.
    pub fn records<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(StoredValue, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut number = 0;
        self.each(|table, bytes| {
            number += 1;
            each(
                StoredValue::read(table, bytes, number, &self.path)?,
                bytes.len(),
            )
        })
    }

    /// Loads it as a start would: every value decodes, and fits the others.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn load<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(&Change) -> Result<(), E>,
    ) -> Result<State, E> {
        let mut state = State::default();
        self.records(|record, _| {
            for change in record.changes() {
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
