//! Requests complete lists of hosts, shards and operations page by page, and finds a host by its
//! name or id.
//!
//! A page with a lower revision than the first page comes from a deposed leader, and may contain
//! records that no longer exist. The listing then starts again.

use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::operations::{
    OperationGetReply, OperationGetRequest, OperationRecord, OperationState, OperationsList,
    OperationsListRequest,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};
use scuttle_schemas::{DeckyId, HostId, OperationId, PageLimit, Timestamp, subjects};

use super::client_error::ClientError;
use super::nats_client::Client;

/// The maximum number of records in one page.
const MAX_PAGE: usize = 1000;

/// Requests pages until there are no more.
/// Evaluates to one list with the records of all pages and the revision of the first page.
macro_rules! list_all_pages {
    ($client:expr, $subject:expr, $request:expr, $list:ident . $records:ident) => {
        'restart: loop {
            $request.after = None;
            let mut all: $list = $client.request($subject, &$request).await?;
            while let Some(next) = all.next.take() {
                $request.after = Some(next);
                let page: $list = $client.request($subject, &$request).await?;
                if page.revision < all.revision {
                    continue 'restart;
                }
                all.$records.extend(page.$records);
                all.next = page.next;
            }
            break all;
        }
    };
}

/// Lists all hosts, including decommissioned hosts.
pub(crate) async fn list_hosts(client: &Client) -> Result<HostsList, ClientError> {
    let (subject, mut request) = (subjects::HOSTS_LIST, HostsListRequest::default());
    Ok(list_all_pages!(client, subject, request, HostsList.hosts))
}

/// Lists all shards that match the filters of `request`.
pub(crate) async fn list_shards(
    client: &Client,
    mut request: ShardsListRequest,
) -> Result<ShardsList, ClientError> {
    let subject = subjects::SHARDS_LIST;
    Ok(list_all_pages!(client, subject, request, ShardsList.shards))
}

/// The operations to list. The default lists all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OperationsFilter {
    pub(crate) host_uuid: Option<HostId>,
    /// The decky that is the operation's only target.
    pub(crate) decky: Option<DeckyId>,
    /// An empty list means any state.
    pub(crate) states: Vec<OperationState>,
    /// The user that requested the operation.
    pub(crate) user: Option<String>,
    /// The earliest time of acceptance.
    pub(crate) since: Option<Timestamp>,
}

impl OperationsFilter {
    fn matches(&self, operation: &OperationRecord) -> bool {
        (self.states.is_empty() || self.states.contains(&operation.state))
            && (self.user.as_ref()).is_none_or(|user| *user == operation.requested_by)
            && (self.decky.as_ref()).is_none_or(|decky| operation.decky_id.as_ref() == Some(decky))
            && !self.is_too_old(operation)
    }

    /// Returns whether this program must leave out operations of each page.
    fn needs_whole_pages(&self) -> bool {
        self.states.len() > 1 || self.user.is_some() || self.decky.is_some()
    }

    fn is_too_old(&self, operation: &OperationRecord) -> bool {
        self.since
            .is_some_and(|since| operation.accepted_at < since)
    }
}

/// Lists the newest operations that match the filter, at most `max` of them.
///
/// `next` in the result is the cursor after the last listed operation, or `None` if no older
/// operation can match.
pub(crate) async fn list_operations(
    client: &Client,
    filter: &OperationsFilter,
    max: usize,
) -> Result<OperationsList, ClientError> {
    let mut request = OperationsListRequest {
        host_uuid: filter.host_uuid.clone(),
        // The controller filters by one state.
        state: match filter.states.as_slice() {
            [state] => Some(*state),
            _ => None,
        },
        ..OperationsListRequest::default()
    };
    'restart: loop {
        let mut all: Option<OperationsList> = None;
        let mut shorter = None;
        request.after = None;
        loop {
            let listed = all.as_ref().map_or(0, |all| all.operations.len());
            let left = max - listed;
            let wanted = match shorter.take() {
                Some(length) => length,
                None if filter.needs_whole_pages() => MAX_PAGE,
                None => left.min(MAX_PAGE),
            };
            let wanted = u64::try_from(wanted).unwrap_or_default();
            request.limit = PageLimit::try_from(wanted).unwrap_or_default();
            let mut page: OperationsList =
                client.request(subjects::OPERATIONS_LIST, &request).await?;
            let mut matching = page
                .operations
                .iter()
                .map(|one| filter.matches(one))
                .zip(1..);
            let last = matching
                .by_ref()
                .filter(|(matches, _)| *matches)
                .nth(left - 1);
            if let Some((_, length)) = last
                && length < page.operations.len()
            {
                // Only the cursor of a page that ends with the last wanted operation is useful.
                shorter = Some(length);
                continue;
            }
            // The newest operations come first, so all further ones are too old as well.
            let is_end = (page.operations.last()).is_some_and(|last| filter.is_too_old(last));
            page.operations
                .retain(|operation| filter.matches(operation));
            let next = page.next.take().filter(|_| !is_end);
            let all = match &mut all {
                None => all.insert(page),
                Some(all) if page.revision < all.revision => continue 'restart,
                Some(all) => {
                    all.operations.extend(page.operations);
                    all
                }
            };
            if next.is_none() || all.operations.len() >= max {
                return Ok(OperationsList {
                    revision: all.revision,
                    operations: std::mem::take(&mut all.operations),
                    next,
                });
            }
            request.after = next;
        }
    }
}

/// Returns one operation with the outcomes of its shards.
pub(crate) async fn get_operation(
    client: &Client,
    id: OperationId,
) -> Result<OperationRecord, ClientError> {
    let request = OperationGetRequest { operation_id: id };
    let reply: OperationGetReply = client.request(subjects::OPERATIONS_GET, &request).await?;
    Ok(reply.operation)
}

/// Returns the record of the host with this id, or `None` if it does not exist.
pub(crate) async fn get_host(
    client: &Client,
    id: &HostId,
) -> Result<Option<HostRecord>, ClientError> {
    let request = HostsListRequest {
        host_uuid: Some(id.clone()),
        ..HostsListRequest::default()
    };
    let mut list: HostsList = client.request(subjects::HOSTS_LIST, &request).await?;
    Ok(list.hosts.pop())
}

/// Requests the list of all hosts, and returns the host that [`find_host`] finds in it.
pub(crate) async fn resolve_host(
    client: &Client,
    name_or_id: &str,
) -> Result<HostRecord, ClientError> {
    find_host(&list_hosts(client).await?.hosts, name_or_id).cloned()
}

/// Finds the host with this name or id. Active hosts take precedence over decommissioned hosts.
///
/// # Errors
/// If no host has this name or id, or if several of the hosts that take precedence do.
pub(crate) fn find_host<'a>(
    hosts: &'a [HostRecord],
    name_or_id: &str,
) -> Result<&'a HostRecord, ClientError> {
    let matches = |host: &&HostRecord| {
        host.name.as_str() == name_or_id || host.host_uuid.as_str() == name_or_id
    };
    let is_active = |host: &&HostRecord| host.status != HostStatus::Decommissioned;
    let (active, decommissioned): (Vec<_>, Vec<_>) =
        hosts.iter().filter(matches).partition(is_active);
    let found = if active.is_empty() {
        decommissioned
    } else {
        active
    };
    match found[..] {
        [host] => Ok(host),
        [] => Err(ClientError::HostNotFound(name_or_id.to_owned())),
        _ => Err(ClientError::AmbiguousHost {
            name_or_id: name_or_id.to_owned(),
            hosts: found.into_iter().map(describe_candidate).collect(),
        }),
    }
}

fn describe_candidate(host: &HostRecord) -> String {
    format!("name {}, ID {}", host.name, host.host_uuid)
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostRecord;
    use serde_json::json;

    use super::find_host;

    fn host(name: &str, id: &str, status: &str) -> HostRecord {
        serde_json::from_value(json!({
            "host_uuid": id, "name": name, "address": null, "labels": {}, "status": status,
            "last_heartbeat": null, "agent_version": null, "inventory_error": null, "notes": [],
            "shards": 0, "open_operations": 0, "enrolled_at": "2026-11-23T09:11:49.000Z",
        }))
        .expect("a valid host record")
    }

    fn find(hosts: &[HostRecord], name_or_id: &str) -> Result<String, String> {
        let found = find_host(hosts, name_or_id);
        found
            .map(|host| host.host_uuid.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_decommissioned_host_never_takes_precedence_over_an_active_host() {
        let hosts = [
            host("w8", "worker-a", "decommissioned"),
            host("worker-a", "0196", "decommissioned"),
            host("worker-a", "0197", "offline"),
        ];
        assert_eq!(find(&hosts, "worker-a"), Ok("0197".to_owned()));
        assert_eq!(find(&hosts, "w8"), Ok("worker-a".to_owned()));
        assert_eq!(find(&hosts, "0196"), Ok("0196".to_owned()));
    }

    #[test]
    fn an_ambiguous_name_is_rejected_with_the_name_and_id_of_each_candidate() {
        let hosts = [
            host("w8", "worker-a", "online"),
            host("worker-a", "0197", "online"),
        ];
        let error = find(&hosts, "worker-a").expect_err("ambiguous");
        for expected in ["name w8, ID worker-a", "name worker-a, ID 0197"] {
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(find(&hosts, "w8"), Ok("worker-a".to_owned()));
        assert_eq!(find(&hosts, "0197"), Ok("0197".to_owned()));
        let old = |id| host("worker-b", id, "decommissioned");
        find(&[old("0195"), old("0196")], "worker-b").expect_err("ambiguous");
    }
}
