//! The list of what a migration to a local store left behind on the NATS servers. The list is a
//! file in the data directory, which `migrate` writes and `remove-leftovers` reads.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::store::{StagedFile, StoreError};

/// The name of the file in the data directory.
const FILE_NAME: &str = "left-behind.json";

/// The streams that a migration left behind, including those of the buckets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftBehind {
    pub(crate) streams: Vec<LeftStream>,
}

/// A stream as it was when the migration had read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftStream {
    pub(crate) name: String,
    /// The time at which the stream was created. A stream with the same name and another creation
    /// time is not the stream that was left behind.
    pub(crate) created: String,
    /// The sequence number of the last message. A higher number shows that a controller has used
    /// the stream since the migration. `None` for a bucket that holds no part of the record.
    pub(crate) last_sequence: Option<u64>,
}

impl LeftBehind {
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE_NAME)
    }

    /// Stores the list durably.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn write(&self, data_dir: &Path) -> Result<(), StoreError> {
        let path = Self::path(data_dir);
        let failed = |cause: io::Error| StoreError::io("write", &path, cause);
        let (staged, mut file) = StagedFile::create_in(data_dir)?;
        serde_json::to_writer(&mut file, self).map_err(|cause| failed(cause.into()))?;
        file.flush()
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        staged.replace(&path)
    }

    /// Reads the list. Returns `None` if the directory has none.
    ///
    /// # Errors
    /// If the file cannot be read, or is damaged.
    pub(crate) fn read(data_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = Self::path(data_dir);
        let failed = |cause: io::Error| StoreError::io("read", &path, cause);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|cause| failed(cause.into())),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(failed(cause)),
        }
    }

    /// Removes the list, if the directory has one.
    ///
    /// # Errors
    /// If the directory cannot be written.
    pub(crate) fn remove(data_dir: &Path) -> Result<(), StoreError> {
        let path = Self::path(data_dir);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &path, cause))
            }
            _ => Ok(()),
        }
    }
}
