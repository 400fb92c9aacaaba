//! Lists of the whole swarm where its hosts are divided: the first partition's leader asks that of each for a page, and answers
//! with all of them as one.

use std::pin::pin;
use std::sync::Arc;

use async_nats::Client;
use async_nats::service::{Request, endpoint::Endpoint as Requests};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use scuttle_core::{Input, Reply, merge_hosts, merge_operations, merge_shards};
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, OperationId, Partition, PartitionCount};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::leadership::lease::LeaseGuard;
use crate::leadership::term::{StopReason, Term};
use crate::observability::counters::{Counters, Source};
use crate::outbound::encoder::Encoder;
use crate::outbound::publisher;
use crate::partition::rpc::ask;
use crate::request::endpoint::{Endpoint, Rejected};
use crate::request::serve::overloaded;

/// How many lists are gathered at once: each may take a megabyte from each partition.
const AT_ONCE: usize = 16;

/// How many requests of one kind wait for that at the most.
const WAITING: usize = 256;

/// Bytes of answers that are encoded into one piece of memory.
const ANSWER: usize = 64 << 10;

/// What gathering takes.
#[derive(Debug, Clone)]
pub struct Gather {
    /// The NATS server.
    pub client: Client,
    /// What was answered is counted here.
    pub counters: Arc<Counters>,
    /// Whether its own partition is still led.
    pub lease: LeaseGuard,
    /// When to stop.
    pub term: Term,
    /// How many partitions there are.
    pub of: PartitionCount,
    /// Room for what is gathered at once.
    pub room: Arc<Semaphore>,
}

impl Gather {
    /// Room for as many lists as are gathered at once.
    pub fn room() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(AT_ONCE))
    }
}

/// Serves one endpoint that only reads; once the term has ended, by saying so.
pub async fn serve(endpoint: Endpoint, mut requests: Requests, gather: Gather) {
    let mut answering = JoinSet::new();
    loop {
        let request = tokio::select! {
            biased;
            request = requests.next() => request,
            Some(_) = answering.join_next() => continue,
        };
        let Some(request) = request else { break };
        let room = answering.len() < WAITING;
        let gather = gather.clone();
        answering.spawn(async move { gather.answer(endpoint, request, room).await });
    }
    answering.join_all().await;
}

impl Gather {
    async fn answer(self, endpoint: Endpoint, request: Request, room: bool) {
        let read = endpoint.read(&request.message, Uuid::now_v7);
        let read = read.and_then(|input| room.then_some(input).ok_or_else(overloaded));
        let payload = request.message.payload.clone();
        let reply = match read {
            Ok(input) => self.whole(endpoint, input, payload).await,
            Err(Rejected { cause, refusal }) => {
                let (source, length) = (Source::Endpoint(endpoint), payload.len());
                self.counters.count(source, cause, length, &refusal.message);
                Reply::Rejected(refusal)
            }
        };
        self.counters.answers.count(endpoint, &reply);
        let (mut encoder, asked) = (Encoder::new(ANSWER), (endpoint, request));
        publisher::reply(
            &self.client,
            &mut encoder,
            &self.counters,
            asked,
            None,
            &reply,
        )
        .await;
    }

    /// The whole swarm's answer; that there is none, when the term ends before.
    async fn whole(&self, endpoint: Endpoint, input: Input, payload: Bytes) -> Reply {
        let mut term = self.term.clone();
        let gathered = pin!(self.gather(endpoint, input, payload));
        let reply = tokio::select! {
            biased;
            () = term.ended() => None,
            gathered = gathered => Some(gathered.unwrap_or_else(Reply::Rejected)),
        };
        let end = || term.end().unwrap_or(StopReason::SteppedDown).refusal();
        let reply = reply.filter(|_| self.lease.is_valid());
        reply.unwrap_or_else(|| Reply::Rejected(end()))
    }

    async fn gather(
        &self,
        endpoint: Endpoint,
        input: Input,
        payload: Bytes,
    ) -> Result<Reply, ErrorReply> {
        let _room = self.room.acquire().await;
        match input {
            Input::ShardsList(request) => {
                let pages = self.pages(endpoint, payload, request.host_uuid.as_ref());
                merge_shards(pages.await?, request.limit.get()).map(Reply::Shards)
            }
            Input::HostsList(request) => {
                let pages = self.pages(endpoint, payload, request.host_uuid.as_ref());
                merge_hosts(pages.await?, request.limit.get()).map(Reply::Hosts)
            }
            Input::OperationsList(request) => {
                let pages = self.pages(endpoint, payload, request.host_uuid.as_ref());
                merge_operations(pages.await?, request.limit.get()).map(Reply::Operations)
            }
            Input::OperationGet(request) => {
                self.operation(endpoint, request.operation_id, payload)
                    .await
            }
            _ => Err(ErrorReply::new(ErrorCode::BadRequest, "it is no list")),
        }
    }

    /// A page of each partition that may have what is asked for. The first partition is asked before the others: what they do not
    /// contain yet is told under a higher revision than its page has.
    async fn pages<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        payload: Bytes,
        host: Option<&HostId>,
    ) -> Result<Vec<T>, ErrorReply> {
        let page = |partition| ask(&self.client, partition, endpoint, payload.clone());
        let mut pages = vec![page(Partition::FIRST).await?];
        let only = host.map(|host| self.of.partition_of_host(host));
        let others = self.of.iter().skip(1);
        let others = others.filter(|other| only.is_none_or(|only| only == *other));
        pages.extend(try_join_all(others.map(page)).await?);
        Ok(pages)
    }

    /// An operation, wherever it is: one from before the hosts were divided does not say it by its id.
    async fn operation(
        &self,
        endpoint: Endpoint,
        id: OperationId,
        payload: Bytes,
    ) -> Result<Reply, ErrorReply> {
        let get = |partition| ask(&self.client, partition, endpoint, payload.clone());
        let found = |answer| Reply::Operation(Box::new(answer));
        let home = self.of.partition_of_operation(id);
        let unknown = match get(home).await {
            Ok(answer) => return Ok(found(answer)),
            Err(refusal) if refusal.code == ErrorCode::OperationNotFound => refusal,
            Err(refusal) => return Err(refusal),
        };
        let others = self.of.iter().filter(|other| *other != home);
        let mut refusals = Vec::new();
        for answer in join_all(others.map(get)).await {
            match answer {
                Ok(answer) => return Ok(found(answer)),
                Err(refusal) => refusals.push(refusal),
            }
        }
        let other = |refusal: &ErrorReply| refusal.code != ErrorCode::OperationNotFound;
        Err(refusals.into_iter().find(other).unwrap_or(unknown))
    }
}
