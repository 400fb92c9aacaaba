//! Checks the broadcasts against the final record, and the recordings of two subscribers against
//! each other.

use std::collections::BTreeMap;

use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, HostId};
use scuttle_tests::clients::replica_view::clear_last_seen;

use crate::checks::final_record::Record;
use crate::observers::broadcast_recorder::Recording;

/// Describes each shard whose last broadcast contradicts the final record.
pub(crate) fn find_unrecorded_shards(recording: &Recording, record: &Record) -> Vec<String> {
    let key = |shard: ShardRecord| ((shard.host_uuid.clone(), shard.decky_id.clone()), shard);
    let recorded: BTreeMap<(HostId, DeckyId), ShardRecord> = clear_last_seen(record.shards.clone())
        .into_iter()
        .map(key)
        .collect();
    let mut losses = Vec::new();
    for ((host, decky), (revision, announced)) in &recording.latest {
        let found = recorded.get(&(host.clone(), decky.clone()));
        let same = match (found, announced) {
            // A later broadcast did not reach this subscriber.
            (Some(found), _) if found.revision > *revision => true,
            (Some(found), Some(announced)) if found.revision == *revision => {
                clear_last_seen(vec![announced.clone()]).first() == Some(found)
            }
            (Some(_), _) => false,
            (None, _) => *revision <= record.revision,
        };
        if !same {
            losses.push(format!(
                "{host}/{decky} was broadcast at revision {revision} as {announced:?}, but the record has {found:?}"
            ));
        }
    }
    losses
}

/// Describes each revision for which two subscribers received different contents.
pub(crate) fn find_conflicting_contents(one: &Recording, other: &Recording) -> Vec<String> {
    let differs = |(key, content): (&(&str, u64), &u64)| {
        let content_there = other.content_hashes.get(key)?;
        let (subject, revision) = key;
        (content_there != content).then(|| {
            format!(
                "{subject}: two subscribers received different contents for revision {revision}"
            )
        })
    };
    one.content_hashes.iter().filter_map(differs).collect()
}
