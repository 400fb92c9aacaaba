//! Requests complete lists of hosts, shards and operations page by page, and finds a host by name.
//!
//! A page with a lower revision than the first page comes from a deposed leader, and may contain
//! records that no longer exist. The listing then starts again.

use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::operations::{
    OperationGetReply, OperationGetRequest, OperationRecord, OperationsList, OperationsListRequest,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};
use scuttle_schemas::{OperationId, subjects};

use super::nats_client::{Client, ClientError};

/// Requests pages until there are no more, or until at least `max` records have been received.
/// Evaluates to one list with the records of all pages and the revision of the first page.
macro_rules! list_all_pages {
    ($client:expr, $subject:expr, $request:expr, $list:ident . $records:ident, $max:expr) => {
        'restart: loop {
            $request.after = None;
            let mut all: $list = $client.request($subject, &$request).await?;
            while all.$records.len() < $max
                && let Some(next) = all.next.take()
            {
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
    let max = usize::MAX;
    Ok(list_all_pages!(
        client,
        subject,
        request,
        HostsList.hosts,
        max
    ))
}

/// Lists all shards that match the filters of `request`.
pub(crate) async fn list_shards(
    client: &Client,
    mut request: ShardsListRequest,
) -> Result<ShardsList, ClientError> {
    let (subject, max) = (subjects::SHARDS_LIST, usize::MAX);
    Ok(list_all_pages!(
        client,
        subject,
        request,
        ShardsList.shards,
        max
    ))
}

/// Lists the newest operations that match the filters of `request`, at most `max` of them.
pub(crate) async fn list_operations(
    client: &Client,
    mut request: OperationsListRequest,
    max: usize,
) -> Result<OperationsList, ClientError> {
    let subject = subjects::OPERATIONS_LIST;
    let mut list = list_all_pages!(client, subject, request, OperationsList.operations, max);
    list.operations.truncate(max);
    list.next = None;
    Ok(list)
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

/// Requests the list of all hosts, and returns the host that [`find_host`] finds in it.
pub(crate) async fn resolve_host(
    client: &Client,
    name_or_id: &str,
) -> Result<HostRecord, ClientError> {
    find_host(&list_hosts(client).await?.hosts, name_or_id).cloned()
}

/// Finds the host with this id or name. A matching id takes precedence over a matching name. Among
/// hosts with the same name, an active host takes precedence over decommissioned hosts.
pub(crate) fn find_host<'a>(
    hosts: &'a [HostRecord],
    name_or_id: &str,
) -> Result<&'a HostRecord, ClientError> {
    let is_active = |host: &&HostRecord| host.status != HostStatus::Decommissioned;
    let with_name = || hosts.iter().filter(|host| host.name.as_str() == name_or_id);
    (hosts
        .iter()
        .find(|host| host.host_uuid.as_str() == name_or_id))
    .or_else(|| with_name().find(is_active))
    .or_else(|| with_name().next_back())
    .ok_or_else(|| ClientError::HostNotFound(name_or_id.to_owned()))
}
