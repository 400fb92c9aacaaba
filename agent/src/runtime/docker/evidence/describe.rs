//! Reads the properties of a container for the manifest of the evidence.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as Cause;
use bollard::models::ContainerInspectResponse;

use super::super::engine::container::Container;
use crate::evidence::error::EvidenceError;
use crate::evidence::manifest::{Address, ContainerEvidence};

/// The maximum length of the name of a container's directory in an archive. The whole name of a
/// file in a tar has at most 100 bytes.
const MAX_DIRECTORY_BYTES: usize = 64;
/// The time that the Engine reports for an event that has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container whose evidence is saved.
#[derive(Debug, Default)]
pub(super) struct Described {
    pub(super) evidence: ContainerEvidence,
    /// The name of the container's directory in the archive.
    pub(super) directory: String,
    /// Whether the container has a terminal, which changes the format of its log. `None` if that is
    /// unknown.
    pub(super) is_terminal: Option<bool>,
    /// The paths at which volumes and files of the host are mounted.
    pub(super) mounts: Vec<String>,
    /// The reason why only the properties from the listing are known, if the Engine could not
    /// describe the container.
    pub(super) failure: Option<String>,
}

/// Reads the properties of a listed container from the Engine.
///
/// # Errors
/// If the Engine does not respond. A container that no longer exists, or that the Engine cannot
/// describe, is described from the listing.
pub(super) async fn describe(
    docker: &Docker,
    container: &Container,
    timeout: Duration,
) -> Result<Described, EvidenceError> {
    let inspected = docker.inspect_container(&container.id, None);
    let failed = |cause: String| {
        let name = &container.name;
        EvidenceError::Source(format!("cannot inspect container {name}: {cause}"))
    };
    match tokio::time::timeout(timeout, inspected).await {
        Ok(Ok(inspected)) => Ok(from_inspected(container, inspected)),
        Ok(Err(Cause::DockerResponseServerError {
            status_code: 404, ..
        })) => Ok(Described {
            evidence: ContainerEvidence {
                gone: true,
                ..from_listed(container)
            },
            ..Described::default()
        }),
        // The Engine responds, so the log and the files of the container may still be readable.
        Ok(Err(
            cause @ (Cause::DockerResponseServerError { .. } | Cause::JsonDataError { .. }),
        )) => Ok(Described {
            evidence: from_listed(container),
            failure: Some(cause.to_string()),
            ..Described::default()
        }),
        Ok(Err(cause)) => Err(failed(cause.to_string())),
        Err(_) => Err(failed(format!(
            "no response within {} s",
            timeout.as_secs()
        ))),
    }
}

fn from_listed(container: &Container) -> ContainerEvidence {
    let addresses = container.addresses.iter().cloned();
    ContainerEvidence {
        id: container.id.clone(),
        name: container.name.clone(),
        image: Some(container.image.clone()).filter(|reference| !reference.is_empty()),
        image_id: Some(container.image_id.clone()).filter(|id| !id.is_empty()),
        addresses: addresses
            .map(|(network, address)| Address { network, address })
            .collect(),
        ..ContainerEvidence::default()
    }
}

fn from_inspected(container: &Container, inspected: ContainerInspectResponse) -> Described {
    let config = inspected.config.unwrap_or_default();
    let state = inspected.state.unwrap_or_default();
    let happened = |time: Option<String>| time.filter(|time| time != NEVER);
    let mounts = inspected.mounts.unwrap_or_default().into_iter();
    Described {
        evidence: ContainerEvidence {
            image: config.image,
            labels: config.labels.map(BTreeMap::from_iter).unwrap_or_default(),
            created_at: happened(inspected.created),
            started_at: happened(state.started_at),
            stopped_at: happened(state.finished_at),
            exit_code: state.exit_code,
            ..from_listed(container)
        },
        is_terminal: Some(config.tty.unwrap_or_default()),
        mounts: mounts.filter_map(|mount| mount.destination).collect(),
        ..Described::default()
    }
}

/// Returns the name of a container's directory in the archive: the name of the container, as far as
/// it is safe and not used by another container.
pub(super) fn choose_directory(
    container: &ContainerEvidence,
    used: &mut HashSet<String>,
) -> String {
    let is_safe = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    let safe: String = (container.name.chars())
        .map(|character| if is_safe(character) { character } else { '_' })
        .collect();
    let safe = safe.trim_start_matches('.');
    let mut number = 1;
    loop {
        let ending = if number == 1 {
            String::new()
        } else {
            format!("~{number}")
        };
        let length = safe.len().min(MAX_DIRECTORY_BYTES - ending.len());
        let directory = format!("{}{ending}", &safe[..length]);
        if !directory.is_empty() && used.insert(directory.clone()) {
            return directory;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{ContainerEvidence, choose_directory};

    #[test]
    fn the_directories_of_containers_are_safe_and_different() {
        let mut used = HashSet::new();
        let mut choose = |name: &str| {
            let container = ContainerEvidence {
                name: name.to_owned(),
                ..ContainerEvidence::default()
            };
            choose_directory(&container, &mut used)
        };
        assert_eq!(choose("decky-01-http_proxy"), "decky-01-http_proxy");
        assert_eq!(choose("../../etc"), "_.._etc");
        assert_eq!(choose("a/b"), "a_b");
        assert_eq!(choose("a_b"), "a_b~2");
        assert_eq!(choose(".."), "~2");
        assert_eq!(choose(""), "~3");
        let long = "x".repeat(200);
        assert_eq!(choose(&long), "x".repeat(64));
        assert_eq!(choose(&long), format!("{}~2", "x".repeat(62)));
    }
}
