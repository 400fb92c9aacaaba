//! Checks that all controllers serve one record.

use std::collections::BTreeSet;

use scuttle_schemas::subjects::{METADATA_RECORD, METADATA_STORE};

use super::findings::Findings;
use crate::client::controllers::ControllerInfo;

const CHECK: &str = "record";

/// Adds a failure if controllers with separate records answer. Skips the check if no controller
/// answers.
pub(super) fn check_record(controllers: &[ControllerInfo], findings: &mut Findings) {
    if controllers.is_empty() {
        return findings.skip(&[CHECK], "no controller replies to service discovery");
    }
    if has_conflict(controllers) {
        let all: Vec<_> = controllers.iter().map(ToString::to_string).collect();
        return findings.fail(
            CHECK,
            1,
            format!("controllers with separate records answer: {}", all.join("; ")),
            "stop the controller that is not needed; a controller that refused to serve must be restarted before it serves \
             (docs/operations.md)",
        );
    }
    let record = controllers
        .iter()
        .find_map(|one| one.value(METADATA_RECORD));
    match record {
        Some(record) => findings.ok(CHECK, format!("all controllers serve the record {record}")),
        None => findings.skip(
            &[CHECK],
            "the controller does not report its record's identity",
        ),
    }
}

/// Returns whether two controllers answer that must not serve together: they have different
/// records, or one of them keeps its record in a file, which only one controller can serve.
fn has_conflict(controllers: &[ControllerInfo]) -> bool {
    let ids: BTreeSet<_> = controllers.iter().map(|one| &one.id).collect();
    let values = |key| -> BTreeSet<_> {
        controllers
            .iter()
            .filter_map(|one| one.value(key))
            .collect()
    };
    let has_file = values(METADATA_STORE).contains("redb");
    values(METADATA_RECORD).len() > 1 || has_file && ids.len() > 1
}

#[cfg(test)]
mod tests {
    use super::{ControllerInfo, has_conflict};

    fn controller(id: &str, record: &str, store: &str) -> ControllerInfo {
        let info = serde_json::json!({
            "id": id,
            "version": "0.1.0",
            "metadata": { "scuttle.record": record, "scuttle.store": store },
        });
        serde_json::from_value(info).expect("a controller")
    }

    #[test]
    fn controllers_with_one_shared_record_do_not_conflict() {
        let shared = [
            controller("a", "1", "jetstream"),
            controller("b", "1", "jetstream"),
        ];
        assert!(!has_conflict(&shared));
        assert!(!has_conflict(&[controller("a", "1", "redb")]));
        let answered_twice = [controller("a", "1", "redb"), controller("a", "1", "redb")];
        assert!(!has_conflict(&answered_twice));
    }

    #[test]
    fn controllers_with_two_records_or_with_a_file_conflict() {
        for (record, store) in [("2", "jetstream"), ("2", "redb"), ("1", "redb")] {
            let other = controller("b", record, store);
            assert!(
                has_conflict(&[controller("a", "1", "jetstream"), other]),
                "{record} {store}"
            );
        }
    }
}
