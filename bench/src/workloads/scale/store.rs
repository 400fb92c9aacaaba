//! Prepares and reads a controller's file through the controller's store, while no controller runs.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use scuttle_controller::engine::FORCED_CHECKPOINT_THRESHOLD;
use scuttle_controller::store::{FILE_NAME, RedbStore, Snapshot, Store, StoreError};
use scuttle_core::Change;
use serde::{Deserialize, Serialize};

use crate::workloads::scale::unsynced_file::UnsyncedFile;

/// The number of changes per batch in a lengthened journal. A commit has this many changes at about
/// ten thousand accepted teardowns per second.
const BATCH_SIZE: usize = 64;

/// The number of changes above [`FORCED_CHECKPOINT_THRESHOLD`] in a lengthened journal. These
/// changes are moved to the rows before the load of requests begins.
const SURPLUS: usize = 50_000;

/// Moves the whole journal to the rows.
pub(crate) fn empty_journal(data_dir: &Path) -> Result<()> {
    RedbStore::open(data_dir)?.checkpoint(usize::MAX)?;
    Ok(())
}

/// Returns the number of changes in the journal.
pub(super) fn journal_len(data_dir: &Path) -> Result<usize> {
    Ok(RedbStore::open(data_dir)?.journal_len())
}

/// Appends unchanged shards to the journal until a busy controller would move it to the rows.
pub(super) fn lengthen_journal(data_dir: &Path) -> Result<()> {
    let path = data_dir.join(FILE_NAME);
    let file = File::options().read(true).write(true).open(&path)?;
    let mut store = RedbStore::open_backend(UnsyncedFile::new(file.try_clone()?)?, &path)?;
    let mut shards = Vec::new();
    store.load(&mut |change| {
        if let Change::Shard(_) = change {
            shards.push(change);
        }
        Ok(())
    })?;
    let mut batches = shards.chunks(BATCH_SIZE).cycle();
    while store.journal_len() < FORCED_CHECKPOINT_THRESHOLD + SURPLUS {
        store.append(batches.next().context("there are shards")?)?;
    }
    drop(store);
    file.sync_all()?;
    Ok(())
}

/// The durations of opening and reading a file, in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// The time to open the file, which verifies every page.
    pub(crate) open: f64,
    /// The time to read and decode every row on one thread, without keeping the rows.
    pub(crate) read: f64,
}

/// Opens and reads a controller's file, and prints how long each took. The `start` measurement runs
/// this in a new process, because the controller that it is compared with also starts in a new
/// process.
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
