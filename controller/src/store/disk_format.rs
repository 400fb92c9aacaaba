//! The tables of a store file and the encoding of rows and batches. A row is a struct of
//! `scuttle-core` in postcard encoding, and a batch is a list of changes. Any change to those
//! structs needs a new [`FORMAT`].

use std::path::Path;

use ::redb::{ReadTransaction, Table, TableDefinition, WriteTransaction};
use scuttle_core::Change;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::error::StoreError;
use crate::store::format_version::{FORMAT, KnownStream, StreamPosition};

/// The table of single values, keyed by name: [`FORMAT_KEY`], [`SWARM_KEY`], [`STREAM_KEY`]
/// and [`KNOWN_STREAM_KEY`].
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// The table of hosts, keyed by `host_uuid`.
pub(super) const HOSTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("hosts");
/// The table of shards, keyed by `host_uuid` and `decky_id`.
pub(super) const SHARDS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("shards");
/// The table of operations, keyed by operation id. The ids sort by age.
pub(super) const OPERATIONS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("operations");
/// The table of idempotency keys, keyed by requester and key.
pub(super) const KEYS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("keys");
/// The table of batches, keyed by a number that rises with each batch.
pub(super) const JOURNAL: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journal");

/// The key of the format version in `meta`. The value is a little-endian `u32` in this format and
/// in all future formats.
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const SWARM_KEY: &str = "swarm";
/// The key of the [`StreamPosition`] in `meta`. Present only if the journal is a stream.
pub(super) const STREAM_KEY: &str = "stream";
/// The key of the [`KnownStream`] in `meta`. Missing in stores of earlier versions.
pub(super) const KNOWN_STREAM_KEY: &str = "known_stream";

/// Encodes a value into `buffer`, replacing its content and reusing its allocation.
pub(super) fn encode<'b, T: Serialize + ?Sized>(
    value: &T,
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], postcard::Error> {
    buffer.clear();
    *buffer = postcard::to_extend(value, std::mem::take(buffer))?;
    Ok(buffer)
}

/// Decodes a value. Fails if bytes are left over.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, postcard::Error> {
    match postcard::take_from_bytes(bytes)? {
        (value, []) => Ok(value),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

/// Returns the number of changes in an encoded batch without decoding them: an encoded sequence
/// starts with its length.
pub(super) fn batch_len(bytes: &[u8]) -> Result<usize, postcard::Error> {
    postcard::take_from_bytes(bytes).map(|(length, _)| length)
}

pub(super) fn read_stream_position(
    transaction: &ReadTransaction,
    path: &Path,
) -> Result<Option<StreamPosition>, StoreError> {
    read_meta(transaction, path, STREAM_KEY)
}

pub(super) fn read_known_stream(
    transaction: &ReadTransaction,
    path: &Path,
) -> Result<Option<KnownStream>, StoreError> {
    read_meta(transaction, path, KNOWN_STREAM_KEY)
}

fn read_meta<T: DeserializeOwned>(
    transaction: &ReadTransaction,
    path: &Path,
    key: &'static str,
) -> Result<Option<T>, StoreError> {
    let failed = |error: ::redb::Error| StoreError::redb("read", path, error);
    let meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
    let bytes = meta.get(key).map_err(|e| failed(e.into()))?;
    let value = bytes.map(|bytes| decode(bytes.value()));
    value.transpose().map_err(damaged(path, "meta", key))
}

/// The tables of the rows, open for writing.
pub(super) struct Rows<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    hosts: Table<'t, &'static str, &'static [u8]>,
    shards: Table<'t, (&'static str, &'static str), &'static [u8]>,
    operations: Table<'t, u128, &'static [u8]>,
    keys: Table<'t, (&'static str, &'static str), &'static [u8]>,
    buffer: Vec<u8>,
}

impl<'t> Rows<'t> {
    /// Opens the tables and creates missing ones.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, ::redb::TableError> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            hosts: transaction.open_table(HOSTS)?,
            shards: transaction.open_table(SHARDS)?,
            operations: transaction.open_table(OPERATIONS)?,
            keys: transaction.open_table(KEYS)?,
            buffer: Vec::new(),
        })
    }

    pub(super) fn write_format(&mut self) -> Result<(), ::redb::StorageError> {
        let format = FORMAT.to_le_bytes();
        self.meta.insert(FORMAT_KEY, format.as_slice()).map(drop)
    }

    /// Writes the stream position that the rows reflect, and the stream, if it is known.
    pub(super) fn write_stream_position(
        &mut self,
        contained: &StreamPosition,
        known: Option<&KnownStream>,
    ) -> Result<(), WriteError> {
        let bytes = encode(contained, &mut self.buffer)?;
        drop(self.meta.insert(STREAM_KEY, bytes)?);
        if let Some(known) = known {
            let bytes = encode(known, &mut self.buffer)?;
            drop(self.meta.insert(KNOWN_STREAM_KEY, bytes)?);
        }
        Ok(())
    }

    /// Inserts, replaces or removes the row that a change belongs to.
    pub(super) fn write(&mut self, change: &Change) -> Result<(), WriteError> {
        let buffer = &mut self.buffer;
        match change {
            Change::Meta(row) => drop(self.meta.insert(SWARM_KEY, encode(row, buffer)?)?),
            Change::Host(row) => {
                drop(self.hosts.insert(row.host.as_str(), encode(row, buffer)?)?);
            }
            Change::Shard(row) => {
                let key = (row.host.as_str(), row.decky.as_str());
                drop(self.shards.insert(key, encode(row, buffer)?)?);
            }
            Change::ShardRemoved { host, decky } => {
                drop(self.shards.remove((host.as_str(), decky.as_str()))?);
            }
            Change::Operation(row) => {
                let key = row.id.0.as_u128();
                drop(self.operations.insert(key, encode(row, buffer)?)?);
            }
            Change::OperationRemoved { id } => drop(self.operations.remove(id.0.as_u128())?),
            Change::Key(row) => {
                let key = (row.id.requester.as_str(), row.id.key.as_str());
                drop(self.keys.insert(key, encode(row, buffer)?)?);
            }
            Change::KeyRemoved { id } => {
                drop(self.keys.remove((id.requester.as_str(), id.key.as_str()))?);
            }
        }
        Ok(())
    }
}

/// The reason why a row could not be written.
pub(super) enum WriteError {
    Encode(postcard::Error),
    Storage(::redb::StorageError),
}

impl From<postcard::Error> for WriteError {
    fn from(error: postcard::Error) -> Self {
        Self::Encode(error)
    }
}

impl From<::redb::StorageError> for WriteError {
    fn from(error: ::redb::StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Calls `each` with every row, in the order of [`super::Store::load`].
pub(super) fn read_rows(
    transaction: &ReadTransaction,
    path: &Path,
    each: &mut dyn FnMut(Change) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |error: ::redb::Error| StoreError::redb("read", path, error);
    let table = |error: ::redb::TableError| failed(error.into());
    let storage = |error: ::redb::StorageError| failed(error.into());

    let meta = transaction.open_table(META).map_err(table)?;
    if let Some(bytes) = meta.get(SWARM_KEY).map_err(storage)? {
        let row = decode(bytes.value()).map_err(damaged(path, "meta", SWARM_KEY))?;
        each(Change::Meta(row))?;
    }
    let hosts = transaction.open_table(HOSTS).map_err(table)?;
    for entry in hosts.range::<&str>(..).map_err(storage)? {
        let (key, bytes) = entry.map_err(storage)?;
        let row = decode(bytes.value()).map_err(damaged(path, "hosts", key.value()))?;
        each(Change::Host(row))?;
    }
    let shards = transaction.open_table(SHARDS).map_err(table)?;
    for entry in shards.range::<(&str, &str)>(..).map_err(storage)? {
        let (key, bytes) = entry.map_err(storage)?;
        let (host, decky) = key.value();
        let row = decode(bytes.value())
            .map_err(|cause| damaged(path, "shards", format_args!("{host}/{decky}"))(cause))?;
        each(Change::Shard(row))?;
    }
    let operations = transaction.open_table(OPERATIONS).map_err(table)?;
    for entry in operations.range::<u128>(..).map_err(storage)? {
        let (key, bytes) = entry.map_err(storage)?;
        let id = uuid::Uuid::from_u128(key.value());
        let row = decode(bytes.value()).map_err(damaged(path, "operations", id))?;
        each(Change::Operation(row))?;
    }
    let keys = transaction.open_table(KEYS).map_err(table)?;
    for entry in keys.range::<(&str, &str)>(..).map_err(storage)? {
        let (key, bytes) = entry.map_err(storage)?;
        let (requester, key) = key.value();
        let row = decode(bytes.value())
            .map_err(|cause| damaged(path, "keys", format_args!("{requester}/{key}"))(cause))?;
        each(Change::Key(row))?;
    }
    Ok(())
}

/// Returns a function for `map_err` that turns a decoding error at `key` of `table` into
/// [`StoreError::Row`].
pub(super) fn damaged(
    path: &Path,
    table: &'static str,
    key: impl std::fmt::Display,
) -> impl FnOnce(postcard::Error) -> StoreError {
    move |cause| StoreError::Row {
        path: path.to_owned(),
        table,
        key: key.to_string(),
        cause,
    }
}
