//! A subscriber's view of shards, hosts and operations. The view is built according to the
//! protocol's rules, from broadcasts, which may be lost, and from lists in small pages. It uses
//! only received messages.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::{Partition, PartitionCount, subjects};
use serde_json::Value;

/// A type of record that is listed and broadcast. There are three types.
pub(crate) struct ListedType {
    pub(crate) broadcast_subject: &'static str,
    pub(crate) list_subject: &'static str,
    /// The field of a list reply that holds the records.
    pub(crate) records_field: &'static str,
    pub(crate) key_fields: &'static [&'static str],
}

pub(crate) const LISTED_TYPES: [ListedType; 3] = [
    ListedType {
        broadcast_subject: subjects::SHARDS_UPDATED,
        list_subject: subjects::SHARDS_LIST,
        records_field: "shards",
        key_fields: &["host_uuid", "decky_id"],
    },
    ListedType {
        broadcast_subject: subjects::HOSTS_UPDATED,
        list_subject: subjects::HOSTS_LIST,
        records_field: "hosts",
        key_fields: &["host_uuid"],
    },
    ListedType {
        broadcast_subject: subjects::OPERATIONS_UPDATED,
        list_subject: subjects::OPERATIONS_LIST,
        records_field: "operations",
        key_fields: &["operation_id"],
    },
];

#[derive(Debug, Default)]
pub(crate) struct Subscriber {
    pub(crate) subscribed: bool,
    pub(crate) views: [View; 3],
}

/// A subscriber's view of one type of record.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The revision of the last broadcast, or of the last complete listing.
    pub(crate) revision: Option<u64>,
    /// The revision of the first page of the last complete listing. Older broadcasts add nothing.
    pub(crate) listed: u64,
    /// The records by key, each with its revision. A removed record is `None`.
    pub(crate) records: BTreeMap<String, (u64, Option<Value>)>,
    pub(crate) listings: u64,
    pub(crate) listing: Option<Listing>,
}

#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The view's revision when the listing started.
    pub(crate) last_revision: u64,
    pub(crate) first_revision: Option<u64>,
    pub(crate) listed: BTreeSet<String>,
    pub(crate) after: Value,
}

/// Removes the fields that change without a broadcast, such as `last_seen`.
pub(crate) fn strip_unannounced(mut record: Value) -> Value {
    if let Some(fields) = record.as_object_mut() {
        for quiet in ["last_seen", "last_heartbeat", "waiting_for"] {
            fields.remove(quiet);
        }
    }
    record
}

pub(crate) fn record_key(record: &Value, fields: &[&str]) -> String {
    let parts: Vec<&str> = fields
        .iter()
        .filter_map(|field| record[*field].as_str())
        .collect();
    parts.join("/")
}

/// Returns a copy of the record for the comparison of a view with a list. The copy has no revision
/// if it is about a host of a partition other than the first, because the first partition relays
/// such records with its own revisions.
fn comparable_record(record: &Value, partitions: PartitionCount) -> Value {
    let mut record = record.clone();
    let host = record["host_uuid"].as_str().unwrap_or_default();
    if partitions != PartitionCount::ONE
        && partitions.partition_of_host_text(host) != Partition::FIRST
        && let Some(fields) = record.as_object_mut()
    {
        fields.remove("revision");
    }
    record
}

impl View {
    fn put_record(&mut self, key: String, revision: u64, record: Option<Value>, listed: bool) {
        let newer = match self.records.get(&key) {
            Some((known, _)) => revision > *known || (listed && revision == *known),
            None => true,
        };
        if newer {
            self.records.insert(key, (revision, record));
        }
    }

    /// Applies a broadcast. Returns whether an earlier broadcast was missed.
    pub(crate) fn apply_broadcast(&mut self, update: &Value, fields: &[&str]) -> bool {
        let Some(revision) = update["revision"].as_u64() else {
            return false;
        };
        if revision < self.listed {
            return false;
        }
        let records = ["updated", "removed"].map(|lists| update[lists].as_array());
        // If the repeated revision is not the last one received, a broadcast was missed.
        let repeats = records.into_iter().flatten().all(Vec::is_empty);
        for record in update["updated"].as_array().into_iter().flatten() {
            let key = record_key(record, fields);
            self.put_record(
                key,
                revision,
                Some(strip_unannounced(record.clone())),
                false,
            );
        }
        for record in update["removed"].as_array().into_iter().flatten() {
            self.put_record(record_key(record, fields), revision, None, false);
        }
        let missed = self
            .revision
            .is_none_or(|last| revision > last + u64::from(!repeats));
        self.revision = self.revision.max(Some(revision));
        missed
    }

    /// Applies a page of a listing. Returns the cursor of the next page, or `None` if the listing
    /// is complete or must start again.
    pub(crate) fn apply_page(&mut self, listed_type: &ListedType, page: &Value) -> Option<Value> {
        let revision = page["revision"].as_u64()?;
        let mut listing = self.listing.take()?;
        // The page comes from a deposed leader that does not know it yet. The listing starts again,
        // after a delay.
        if revision < listing.first_revision.unwrap_or(listing.last_revision) {
            self.listings += 1;
            self.listing = Some(Listing {
                last_revision: listing.last_revision,
                ..Listing::default()
            });
            return None;
        }
        let first = *listing.first_revision.get_or_insert(revision);
        for record in page[listed_type.records_field].as_array()? {
            let key = record_key(record, listed_type.key_fields);
            listing.listed.insert(key.clone());
            let own = record["revision"].as_u64().unwrap_or(revision);
            self.put_record(key, own, Some(strip_unannounced(record.clone())), true);
        }
        if page["next"].is_string() {
            listing.after = page["next"].clone();
            let after = listing.after.clone();
            self.listing = Some(listing);
            return Some(after);
        }
        for (key, record) in &mut self.records {
            if record.0 < first && !listing.listed.contains(key) {
                record.1 = None;
            }
        }
        self.revision = self.revision.max(Some(first));
        self.listed = self.listed.max(first);
        None
    }

    fn present_records(&self) -> impl Iterator<Item = (&String, &Value)> {
        let records = self.records.iter();
        records.filter_map(|(key, (_, record))| Some((key, record.as_ref()?)))
    }
}

impl Subscriber {
    /// Compares the view of one type of record with a list. The error shows the differences.
    pub(crate) fn compare_with(
        &self,
        subject: usize,
        list: &BTreeMap<String, Value>,
        partitions: PartitionCount,
    ) -> Result<(), String> {
        let compared =
            |(key, record): (&String, &Value)| (key.clone(), comparable_record(record, partitions));
        let view: BTreeMap<_, _> = self.views[subject]
            .present_records()
            .map(compared)
            .collect();
        let list: BTreeMap<_, _> = list.iter().map(compared).collect();
        if view == list {
            return Ok(());
        }
        let differs: Vec<_> = (view.keys().chain(list.keys()))
            .filter(|key| view.get(*key) != list.get(*key))
            .map(|key| {
                format!(
                    "{key}: in the view {:?}, in the list {:?}",
                    view.get(key),
                    list.get(key)
                )
            })
            .collect();
        Err(differs.join("; "))
    }
}
