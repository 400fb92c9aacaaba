//! Pages of several partitions as one page of the whole swarm.

use std::cmp::Reverse;

use scuttle_schemas::Refusal;
use scuttle_schemas::hosts::{HostRecord, HostsList};
use scuttle_schemas::operations::{OperationRecord, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardsList};

use crate::broadcast::Bounded;
use crate::cursor;
use crate::lists::ANSWER_BYTES;

/// Merges pages, each in order and with where it ended if it was not the last, into one of at most `limit` records; and where
/// that ended.
fn merge<R: Bounded, K: Ord>(
    pages: Vec<(Vec<R>, Option<K>)>,
    key: impl Fn(&R) -> K,
    limit: usize,
) -> (Vec<R>, Option<K>) {
    let mut all = Vec::new();
    let mut end: Option<K> = None;
    for (records, next) in pages {
        all.extend(records);
        // Beyond the first end, that partition may have more.
        end = match (end, next) {
            (Some(end), Some(next)) => Some(end.min(next)),
            (end, next) => end.or(next),
        };
    }
    all.sort_by_key(&key);
    let mut merged: Vec<R> = Vec::new();
    let mut room = ANSWER_BYTES;
    for record in all {
        if end.as_ref().is_some_and(|end| key(&record) > *end) {
            break;
        }
        if merged.len() == limit || !record.fits(&mut room) {
            end = merged.last().map(&key);
            break;
        }
        merged.push(record);
    }
    (merged, end)
}

/// One page of all shards. The first is of the partition that numbers the broadcasts, and was asked for before the others: so
/// whatever they do not contain yet is told under a higher revision than the first's, which their records get.
///
/// # Errors
/// A page ends with what is no cursor.
pub fn merge_shards(pages: Vec<ShardsList>, limit: usize) -> Result<ShardsList, Refusal> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let page = |(number, page): (usize, ShardsList)| {
        let next = page.next.as_deref().map(cursor::shard).transpose()?;
        let mut shards = page.shards;
        if number > 0 {
            for shard in &mut shards {
                shard.revision = revision;
            }
        }
        Ok((shards, next))
    };
    let pages = pages.into_iter().enumerate().map(page);
    let pages = pages.collect::<Result<_, Refusal>>()?;
    let key = |shard: &ShardRecord| (shard.host_uuid.clone(), shard.decky_id.clone());
    let (shards, next) = merge(pages, key, limit);
    Ok(ShardsList {
        revision,
        shards,
        next: next.map(|(host, decky)| cursor::after_shard(&host, &decky)),
    })
}

/// One page of all hosts; as `merge_shards`.
///
/// # Errors
/// A page ends with what is no cursor.
pub fn merge_hosts(pages: Vec<HostsList>, limit: usize) -> Result<HostsList, Refusal> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let page = |page: HostsList| {
        let next = page.next.as_deref().map(cursor::host).transpose()?;
        Ok((page.hosts, next))
    };
    let pages = pages
        .into_iter()
        .map(page)
        .collect::<Result<_, Refusal>>()?;
    let (hosts, next) = merge(pages, |host: &HostRecord| host.host_uuid.clone(), limit);
    Ok(HostsList {
        revision,
        hosts,
        next: next.map(|host| cursor::after_host(&host)),
    })
}

/// One page of all operations, the newest first; as `merge_shards`.
///
/// # Errors
/// A page ends with what is no cursor.
pub fn merge_operations(
    pages: Vec<OperationsList>,
    limit: usize,
) -> Result<OperationsList, Refusal> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let page = |page: OperationsList| {
        let next = page.next.as_deref().map(cursor::operation).transpose()?;
        Ok((page.operations, next.map(Reverse)))
    };
    let pages = pages
        .into_iter()
        .map(page)
        .collect::<Result<_, Refusal>>()?;
    let key = |operation: &OperationRecord| Reverse(operation.operation_id);
    let (operations, next) = merge(pages, key, limit);
    Ok(OperationsList {
        revision,
        operations,
        next: next.map(|Reverse(id)| cursor::after_operation(id)),
    })
}
