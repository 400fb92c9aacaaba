//! Notices that a store's file was removed or replaced while it is in use. The operating system
//! lets a program write to a removed file, and everything that it writes is lost when it ends.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::error::StoreError;
use crate::store::redb::database::FILE_NAME;

/// The interval at which the file is checked.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A file that should stay where it is.
#[derive(Debug)]
pub struct FileWatch {
    path: PathBuf,
    /// The device and the number of the file. `None` if the file was missing from the start.
    id: Option<(u64, u64)>,
}

impl FileWatch {
    /// Watches the store's file in a data directory. The store must be open.
    pub fn start(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE_NAME);
        let id = find_id(&path);
        Self { path, id }
    }

    /// Waits until the file's path no longer leads to the file that it led to at the start, and
    /// returns the error to report.
    pub async fn wait_until_replaced(&self) -> StoreError {
        while self.id.is_some() && find_id(&self.path) == self.id {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        StoreError::Removed {
            path: self.path.clone(),
        }
    }
}

fn find_id(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FILE_NAME, FileWatch};

    #[tokio::test(start_paused = true)]
    async fn a_removed_directory_a_removed_file_and_a_replaced_file_are_noticed() {
        for case in ["directory", "file", "replaced"] {
            let dir = tempfile::tempdir().expect("a directory");
            let data_dir = dir.path().join("data");
            fs::create_dir(&data_dir).expect("a directory");
            let file = data_dir.join(FILE_NAME);
            fs::write(&file, "old").expect("a file");
            let watch = FileWatch::start(&data_dir);
            let unchanged =
                tokio::time::timeout(super::POLL_INTERVAL * 5, watch.wait_until_replaced());
            assert!(unchanged.await.is_err(), "nothing was changed");
            match case {
                "directory" => fs::remove_dir_all(&data_dir).expect("removed"),
                "file" => fs::remove_file(&file).expect("removed"),
                _ => {
                    let other = data_dir.join("other");
                    fs::write(&other, "new").expect("a file");
                    fs::rename(&other, &file).expect("renamed");
                }
            }
            let error = watch.wait_until_replaced().await.to_string();
            assert!(error.contains(FILE_NAME), "{error}");
        }
    }
}
