//! The redb database of a store's file: opening it, checking its format and creating its tables.

use std::fs;
use std::path::Path;

use ::redb::{Builder, Database, ReadableDatabase, StorageBackend};

use crate::store::disk_format::{FORMAT_KEY, JOURNAL, META, Rows};
use crate::store::error::StoreError;
use crate::store::format_3::FORMAT_3;
use crate::store::format_version::FORMAT;
use crate::store::redb::read_only_overlay::ReadOnlyOverlay;

/// The name of the store's file in the data directory.
pub const FILE_NAME: &str = "scuttle.redb";

/// The size of redb's page cache in bytes. The state keeps all rows in memory, so the cache only
/// serves the pages that a checkpoint touches. A larger cache made no checkpoint faster.
const CACHE_SIZE: usize = 64 << 20;

/// Creates the data directory if it is missing, accessible only to the controller's user.
pub(crate) fn create_dir(data_dir: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .create(data_dir)
        .map_err(|cause| StoreError::io("create the data directory", data_dir, cause))
}

/// Returns the settings with which redb opens a store's file.
///
/// - Quick repair is off. After a kill, redb therefore walks through the whole file, verifies the
///   checksum of every page and finds the free pages. With a million rows (274 MB), the walk took
///   0.3 to 0.7 s, less than every start needs to read the rows into memory. Quick repair would
///   reduce the walk to 5 ms, but an append would then need two fsyncs and a copy of the allocator
///   state instead of one fsync: 7 ms instead of 3.4 ms on a disk whose fsync took 3.5 ms.
/// - The integrity check is on, so that redb makes the same walk at every start. The check detects
///   a file that was modified while no controller was running. Without the check, redb would trust
///   such a file or panic.
pub(crate) fn builder() -> Builder {
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_SIZE)
        .set_check_integrity_on_open(true);
    builder
}

/// Opens a store's file without changing it, and returns the database with its format. Writes by
/// redb stay in memory.
pub(crate) fn open_without_writing(
    file: fs::File,
    path: &Path,
) -> Result<(Database, u32), StoreError> {
    let failed = failed("open", path);
    let overlay = ReadOnlyOverlay::new(file).map_err(&failed)?;
    if overlay.len().map_err(|e| failed(e.into()))? == 0 {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            cause: "it is empty".to_owned(),
        });
    }
    let database = builder()
        .create_with_backend(overlay)
        .map_err(|e| failed(e.into()))?;
    let format = read_format(&database, path)?;
    Ok((database, format))
}

/// Returns the format of a store's file.
///
/// # Errors
/// If the file states no format, or one that this controller cannot read.
pub(crate) fn read_format(
    database: &impl ReadableDatabase,
    path: &Path,
) -> Result<u32, StoreError> {
    let failed = failed("read", path);
    let transaction = database.begin_read().map_err(|e| failed(e.into()))?;
    let meta = transaction.open_table(META).map_err(|e| failed(e.into()))?;
    let stored = meta.get(FORMAT_KEY).map_err(|e| failed(e.into()))?;
    let found = stored
        .and_then(|bytes| bytes.value().try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| StoreError::Foreign {
            path: path.to_owned(),
            cause: "it does not state its format".to_owned(),
        })?;
    if found == FORMAT || found == FORMAT_3 {
        Ok(found)
    } else {
        Err(StoreError::Format {
            path: path.to_owned(),
            found,
            known: FORMAT,
        })
    }
}

/// Creates the empty tables and writes the format version, in one transaction.
pub(crate) fn make_tables(database: &Database, path: &Path) -> Result<(), StoreError> {
    let failed = failed("create", path);
    let transaction = database.begin_write().map_err(|e| failed(e.into()))?;
    transaction
        .open_table(JOURNAL)
        .map_err(|e| failed(e.into()))?;
    Rows::open(&transaction)
        .map_err(|e| failed(e.into()))?
        .write_format()
        .map_err(|e| failed(e.into()))?;
    transaction.commit().map_err(|e| failed(e.into()))
}

/// Returns a function for `map_err` that turns redb's error into a [`StoreError`] with the action
/// and the file.
pub(crate) fn failed(
    action: &'static str,
    path: &Path,
) -> impl Fn(::redb::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |error| StoreError::redb(action, &path, error)
}
