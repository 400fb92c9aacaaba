//! The format of the description of an archive, which the `scuttle` command reads as well.

use std::collections::BTreeMap;

use scuttle_schemas::Timestamp;

use super::super::manifest::{Address, ContainerEvidence, FORMAT, Manifest, SavedFile, Sidecar};
use super::{decky, host};

/// The text of a description. The tests of the command read the same file.
const SIDECAR: &str = include_str!("sidecar.json");

#[test]
fn the_description_of_an_archive_has_the_documented_format() {
    let file = SavedFile {
        path: "containers/web-1/log.txt".to_owned(),
        bytes: 1000,
        sha256: "00".repeat(32),
        truncated: false,
    };
    let container = ContainerEvidence {
        id: "f3".to_owned(),
        name: "web-1".to_owned(),
        gone: false,
        image: Some("lure:1".to_owned()),
        image_id: Some("sha256:4c".to_owned()),
        labels: BTreeMap::from([("scuttle.managed".to_owned(), "true".to_owned())]),
        addresses: vec![Address {
            network: "web_default".to_owned(),
            address: "10.0.0.7".to_owned(),
        }],
        created_at: Some("2026-11-30T09:00:00.123456789Z".to_owned()),
        started_at: Some("2026-11-30T09:00:01.123456789Z".to_owned()),
        stopped_at: None,
        exit_code: Some(137),
        files: vec![file],
        problems: Vec::new(),
    };
    let sidecar = Sidecar {
        archive: "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11.1.web.tar.gz".to_owned(),
        bytes: 18211,
        sha256: "1f".repeat(32),
        manifest: Manifest {
            format: FORMAT,
            host_uuid: host(),
            operation_id: "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11"
                .parse()
                .expect("an id"),
            decky_id: decky(),
            attempt: 1,
            saved_at: Timestamp::from_millis(1_795_425_109_007),
            kinds: "logs,changes".parse().expect("kinds"),
            truncated: false,
            containers: vec![container],
        },
    };
    let text = serde_json::to_string_pretty(&sidecar).expect("JSON");
    assert_eq!(text, SIDECAR.trim_end());
    let read: Sidecar = serde_json::from_str(SIDECAR).expect("a description");
    assert_eq!(read, sidecar);
}
