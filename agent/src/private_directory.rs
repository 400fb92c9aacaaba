//! The agent's data directory, which only its owner may read: it says which decoys exist, and which
//! of them are being torn down.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The starts of the names of all files and directories that an agent keeps in its data directory.
const OWN_NAMES: [&str; 3] = ["ledger.", "deckies.json", "evidence"];

/// Creates the directory with mode 0700 if it is missing.
///
/// Makes the agent's files in the directory private if an earlier version left the directory with
/// wider permissions. The directory becomes private too, unless it contains other files, because
/// the agent cannot know who reads those. In that case, the agent logs a warning.
///
/// # Errors
/// If the directory cannot be created or read, or the permissions cannot be changed.
pub(crate) fn create(directory: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    let permissions = fs::metadata(directory)?.mode() & 0o777;
    if permissions | 0o700 == 0o700 {
        return Ok(());
    }
    let mut is_shared = false;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !OWN_NAMES.iter().any(|own| name.starts_with(own)) {
            is_shared = true;
        } else if entry.file_type()?.is_file() {
            fs::set_permissions(entry.path(), Permissions::from_mode(0o600))?;
        }
    }
    if is_shared {
        tracing::warn!(
            directory = %directory.display(),
            "other users may list the agent's data directory; it also contains other files, so its permissions are kept: \
             give the agent a separate directory, or run chmod 700"
        );
        return Ok(());
    }
    fs::set_permissions(directory, Permissions::from_mode(0o700))
}

/// Opens a file of the agent for writing, and creates it if it is missing, so that only its owner
/// can read it.
pub(crate) fn open_file(path: &Path, truncate: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Returns whether `path` still leads to `file`, which is open. Returns false if the file was
/// removed or replaced.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::create;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn a_new_directory_and_one_of_an_earlier_version_are_private() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("a/agent");
        create(&directory).expect("created");
        assert_eq!(mode(&directory), 0o700);
        let file = directory.join("deckies.json");
        fs::write(&file, "{}").expect("written");
        for path in [&directory, &file] {
            fs::set_permissions(path, Permissions::from_mode(0o755)).expect("an own file");
        }
        create(&directory).expect("tightened");
        assert_eq!((mode(&directory), mode(&file)), (0o700, 0o600));
    }

    #[test]
    fn a_directory_with_other_files_keeps_its_permissions_but_not_those_of_the_agents_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = directory.path();
        for name in ["ledger.jsonl", "other"] {
            let file = directory.join(name);
            fs::write(&file, "").expect("written");
            fs::set_permissions(file, Permissions::from_mode(0o644)).expect("an own file");
        }
        fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("an own directory");
        create(directory).expect("used");
        assert_eq!(mode(directory), 0o755);
        assert_eq!(mode(&directory.join("ledger.jsonl")), 0o600);
        assert_eq!(mode(&directory.join("other")), 0o644);
    }
}
