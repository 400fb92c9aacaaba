//! Digests, which let the oracle remember and compare contents.

use scuttle_core::ShardRow;
use scuttle_schemas::shards::ShardRecord;

use crate::state::clients::subscriber::strip_unannounced;

/// Returns the FNV-1a hash of a text.
pub(crate) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns a digest of a record, without the fields that change without a broadcast.
fn digest_of_record(record: &impl serde::Serialize) -> u64 {
    let value = serde_json::to_value(record).unwrap_or_default();
    digest(&strip_unannounced(value).to_string())
}

/// Returns the digests that the row of a shard record may have: a protected shard may be protected
/// by its host, whose row may have changed since.
pub(crate) fn digests_of_row_behind(record: &ShardRecord) -> [u64; 2] {
    let unprotected = ShardRecord {
        protected: false,
        ..record.clone()
    };
    [digest_of_record(record), digest_of_record(&unprotected)]
}

/// Returns the digest of the record of a shard, as if its host was not protected.
pub(crate) fn digest_of_row(row: &ShardRow, host_name: &str, revision: u64) -> u64 {
    let mut value = serde_json::json!({
        "host_uuid": row.host, "host_name": host_name, "decky_id": row.decky,
        "decky_ip": row.ip, "services": row.services, "labels": row.labels, "state": row.state,
        "last_error": row.last_error, "operation_id": row.operation,
        "updated_at": row.updated_at, "revision": revision, "protected": row.protected,
    });
    if let Some(deployment) = &row.deployment {
        value["deployment"] = deployment.as_str().into();
    }
    digest(&strip_unannounced(value).to_string())
}
