//! Durable storage for the core's changes: the trait `Store`, its errors, and the row that a change
//! belongs to. `redb` and `disk_format` write to disk, `replicated` keeps the journal in a
//! JetStream stream, and `memory` is for tests. A store never interprets the content of a row,
//! which `scuttle-core` defines.

mod disk_format;
pub mod error;
pub mod file_watch;
mod format_3;
pub mod format_version;
pub mod full_export;
pub mod journal_error;
mod latest_changes;
pub mod memory;
pub mod redb;
pub mod replicated;
pub mod snapshot;
pub mod snapshot_exchange;
pub mod staged_file;
mod store_trait;

pub use error::StoreError;
pub use full_export::FullExport;
pub use journal_error::JournalError;
pub use memory::{Fault, MemoryStore};
pub use redb::database::FILE_NAME;
pub(crate) use redb::database::create_dir;
pub use redb::redb_store::RedbStore;
pub use replicated::jetstream::JournalStream;
pub use replicated::replicated_store::ReplicatedStore;
pub use snapshot::{Snapshot, Snapshots};
pub use staged_file::{StagedFile, StagedStore};
pub use store_trait::Store;
