//! Whole lists, page by page, and the host that a word means. What is shown of them is each verb's own.
//!
//! A page that is older than the first was answered by a leader that is none any more, and may have what is gone: the listing
//! begins anew.

use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::operations::{
    OperationGetReply, OperationGetRequest, OperationRecord, OperationsList, OperationsListRequest,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};
use scuttle_schemas::{OperationId, subjects};

use crate::ask::{AskError, Bus};
use crate::failure::Failure;

/// Asks for one page after the other, until there is no more, or as many records as are wanted: all of them as one page.
macro_rules! whole {
    ($bus:expr, $subject:expr, $request:expr, $list:ident . $records:ident, $most:expr) => {
        'anew: loop {
            $request.after = None;
            let mut whole: $list = $bus.ask($subject, &$request).await?;
            while whole.$records.len() < $most
                && let Some(next) = whole.next.take()
            {
                $request.after = Some(next);
                let page: $list = $bus.ask($subject, &$request).await?;
                if page.revision < whole.revision {
                    continue 'anew;
                }
                whole.$records.extend(page.$records);
                whole.next = page.next;
            }
            break whole;
        }
    };
}

/// Every host, as one page. Its revision is the first page's.
pub(crate) async fn hosts(bus: &Bus) -> Result<HostsList, AskError> {
    let (subject, mut request) = (subjects::HOSTS_LIST, HostsListRequest::default());
    Ok(whole!(bus, subject, request, HostsList.hosts, usize::MAX))
}

/// The shards that are asked for, as one page. Its revision is the first page's.
pub(crate) async fn shards(
    bus: &Bus,
    mut request: ShardsListRequest,
) -> Result<ShardsList, AskError> {
    let subject = subjects::SHARDS_LIST;
    Ok(whole!(bus, subject, request, ShardsList.shards, usize::MAX))
}

/// The newest operations of those that are asked for, at most so many, as one page. Its revision is the first page's.
pub(crate) async fn operations(
    bus: &Bus,
    mut request: OperationsListRequest,
    most: usize,
) -> Result<OperationsList, AskError> {
    let subject = subjects::OPERATIONS_LIST;
    let mut whole = whole!(bus, subject, request, OperationsList.operations, most);
    whole.operations.truncate(most);
    whole.next = None;
    Ok(whole)
}

/// One operation, whole.
pub(crate) async fn operation(bus: &Bus, id: OperationId) -> Result<OperationRecord, AskError> {
    let request = OperationGetRequest { operation_id: id };
    let answer: OperationGetReply = bus.ask(subjects::OPERATIONS_GET, &request).await?;
    Ok(answer.operation)
}

/// The host that is meant by this name or id.
pub(crate) async fn host(bus: &Bus, wanted: &str) -> Result<HostRecord, Failure> {
    find(&hosts(bus).await?.hosts, wanted).cloned()
}

/// The host with this id, else the living one with this name, else any with this name.
pub(crate) fn find<'a>(hosts: &'a [HostRecord], wanted: &str) -> Result<&'a HostRecord, Failure> {
    let living = |host: &&HostRecord| host.status != HostStatus::Decommissioned;
    let named = || hosts.iter().filter(|host| host.name.as_str() == wanted);
    (hosts.iter().find(|host| host.host_uuid.as_str() == wanted))
        .or_else(|| named().find(living))
        .or_else(|| named().next_back())
        .ok_or_else(|| {
            Failure::NotFound(format!(
                "there is no host with the name or id {wanted}; `scuttle hosts` lists them"
            ))
        })
}
