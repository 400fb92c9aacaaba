//! Whole lists, page by page, and the host that a word means. What is shown of them is each verb's own.
//!
//! A page that is older than the first was answered by a leader that is none any more, and may have what is gone: the listing
//! begins anew.

use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsListRequest};
use scuttle_schemas::operations::{
    OperationGetAnswer, OperationGetRequest, OperationRecord, OperationsList, OperationsListRequest,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest};
use scuttle_schemas::{OperationId, subjects};

use crate::ask::{AskError, Bus};
use crate::failure::Failure;

/// Every host, as one page. Its revision is the first page's.
pub(crate) async fn hosts(bus: &Bus) -> Result<HostsList, AskError> {
    'anew: loop {
        let mut request = HostsListRequest::default();
        let mut whole: HostsList = bus.ask(subjects::HOSTS_LIST, &request).await?;
        while let Some(next) = whole.next.take() {
            request.after = Some(next);
            let page: HostsList = bus.ask(subjects::HOSTS_LIST, &request).await?;
            if page.revision < whole.revision {
                continue 'anew;
            }
            whole.hosts.extend(page.hosts);
            whole.next = page.next;
        }
        return Ok(whole);
    }
}

/// The shards that are asked for, as one page. Its revision is the first page's.
pub(crate) async fn shards(
    bus: &Bus,
    mut request: ShardsListRequest,
) -> Result<ShardsList, AskError> {
    'anew: loop {
        request.after = None;
        let mut whole: ShardsList = bus.ask(subjects::SHARDS_LIST, &request).await?;
        while let Some(next) = whole.next.take() {
            request.after = Some(next);
            let page: ShardsList = bus.ask(subjects::SHARDS_LIST, &request).await?;
            if page.revision < whole.revision {
                continue 'anew;
            }
            whole.shards.extend(page.shards);
            whole.next = page.next;
        }
        return Ok(whole);
    }
}

/// The newest operations of those that are asked for, at most so many, as one page. Its revision is the first page's.
pub(crate) async fn operations(
    bus: &Bus,
    mut request: OperationsListRequest,
    most: usize,
) -> Result<OperationsList, AskError> {
    'anew: loop {
        request.after = None;
        let mut whole: OperationsList = bus.ask(subjects::OPERATIONS_LIST, &request).await?;
        while whole.operations.len() < most
            && let Some(next) = whole.next.take()
        {
            request.after = Some(next);
            let page: OperationsList = bus.ask(subjects::OPERATIONS_LIST, &request).await?;
            if page.revision < whole.revision {
                continue 'anew;
            }
            whole.operations.extend(page.operations);
            whole.next = page.next;
        }
        whole.operations.truncate(most);
        whole.next = None;
        return Ok(whole);
    }
}

/// One operation, whole.
pub(crate) async fn operation(bus: &Bus, id: OperationId) -> Result<OperationRecord, AskError> {
    let request = OperationGetRequest { operation_id: id };
    let answer: OperationGetAnswer = bus.ask(subjects::OPERATIONS_GET, &request).await?;
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
