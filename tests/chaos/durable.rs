//! What was told, held against what is on record at the end: nothing was told that it does not have, and all who listened
//! heard the same.

use std::collections::BTreeMap;

use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{DeckyId, HostId};
use scuttle_tests::clients::replica_view::clear_last_seen;

use crate::tail::Record;
use crate::witness::Heard;

/// Shards that were told and are not so on record.
pub(crate) fn told_in_vain(heard: &Heard, record: &Record) -> Vec<String> {
    let key = |shard: ShardRecord| ((shard.host_uuid.clone(), shard.decky_id.clone()), shard);
    let there: BTreeMap<(HostId, DeckyId), ShardRecord> = clear_last_seen(record.shards.clone())
        .into_iter()
        .map(key)
        .collect();
    let mut losses = Vec::new();
    for ((host, decky), (revision, was_told)) in &heard.latest {
        let is = there.get(&(host.clone(), decky.clone()));
        let same = match (is, was_told) {
            // What was told later was not heard; or it was, and this is it.
            (Some(is), _) if is.revision > *revision => true,
            (Some(is), Some(was_told)) if is.revision == *revision => {
                clear_last_seen(vec![was_told.clone()]).first() == Some(is)
            }
            (Some(_), _) => false,
            (None, _) => *revision <= record.revision,
        };
        if !same {
            losses.push(format!(
                "{host}/{decky} was told at revision {revision} as {was_told:?}, and is {is:?}"
            ));
        }
    }
    losses
}

/// Revisions that two have heard with other content.
pub(crate) fn heard_otherwise(one: &Heard, other: &Heard) -> Vec<String> {
    let differs = |(key, content): (&(&str, u64), &u64)| {
        let heard = other.contents.get(key)?;
        let (subject, revision) = key;
        (heard != content).then(|| format!("{subject}: two heard revision {revision} otherwise"))
    };
    one.contents.iter().filter_map(differs).collect()
}
