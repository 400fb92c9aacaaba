//! What the bench does to a controller's file while no controller runs, through the controller's own store.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use scuttle_controller::engine::FORCED_CHECKPOINT_THRESHOLD;
use scuttle_controller::store::{FILE_NAME, RedbStore, Snapshot, Store, StoreError};
use scuttle_core::Change;
use serde::{Deserialize, Serialize};

use super::unsynced::Unsynced;

/// Changes in a batch of the journal that is made long: as many as a commit has when some ten thousand teardowns are accepted
/// a second.
const BATCH: usize = 64;

/// How much longer than too long: what is moved before the load begins.
const MORE: usize = 50_000;

/// Moves the journal to the rows, all of it.
pub(super) fn settle(data_dir: &Path) -> Result<()> {
    RedbStore::open(data_dir)?.checkpoint(usize::MAX)?;
    Ok(())
}

/// How many changes are in the journal.
pub(super) fn journal_len(data_dir: &Path) -> Result<usize> {
    Ok(RedbStore::open(data_dir)?.journal_len())
}

/// Writes shards as they are to the journal, until a controller moves it to the rows though it has more to do.
pub(super) fn lengthen_journal(data_dir: &Path) -> Result<()> {
    let path = data_dir.join(FILE_NAME);
    let file = File::options().read(true).write(true).open(&path)?;
    let mut store = RedbStore::open_backend(Unsynced::new(file.try_clone()?)?, &path)?;
    let mut shards = Vec::new();
    store.load(&mut |change| {
        if let Change::Shard(_) = change {
            shards.push(change);
        }
        Ok(())
    })?;
    let mut batches = shards.chunks(BATCH).cycle();
    while store.journal_len() < FORCED_CHECKPOINT_THRESHOLD + MORE {
        store.append(batches.next().context("there are shards")?)?;
    }
    drop(store);
    file.sync_all()?;
    Ok(())
}

/// What reading a file takes, in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// Opening it, which verifies every page.
    pub(crate) open: f64,
    /// Reading and decoding every row on one thread, and keeping none.
    pub(crate) read: f64,
}

/// Reads a file and prints what that took. In a process of its own, as a start is.
pub(crate) fn read(data_dir: &Path) -> Result<ExitCode> {
    let start = Instant::now();
    let store = Snapshot::open_file(&data_dir.join(FILE_NAME))?;
    let open = start.elapsed().as_secs_f64();
    let mut rows = 0_usize;
    store.for_each_value(|_, _| {
        rows += 1;
        Ok::<_, StoreError>(())
    })?;
    let read = start.elapsed().as_secs_f64() - open;
    anyhow::ensure!(rows > 0, "no rows");
    println!("{}", serde_json::to_string(&Reading { open, read })?);
    Ok(ExitCode::SUCCESS)
}
