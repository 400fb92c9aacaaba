//! Pages of several partitions as one page of the whole swarm.

use std::cmp::Reverse;

use scuttle_schemas::ErrorReply;
use scuttle_schemas::hosts::{HostRecord, HostsList};
use scuttle_schemas::operations::{OperationRecord, OperationsList};
use scuttle_schemas::shards::{ShardRecord, ShardsList};

use crate::broadcast::size_bounds::{ANSWER_BYTES, Bounded};
use crate::partitions::cursor;

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
pub fn merge_shards(pages: Vec<ShardsList>, limit: usize) -> Result<ShardsList, ErrorReply> {
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
    let pages = pages.collect::<Result<_, ErrorReply>>()?;
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
pub fn merge_hosts(pages: Vec<HostsList>, limit: usize) -> Result<HostsList, ErrorReply> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let page = |page: HostsList| {
        let next = page.next.as_deref().map(cursor::host).transpose()?;
        Ok((page.hosts, next))
    };
    let pages = pages
        .into_iter()
        .map(page)
        .collect::<Result<_, ErrorReply>>()?;
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
) -> Result<OperationsList, ErrorReply> {
    let revision = pages.first().map_or(0, |page| page.revision);
    let page = |page: OperationsList| {
        let next = page.next.as_deref().map(cursor::operation).transpose()?;
        Ok((page.operations, next.map(Reverse)))
    };
    let pages = pages
        .into_iter()
        .map(page)
        .collect::<Result<_, ErrorReply>>()?;
    let key = |operation: &OperationRecord| Reverse(operation.operation_id);
    let (operations, next) = merge(pages, key, limit);
    Ok(OperationsList {
        revision,
        operations,
        next: next.map(|Reverse(id)| cursor::after_operation(id)),
    })
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::PageLimit;
    use scuttle_schemas::hosts::HostsListRequest;
    use scuttle_schemas::operations::OperationsListRequest;
    use scuttle_schemas::shards::ShardsListRequest;

    use super::{merge, merge_hosts, merge_operations, merge_shards};
    use crate::api::{Input, Reply};
    use crate::broadcast::size_bounds::ANSWER_BYTES;
    use crate::broadcast::size_bounds::Bounded;
    use crate::tests::scenario::Scenario;

    /// A record, and how large it is.
    #[derive(Debug, PartialEq)]
    struct Item(u32, usize);

    impl Bounded for Item {
        fn most_bytes(&self) -> usize {
            self.1
        }
    }

    fn merged(pages: &[(&[u32], Option<u32>)], limit: usize) -> (Vec<u32>, Option<u32>) {
        let page = |(records, next): &(&[u32], Option<u32>)| {
            let records = records.iter().map(|key| Item(*key, 1)).collect();
            (records, *next)
        };
        let pages = pages.iter().map(page).collect();
        let (records, next) = merge(pages, |item| item.0, limit);
        (records.into_iter().map(|item| item.0).collect(), next)
    }

    #[test]
    fn all_are_there_in_order() {
        let pages: [(&[u32], _); 3] = [(&[2, 5], None), (&[], None), (&[1, 3, 9], None)];
        assert_eq!(merged(&pages, 5), (vec![1, 2, 3, 5, 9], None));
        assert_eq!(merged(&[], 5), (vec![], None));
    }

    #[test]
    fn a_limit_ends_it_where_more_is_left() {
        let pages: [(&[u32], _); 2] = [(&[2, 5], None), (&[1, 3], None)];
        assert_eq!(merged(&pages, 3), (vec![1, 2, 3], Some(3)));
        assert_eq!(merged(&pages, 4), (vec![1, 2, 3, 5], None));
        // Each page is full, and what the second has beyond it may come before what the first has.
        let pages: [(&[u32], _); 2] = [(&[2, 9], Some(9)), (&[1, 3], Some(3))];
        assert_eq!(merged(&pages, 2), (vec![1, 2], Some(2)));
    }

    #[test]
    fn nothing_is_taken_from_beyond_the_first_end() {
        // It looked at all up to 4 and found little that was wanted, or had no room for more.
        let pages: [(&[u32], _); 2] = [(&[2], Some(4)), (&[1, 4, 5, 6], Some(6))];
        assert_eq!(merged(&pages, 9), (vec![1, 2, 4], Some(4)));
        // Nothing at all: the next page begins there none the less.
        let pages: [(&[u32], _); 2] = [(&[], Some(3)), (&[7], None)];
        assert_eq!(merged(&pages, 9), (vec![], Some(3)));
    }

    #[test]
    fn together_they_are_no_larger_than_one_may_be() {
        let page = |keys: [u32; 2]| (keys.map(|key| Item(key, ANSWER_BYTES / 3)).into(), None);
        let (records, next) = merge(vec![page([1, 4]), page([2, 3])], |item| item.0, 9);
        assert_eq!(records.len(), 3);
        assert_eq!(next, Some(3));
    }

    const HOSTS: [&str; 3] = ["h1", "h2", "h3"];

    /// Each host is taken for a partition of its own.
    fn swarm() -> Scenario {
        let mut swarm = Scenario::new();
        for host in HOSTS {
            swarm.enroll(&format!("worker-{host}"), Some(host)).unwrap();
            let (seen, _) = swarm.heartbeat(host, (7, 1), Some(&["a", "b", "c"]));
            assert!(!seen.stale);
        }
        for decky in ["b", "c", "a"] {
            for host in HOSTS {
                swarm.now = swarm.now.plus_millis(1);
                swarm.teardown(host, Some(decky)).expect("accepted");
            }
        }
        swarm
    }

    fn limit(limit: usize) -> PageLimit {
        serde_json::from_value(limit.into()).expect("a limit")
    }

    #[test]
    fn pages_of_merged_lists_are_the_whole_list() {
        let mut swarm = swarm();
        for size in 1..=10 {
            let (mut shards, mut operations, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
            let mut after = None;
            loop {
                let page = HOSTS.map(|host| {
                    let request = ShardsListRequest {
                        host_uuid: Some(host.parse().unwrap()),
                        after: after.clone(),
                        limit: limit(size),
                        ..ShardsListRequest::default()
                    };
                    match swarm.ask(Input::ShardsList(request)).0 {
                        Reply::Shards(list) => list,
                        other => panic!("{other:?}"),
                    }
                });
                let page = merge_shards(page.into(), size).expect("cursors");
                assert!(page.shards.len() <= size);
                shards.extend(page.shards);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            loop {
                let page = HOSTS.map(|host| {
                    let request = OperationsListRequest {
                        host_uuid: Some(host.parse().unwrap()),
                        after: after.clone(),
                        limit: limit(size),
                        ..OperationsListRequest::default()
                    };
                    match swarm.ask(Input::OperationsList(request)).0 {
                        Reply::Operations(list) => list,
                        other => panic!("{other:?}"),
                    }
                });
                let page = merge_operations(page.into(), size).expect("cursors");
                operations.extend(page.operations);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            loop {
                let page = HOSTS.map(|host| {
                    let request = HostsListRequest {
                        host_uuid: Some(host.parse().unwrap()),
                        after: after.clone(),
                        limit: limit(size),
                    };
                    match swarm.ask(Input::HostsList(request)).0 {
                        Reply::Hosts(list) => list,
                        other => panic!("{other:?}"),
                    }
                });
                let page = merge_hosts(page.into(), size).expect("cursors");
                hosts.extend(page.hosts);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let shards = shards
                .iter()
                .map(|shard| (&shard.host_uuid, &shard.decky_id));
            let shards: Vec<_> = shards
                .map(|(host, decky)| format!("{host}{decky}"))
                .collect();
            let all = [
                "h1a", "h1b", "h1c", "h2a", "h2b", "h2c", "h3a", "h3b", "h3c",
            ];
            assert_eq!(shards, all);
            let hosts: Vec<_> = hosts.iter().map(|host| host.host_uuid.as_str()).collect();
            assert_eq!(hosts, HOSTS);
            // The newest first.
            let ids: Vec<_> = operations.iter().map(|one| one.operation_id).collect();
            assert_eq!(ids.len(), 9);
            assert!(ids.is_sorted_by(|one, other| one > other), "{ids:?}");
        }
    }

    #[test]
    fn what_the_others_list_has_the_revision_of_the_first_page() {
        let mut swarm = swarm();
        let mut list = |host: &str| {
            let request = ShardsListRequest {
                host_uuid: Some(host.parse().unwrap()),
                ..ShardsListRequest::default()
            };
            match swarm.ask(Input::ShardsList(request)).0 {
                Reply::Shards(list) => list,
                other => panic!("{other:?}"),
            }
        };
        let (mut first, other) = (list("h1"), list("h2"));
        let own: Vec<_> = first.shards.iter().map(|shard| shard.revision).collect();
        first.revision = 400;
        let merged = merge_shards(vec![first, other], 9).expect("cursors");
        assert_eq!(merged.revision, 400);
        let revisions: Vec<_> = merged.shards.iter().map(|shard| shard.revision).collect();
        assert_eq!(revisions[..3], own);
        assert_eq!(revisions[3..], [400; 3]);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let mut swarm = swarm();
        let Reply::Shards(mut list) = swarm.ask(Input::ShardsList(ShardsListRequest::default())).0
        else {
            panic!("no list");
        };
        list.next = Some("hosts:h1".to_owned());
        merge_shards(vec![list], 9).expect_err("the cursor of another list");
    }
}
