//! The description that the agent writes next to each archive. Only the fields listed here are
//! read. The agent's module `evidence::manifest` defines the whole format.

use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use serde::Deserialize;

/// The content of the file next to an archive.
#[derive(Debug, Deserialize)]
pub(super) struct Sidecar {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) manifest: Manifest,
}

#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    pub(super) host_uuid: HostId,
    pub(super) operation_id: OperationId,
    pub(super) decky_id: DeckyId,
    pub(super) attempt: u32,
    pub(super) saved_at: Timestamp,
    pub(super) kinds: Vec<String>,
    pub(super) truncated: bool,
    pub(super) containers: Vec<Container>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) problems: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::Sidecar;

    #[test]
    fn the_description_that_the_agent_writes_is_read() {
        let text = include_str!("../../../../agent/src/evidence/tests/sidecar.json");
        let sidecar: Sidecar = serde_json::from_str(text).expect("the agent's format");
        assert_eq!(sidecar.bytes, 18211);
        assert_eq!(sidecar.manifest.kinds, ["logs", "changes"]);
        assert_eq!(sidecar.manifest.containers[0].name, "web-1");
    }
}
