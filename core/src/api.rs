//! The interface between the core and its caller: the inputs and the outputs of a step.
//!
//! This file contains only data types. The rules that produce the outputs are in `requests`,
//! `reports`, `time` and `broadcast`.

use std::sync::Arc;

use scuttle_schemas::agents::{
    AgentCommand, Heartbeat, HeartbeatAccepted, ResultRecorded, TeardownProgress, TeardownResult,
};
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, EnrollAccepted, EnrollRequest, HostsList,
    HostsListRequest, HostsUpdated,
};
use scuttle_schemas::operations::{
    CancelAccepted, CancelRequest, OperationGetReply, OperationGetRequest, OperationsList,
    OperationsListRequest, OperationsUpdated,
};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan, TeardownRequest};
use scuttle_schemas::{ErrorReply, HostId, OperationId, Partition};
use serde::Serialize;

use crate::record::change::Change;
use crate::record::rows::Trace;

/// A teardown request with its context.
#[derive(Debug, Clone)]
pub struct TeardownArgs {
    /// The request.
    pub request: TeardownRequest,
    /// The id to use if the request creates an operation.
    pub operation_id: OperationId,
    /// The user that the NATS server vouches for.
    pub requested_by: String,
    /// The idempotency key.
    pub key: Option<String>,
    /// The request's trace context.
    pub trace: Option<Trace>,
}

/// An input of the core: a request, a report, or an event that changes or reads the record.
///
/// A report contains the host in the subject on which it arrived. The NATS server vouches for this
/// host.
#[derive(Debug, Clone)]
pub enum Input {
    /// The process has started. This must be the first step of every process.
    Start,
    /// Time has passed. See [`State::next_deadline`](crate::State::next_deadline).
    Tick,
    /// `swarm.teardown`.
    Teardown(TeardownArgs),
    /// `swarm.operations.cancel`.
    Cancel(CancelRequest),
    /// `swarm.hosts.enroll`.
    Enroll {
        /// The request.
        request: EnrollRequest,
        /// The id to use for a new host if the request does not give one.
        host: HostId,
    },
    /// `swarm.hosts.decommission`.
    Decommission(DecommissionRequest),
    /// `swarm.shards.list`.
    ShardsList(ShardsListRequest),
    /// `swarm.hosts.list`.
    HostsList(HostsListRequest),
    /// `swarm.operations.list`.
    OperationsList(OperationsListRequest),
    /// `swarm.operations.get`.
    OperationGet(OperationGetRequest),
    /// A list request from the leader of another partition, which needs a linearizable reply: the
    /// step forces an append to the journal. A deposed leader that does not know yet that it was
    /// replaced fails to append, and so does not reply with outdated records.
    Linearizable(Box<Input>),
    /// `agent.<host_uuid>.progress`.
    Progress {
        /// The host in the subject.
        host: HostId,
        /// The report.
        progress: TeardownProgress,
    },
    /// `agent.<host_uuid>.results`.
    Result {
        /// The host in the subject.
        host: HostId,
        /// The report.
        result: TeardownResult,
        /// The report's trace context.
        trace: Option<Trace>,
    },
    /// `agent.<host_uuid>.heartbeat`.
    Heartbeat {
        /// The host in the subject.
        host: HostId,
        /// The report.
        heartbeat: Heartbeat,
    },
    /// A broadcast from the leader of another partition. It is published with this partition's next
    /// revision.
    Relay {
        /// The partition whose leader sent the broadcast.
        from: Partition,
        /// The broadcast.
        broadcast: RelayedBroadcast,
        /// The broadcast's trace context.
        trace: Option<Trace>,
    },
}

/// A message that may be sent after the batch is durable. Effects are sent in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Publish a command to an agent.
    Command {
        /// The agent's host.
        host: HostId,
        /// The command.
        command: AgentCommand,
        /// The trace context of the request that caused the command.
        trace: Option<Trace>,
    },
    /// Publish on `shards.updated`.
    ShardsUpdated(ShardsUpdated, Option<Trace>),
    /// Publish on `hosts.updated`.
    HostsUpdated(HostsUpdated),
    /// Publish on `operations.updated`.
    OperationsUpdated(OperationsUpdated, Option<Trace>),
    /// Publish a broadcast of another partition.
    Relayed {
        /// The revision that replaces the broadcast's original revision.
        revision: u64,
        /// The broadcast.
        broadcast: RelayedBroadcast,
        /// The broadcast's trace context.
        trace: Option<Trace>,
    },
}

/// The reply to a request or report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `swarm.teardown`.
    Teardown(TeardownAccepted),
    /// To `swarm.teardown` with `dry_run`.
    Plan(TeardownPlan),
    /// To `swarm.operations.cancel`.
    Cancelled(Box<CancelAccepted>),
    /// To `swarm.hosts.enroll`.
    Enroll(EnrollAccepted),
    /// To `swarm.hosts.decommission`.
    Decommissioned(DecommissionAccepted),
    /// To `swarm.shards.list`.
    Shards(ShardsList),
    /// To `swarm.hosts.list`.
    Hosts(HostsList),
    /// To `swarm.operations.list`.
    Operations(OperationsList),
    /// To `swarm.operations.get`.
    Operation(Box<OperationGetReply>),
    /// To a result.
    Recorded(ResultRecorded),
    /// To a heartbeat.
    Heartbeat(HeartbeatAccepted),
    /// To any request or report that was rejected. On the wire it is the `error` of an
    /// `ErrorReplyBody`.
    #[serde(skip)]
    Rejected(ErrorReply),
}

/// The end of a batch of steps.
///
/// No reply of the batch and none of the `effects` may be sent before all `changes` are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The changes to make durable, all or none of them. If empty, there is nothing to write.
    pub changes: Vec<Change>,
    /// The messages to send after the changes are durable, in this order.
    pub effects: Vec<Effect>,
}

/// The subject of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `shards.updated`.
    Shards,
    /// `hosts.updated`.
    Hosts,
    /// `operations.updated`.
    Operations,
}

/// A broadcast that the leader of another partition has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayedBroadcast {
    /// The subject on which to publish the broadcast.
    pub topic: Topic,
    /// The revision that the other partition gave to the broadcast.
    pub revision: u64,
    /// Whether the broadcast only repeats the last revision of an idle subject.
    pub is_repeat: bool,
    /// The whole message as JSON.
    pub message: Arc<[u8]>,
}
