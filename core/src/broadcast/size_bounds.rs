//! Upper bounds for the size of records as JSON.
//!
//! A bound is computed from the texts of the record, which is much cheaper than encoding the
//! record. The bound of every record is below `MIN_MAX_PAYLOAD`, except that a host may have too
//! many notes.

use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::operations::{OperationRecord, OperationShard};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::teardown::PlanTarget;
use scuttle_schemas::{DeckyId, Deployment, Labels, Services, Text};

use crate::record::rows::ShardRow;

/// A record whose size as JSON has an upper bound that is cheap to compute.
pub(crate) trait SizeBound {
    /// Returns an upper bound for the size of the record as JSON, in bytes.
    fn max_json_bytes(&self) -> usize;

    /// Reserves space for the record by subtracting its bound from `free_bytes`. If the bound is
    /// larger than `free_bytes`, changes nothing and returns false.
    fn try_reserve(&self, free_bytes: &mut usize) -> bool {
        let left = free_bytes.checked_sub(self.max_json_bytes());
        *free_bytes = left.unwrap_or(*free_bytes);
        left.is_some()
    }
}

impl SizeBound for ShardRow {
    fn max_json_bytes(&self) -> usize {
        let ip = self.ip.as_deref();
        max_shard_bytes(&self.services, &self.labels, self.last_error.as_ref(), ip)
            + max_deployment_bytes(self.deployment.as_ref())
    }
}

impl SizeBound for ShardRecord {
    fn max_json_bytes(&self) -> usize {
        let ip = self.decky_ip.as_deref();
        max_shard_bytes(&self.services, &self.labels, self.last_error.as_ref(), ip)
            + max_deployment_bytes(self.deployment.as_ref())
    }
}

/// The id of a removed shard, which a broadcast contains in place of a record.
impl SizeBound for DeckyId {
    fn max_json_bytes(&self) -> usize {
        256
    }
}

impl SizeBound for HostRecord {
    fn max_json_bytes(&self) -> usize {
        let texts = max_option_bytes(self.agent_version.as_ref())
            + max_option_bytes(self.inventory_error.as_ref());
        let address = self.address.as_deref().map_or(0, max_text_bytes);
        let notes = self.notes.iter();
        let notes: usize = notes.map(|note| max_text_bytes(note.as_str())).sum();
        680 + max_labels_bytes(&self.labels) + texts + address + notes
    }
}

impl SizeBound for PlanTarget {
    fn max_json_bytes(&self) -> usize {
        128 + max_deployment_bytes(self.deployment.as_ref())
    }
}

impl SizeBound for OperationShard {
    fn max_json_bytes(&self) -> usize {
        let evidence = self.evidence.as_ref();
        // The rest of the evidence is field names, a hash and a number.
        let evidence = evidence.map_or(0, |evidence| 144 + max_text_bytes(&evidence.path));
        160 + max_option_bytes(self.error.as_ref()) + evidence
    }
}

impl SizeBound for OperationRecord {
    fn max_json_bytes(&self) -> usize {
        let reason = self.reason.as_deref().map_or(0, max_text_bytes);
        let error = max_option_bytes(self.error.as_ref());
        960 + error + reason + max_text_bytes(&self.requested_by)
    }
}

/// Leaves out the last notes of a host until its record fits into `max_bytes`.
pub(crate) fn shorten_notes(mut record: HostRecord, max_bytes: usize) -> HostRecord {
    while record.max_json_bytes() > max_bytes && record.notes.pop().is_some() {}
    record
}

/// Returns an upper bound for the size of a text in JSON, with its quotes and separators, in bytes.
fn max_text_bytes(text: &str) -> usize {
    let bytes = text.bytes().map(|byte| match byte {
        // Escaped as `\u00XX`.
        0..0x20 => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    });
    bytes.sum::<usize>() + 4
}

fn max_option_bytes(text: Option<&Text>) -> usize {
    text.map_or(0, |text| max_text_bytes(text.as_str()))
}

fn max_deployment_bytes(deployment: Option<&Deployment>) -> usize {
    deployment.map_or(0, |deployment| 16 + max_text_bytes(deployment.as_str()))
}

fn max_labels_bytes(labels: &Labels) -> usize {
    let labels = labels.as_map().iter();
    let bytes = labels.map(|(key, value)| max_text_bytes(key) + max_text_bytes(value));
    bytes.sum()
}

fn max_shard_bytes(
    services: &Services,
    labels: &Labels,
    error: Option<&Text>,
    ip: Option<&str>,
) -> usize {
    let services: usize = services.iter().map(max_text_bytes).sum();
    let ip = ip.map_or(0, max_text_bytes);
    // A name has at most 64 bytes and needs no escapes. The rest is field names, times and numbers.
    744 + services + max_labels_bytes(labels) + max_option_bytes(error) + ip
}
