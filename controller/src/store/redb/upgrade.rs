//! Upgrades the file of a store from format 3 to the current format: every row and batch is encoded
//! again, in one transaction. After a crash, the file still has its old format and content.

use std::path::Path;

use ::redb::{
    Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use crate::store::disk_format::{self, HOSTS, JOURNAL, META, OPERATIONS, Rows, SHARDS, SWARM_KEY};
use crate::store::error::StoreError;
use crate::store::format_3;
use crate::store::redb::database::failed;

/// Upgrades a file of format 3.
///
/// # Errors
/// If a row cannot be decoded, or the file cannot be read or written.
pub(crate) fn upgrade(database: &Database, path: &Path) -> Result<(), StoreError> {
    let failed = failed("upgrade", path);
    let from = database.begin_read().map_err(|e| failed(e.into()))?;
    let to = database.begin_write().map_err(|e| failed(e.into()))?;
    let file = UpgradedFile {
        from: &from,
        to: &to,
        path,
    };
    file.upgrade_meta()?;
    file.upgrade_table(HOSTS, "hosts", format_3::upgrade_host)?;
    file.upgrade_table(SHARDS, "shards", format_3::upgrade_shard)?;
    file.upgrade_table(OPERATIONS, "operations", format_3::upgrade_operation)?;
    file.upgrade_table(JOURNAL, "journal", format_3::upgrade_batch)?;
    Rows::open(&to)
        .map_err(|e| failed(e.into()))?
        .write_format()
        .map_err(|e| failed(e.into()))?;
    to.commit().map_err(|e| failed(e.into()))
}

/// A file during its upgrade: the old content, and the transaction that replaces it.
struct UpgradedFile<'f> {
    from: &'f ReadTransaction,
    to: &'f WriteTransaction,
    path: &'f Path,
}

impl UpgradedFile<'_> {
    fn upgrade_meta(&self) -> Result<(), StoreError> {
        let failed = failed("upgrade", self.path);
        let from = (self.from.open_table(META)).map_err(|e| failed(e.into()))?;
        let mut to = (self.to.open_table(META)).map_err(|e| failed(e.into()))?;
        let Some(bytes) = from.get(SWARM_KEY).map_err(|e| failed(e.into()))? else {
            return Ok(());
        };
        let upgraded = format_3::upgrade_meta(bytes.value());
        let upgraded = upgraded.map_err(disk_format::damaged(self.path, "meta", SWARM_KEY))?;
        let inserted = to.insert(SWARM_KEY, upgraded.as_slice());
        inserted.map(drop).map_err(|e| failed(e.into()))
    }

    fn upgrade_table<K: Key + 'static>(
        &self,
        table: TableDefinition<'_, K, &'static [u8]>,
        name: &'static str,
        upgrade: fn(&[u8]) -> Result<Vec<u8>, postcard::Error>,
    ) -> Result<(), StoreError> {
        let failed = failed("upgrade", self.path);
        let from = (self.from.open_table(table)).map_err(|e| failed(e.into()))?;
        let mut to = (self.to.open_table(table)).map_err(|e| failed(e.into()))?;
        for (number, entry) in (1_u64..).zip(from.iter().map_err(|e| failed(e.into()))?) {
            let (key, bytes) = entry.map_err(|e| failed(e.into()))?;
            let upgraded = upgrade(bytes.value());
            let number = format!("value {number}");
            let upgraded = upgraded.map_err(disk_format::damaged(self.path, name, number))?;
            let inserted = to.insert(key.value(), upgraded.as_slice());
            inserted.map_err(|e| failed(e.into()))?;
        }
        Ok(())
    }
}
