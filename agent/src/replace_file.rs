//! The atomic replacement of a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::private_directory::open_file;

/// Replaces the whole content of a file, or creates the file, and makes the new content durable.
/// Only the owner can read the file.
/// Writes the content to the file `new_name`, then renames that file to `name`.
///
/// # Errors
/// If the content could not be replaced. The file then has either the old content or the new one.
pub(crate) fn replace_file(
    directory: &Path,
    name: &str,
    new_name: &str,
    bytes: &[u8],
) -> io::Result<()> {
    let new = directory.join(new_name);
    let mut file = open_file(&new, true)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}
