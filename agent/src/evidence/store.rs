//! The evidence directory: who may use it, which archives it has, and how a new archive gets its
//! final name. An archive is visible only when it is complete and durable.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scuttle_schemas::agents::Evidence;
use scuttle_schemas::{DeckyId, HostId, OperationId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::archive_name::{ArchiveName, FileKind};
use super::disk::{Directory, Disk, DiskFile};
use super::error::EvidenceError;
use super::manifest::Sidecar;
use super::retention::{Retention, Room};
use super::settings::EvidenceSettings;

const LOCK_FILE: &str = "evidence.lock";
const PROBE_FILE: &str = "evidence.probe";
/// The maximum length of the directory's path in characters. The path of an archive is part of a
/// result, where it has at most 1,024 characters.
const MAX_DIR_CHARS: usize = 800;
/// The maximum number of archives that are written at the same time. More would only compete for
/// the disk and for processors.
const MAX_WRITERS: usize = 4;
/// The maximum size of one archive is the maximum size of all archives, divided by this number.
/// Otherwise, one decky that floods its log could push out the evidence of all others.
const ARCHIVE_SHARE: u64 = 4;

/// The directory of all archives of a host. It is locked until this value is dropped.
#[derive(Debug)]
pub struct EvidenceStore {
    settings: EvidenceSettings,
    host: HostId,
    /// The absolute path.
    dir: PathBuf,
    disk: Box<dyn Disk>,
    retention: Mutex<Retention>,
    writers: Semaphore,
    // Closing the file releases the lock.
    _lock: File,
}

/// An operation whose archives are kept until this value is dropped.
#[derive(Debug)]
pub struct OpenOperation {
    store: Arc<EvidenceStore>,
    operation: OperationId,
}

impl Drop for OpenOperation {
    fn drop(&mut self) {
        self.store.retention().end(self.operation);
    }
}

impl EvidenceStore {
    /// Opens the directory, creates it if it is missing, and removes what a crash has left behind.
    ///
    /// # Errors
    /// If the directory cannot be created, read or written, other users can write to it, or another
    /// process uses it.
    pub fn open(settings: EvidenceSettings, host: &HostId) -> Result<Self, EvidenceError> {
        let dir = std::path::absolute(&settings.dir).map_err(EvidenceError::io(
            "find the evidence directory",
            &settings.dir,
        ))?;
        let disk = Box::new(Directory(dir.clone()));
        Self::open_on(disk, dir, settings, host)
    }

    pub(super) fn open_on(
        disk: Box<dyn Disk>,
        dir: PathBuf,
        settings: EvidenceSettings,
        host: &HostId,
    ) -> Result<Self, EvidenceError> {
        if dir
            .to_str()
            .is_none_or(|text| text.chars().count() > MAX_DIR_CHARS)
        {
            return Err(EvidenceError::UnusablePath {
                path: dir,
                max: MAX_DIR_CHARS,
            });
        }
        (DirBuilder::new().recursive(true).mode(0o700).create(&dir))
            .map_err(EvidenceError::io("create the evidence directory", &dir))?;
        check_permissions(&dir)?;
        let lock = lock(&dir)?;
        probe(&dir)?;
        let archives = clean_up(&dir)?;
        Ok(Self {
            host: host.clone(),
            retention: Mutex::new(Retention::new(settings.max_bytes, archives)),
            settings,
            dir,
            disk,
            writers: Semaphore::new(MAX_WRITERS),
            _lock: lock,
        })
    }

    pub fn settings(&self) -> &EvidenceSettings {
        &self.settings
    }

    pub fn host(&self) -> &HostId {
        &self.host
    }

    /// Keeps the archives of an operation until the returned value is dropped. An operation may be
    /// begun several times.
    pub fn begin(self: &Arc<Self>, operation: OperationId) -> OpenOperation {
        self.retention().begin(operation);
        OpenOperation {
            store: self.clone(),
            operation,
        }
    }

    /// Waits until fewer than `MAX_WRITERS` archives are being written. The permit counts as one
    /// archive until it is dropped.
    pub(crate) async fn wait_for_writer(&self) -> Result<SemaphorePermit<'_>, EvidenceError> {
        let permit = self.writers.acquire().await;
        permit.map_err(|_| EvidenceError::Aborted)
    }

    /// Returns the maximum number of bytes that one archive may hold, before compression.
    pub(super) fn max_archive_bytes(&self) -> u64 {
        self.settings.max_bytes / ARCHIVE_SHARE
    }

    /// Starts an archive. It becomes visible when it is published.
    pub(super) fn start_draft(
        self: &Arc<Self>,
        operation: OperationId,
        decky: &DeckyId,
    ) -> Result<(Draft, Box<dyn DiskFile>), EvidenceError> {
        let name = self.retention().claim_name(operation, decky);
        let draft = Draft {
            _open: self.begin(operation),
            store: self.clone(),
            name,
            reserved: 0,
            published: None,
        };
        let file = draft.create(&draft.name.partial_archive())?;
        Ok((draft, file))
    }

    /// Returns the description of each archive of an operation and decky, oldest first. Leaves out
    /// those that cannot be read.
    pub(crate) fn read_sidecars(&self, operation: OperationId, decky: &DeckyId) -> Vec<Sidecar> {
        let mut names = self.names_of(operation);
        names.retain(|name| name.decky == *decky);
        names
            .iter()
            .filter_map(|name| self.read_sidecar(name))
            .collect()
    }

    /// Returns the description of the last archive that an operation saved, for each decky.
    pub(crate) fn find_saved(&self, operation: OperationId) -> BTreeMap<DeckyId, Sidecar> {
        let names = self.names_of(operation).into_iter();
        // A later attempt replaces an earlier one.
        let saved = names.filter_map(|name| {
            let sidecar = self.read_sidecar(&name)?;
            Some((name.decky, sidecar))
        });
        saved.collect()
    }

    fn names_of(&self, operation: OperationId) -> Vec<ArchiveName> {
        self.retention().names_of(operation).cloned().collect()
    }

    fn read_sidecar(&self, name: &ArchiveName) -> Option<Sidecar> {
        let text = fs::read(self.dir.join(name.sidecar())).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Returns the evidence that a sidecar describes.
    pub(crate) fn to_evidence(&self, sidecar: Sidecar) -> Evidence {
        Evidence {
            path: self.dir.join(&sidecar.archive).display().to_string(),
            bytes: sidecar.bytes,
            sha256: sidecar.sha256,
        }
    }

    /// Reserves space, and drops the oldest archives for it. Returns false if there is not enough.
    fn reserve(&self, bytes: u64) -> bool {
        loop {
            let room = self.retention().reserve(bytes);
            match room {
                Room::Reserved => return true,
                Room::Full => return false,
                // The lock is not held during the removal, because the disk may be slow.
                Room::Drop { name, size } => {
                    let removed = self.drop_archive(&name);
                    self.retention().end_drop(&name, size, removed.is_ok());
                    if let Err(cause) = removed {
                        let path = self.dir.join(name.archive());
                        tracing::warn!(
                            host_uuid = %self.host,
                            path = %path.display(),
                            error = %cause,
                            "cannot drop the oldest evidence"
                        );
                        return false;
                    }
                }
            }
        }
    }

    /// Removes an archive and then its sidecar, so that a crash leaves no archive without a
    /// sidecar.
    fn drop_archive(&self, name: &ArchiveName) -> io::Result<()> {
        ignore_missing(self.disk.remove(&name.archive()))?;
        self.disk.sync()?;
        ignore_missing(self.disk.remove(&name.sidecar()))?;
        tracing::info!(
            host_uuid = %self.host,
            path = %self.dir.join(name.archive()).display(),
            "dropped the oldest evidence to make room"
        );
        Ok(())
    }

    fn retention(&self) -> MutexGuard<'_, Retention> {
        let lock = self.retention.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

/// An archive that is being written. Dropping it removes its files, unless it was published.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) store: Arc<EvidenceStore>,
    pub(super) name: ArchiveName,
    /// The number of reserved bytes.
    reserved: u64,
    /// The size of the archive with its sidecar, after the publication.
    published: Option<u64>,
    _open: OpenOperation,
}

impl Draft {
    /// Returns the final path of the archive.
    pub(super) fn path(&self) -> PathBuf {
        self.store.dir.join(self.name.archive())
    }

    /// Reserves space, at least `step` bytes at a time, until at least `bytes` bytes are reserved.
    /// Returns false if there is not enough space.
    pub(super) fn reserve(&mut self, bytes: u64, step: u64) -> bool {
        if bytes > self.reserved {
            let more = (bytes - self.reserved).max(step);
            if !self.store.reserve(more) {
                return false;
            }
            self.reserved += more;
        }
        true
    }

    /// Writes the sidecar, and gives the archive its final name. The content of the archive must be
    /// durable already.
    ///
    /// The sidecar gets its final name first, so that every visible archive has a sidecar.
    pub(super) fn publish(mut self, sidecar: Sidecar) -> Result<Evidence, EvidenceError> {
        let (partial, path) = (self.name.partial_sidecar(), self.path());
        let text = serde_json::to_vec_pretty(&sidecar).map_err(io::Error::from);
        let text = text.map_err(EvidenceError::io("describe", &path))?;
        let mut file = self.create(&partial)?;
        (file.write_all(&text).and_then(|()| file.sync()))
            .map_err(EvidenceError::io("write the description of", &path))?;
        drop(file);
        let disk = &self.store.disk;
        (disk.rename(&partial, &self.name.sidecar()))
            .and_then(|()| disk.sync())
            .and_then(|()| disk.rename(&self.name.partial_archive(), &self.name.archive()))
            .and_then(|()| disk.sync())
            .map_err(EvidenceError::io("publish", &path))?;
        self.published = Some(sidecar.bytes + text.len() as u64);
        Ok(self.store.to_evidence(sidecar))
    }

    fn create(&self, name: &str) -> Result<Box<dyn DiskFile>, EvidenceError> {
        let path = self.store.dir.join(name);
        let created = self.store.disk.create(name);
        created.map_err(EvidenceError::io("create", &path))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.published.is_none() {
            // What cannot be removed now is removed by the next start.
            for file in [
                self.name.archive(),
                self.name.partial_archive(),
                self.name.sidecar(),
                self.name.partial_sidecar(),
            ] {
                let _ = self.store.disk.remove(&file);
            }
        }
        let mut retention = self.store.retention();
        retention.end_writing(&self.name, self.reserved, self.published);
    }
}

fn ignore_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn check_permissions(dir: &Path) -> Result<(), EvidenceError> {
    let metadata =
        fs::metadata(dir).map_err(EvidenceError::io("use the evidence directory", dir))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(EvidenceError::WritableByOthers {
            path: dir.to_owned(),
            mode,
        });
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<File, EvidenceError> {
    let path = dir.join(LOCK_FILE);
    let file = (OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600))
    .open(&path);
    let file = file.map_err(EvidenceError::io(
        "write to the evidence directory: open",
        &path,
    ))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EvidenceError::InUse(dir.to_owned())),
        Err(TryLockError::Error(cause)) => Err(EvidenceError::io("lock", &path)(cause)),
    }
}

/// Checks that files can be created, written and removed.
fn probe(dir: &Path) -> Result<(), EvidenceError> {
    let path = dir.join(PROBE_FILE);
    let probed = ignore_missing(fs::remove_file(&path))
        .and_then(|()| fs::write(&path, PROBE_FILE))
        .and_then(|()| fs::remove_file(&path));
    probed.map_err(EvidenceError::io(
        "write to the evidence directory: write",
        &path,
    ))
}

/// Removes partial files, and sidecars without an archive. Returns the size of each archive with
/// its sidecar. Files that the agent did not write are left alone, and do not count.
fn clean_up(dir: &Path) -> Result<BTreeMap<ArchiveName, u64>, EvidenceError> {
    let failed = |cause| EvidenceError::io("list the evidence directory", dir)(cause);
    let (mut archives, mut sidecars) = (BTreeMap::new(), BTreeMap::new());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file = entry.file_name();
        let Some((name, kind)) = file.to_str().and_then(ArchiveName::parse_file) else {
            continue;
        };
        // Of the entry itself: a symbolic link does not count as an archive.
        let metadata = entry.metadata().map_err(failed)?;
        match kind {
            FileKind::Archive if metadata.is_file() => {
                archives.insert(name, metadata.len());
            }
            FileKind::Sidecar if metadata.is_file() => {
                sidecars.insert(name, metadata.len());
            }
            FileKind::Partial => remove(&entry.path())?,
            FileKind::Archive | FileKind::Sidecar => {}
        }
    }
    for (name, bytes) in sidecars {
        match archives.get_mut(&name) {
            Some(size) => *size += bytes,
            None => remove(&dir.join(name.sidecar()))?,
        }
    }
    Ok(archives)
}

fn remove(path: &Path) -> Result<(), EvidenceError> {
    fs::remove_file(path).map_err(EvidenceError::io("remove the incomplete", path))
}
