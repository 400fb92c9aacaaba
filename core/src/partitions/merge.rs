//! Merges the pages of several partitions into one page of the whole swarm.
//!
//! The controller requests the same page from every partition. Each page is sorted and ends with a
//! cursor if more records follow. The merged page must not continue beyond the first of these
//! cursors, because the partition with that cursor may have the next records.

use std::cmp::Reverse;

use scuttle_schemas::ErrorReply;
use scuttle_schemas::hosts::{HostRecord, HostsList};
use scuttle_schemas::operations::{OperationRecord, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardsList};

use crate::broadcast::size_bounds::SizeBound;
use crate::message_limits::MessageLimits;
use crate::partitions::cursor;

/// Merges one page of shards from each partition into one page of at most `limit` shards.
///
/// The first page must come from the partition that assigns the revisions of broadcasts, and it
/// must have been requested before the other pages. Any change that the other pages lack is then
/// broadcast with a higher revision than the first page has. The records of the other pages can
/// therefore take the revision of the first page.
///
/// # Errors
/// If the `next` of a page is not a valid cursor.
pub fn merge_shards(
    pages: Vec<ShardsList>,
    limit: usize,
    limits: MessageLimits,
) -> Result<ShardsList, ErrorReply> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let decode_page = |(index, page): (usize, ShardsList)| {
        let next = page.next.as_deref();
        let next = next.map(cursor::decode_shard).transpose()?;
        let mut shards = page.shards;
        if index > 0 {
            for shard in &mut shards {
                shard.revision = revision;
            }
        }
        Ok((shards, next))
    };
    let pages = pages.into_iter().enumerate().map(decode_page);
    let pages = pages.collect::<Result<_, ErrorReply>>()?;
    let key = |shard: &ShardRecord| (shard.host_uuid.clone(), shard.decky_id.clone());
    let (shards, next) = merge_pages(pages, key, limit, limits);
    Ok(ShardsList {
        revision,
        shards,
        next: next.map(|(host, decky)| cursor::encode_shard(&host, &decky)),
    })
}

/// Merges one page of hosts from each partition into one page of at most `limit` hosts.
///
/// The first page must come from the partition that assigns the revisions of broadcasts, and it
/// must have been requested before the other pages.
///
/// # Errors
/// If the `next` of a page is not a valid cursor.
pub fn merge_hosts(
    pages: Vec<HostsList>,
    limit: usize,
    limits: MessageLimits,
) -> Result<HostsList, ErrorReply> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let decode_page = |page: HostsList| {
        let next = page.next.as_deref();
        Ok((page.hosts, next.map(cursor::decode_host).transpose()?))
    };
    let pages = pages.into_iter().map(decode_page);
    let pages = pages.collect::<Result<_, ErrorReply>>()?;
    let (hosts, next) = merge_pages(
        pages,
        |host: &HostRecord| host.host_uuid.clone(),
        limit,
        limits,
    );
    Ok(HostsList {
        revision,
        hosts,
        next: next.map(|host| cursor::encode_host(&host)),
    })
}

/// Merges one page of operations from each partition into one page of at most `limit` operations,
/// newest first.
///
/// The first page must come from the partition that assigns the revisions of broadcasts, and it
/// must have been requested before the other pages.
///
/// # Errors
/// If the `next` of a page is not a valid cursor.
pub fn merge_operations(
    pages: Vec<OperationsList>,
    limit: usize,
    limits: MessageLimits,
) -> Result<OperationsList, ErrorReply> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let decode_page = |page: OperationsList| {
        let next = page.next.as_deref();
        let next = next.map(cursor::decode_operation).transpose()?;
        Ok((page.operations, next.map(Reverse)))
    };
    let pages = pages.into_iter().map(decode_page);
    let pages = pages.collect::<Result<_, ErrorReply>>()?;
    let key = |operation: &OperationRecord| Reverse(operation.operation_id);
    let (operations, next) = merge_pages(pages, key, limit, limits);
    Ok(OperationsList {
        revision,
        operations,
        next: next.map(|Reverse(id)| cursor::encode_operation(id)),
    })
}

/// Merges pages that are sorted by `key` into one page of at most `limit` records, which also fits
/// into a reply.
///
/// A page consists of its records and, if more records follow, the key at which the page ended.
fn merge_pages<R: SizeBound, K: Ord>(
    pages: Vec<(Vec<R>, Option<K>)>,
    key: impl Fn(&R) -> K,
    limit: usize,
    limits: MessageLimits,
) -> (Vec<R>, Option<K>) {
    let mut records = Vec::new();
    let mut end: Option<K> = None;
    for (page, next) in pages {
        records.extend(page);
        end = match (end, next) {
            (Some(end), Some(next)) => Some(end.min(next)),
            (end, next) => end.or(next),
        };
    }
    records.sort_by_key(&key);
    let mut merged: Vec<R> = Vec::new();
    let mut free_bytes = limits.reply_bytes();
    for record in records {
        if end.as_ref().is_some_and(|end| key(&record) > *end) {
            break;
        }
        if merged.len() == limit || !record.try_reserve(&mut free_bytes) {
            end = merged.last().map(&key);
            break;
        }
        merged.push(record);
    }
    (merged, end)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::PageLimit;
    use scuttle_schemas::hosts::HostsListRequest;
    use scuttle_schemas::operations::OperationsListRequest;
    use scuttle_schemas::shards::{ShardsList, ShardsListRequest};

    use super::{merge_hosts, merge_operations, merge_pages, merge_shards};
    use crate::api::{Input, Reply};
    use crate::broadcast::size_bounds::SizeBound;
    use crate::message_limits::{MAX_REPLY_BYTES, MessageLimits};
    use crate::tests::scenario::{Scenario, report};

    /// A record with a key and a size in bytes.
    #[derive(Debug, PartialEq)]
    struct Item(u32, usize);

    impl SizeBound for Item {
        fn max_json_bytes(&self) -> usize {
            self.1
        }
    }

    fn merge_keys(pages: &[(&[u32], Option<u32>)], limit: usize) -> (Vec<u32>, Option<u32>) {
        let page = |(keys, next): &(&[u32], Option<u32>)| {
            let records = keys.iter().map(|key| Item(*key, 1)).collect();
            (records, *next)
        };
        let pages = pages.iter().map(page).collect();
        let (records, next) = merge_pages(pages, |item| item.0, limit, MessageLimits::default());
        (records.into_iter().map(|item| item.0).collect(), next)
    }

    #[test]
    fn a_merged_page_has_all_records_in_order() {
        let pages: [(&[u32], _); 3] = [(&[2, 5], None), (&[], None), (&[1, 3, 9], None)];
        assert_eq!(merge_keys(&pages, 5), (vec![1, 2, 3, 5, 9], None));
        assert_eq!(merge_keys(&[], 5), (vec![], None));
    }

    #[test]
    fn a_merged_page_ends_at_the_limit_if_more_records_follow() {
        let pages: [(&[u32], _); 2] = [(&[2, 5], None), (&[1, 3], None)];
        assert_eq!(merge_keys(&pages, 3), (vec![1, 2, 3], Some(3)));
        assert_eq!(merge_keys(&pages, 4), (vec![1, 2, 3, 5], None));
        // Both pages are full. The second partition may have records between 3 and 9.
        let pages: [(&[u32], _); 2] = [(&[2, 9], Some(9)), (&[1, 3], Some(3))];
        assert_eq!(merge_keys(&pages, 2), (vec![1, 2], Some(2)));
    }

    #[test]
    fn a_merged_page_does_not_go_beyond_the_first_cursor() {
        // The first partition has scanned its records up to 4.
        let pages: [(&[u32], _); 2] = [(&[2], Some(4)), (&[1, 4, 5, 6], Some(6))];
        assert_eq!(merge_keys(&pages, 9), (vec![1, 2, 4], Some(4)));
        // An empty page has a cursor too: the next page begins there.
        let pages: [(&[u32], _); 2] = [(&[], Some(3)), (&[7], None)];
        assert_eq!(merge_keys(&pages, 9), (vec![], Some(3)));
    }

    #[test]
    fn a_merged_page_is_not_larger_than_a_reply_may_be() {
        let page = |keys: [u32; 2]| {
            let items = keys.map(|key| Item(key, MAX_REPLY_BYTES / 3));
            (items.into(), None)
        };
        let (records, next) = merge_pages(
            vec![page([1, 4]), page([2, 3])],
            |item| item.0,
            9,
            MessageLimits::default(),
        );
        assert_eq!(records.len(), 3);
        assert_eq!(next, Some(3));
    }

    const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

    /// Returns a swarm with three hosts. Each host represents a partition.
    fn three_hosts() -> Scenario {
        let mut swarm = Scenario::new();
        for host in HOSTS {
            swarm.enroll(&format!("worker-{host}"), Some(host)).unwrap();
            let (reply, _) = swarm.heartbeat(host, report(7, 1), Some(&["a", "b", "c"]));
            assert!(!reply.stale);
        }
        for decky in ["b", "c", "a"] {
            for host in HOSTS {
                swarm.now = swarm.now.plus_millis(1);
                swarm.teardown(host, Some(decky)).expect("accepted");
            }
        }
        swarm
    }

    fn page_limit(limit: usize) -> PageLimit {
        serde_json::from_value(limit.into()).expect("a limit")
    }

    fn list_shards(swarm: &mut Scenario, request: ShardsListRequest) -> ShardsList {
        match swarm.request(Input::ShardsList(request)).0 {
            Reply::Shards(list) => list,
            other => panic!("{other:?}"),
        }
    }

    /// Calls `next_page` with the cursor of the previous page until it returns no further cursor.
    fn read_all_pages(mut next_page: impl FnMut(Option<String>) -> Option<String>) {
        let mut after = None;
        loop {
            after = next_page(after);
            if after.is_none() {
                return;
            }
        }
    }

    #[test]
    fn merged_pages_of_any_size_make_up_the_whole_list() {
        let mut swarm = three_hosts();
        for size in 1..=10 {
            let (mut shards, mut operations, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
            read_all_pages(|after| {
                let pages = HOSTS.map(|host| {
                    let request = ShardsListRequest {
                        host_uuid: Some(host.parse().unwrap()),
                        after: after.clone(),
                        limit: page_limit(size),
                        ..ShardsListRequest::default()
                    };
                    list_shards(&mut swarm, request)
                });
                let page =
                    merge_shards(pages.into(), size, MessageLimits::default()).expect("cursors");
                assert!(page.shards.len() <= size);
                shards.extend(page.shards);
                page.next
            });
            read_all_pages(|after| {
                let pages = HOSTS.map(|host| {
                    let request = OperationsListRequest {
                        host_uuid: Some(host.parse().unwrap()),
                        after: after.clone(),
                        limit: page_limit(size),
                        ..OperationsListRequest::default()
                    };
                    match swarm.request(Input::OperationsList(request)).0 {
                        Reply::Operations(list) => list,
                        other => panic!("{other:?}"),
                    }
                });
                let page = merge_operations(pages.into(), size, MessageLimits::default())
                    .expect("cursors");
                operations.extend(page.operations);
                page.next
            });
            read_all_pages(|after| {
                let pages = HOSTS.map(|host| {
                    let request = HostsListRequest {
                        host_uuid: Some(host.parse().unwrap()),
                        after: after.clone(),
                        limit: page_limit(size),
                    };
                    match swarm.request(Input::HostsList(request)).0 {
                        Reply::Hosts(list) => list,
                        other => panic!("{other:?}"),
                    }
                });
                let page =
                    merge_hosts(pages.into(), size, MessageLimits::default()).expect("cursors");
                hosts.extend(page.hosts);
                page.next
            });
            let shards: Vec<_> = (shards.iter())
                .map(|shard| format!("{}{}", shard.host_uuid, shard.decky_id))
                .collect();
            let all = [
                "h1a", "h1b", "h1c", "h2a", "h2b", "h2c", "h3a", "h3b", "h3c",
            ];
            assert_eq!(shards, all);
            let hosts: Vec<_> = hosts.iter().map(|host| host.host_uuid.as_str()).collect();
            assert_eq!(hosts, HOSTS);
            let ids: Vec<_> = operations.iter().map(|row| row.operation_id).collect();
            assert_eq!(ids.len(), 9);
            assert!(
                ids.is_sorted_by(|one, other| one > other),
                "the newest operation comes first: {ids:?}"
            );
        }
    }

    #[test]
    fn records_of_other_partitions_get_the_revision_of_the_first_page() {
        let mut swarm = three_hosts();
        let mut list = |host: &str| {
            let request = ShardsListRequest {
                host_uuid: Some(host.parse().unwrap()),
                ..ShardsListRequest::default()
            };
            list_shards(&mut swarm, request)
        };
        let (mut first, other) = (list("h1"), list("h2"));
        let own: Vec<_> = first.shards.iter().map(|shard| shard.revision).collect();
        first.revision = 400;
        let merged =
            merge_shards(vec![first, other], 9, MessageLimits::default()).expect("cursors");
        assert_eq!(merged.revision, 400);
        let revisions: Vec<_> = merged.shards.iter().map(|shard| shard.revision).collect();
        assert_eq!(revisions[..3], own);
        assert_eq!(revisions[3..], [400; 3]);
    }

    #[test]
    fn a_page_with_an_invalid_cursor_is_rejected() {
        let mut swarm = three_hosts();
        let mut list = list_shards(&mut swarm, ShardsListRequest::default());
        list.next = Some("hosts:h1".to_owned());
        merge_shards(vec![list], 9, MessageLimits::default())
            .expect_err("the cursor of another list");
    }
}
