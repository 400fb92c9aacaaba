//! What was told, held against what is on record at the end: nothing was told that it does not have, and all who listened
//! recording the same.

use std::collections::BTreeMap;

use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, HostId};
use scuttle_tests::clients::replica_view::clear_last_seen;

use crate::checks::final_record::Record;
use crate::observers::broadcast_recorder::Recording;

/// Shards that were told and are not so on record.
pub(crate) fn find_unrecorded_shards(recording: &Recording, record: &Record) -> Vec<String> {
    let key = |shard: ShardRecord| ((shard.host_uuid.clone(), shard.decky_id.clone()), shard);
    let there: BTreeMap<(HostId, DeckyId), ShardRecord> = clear_last_seen(record.shards.clone())
        .into_iter()
        .map(key)
        .collect();
    let mut losses = Vec::new();
    for ((host, decky), (revision, announced)) in &recording.latest {
        let is = there.get(&(host.clone(), decky.clone()));
        let same = match (is, announced) {
            // What was told later was not recording; or it was, and this is it.
            (Some(is), _) if is.revision > *revision => true,
            (Some(is), Some(announced)) if is.revision == *revision => {
                clear_last_seen(vec![announced.clone()]).first() == Some(is)
            }
            (Some(_), _) => false,
            (None, _) => *revision <= record.revision,
        };
        if !same {
            losses.push(format!(
                "{host}/{decky} was told at revision {revision} as {announced:?}, and is {is:?}"
            ));
        }
    }
    losses
}

/// Revisions that two have recording with other content.
pub(crate) fn find_conflicting_contents(one: &Recording, other: &Recording) -> Vec<String> {
    let differs = |(key, content): (&(&str, u64), &u64)| {
        let recording = other.content_hashes.get(key)?;
        let (subject, revision) = key;
        (recording != content)
            .then(|| format!("{subject}: two recording revision {revision} otherwise"))
    };
    one.content_hashes.iter().filter_map(differs).collect()
}
