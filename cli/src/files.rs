//! Files that hold keys, and files that must be whole: made with their permissions, never half, and on disk before anybody is
//! told. What is in them is elsewhere.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner: 0600, and 0700 of a folder.
    Owner,
    /// Whoever may enter the folder: 0644, and 0755 of a folder.
    All,
}

/// A file or folder that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It must not be replaced.
    #[error("{} is there already, and is not replaced; move it away, or name another", .0.display())]
    Exists(PathBuf),
    /// Anything else.
    #[error("cannot {verb} {}: {cause}", .path.display())]
    Failed {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
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

/// Makes a folder that is not there.
pub(crate) fn make_folder(path: &Path, readers: Readers) -> Result<(), FileError> {
    let mode = match readers {
        Readers::Owner => 0o700,
        Readers::All => 0o755,
    };
    (DirBuilder::new().mode(mode).create(path)).map_err(failed("make the folder", path))
}

/// Writes a file that is not there, and waits until it is on disk.
pub(crate) fn write_new(path: &Path, readers: Readers, text: &str) -> Result<(), FileError> {
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let file = (OpenOptions::new().write(true).create_new(true).mode(mode)).open(path);
    let mut file = file.map_err(failed("make", path))?;
    let written = (file.write_all(text.as_bytes())).and_then(|()| file.sync_all());
    written.map_err(|cause| {
        // A half of it would keep the whole from being written.
        let _ = fs::remove_file(path);
        failed("write", path)(cause)
    })?;
    sync_folder_of(path)
}

/// Replaces a file that everybody may read, at once and as a whole.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let next = path.with_extension("next");
    if let Err(cause) = fs::remove_file(&next)
        && cause.kind() != io::ErrorKind::NotFound
    {
        return Err(failed("remove", &next)(cause));
    }
    write_new(&next, Readers::All, text)?;
    fs::rename(&next, path).map_err(failed("replace", path))?;
    sync_folder_of(path)
}

/// Gives a finished folder its name, which nothing has yet.
pub(crate) fn publish_folder(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|cause| match cause.kind() {
        io::ErrorKind::DirectoryNotEmpty => FileError::Exists(to.to_owned()),
        _ => failed("make the folder", to)(cause),
    })?;
    sync_folder_of(to)
}

/// The whole path of a file or folder, which need not be there.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, FileError> {
    std::path::absolute(path).map_err(failed("find", path))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

/// The files of a folder.
pub(crate) fn list(path: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = fs::read_dir(path).map_err(failed("list", path))?;
    entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(failed("list", path))
}

/// Opens a folder's lock file, and waits until nobody else has it. It is free again when the file is closed.
pub(crate) fn lock(path: &Path) -> Result<File, FileError> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    let file = file.map_err(failed("open", path))?;
    file.lock().map_err(failed("lock", path))?;
    Ok(file)
}

fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("sync", folder))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::{FileError, Readers, publish_folder, replace, write_new};

    #[test]
    fn a_key_is_its_owners_alone_and_never_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        write_new(&path, Readers::Owner, "seed").expect("written");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = write_new(&path, Readers::Owner, "other");
        assert!(matches!(again, Err(FileError::Exists(_))), "{again:?}");
        replace(&path, "text").expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("there"), "text");
    }

    #[test]
    fn a_folder_takes_no_other_folders_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for folder in [&from, &to] {
            fs::create_dir(folder).expect("made");
            fs::write(folder.join("file"), "").expect("written");
        }
        let published = publish_folder(&from, &to);
        assert!(
            matches!(published, Err(FileError::Exists(_))),
            "{published:?}"
        );
    }
}
