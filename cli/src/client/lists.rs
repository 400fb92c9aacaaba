//! Requests complete lists of hosts, shards and operations page by page, and finds a host by name.
//!
//! A page with a lower revision than the first page comes from a deposed leader, and may contain
//! records that no longer exist. The listing then starts again.

use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::operations::{
    OperationGetReply, OperationGetRequest, OperationRecord, OperationState, OperationsList,
    OperationsListRequest,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};
use scuttle_schemas::{HostId, OperationId, PageLimit, Timestamp, subjects};

use super::nats_client::{Client, ClientError};

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
            && !self.is_too_old(operation)
    }

    fn is_too_old(&self, operation: &OperationRecord) -> bool {
        self.since
            .is_some_and(|since| operation.accepted_at < since)
    }
}

/// Lists the newest operations that match the filter, at most `max` of them.
///
/// `next` in the result is the cursor after the last listed operation, or `None` if no older
/// operation can match. No page is longer than the number of operations that are still wanted, so
/// that no received operation is left out.
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
        request.after = None;
        loop {
            let listed = all.as_ref().map_or(0, |all| all.operations.len());
            let wanted = u64::try_from((max - listed).min(MAX_PAGE)).unwrap_or_default();
            request.limit = PageLimit::try_from(wanted).unwrap_or_default();
            let mut page: OperationsList =
                client.request(subjects::OPERATIONS_LIST, &request).await?;
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
