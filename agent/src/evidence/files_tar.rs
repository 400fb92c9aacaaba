//! Writes the changed files of a container into an archive, as one tar that is a file of the
//! archive. The entries come from tars of the Engine, each of a file or a directory.
//!
//! The names come from a container that an intruder may have controlled. An absolute name is made
//! relative. A name with `..` counts as a failure of the source, and ends the copying of that tar.
//! Links and devices are copied as they are: they are only data until the tar is unpacked.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{Builder, Entry, EntryType, Header};

use super::archive::{ArchiveWriter, FileWriter};
use super::error::EvidenceError;
use super::manifest::SavedFile;

/// The maximum number of entries of one tar.
const MAX_ENTRIES: usize = 100_000;
/// The maximum length of the data that is read from one container without being copied. Sparse
/// files can have any length.
const MAX_SKIPPED_BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// The size of the end of a tar.
const END_BYTES: u64 = 1024;
/// The space for the headers of an entry, besides its data.
const HEADER_BYTES: u64 = 64 * 1024;

/// The part of the Engine's tar of a path that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything below the path, because all of it is new.
    Tree,
    /// The changed paths below the path, which is a directory.
    Changed,
    /// The path alone. If it is a directory, other files in it have not changed.
    Path,
}

/// A path to copy.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    /// The absolute path in the container.
    pub(crate) path: &'a str,
    pub(crate) extent: Extent,
    /// Returns whether a path, without its leading `/`, has changed.
    pub(crate) is_changed: &'a dyn Fn(&Path) -> bool,
}

/// What became of an entry of the Engine's tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Copied,
    /// The entry does not fit.
    TooLarge,
}

/// What became of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// The Engine's tar was read to its end.
    Complete,
    /// An entry that is not copied is too large to read past. The entries after it are missing.
    Stopped,
    /// The source failed, for this reason. If data is missing, zeros take its place.
    Failed(String),
}

/// The tar of the changed files of one container.
pub(crate) struct FilesTar {
    builder: Builder<FileWriter>,
    entries: usize,
    /// The number of bytes of entries that may still be read without being copied.
    skippable: u64,
}

impl FilesTar {
    /// Starts a tar file inside the archive. Its entries take up at most `limit` bytes, or the
    /// archive's remaining space if that is less. The blocks that end the tar do not count.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn start(
        archive: ArchiveWriter,
        name: &str,
        limit: u64,
    ) -> Result<Self, EvidenceError> {
        Ok(Self {
            builder: Builder::new(archive.start_file(name, limit)?),
            entries: 0,
            skippable: MAX_SKIPPED_BYTES,
        })
    }

    /// Copies the entries that are requested from `source`, which is the Engine's tar of the path.
    /// Calls `on_entry` with the path of each of them, and with what became of it.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn add(
        &mut self,
        request: &Request<'_>,
        source: impl Read,
        on_entry: impl FnMut(&Path, Fate),
    ) -> Result<Added, EvidenceError> {
        match self.copy_all(request, source, on_entry) {
            Ok(added) => Ok(added),
            Err(cause) => match self.builder.get_mut().take_failure() {
                Some(error) => Err(error),
                None => Ok(Added::Failed(cause.to_string())),
            },
        }
    }

    fn copy_all(
        &mut self,
        request: &Request<'_>,
        source: impl Read,
        mut on_entry: impl FnMut(&Path, Fate),
    ) -> io::Result<Added> {
        let root = to_safe_path(request.path.as_bytes())?;
        let mut source = tar::Archive::new(source);
        for entry in source.entries()? {
            let entry = entry?;
            let target = rebase(&root, &entry.path_bytes())?;
            let size = entry.size();
            let is_wanted = request.extent != Extent::Changed || (request.is_changed)(&target);
            if is_wanted && self.fits(size) {
                self.copy(entry, &root, &target)?;
                self.entries += 1;
                on_entry(&target, Fate::Copied);
            } else {
                if is_wanted {
                    self.builder.get_mut().set_truncated();
                    on_entry(&target, Fate::TooLarge);
                }
                if size > self.skippable && request.extent != Extent::Path {
                    return Ok(Added::Stopped);
                }
                self.skippable = self.skippable.saturating_sub(size);
            }
            if request.extent == Extent::Path {
                break;
            }
        }
        Ok(Added::Complete)
    }

    fn fits(&mut self, size: u64) -> bool {
        let needed = size.saturating_add(HEADER_BYTES);
        self.entries < MAX_ENTRIES && self.builder.get_mut().reserve(needed)
    }

    /// Returns whether not even an empty file fits.
    pub(crate) fn is_full(&mut self) -> bool {
        !self.fits(0)
    }

    /// Ends the tar.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn finish(mut self) -> Result<(ArchiveWriter, SavedFile), EvidenceError> {
        // The two empty blocks at the end, which must not count as cut if the file is full.
        self.builder.get_mut().allow_end(END_BYTES);
        let finished = self.builder.finish();
        match (finished, self.builder.get_mut().take_failure()) {
            (_, Some(error)) => Err(error),
            (Ok(()), None) => self
                .builder
                .into_inner()
                .map_err(|_| EvidenceError::Aborted)?
                .finish(),
            (Err(_), None) => Err(EvidenceError::Aborted),
        }
    }

    fn copy(
        &mut self,
        mut entry: Entry<'_, impl Read>,
        root: &Path,
        target: &Path,
    ) -> io::Result<()> {
        let mut header: Header = entry.header().clone();
        let kind = header.entry_type();
        let attributes = read_attributes(&mut entry)?;
        if !attributes.is_empty() {
            let attributes = attributes
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_slice()));
            self.builder.append_pax_extensions(attributes)?;
        }
        match kind {
            EntryType::Symlink | EntryType::Link => {
                let link = entry.link_name_bytes().unwrap_or_default();
                let link = match kind {
                    // Relative to the tar.
                    EntryType::Link => rebase(root, &link)?,
                    _ => PathBuf::from(OsStr::from_bytes(&link)),
                };
                self.builder.append_link(&mut header, target, link)
            }
            EntryType::Regular | EntryType::Continuous => {
                let size = entry.size();
                header.set_size(size);
                let mut data = Padded {
                    source: entry,
                    left: size,
                    failure: None,
                };
                self.builder.append_data(&mut header, target, &mut data)?;
                data.failure.map_or(Ok(()), Err)
            }
            EntryType::Directory | EntryType::Fifo | EntryType::Char | EntryType::Block => {
                header.set_size(0);
                self.builder.append_data(&mut header, target, io::empty())
            }
            other => {
                let text = format!("an entry of the unknown type {other:?}");
                Err(io::Error::new(io::ErrorKind::InvalidData, text))
            }
        }
    }
}

/// Reads the extended attributes of an entry.
fn read_attributes(entry: &mut Entry<'_, impl Read>) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut attributes = Vec::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Ok(key) = extension.key()
            && key.starts_with("SCHILY.xattr.")
        {
            attributes.push((key.to_owned(), extension.value_bytes().to_owned()));
        }
    }
    Ok(attributes)
}

/// Returns the path of an entry in the tar of a container's files. The first part of `name` is the
/// last part of `root`, as in all tars that the Engine makes of a path.
fn rebase(root: &Path, name: &[u8]) -> io::Result<PathBuf> {
    let name = to_safe_path(name)?;
    Ok(root.components().chain(name.components().skip(1)).collect())
}

/// Returns a path without its leading `/`.
///
/// # Errors
/// If the path has `..`, or is empty.
fn to_safe_path(path: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    let is_safe = (path.components()).all(|part| !matches!(part, Component::ParentDir));
    let relative: PathBuf = (path.components())
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    if is_safe && relative.components().next().is_some() {
        return Ok(relative);
    }
    let text = format!("the unsafe name {}", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// A source that ends after exactly `left` bytes. Zeros take the place of missing data.
struct Padded<R> {
    source: R,
    left: u64,
    failure: Option<io::Error>,
}

impl<R: Read> Read for Padded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let max = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut count = 0;
        if self.failure.is_none() && max > 0 {
            match self.source.read(&mut buffer[..max]) {
                Ok(0) => self.failure = Some(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => count = read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => self.failure = Some(error),
            }
        }
        if self.failure.is_some() {
            buffer[..max].fill(0);
            count = max;
        }
        self.left -= count as u64;
        Ok(count)
    }
}
