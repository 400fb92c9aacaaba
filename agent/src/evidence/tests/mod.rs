//! Tests of the evidence directory and its archives, and what they share.

mod archives;
mod crashes;
mod directories;
mod faulty_disk;
mod files_tars;
mod formats;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use scuttle_schemas::agents::Evidence;
use scuttle_schemas::{DeckyId, HostId, OperationId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::archive::{ArchiveWriter, Content};
use super::disk::Disk;
use super::error::EvidenceError;
use super::manifest::{ContainerEvidence, Manifest, Sidecar};
use super::settings::{EvidenceKinds, EvidenceSettings};
use super::store::EvidenceStore;

/// The unit of sizes, which is that of reserved space. It is small, because the tests are not
/// optimized.
const UNIT: u64 = 256 * 1024;

fn host() -> HostId {
    "worker-a".parse().expect("a host")
}

fn decky() -> DeckyId {
    "web".parse().expect("a decky")
}

fn operation(number: u128) -> OperationId {
    OperationId(Uuid::from_u128(number))
}

fn settings(dir: &Path, max_bytes: u64) -> EvidenceSettings {
    EvidenceSettings {
        dir: dir.to_owned(),
        kinds: EvidenceKinds::default(),
        max_bytes,
        required: false,
    }
}

fn open(dir: &Path, max_bytes: u64) -> Result<Arc<EvidenceStore>, EvidenceError> {
    EvidenceStore::open(settings(dir, max_bytes), &host()).map(Arc::new)
}

fn open_on(disk: Box<dyn Disk>, dir: &Path, max_bytes: u64) -> Arc<EvidenceStore> {
    let store = EvidenceStore::open_on(disk, dir.to_owned(), settings(dir, max_bytes), &host());
    Arc::new(store.expect("opened"))
}

/// Writes an archive with a log of this content.
fn save(
    store: &Arc<EvidenceStore>,
    operation: OperationId,
    log: &[u8],
) -> Result<Evidence, EvidenceError> {
    let archive = ArchiveWriter::start(store, operation, &decky())?;
    let limit = archive.left();
    let mut file = archive.start_file("containers/web-1/log.txt", limit)?;
    for chunk in log.chunks(64 * 1024) {
        if !file.append(chunk)? {
            break;
        }
    }
    let (archive, saved) = file.finish()?;
    let truncated = saved.truncated;
    let container = ContainerEvidence {
        id: "f3".to_owned(),
        name: "web-1".to_owned(),
        files: vec![saved],
        ..ContainerEvidence::default()
    };
    archive.finish(Content {
        containers: vec![container],
        truncated,
    })
}

/// A small generator of random numbers, whose seed replays a failure.
struct Random(u64);

impl Random {
    /// Returns a number from 0 to `max`.
    fn up_to(&mut self, max: u64) -> u64 {
        // xorshift64
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % (max + 1)
    }
}

/// Returns random-looking bytes, which cannot be compressed.
fn noise(length: u64) -> Vec<u8> {
    let mut random = Random(1);
    (0..length).map(|_| random.up_to(255) as u8).collect()
}

/// Unpacks an archive, and returns its files in their order.
fn unpack(archive: &Path) -> Vec<(String, Vec<u8>)> {
    let file = fs::File::open(archive).expect("the archive exists");
    let mut tar = tar::Archive::new(MultiGzDecoder::new(file));
    let unpack = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        (name, content)
    };
    tar.entries().expect("a tar").map(unpack).collect()
}

/// Checks that an archive is whole, and that its sidecar and its manifest describe it.
fn check_archive(archive: &Path) -> Manifest {
    let name = archive
        .file_name()
        .expect("a name")
        .to_str()
        .expect("UTF-8");
    let sidecar = archive.with_file_name(name.replace(".tar.gz", ".json"));
    let sidecar: Sidecar =
        serde_json::from_slice(&fs::read(sidecar).expect("a sidecar")).expect("a sidecar");
    assert_eq!(sidecar.archive, name);
    let bytes = fs::read(archive).expect("an archive");
    assert_eq!(sidecar.bytes, bytes.len() as u64);
    assert_eq!(sidecar.sha256, format!("{:x}", Sha256::digest(&bytes)));
    let mut files: BTreeMap<_, _> = unpack(archive).into_iter().collect();
    let manifest = files.remove("manifest.json").expect("a manifest");
    let manifest: Manifest = serde_json::from_slice(&manifest).expect("a manifest");
    assert_eq!(manifest, sidecar.manifest);
    for saved in manifest
        .containers
        .iter()
        .flat_map(|container| &container.files)
    {
        let content = files.remove(&saved.path).expect("a file of the manifest");
        assert_eq!(saved.bytes, content.len() as u64);
        assert_eq!(saved.sha256, format!("{:x}", Sha256::digest(&content)));
    }
    assert!(files.is_empty(), "not in the manifest: {:?}", files.keys());
    manifest
}

/// Returns the names of all files of a directory, sorted.
fn list(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .collect();
    names.sort();
    names
}
