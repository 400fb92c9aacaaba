//! Lists of the whole swarm, if the hosts are divided into several partitions. The first
//! partition's leader requests a page from the leader of each partition, and merges the pages into
//! one reply.

use std::pin::pin;
use std::sync::Arc;

use async_nats::Client;
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use scuttle_core::{Input, MessageLimits, Reply, merge_hosts, merge_operations, merge_shards};
use scuttle_nats::receiver::Delivery;
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, OperationId, Partition, PartitionCount};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::leadership::lease::LeaseGuard;
use crate::leadership::term::{StopReason, Term};
use crate::nats::receivers::Messages;
use crate::observability::counters::{Counters, Ignored, Source};
use crate::outbound::replier::Replier;
use crate::partition::rpc;
use crate::request::context::RequestContext;
use crate::request::decode::{decode_request, malformed};
use crate::request::endpoint::Endpoint;
use crate::request::rejection::Rejection;

/// The maximum number of lists that are gathered concurrently. Each list may hold a megabyte of
/// memory for each partition.
const MAX_CONCURRENT: usize = 16;

/// The maximum number of requests to one endpoint that are in progress. Requests beyond this number
/// are rejected as `overloaded`.
const MAX_WAITING: usize = 256;

/// The size in bytes of the chunks into which replies are encoded.
const CHUNK_SIZE: usize = 64 << 10;

/// Gathers lists from all partitions. Clones share the permits.
#[derive(Debug, Clone)]
pub struct ScatterGather {
    pub client: Client,
    pub counters: Arc<Counters>,
    /// The lease of the first partition. No list is sent after it has expired.
    pub lease: LeaseGuard,
    /// The term of the first partition's leader. Lists that are being gathered when it ends are
    /// rejected.
    pub term: Term,
    pub partitions: PartitionCount,
    pub replier: Replier,
    /// The permits for gathering lists. Each list takes one.
    pub permits: Arc<Semaphore>,
}

impl ScatterGather {
    /// Creates the permits that all clones share.
    pub fn new_permits() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_CONCURRENT))
    }

    /// Serves one read-only endpoint until its subscription ends. After the term has ended, each
    /// request gets an error reply with the reason.
    pub async fn serve_endpoint(self, endpoint: Endpoint, mut requests: Messages) {
        let mut gathering = JoinSet::new();
        loop {
            let request = tokio::select! {
                biased;
                request = requests.recv() => request,
                Some(_) = gathering.join_next() => continue,
            };
            let Some(request) = request else { break };
            let overloaded = gathering.len() >= MAX_WAITING;
            gathering.spawn(self.clone().respond(endpoint, request, overloaded));
        }
        gathering.join_all().await;
    }

    async fn respond(self, endpoint: Endpoint, delivery: Delivery, overloaded: bool) {
        let Delivery {
            message: request,
            malformed: malformed_by,
        } = delivery;
        let decoded = match malformed_by {
            Some(reason) => Err(malformed(reason)),
            None => decode_request(endpoint, &request, Uuid::now_v7),
        };
        let accepted = match decoded {
            Ok(_) if overloaded => Err(Rejection::overloaded()),
            decoded => decoded.map_err(Rejection::from),
        };
        let payload = request.payload.clone();
        let source = Source::Endpoint(endpoint);
        let reply = match accepted {
            Ok(input) => self.gather_until_ended(endpoint, input, payload).await,
            Err(Rejection::Reply { cause, error }) => {
                if let Some(cause) = cause {
                    let length = payload.len();
                    let ignored = Ignored::new(source, cause, length);
                    self.counters.count_ignored(&ignored, &error.message);
                }
                Reply::Rejected(error)
            }
            Err(Rejection::Drop) => return,
        };
        let mut context = Box::new(RequestContext::new(source));
        context.request = Some(request);
        let mut replier = self.replier.with_chunk_size(CHUNK_SIZE);
        replier.respond(context, reply).await;
    }

    /// Gathers a list of the whole swarm. Returns an error reply if this fails, or if the term or
    /// the lease ends first.
    async fn gather_until_ended(&self, endpoint: Endpoint, input: Input, payload: Bytes) -> Reply {
        let gathered = pin!(self.gather(endpoint, input, payload));
        let reply = tokio::select! {
            biased;
            () = self.term.ended() => None,
            gathered = gathered => Some(gathered.unwrap_or_else(Reply::Rejected)),
        };
        let reply = reply.filter(|_| self.lease.is_valid());
        reply.unwrap_or_else(|| {
            let reason = self.term.stop_reason();
            let reason = reason.unwrap_or(StopReason::SteppedDown);
            Reply::Rejected(reason.error_reply())
        })
    }

    async fn gather(
        &self,
        endpoint: Endpoint,
        input: Input,
        payload: Bytes,
    ) -> Result<Reply, ErrorReply> {
        let _permit = self.permits.acquire().await;
        let limits = MessageLimits::new(self.client.max_payload());
        match input {
            Input::ShardsList(request) => {
                let pages = self.request_pages(endpoint, payload, request.host_uuid.as_ref());
                merge_shards(pages.await?, request.limit.get(), limits).map(Reply::Shards)
            }
            Input::HostsList(request) => {
                let pages = self.request_pages(endpoint, payload, request.host_uuid.as_ref());
                merge_hosts(pages.await?, request.limit.get(), limits).map(Reply::Hosts)
            }
            Input::OperationsList(request) => {
                let pages = self.request_pages(endpoint, payload, request.host_uuid.as_ref());
                merge_operations(pages.await?, request.limit.get(), limits).map(Reply::Operations)
            }
            Input::OperationGet(request) => {
                self.find_operation(endpoint, request.operation_id, payload)
                    .await
            }
            _ => Err(ErrorReply::new(ErrorCode::BadRequest, "not a list request")),
        }
    }

    /// Requests a page from the first partition, and from each other partition that may have
    /// matching records.
    ///
    /// The first partition's page is requested before the others. A change that the other pages do
    /// not contain yet is therefore relayed later, with a higher revision than the first
    /// partition's page.
    ///
    /// # Errors
    /// If a partition rejects the request or does not reply.
    async fn request_pages<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        payload: Bytes,
        host: Option<&HostId>,
    ) -> Result<Vec<T>, ErrorReply> {
        let page = |partition| rpc::request(&self.client, partition, endpoint, payload.clone());
        let mut pages = vec![page(Partition::FIRST).await?];
        let only = host.map(|host| self.partitions.partition_of_host(host));
        let others = self.partitions.iter().skip(1);
        let others = others.filter(|other| only.is_none_or(|only| only == *other));
        pages.extend(try_join_all(others.map(page)).await?);
        Ok(pages)
    }

    /// Requests an operation from the partition that its id maps to, then from all others. An
    /// operation that was accepted before the hosts were divided may be in another partition than
    /// its id maps to.
    async fn find_operation(
        &self,
        endpoint: Endpoint,
        id: OperationId,
        payload: Bytes,
    ) -> Result<Reply, ErrorReply> {
        let get = |partition| rpc::request(&self.client, partition, endpoint, payload.clone());
        let found = |operation| Reply::Operation(Box::new(operation));
        let home = self.partitions.partition_of_operation(id);
        let not_found = match get(home).await {
            Ok(operation) => return Ok(found(operation)),
            Err(error) if error.code == ErrorCode::OperationNotFound => error,
            Err(error) => return Err(error),
        };
        let others = self.partitions.iter().filter(|other| *other != home);
        let mut errors = Vec::new();
        for reply in join_all(others.map(get)).await {
            match reply {
                Ok(operation) => return Ok(found(operation)),
                Err(error) => errors.push(error),
            }
        }
        // A partition that did not reply may have the operation.
        let is_other = |error: &ErrorReply| error.code != ErrorCode::OperationNotFound;
        Err(errors.into_iter().find(is_other).unwrap_or(not_found))
    }
}
