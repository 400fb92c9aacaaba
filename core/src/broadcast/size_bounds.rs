//! Upper bounds of what records take as JSON.

use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, Labels, Services, Text};

use crate::record::rows::{OutcomeRow, ShardRow};

/// What the fields around the records of a message take, at the most.
pub(crate) const ENVELOPE_BYTES: usize = 512;

/// The most bytes of an answer's records: a NATS server takes 1 MiB in one message. A page that would be larger
/// ends early, and `next` is set.
pub(crate) const ANSWER_BYTES: usize = 1_000_000;

/// What a text takes as JSON, at the most: a control character becomes `\u00XX`.
fn text(text: &str) -> usize {
    text.len() * 6 + 4
}

/// The most bytes that a record takes as JSON: an upper bound that is cheap to compute.
pub(crate) trait Bounded {
    fn most_bytes(&self) -> usize;

    /// Whether it fits into what is left of `budget`, which it then is taken from.
    fn fits(&self, budget: &mut usize) -> bool {
        let left = budget.checked_sub(self.most_bytes());
        *budget = left.unwrap_or(*budget);
        left.is_some()
    }
}

/// What a shard's record takes, beside its names.
fn shard(services: &Services, labels: &Labels, error: Option<&Text>, ip: Option<&str>) -> usize {
    let services: usize = services.iter().map(text).sum();
    let labels = labels.as_map().iter();
    let labels: usize = labels.map(|(key, value)| text(key) + text(value)).sum();
    let error = error.map_or(0, |error| text(error.as_str()));
    // Names take at most 64 bytes each and need no escapes; the rest is field names, times, numbers.
    720 + services + labels + error + ip.map_or(0, text)
}

impl Bounded for ShardRow {
    fn most_bytes(&self) -> usize {
        let ip = self.ip.as_deref();
        shard(&self.services, &self.labels, self.last_error.as_ref(), ip)
    }
}

impl Bounded for ShardRecord {
    fn most_bytes(&self) -> usize {
        let ip = self.decky_ip.as_deref();
        shard(&self.services, &self.labels, self.last_error.as_ref(), ip)
    }
}

impl Bounded for DeckyId {
    fn most_bytes(&self) -> usize {
        256
    }
}

impl Bounded for HostRecord {
    fn most_bytes(&self) -> usize {
        let labels = self.labels.as_map().iter();
        let labels: usize = labels.map(|(key, value)| text(key) + text(value)).sum();
        let of = |field: &Option<Text>| field.as_ref().map_or(0, |field| text(field.as_str()));
        let texts = of(&self.agent_version) + of(&self.inventory_error);
        640 + labels + texts + self.address.as_deref().map_or(0, text)
    }
}

impl Bounded for OutcomeRow {
    fn most_bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, |error| text(error.as_str()));
        160 + error
    }
}

impl Bounded for OperationRecord {
    fn most_bytes(&self) -> usize {
        let error = self.error.as_ref().map_or(0, |error| text(error.as_str()));
        let reason = self.reason.as_deref().map_or(0, text);
        960 + error + reason + text(&self.requested_by)
    }
}
