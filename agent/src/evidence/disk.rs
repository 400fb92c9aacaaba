//! The file operations of the evidence directory, and their implementation for a real directory. A
//! test has a separate implementation, which simulates a crash between any two operations.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A file of the evidence directory.
pub(super) trait DiskFile: Read + Write + Seek + Debug + Send {
    /// Makes the content of the file durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The files in the evidence directory, by name. A name has no `/`.
pub(super) trait Disk: Debug + Send + Sync {
    /// Creates a file that only the agent's user can read.
    ///
    /// # Errors
    /// If the file exists, or cannot be created.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file. The caller checks that no file has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names of all files durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the filesystem.
#[derive(Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Disk for Directory {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Box::new(options.open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}
