//! File operations for keys and other files that must never be left incomplete. New files get
//! explicit permissions, replacement is atomic, and every written file is fsynced before success is
//! reported. The content of the files is defined elsewhere.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The users who may read a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The owner only: mode 0600, or 0700 for a directory.
    Owner,
    /// Everyone who may enter the parent directory: mode 0644, or 0755 for a directory.
    All,
}

/// The reason why a file or directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The file or directory already exists, and is not replaced.
    #[error("{} already exists and is not replaced: move it away, or choose another path", .0.display())]
    Exists(PathBuf),
    /// Another process holds the lock of the bus directory.
    #[error(
        "cannot lock {}: {holder} has held the lock for {seconds} s: wait for it to end, or end it, and run the command again",
        .path.display()
    )]
    Locked {
        path: PathBuf,
        seconds: u64,
        /// The process, such as `process 4711`.
        holder: String,
    },
    #[error("cannot {verb} {}: {cause}", .path.display())]
    Failed {
        /// The attempted action, such as `read` or `create the directory`.
        verb: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
}

fn failed<'a>(verb: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
        _ => FileError::Failed {
            verb,
            path: path.to_owned(),
            cause,
        },
    }
}

/// Creates a directory. Fails if the path already exists.
pub(crate) fn create_directory(path: &Path, readers: Readers) -> Result<(), FileError> {
    let mode = match readers {
        Readers::Owner => 0o700,
        Readers::All => 0o755,
    };
    (DirBuilder::new().mode(mode).create(path)).map_err(failed("create the directory", path))
}

/// Creates a file that contains `text`, and fsyncs it. Fails if the path already exists. A failed
/// write leaves no partial file behind.
pub(crate) fn write_new(path: &Path, readers: Readers, text: &str) -> Result<(), FileError> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let file = (OpenOptions::new().write(true).create_new(true).mode(mode)).open(path);
    let mut file = file.map_err(failed("create", path))?;
    let written = (file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
    written.map_err(|cause| {
        // A partial file would make the next attempt fail.
        let _ = fs::remove_file(path);
        failed("write", path)(cause)
    })?;
    sync_parent(path)
}

/// A file that was created empty, so that a path at which no file can be created is reported early.
/// Dropping this value before [`write`](Self::write) removes the file.
#[derive(Debug)]
pub(crate) struct ReservedFile {
    path: PathBuf,
    /// `None` once the file has been written.
    file: Option<File>,
}

impl ReservedFile {
    /// Creates an empty file that only its owner can read. Fails if the path already exists or
    /// cannot be written.
    pub(crate) fn create(path: &Path) -> Result<Self, FileError> {
        let file = (OpenOptions::new().write(true).create_new(true).mode(0o600)).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: Some(file.map_err(failed("create", path))?),
        })
    }

    /// Writes and fsyncs the content of the file. A failed write removes the file.
    pub(crate) fn write(mut self, text: &str) -> Result<(), FileError> {
        if let Some(file) = &mut self.file {
            let written = (file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
            written.map_err(failed("write", &self.path))?;
        }
        sync_parent(&self.path)?;
        self.file = None;
        Ok(())
    }
}

impl Drop for ReservedFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Atomically creates or replaces a file that everyone may read, and fsyncs it.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let next = path.with_extension("next");
    remove_if_exists(&next)?;
    write_new(&next, Readers::All, text)?;
    fs::rename(&next, path).map_err(failed("replace", path))?;
    sync_parent(path)
}

/// Atomically renames the finished directory `from` to `to`, its final path. Fails if `to` is a
/// directory that is not empty.
pub(crate) fn publish_directory(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|cause| match cause.kind() {
        io::ErrorKind::DirectoryNotEmpty => FileError::Exists(to.to_owned()),
        _ => failed("create the directory", to)(cause),
    })?;
    sync_parent(to)
}

/// Returns the absolute form of a path. The file or directory need not exist.
pub(crate) fn to_absolute(path: &Path) -> Result<PathBuf, FileError> {
    std::path::absolute(path).map_err(failed("find", path))
}

/// Removes a file, if it exists.
pub(crate) fn remove_if_exists(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(cause)),
        _ => Ok(()),
    }
}

pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Returns the paths of all entries of a directory.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(path).map_err(failed("list", path))?;
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed("list", path))
}

/// Fsyncs the directory that contains `path`, so that a new or renamed entry survives a power cut.
fn sync_parent(path: &Path) -> Result<(), FileError> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(failed("sync", parent))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{FileError, Readers, ReservedFile, publish_directory, replace, write_new};

    #[test]
    fn a_reserved_file_exists_until_it_is_dropped_and_stays_once_written() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("user.creds");
        let reserved = ReservedFile::create(&path).expect("the file is new");
        let again = ReservedFile::create(&path);
        assert!(matches!(again, Err(FileError::Exists(_))), "{again:?}");
        drop(reserved);
        assert!(!path.exists());
        let reserved = ReservedFile::create(&path).expect("the file is new again");
        reserved.write("text").expect("the file is writable");
        assert_eq!(fs::read_to_string(&path).expect("the file exists"), "text");
        let missing = ReservedFile::create(&dir.path().join("none/user.creds"));
        let error = missing.expect_err("no directory").to_string();
        assert!(error.contains("none/user.creds"), "{error}");
    }

    #[test]
    fn a_key_file_is_readable_by_its_owner_only_and_never_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("key");
        write_new(&path, Readers::Owner, "seed").expect("the file is new");
        let mode = fs::metadata(&path)
            .expect("the file exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = write_new(&path, Readers::Owner, "other");
        assert!(matches!(again, Err(FileError::Exists(_))), "{again:?}");
        replace(&path, "text").expect("an existing file can be replaced");
        assert_eq!(fs::read_to_string(&path).expect("the file exists"), "text");
    }

    #[test]
    fn publishing_a_directory_never_replaces_another() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for directory in [&from, &to] {
            fs::create_dir(directory).expect("the directory is new");
            fs::write(directory.join("file"), "").expect("the directory is writable");
        }
        let published = publish_directory(&from, &to);
        assert!(
            matches!(published, Err(FileError::Exists(_))),
            "{published:?}"
        );
    }
}
