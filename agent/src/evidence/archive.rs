//! Writes one archive: a tar, compressed with gzip, in one pass over data of unknown length.
//!
//! The header of a tar entry comes before its data and contains the length. Therefore each header
//! is an uncompressed gzip member of fixed size, which is overwritten when the length is known. The
//! data after it is a second gzip member. A gzip file is a sequence of members, so every program
//! that unpacks gzip reads the archive as one tar.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;

use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use scuttle_schemas::agents::Evidence;
use scuttle_schemas::{DeckyId, OperationId, Timestamp};
use sha2::{Digest, Sha256};

use super::disk::DiskFile;
use super::error::EvidenceError;
use super::manifest::{ContainerEvidence, FORMAT, Manifest, SavedFile, Sidecar};
use super::store::{Draft, EvidenceStore};
use crate::clock::wall_clock;

/// The size of a header, and of the unit to which data is padded.
const BLOCK_BYTES: usize = 512;
/// Space is reserved in steps of this size.
const RESERVE_STEP: u64 = 256 * 1024;
/// The reserved space for compressed data that the encoder has not written yet, for headers, and
/// for the manifest.
const RESERVE_SPARE: u64 = 256 * 1024;
/// The level of the compression. For a log, level 6 takes 1.8 times as long, and gains only 7 %.
const COMPRESSION: Compression = Compression::new(3);
const BUFFER_BYTES: usize = 256 * 1024;
const MANIFEST: &str = "manifest.json";

/// The part of the manifest that the archive's writer does not know.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) containers: Vec<ContainerEvidence>,
    /// Whether something was left out or cut because a limit was reached.
    pub(crate) truncated: bool,
}

/// An archive between two files. Dropping it removes the archive.
#[derive(Debug)]
pub(crate) struct ArchiveWriter {
    out: Output,
    /// The number of bytes that the archive may still hold, before compression.
    left: u64,
    now: Timestamp,
}

/// A file that is being written into an archive. Its length need not be known in advance.
#[derive(Debug)]
pub(crate) struct FileWriter {
    encoder: GzEncoder<Output>,
    left: u64,
    now: Timestamp,
    name: String,
    header_at: u64,
    hasher: Sha256,
    bytes: u64,
    /// The maximum number of bytes of this file.
    limit: u64,
    truncated: bool,
    /// Whether only the end of the file's format is still to be written.
    is_ending: bool,
    /// The error of a write through [`Write`], whose errors do not say what failed.
    failure: Option<EvidenceError>,
}

/// The file on disk, and the space that is reserved for it.
#[derive(Debug)]
struct Output {
    file: BufWriter<Box<dyn DiskFile>>,
    bytes: u64,
    draft: Draft,
}

impl Output {
    fn path(&self) -> PathBuf {
        self.draft.path()
    }

    fn reserve(&mut self, bytes: u64) -> bool {
        let needed = self
            .bytes
            .saturating_add(bytes)
            .saturating_add(RESERVE_SPARE);
        self.draft.reserve(needed, RESERVE_STEP)
    }
}

impl Write for Output {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.file.write(data)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ArchiveWriter {
    /// Starts an archive of a decky. Blocks on the disk, as all methods do.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub(crate) fn start(
        store: &Arc<EvidenceStore>,
        operation: OperationId,
        decky: &DeckyId,
    ) -> Result<Self, EvidenceError> {
        let (draft, file) = store.start_draft(operation, decky)?;
        Ok(Self {
            left: store.max_archive_bytes(),
            out: Output {
                file: BufWriter::with_capacity(BUFFER_BYTES, file),
                bytes: 0,
                draft,
            },
            now: wall_clock(),
        })
    }

    /// Returns the number of bytes that the archive may still hold, before compression.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Starts a file of at most `limit` bytes. `name` has at most 100 bytes.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn start_file(
        mut self,
        name: &str,
        limit: u64,
    ) -> Result<FileWriter, EvidenceError> {
        let header_at = self.out.bytes;
        let written = write_stored_member(&mut self.out, &[0; BLOCK_BYTES]);
        written.map_err(EvidenceError::io("write", &self.out.path()))?;
        Ok(FileWriter {
            encoder: GzEncoder::new(self.out, COMPRESSION),
            limit: limit.min(self.left),
            left: self.left,
            now: self.now,
            name: name.to_owned(),
            header_at,
            hasher: Sha256::new(),
            bytes: 0,
            truncated: false,
            is_ending: false,
            failure: None,
        })
    }

    /// Writes the manifest, makes the archive durable, and gives it its final name.
    ///
    /// # Errors
    /// If the disk fails. The archive is then removed.
    pub(crate) fn finish(self, content: Content) -> Result<Evidence, EvidenceError> {
        let Output { file, draft, .. } = self.out;
        let path = draft.path();
        let name = &draft.name;
        let manifest = Manifest {
            format: FORMAT,
            host_uuid: draft.store.host().clone(),
            operation_id: name.operation,
            decky_id: name.decky.clone(),
            attempt: name.attempt,
            saved_at: self.now,
            kinds: draft.store.settings().kinds.clone(),
            truncated: content.truncated,
            containers: content.containers,
        };
        let failed = EvidenceError::io("write", &path);
        let written = write_manifest(file, &manifest, self.now);
        let (bytes, sha256) = written.map_err(failed)?;
        let archive = name.archive();
        draft.publish(Sidecar {
            archive,
            bytes,
            sha256,
            manifest,
        })
    }
}

impl FileWriter {
    /// Appends data. Returns false if the limit is reached and the end of the data was cut.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn append(&mut self, data: &[u8]) -> Result<bool, EvidenceError> {
        let room = usize::try_from(self.limit - self.bytes).unwrap_or(usize::MAX);
        let kept = &data[..data.len().min(room)];
        if !self.is_ending && !self.encoder.get_mut().reserve(kept.len() as u64) {
            self.truncated = true;
            return Ok(false);
        }
        self.hasher.update(kept);
        if let Err(cause) = self.encoder.write_all(kept) {
            return Err(EvidenceError::io("write", &self.encoder.get_ref().path())(
                cause,
            ));
        }
        self.bytes += kept.len() as u64;
        let is_whole = kept.len() == data.len();
        self.truncated |= !is_whole;
        Ok(is_whole)
    }

    /// Returns whether this file can hold `bytes` further bytes, and reserves them.
    pub(super) fn reserve(&mut self, bytes: u64) -> bool {
        bytes <= self.limit - self.bytes && self.encoder.get_mut().reserve(bytes)
    }

    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// Returns the error of the disk that made a write through [`Write`] fail, if any.
    pub(crate) fn take_failure(&mut self) -> Option<EvidenceError> {
        self.failure.take()
    }

    /// Lets the file grow by `bytes` bytes beyond its limit and beyond the reserved space, for the
    /// end of its format.
    pub(super) fn allow_end(&mut self, bytes: u64) {
        self.limit = self.limit.saturating_add(bytes);
        self.is_ending = true;
    }

    /// Marks the file as incomplete because of its limit.
    pub(super) fn set_truncated(&mut self) {
        self.truncated = true;
    }

    /// Ends the file. Its length becomes part of its header.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn finish(self) -> Result<(ArchiveWriter, SavedFile), EvidenceError> {
        let path = self.encoder.get_ref().path();
        let saved = SavedFile {
            path: self.name,
            bytes: self.bytes,
            sha256: format!("{:x}", self.hasher.finalize()),
            truncated: self.truncated,
        };
        let finished = finish_entry(self.encoder, self.header_at, &saved, self.now);
        let out = finished.map_err(EvidenceError::io("write", &path))?;
        let archive = ArchiveWriter {
            out,
            left: self.left.saturating_sub(saved.bytes),
            now: self.now,
        };
        Ok((archive, saved))
    }
}

/// Appends data. Unlike with `append`, reaching the limit is an error, because a tar builder cannot
/// continue after a part of its data. It avoids the error with `reserve`.
impl Write for FileWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self.append(data) {
            Ok(true) => Ok(data.len()),
            Ok(false) => Err(io::Error::other("the file has reached its maximum size")),
            Err(error) => {
                let text = error.to_string();
                self.failure = Some(error);
                Err(io::Error::other(text))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Pads the data of an entry, and writes the final header in the place of the preliminary one.
fn finish_entry(
    mut encoder: GzEncoder<Output>,
    header_at: u64,
    saved: &SavedFile,
    now: Timestamp,
) -> io::Result<Output> {
    encoder.write_all(padding(saved.bytes))?;
    let mut out = encoder.finish()?;
    out.file.seek(SeekFrom::Start(header_at))?;
    write_stored_member(
        &mut out.file,
        to_header(&saved.path, saved.bytes, now)?.as_bytes(),
    )?;
    out.file.seek(SeekFrom::Start(out.bytes))?;
    Ok(out)
}

/// Writes the manifest and the end of the tar, and makes the file durable. Returns the size of the
/// file, and its hash.
fn write_manifest(
    mut file: BufWriter<Box<dyn DiskFile>>,
    manifest: &Manifest,
    now: Timestamp,
) -> io::Result<(u64, String)> {
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    let mut encoder = GzEncoder::new(&mut file, COMPRESSION);
    encoder.write_all(to_header(MANIFEST, text.len() as u64, now)?.as_bytes())?;
    encoder.write_all(&text)?;
    encoder.write_all(padding(text.len() as u64))?;
    // Two empty blocks end a tar.
    encoder.write_all(&[0; 2 * BLOCK_BYTES])?;
    encoder.finish()?;
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync()?;
    // The hash is not computed while the archive is written, because headers are overwritten.
    file.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((bytes, format!("{:x}", hasher.finalize())));
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
    }
}

fn to_header(name: &str, bytes: u64, now: Timestamp) -> io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    header.set_path(name)?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime((now.as_millis() / 1000).unsigned_abs());
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    Ok(header)
}

/// Returns the zeros that must follow `bytes` bytes of data.
fn padding(bytes: u64) -> &'static [u8] {
    let rest = (bytes % BLOCK_BYTES as u64) as usize;
    &[0; BLOCK_BYTES][..(BLOCK_BYTES - rest) % BLOCK_BYTES]
}

/// Writes a gzip member with one block of uncompressed data. The size of the member depends only on
/// the size of the block.
fn write_stored_member(out: &mut impl Write, block: &[u8; BLOCK_BYTES]) -> io::Result<()> {
    // RFC 1952: magic, method deflate, no flags, no time, no extra flags, unknown system.
    const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    // RFC 1951: the last block, which is stored.
    const LAST_STORED: [u8; 1] = [1];
    let length = BLOCK_BYTES as u16;
    let mut crc = Crc::new();
    crc.update(block);
    for part in [
        &GZIP_HEADER as &[u8],
        &LAST_STORED,
        &length.to_le_bytes(),
        &(!length).to_le_bytes(),
        block,
        &crc.sum().to_le_bytes(),
        &u32::from(length).to_le_bytes(),
    ] {
        out.write_all(part)?;
    }
    Ok(())
}
