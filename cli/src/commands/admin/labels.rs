//! The `--label` flag of the commands that set the labels of a host.

use std::collections::BTreeMap;

use scuttle_schemas::Labels;

use crate::failure::Failure;

/// Returns the labels that were given, or `None` if none were given.
///
/// # Errors
/// If there are too many labels, or a key or value is empty or too long.
pub(super) fn collect_labels(given: &[(String, String)]) -> Result<Option<Labels>, Failure> {
    if given.is_empty() {
        return Ok(None);
    }
    let labels: BTreeMap<_, _> = given.iter().cloned().collect();
    let labels = Labels::try_from(labels).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Some(labels))
}
