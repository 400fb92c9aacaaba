//! Checks the problems that controllers with `--store jetstream` report about their journals. A
//! halted controller replies to service discovery only, and its metadata says why.

use std::collections::BTreeSet;

use scuttle_schemas::subjects;

use super::findings::Findings;
use crate::client::controllers::ControllerInfo;

const CHECK: &str = "journal";

/// Adds the problems that the controllers report about their journals. Skips the check if no
/// controller replies.
pub(super) fn check_journal(controllers: &[ControllerInfo], findings: &mut Findings) {
    let values = |key: &str| -> BTreeSet<String> {
        let values = controllers.iter().filter_map(|one| one.value(key));
        values.collect()
    };
    let (halted, replicas) = (
        values(subjects::METADATA_HALTED),
        values(subjects::METADATA_REPLICAS),
    );
    if let Some(reason) = halted.first() {
        findings.fail(
            CHECK,
            1,
            format!("a controller has halted: {reason}"),
            "decide what the record is: restore the stream, or stop all controllers and run `scuttle-controller recover` on \
             the one with the newest rows (docs/operations.md)",
        );
    } else if controllers.is_empty() {
        findings.skip(&[CHECK], "no controller replies to service discovery");
    } else if let Some(difference) = replicas.first() {
        findings.fail(
            CHECK,
            1,
            difference.clone(),
            "change the number of replicas as described in docs/operations.md, or start the controllers with the present number",
        );
    } else {
        findings.ok(CHECK, "no controller reports a problem with its journal");
    }
}
