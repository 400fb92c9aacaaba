//! The description of one archive, which is in the archive as `manifest.json`, and its copy next to
//! the archive, from which `scuttle evidence list` reads without unpacking.

use std::collections::BTreeMap;

use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

use super::settings::EvidenceKinds;

/// The version of the format of archives and manifests.
pub const FORMAT: u32 = 1;

/// The content of the file next to an archive: the archive's size and hash, and its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// The name of the archive's file.
    pub archive: String,
    pub bytes: u64,
    pub sha256: String,
    pub manifest: Manifest,
}

/// The description of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub host_uuid: HostId,
    pub operation_id: OperationId,
    pub decky_id: DeckyId,
    /// 1 for the first archive of this operation and decky. An agent that was restarted during the
    /// operation may write further ones.
    pub attempt: u32,
    /// The time at which the writing of the archive began.
    pub saved_at: Timestamp,
    /// The kinds of evidence that were configured.
    pub kinds: EvidenceKinds,
    /// Whether something was left out or cut because a limit was reached.
    pub truncated: bool,
    pub containers: Vec<ContainerEvidence>,
}

/// A container of the decky, and the files of the archive that are about the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerEvidence {
    pub id: String,
    pub name: String,
    /// Whether the container no longer existed when the evidence was read.
    pub gone: bool,
    /// The name of the image, as the container's creator gave it.
    pub image: Option<String>,
    pub image_id: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The addresses that the container had before the stop.
    pub addresses: Vec<Address>,
    /// These times are in RFC 3339, as the Engine reports them.
    pub created_at: Option<String>,
    pub started_at: Option<String>,
    pub stopped_at: Option<String>,
    pub exit_code: Option<i64>,
    pub files: Vec<SavedFile>,
    /// Descriptions of what is missing from the archive, and why.
    pub problems: Vec<String>,
}

/// The address of a container in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    pub network: String,
    pub address: String,
}

/// A file of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFile {
    /// The name in the archive.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    /// Whether data is missing because a limit was reached.
    pub truncated: bool,
}
