//! A list of the whole swarm that is being gathered from the leaders of all partitions.

use std::collections::BTreeMap;

use bytes::Bytes;
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_core::{Input, MessageLimits, Reply, merge_hosts, merge_operations, merge_shards};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, Partition};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::state::clients::subscriber::LISTED_TYPES;
use crate::state::controllers::requester::Requester;

pub(crate) struct ScatterGather {
    pub(crate) requester: Requester,
    pub(crate) endpoint: Endpoint,
    pub(crate) input: Input,
    pub(crate) payload: Bytes,
    /// The partitions from which a page has been requested so far.
    pub(crate) requested: Vec<Partition>,
    pub(crate) pages: BTreeMap<Partition, Bytes>,
}

impl ScatterGather {
    pub(crate) fn new(
        requester: Requester,
        endpoint: Endpoint,
        input: Input,
        payload: Bytes,
    ) -> Self {
        Self {
            requester,
            endpoint,
            input,
            payload,
            requested: Vec::new(),
            pages: BTreeMap::new(),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.pages.len() == self.requested.len()
    }

    /// Returns the only host that the list is about, or `None` if the list is not limited to a
    /// host.
    pub(crate) fn host_filter(&self) -> Option<&HostId> {
        match &self.input {
            Input::ShardsList(request) => request.host_uuid.as_ref(),
            Input::HostsList(request) => request.host_uuid.as_ref(),
            Input::OperationsList(request) => request.host_uuid.as_ref(),
            _ => None,
        }
    }

    /// Returns the index in `LISTED_TYPES` of the type of the listed records.
    pub(crate) fn listed_type(&self) -> Option<usize> {
        let endpoint = self.endpoint.subject();
        LISTED_TYPES
            .iter()
            .position(|listed| listed.list_subject == endpoint)
    }

    pub(crate) fn revisions(&self) -> Option<BTreeMap<Partition, u64>> {
        let pages = self.pages.iter().map(|(partition, page)| {
            let page: PageRevision = serde_json::from_slice(page).ok()?;
            Some((*partition, page.revision))
        });
        pages.collect()
    }

    pub(crate) fn merge(&self) -> Result<Reply, ErrorReply> {
        match &self.input {
            Input::ShardsList(request) => merge_shards(
                decode_pages(&self.pages)?,
                request.limit.get(),
                MessageLimits::default(),
            )
            .map(Reply::Shards),
            Input::HostsList(request) => merge_hosts(
                decode_pages(&self.pages)?,
                request.limit.get(),
                MessageLimits::default(),
            )
            .map(Reply::Hosts),
            Input::OperationsList(request) => merge_operations(
                decode_pages(&self.pages)?,
                request.limit.get(),
                MessageLimits::default(),
            )
            .map(Reply::Operations),
            _ => Err(partition_unavailable()),
        }
    }
}

/// The only field of a page that the oracle needs.
#[derive(Deserialize)]
struct PageRevision {
    pub(crate) revision: u64,
}

fn decode_pages<T: DeserializeOwned>(
    pages: &BTreeMap<Partition, Bytes>,
) -> Result<Vec<T>, ErrorReply> {
    let decode = |page: &Bytes| serde_json::from_slice(page).map_err(|_| partition_unavailable());
    pages.values().map(decode).collect()
}

pub(crate) fn partition_unavailable() -> ErrorReply {
    ErrorReply::new(ErrorCode::NotLeader, "a partition does not reply")
}
