//! What goes into a step and what comes out of it, and which part of the protocol decides.

use std::sync::Arc;

use scuttle_schemas::agents::{AgentCommand, Heartbeat, HeartbeatAccepted, ResultRecorded};
use scuttle_schemas::agents::{TeardownProgress, TeardownResult};
use scuttle_schemas::hosts::{
    EnrollAccepted, EnrollRequest, HostsList, HostsListRequest, HostsUpdated,
};
use scuttle_schemas::operations::{
    OperationGetAnswer, OperationGetRequest, OperationsList, OperationsListRequest,
    OperationsUpdated,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownRequest};
use scuttle_schemas::{HostId, OperationId, Refusal, Timestamp};
use serde::Serialize;

use crate::change::Change;
use crate::state::State;

/// A W3C trace context, passed on as it came.
pub type Trace = Arc<str>;

/// Everything that can happen to the swarm's record. Reports name the host of their subject, which the
/// NATS server vouches for.
///
/// Cancel, decommission, dry runs and idempotency keys are not decided yet; each will be a variant here
/// with a file of its own.
#[derive(Debug, Clone)]
pub enum Input {
    /// This process began: the first step of all.
    Start,
    /// Time has passed; see [`State::next_deadline`].
    Tick,
    /// `swarm.teardown`.
    Teardown {
        /// The request.
        request: TeardownRequest,
        /// The id for a new operation.
        operation_id: OperationId,
        /// The user that the NATS server vouches for.
        requested_by: String,
        /// The request's trace context.
        trace: Option<Trace>,
    },
    /// `swarm.hosts.enroll`.
    Enroll {
        /// The request.
        request: EnrollRequest,
        /// The id for a new host, where the request gives none.
        host: HostId,
    },
    /// `swarm.shards.list`.
    ShardsList(ShardsListRequest),
    /// `swarm.hosts.list`.
    HostsList(HostsListRequest),
    /// `swarm.operations.list`.
    OperationsList(OperationsListRequest),
    /// `swarm.operations.get`.
    OperationGet(OperationGetRequest),
    /// `agent.<host_uuid>.progress`.
    Progress {
        /// The host of the subject.
        host: HostId,
        /// The report.
        progress: TeardownProgress,
    },
    /// `agent.<host_uuid>.results`.
    Result {
        /// The host of the subject.
        host: HostId,
        /// The report.
        result: TeardownResult,
        /// The report's trace context.
        trace: Option<Trace>,
    },
    /// `agent.<host_uuid>.heartbeat`.
    Heartbeat {
        /// The host of the subject.
        host: HostId,
        /// The report.
        heartbeat: Heartbeat,
    },
}

/// What a step asks the shell to do, once the batch is durable. In order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answer whoever sent this step's input.
    Reply(Reply),
    /// Publish to an agent.
    Command {
        /// The agent's host.
        host: HostId,
        /// What to tell it.
        command: AgentCommand,
        /// The trace context of the request that caused it.
        trace: Option<Trace>,
    },
    /// Publish on `shards.updated`.
    ShardsUpdated(ShardsUpdated, Option<Trace>),
    /// Publish on `hosts.updated`.
    HostsUpdated(HostsUpdated),
    /// Publish on `operations.updated`.
    OperationsUpdated(OperationsUpdated, Option<Trace>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `swarm.teardown`.
    Teardown(TeardownAccepted),
    /// To `swarm.hosts.enroll`.
    Enroll(EnrollAccepted),
    /// To `swarm.shards.list`.
    Shards(ShardsList),
    /// To `swarm.hosts.list`.
    Hosts(HostsList),
    /// To `swarm.operations.list`.
    Operations(OperationsList),
    /// To `swarm.operations.get`.
    Operation(Box<OperationGetAnswer>),
    /// To a result.
    Recorded(ResultRecorded),
    /// To a heartbeat.
    Heartbeat(HeartbeatAccepted),
    /// To anything that was refused; travels in a `RefusalBody`.
    #[serde(skip)]
    Refused(Refusal),
}

/// The end of a batch: what must be on disk before any effect of the batch leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// To be made durable, all or nothing. Empty: nothing to write.
    pub changes: Vec<Change>,
    /// The batch's last effects, after those of its steps.
    pub effects: Vec<Effect>,
}

impl State {
    /// Decides on one input. The effects may leave once the [`Commit`] of the batch is durable.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        debug_assert!(self.effects.is_empty(), "a step hands over all its effects");
        match input {
            Input::Start => self.start(now),
            Input::Tick => self.tick(now),
            Input::Teardown {
                request,
                operation_id,
                requested_by,
                trace,
            } => {
                let accepted =
                    self.teardown(now, request, operation_id, requested_by, trace.as_ref());
                self.reply(accepted.map(Reply::Teardown));
            }
            Input::Enroll { request, host } => {
                let enrolled = self.enroll(now, request, host);
                self.reply(enrolled.map(Reply::Enroll));
            }
            Input::ShardsList(request) => {
                let page = self.list_shards(&request);
                self.reply(page.map(Reply::Shards));
            }
            Input::HostsList(request) => {
                let page = self.list_hosts(&request);
                self.reply(page.map(Reply::Hosts));
            }
            Input::OperationsList(request) => {
                let page = self.list_operations(&request);
                self.reply(page.map(Reply::Operations));
            }
            Input::OperationGet(request) => {
                let answer = self.get_operation(request.operation_id);
                self.reply(answer.map(|answer| Reply::Operation(Box::new(answer))));
            }
            Input::Progress { host, progress } => self.progress(&host, &progress),
            Input::Result {
                host,
                result,
                trace,
            } => {
                let recorded = self.result(now, &host, &result, trace);
                self.reply(Ok(Reply::Recorded(recorded)));
            }
            Input::Heartbeat { host, heartbeat } => {
                let answer = self.heartbeat(now, &host, heartbeat);
                self.reply(answer.map(Reply::Heartbeat));
            }
        }
        std::mem::take(&mut self.effects)
    }

    fn reply(&mut self, reply: Result<Reply, Refusal>) {
        self.effects
            .insert(0, Effect::Reply(reply.unwrap_or_else(Reply::Refused)));
    }
}
