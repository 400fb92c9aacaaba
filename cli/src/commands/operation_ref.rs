//! Operation ids on the command line, which may be shortened to a prefix.

use std::str::FromStr;

use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::{OperationId, Timestamp};

use crate::client::client_error::ClientError;
use crate::client::lists::{self, OperationsFilter};
use crate::client::nats_client::Client;
use crate::output::operation::format_operation_target;

/// The number of characters of a complete id.
const ID_LENGTH: usize = 36;

/// The minimum number of characters of a prefix. A shorter prefix is probably a typing mistake: the
/// first three digits of an id come from its creation time and change about every two years, so
/// they match nearly every operation.
const MIN_PREFIX: usize = 4;

/// The minimum number of characters to which tables shorten ids. These characters contain the time
/// of acceptance in milliseconds.
const MIN_SHOWN: usize = 13;

/// The id of an operation as it was typed: complete, or a prefix in lowercase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationRef(String);

impl FromStr for OperationRef {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_valid = text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
            && (MIN_PREFIX..=ID_LENGTH).contains(&text.len())
            && (text.len() < ID_LENGTH || text.parse::<OperationId>().is_ok());
        if is_valid {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(format!(
                "an operation id looks like 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11, and at least its \
                 first {MIN_PREFIX} characters must be given; `scuttle ops` lists the ids"
            ))
        }
    }
}

impl OperationRef {
    /// Returns the id of the operation. If only a prefix was typed, looks for the operation among
    /// those that were not accepted before the time in the prefix.
    ///
    /// # Errors
    /// If no operation has this prefix, several do, or the list fails.
    pub(crate) async fn resolve(&self, client: &Client) -> Result<OperationId, ClientError> {
        if let Ok(id) = self.0.parse() {
            return Ok(id);
        }
        let filter = OperationsFilter {
            since: Some(earliest_acceptance(&self.0)),
            ..OperationsFilter::default()
        };
        let list = lists::list_operations(client, &filter, usize::MAX).await?;
        find_by_prefix(&list.operations, &self.0)
    }
}

/// Returns a time before which no operation was accepted whose id starts with this prefix. An id
/// starts with the time of acceptance in milliseconds since 1970, as 12 hexadecimal digits.
fn earliest_acceptance(prefix: &str) -> Timestamp {
    /// Longer than the time between the generation of an id and the acceptance of its operation.
    const MARGIN_MS: i64 = 60_000;
    let digits: String = prefix.chars().filter(|c| *c != '-').take(12).collect();
    let millis = i64::from_str_radix(&format!("{digits:0<12}"), 16).unwrap_or_default();
    Timestamp::from_millis(millis.saturating_sub(MARGIN_MS).max(0))
}

fn find_by_prefix(
    operations: &[OperationRecord],
    prefix: &str,
) -> Result<OperationId, ClientError> {
    let has_prefix =
        |operation: &&OperationRecord| operation.operation_id.to_string().starts_with(prefix);
    let found: Vec<_> = operations.iter().filter(has_prefix).collect();
    match found[..] {
        [operation] => Ok(operation.operation_id),
        [] => Err(ClientError::OperationNotFound(prefix.to_owned())),
        _ => Err(ClientError::AmbiguousOperation {
            prefix: prefix.to_owned(),
            operations: found.into_iter().map(describe_candidate).collect(),
        }),
    }
}

fn describe_candidate(operation: &OperationRecord) -> String {
    let target = format_operation_target(operation);
    format!("{} ({target})", operation.operation_id)
}

/// Returns the number of characters to which ids can be shortened so that the ids remain different
/// from each other.
pub(crate) fn unique_prefix_length(operations: &[OperationRecord]) -> usize {
    let mut ids: Vec<String> = operations
        .iter()
        .map(|operation| operation.operation_id.to_string())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let common = ids.windows(2).map(|pair| {
        let same = pair[0].bytes().zip(pair[1].bytes());
        same.take_while(|(one, other)| one == other).count()
    });
    let longest = common.max().map_or(0, |common| common + 1);
    longest.clamp(MIN_SHOWN, ID_LENGTH)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationRecord;

    use super::{OperationRef, earliest_acceptance, find_by_prefix, unique_prefix_length};
    use crate::client::client_error::ClientError;

    const IDS: [&str; 3] = [
        "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11",
        "01997c3e-5f1a-7c80-a2f5-0d6a7b5f1c11",
        "01997c3f-0000-7000-8000-000000000001",
    ];

    fn operations() -> Vec<OperationRecord> {
        let operation = |id: &&str| {
            serde_json::from_value(serde_json::json!({
                "operation_id": id, "kind": "teardown", "host_uuid": "h", "host_name": "worker-a",
                "decky_id": null, "state": "queued", "requested_by": "alice", "reason": null,
                "accepted_at": "2026-11-23T09:11:49.000Z", "deadline": "2026-11-23T09:21:49.000Z",
                "finished_at": null, "attempts": 0, "error": null,
                "counts": { "pending": 1, "removed": 0, "absent": 0, "failed": 0 },
                "waiting_for": null,
            }))
            .expect("an operation")
        };
        IDS.iter().map(operation).collect()
    }

    #[test]
    fn an_operation_is_found_by_a_unique_prefix() {
        let all = operations();
        let found = find_by_prefix(&all, "01997c3f").expect("one operation");
        assert_eq!(found.to_string(), IDS[2]);
        let error = find_by_prefix(&all, "01997c3e-5f1a").expect_err("two operations");
        let text = error.to_string();
        assert!(text.contains(IDS[0]) && text.contains(IDS[1]), "{text}");
        assert!(!text.contains(IDS[2]), "{text}");
        let error = find_by_prefix(&all, "02").expect_err("no operation");
        assert!(matches!(error, ClientError::OperationNotFound(_)));
    }

    #[test]
    fn a_prefix_bounds_the_time_of_acceptance() {
        let earliest = |prefix| earliest_acceptance(prefix).as_millis() + 60_000;
        assert_eq!(earliest("01997c3e-5f1a"), 0x0199_7c3e_5f1a);
        assert_eq!(earliest("01997c3e-5f1a-7c80"), 0x0199_7c3e_5f1a);
        assert_eq!(earliest("01997c3"), 0x0199_7c30_0000);
        assert_eq!(earliest_acceptance("0000").as_millis(), 0);
    }

    #[test]
    fn ids_are_shortened_as_far_as_they_remain_different() {
        let all = operations();
        assert_eq!(unique_prefix_length(&all), "01997c3e-5f1a-7c80-a2f5".len());
        assert_eq!(unique_prefix_length(&all[1..]), "01997c3e-5f1a".len());
        assert_eq!(unique_prefix_length(&[]), "01997c3e-5f1a".len());
    }

    #[test]
    fn a_text_that_cannot_be_an_id_is_rejected_with_an_example() {
        assert!("01997C3E".parse::<OperationRef>().is_ok());
        for text in [
            "",
            "019",
            "decky-01",
            "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c1-",
        ] {
            let error = text.parse::<OperationRef>().expect_err("not an id");
            assert!(error.contains("01997c3e-"), "{error}");
        }
    }
}
