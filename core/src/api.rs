//! The interface of the core: the inputs that a step takes, and the replies, changes and effects
//! that it produces.
//!
//! This file contains only data types. The rules that produce the outputs are in `requests`,
//! `reports`, `time` and `broadcast`.

use std::sync::Arc;

use scuttle_schemas::agents::{
    AgentCommand, Heartbeat, HeartbeatAccepted, ResultRecorded, TeardownProgress, TeardownResult,
};
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, EnrollAccepted, EnrollRequest, HostUpdateAccepted,
    HostUpdateRequest, HostsList, HostsListRequest, HostsUpdated,
};
use scuttle_schemas::operations::{
    CancelAccepted, CancelRequest, OperationGetReply, OperationGetRequest, OperationsList,
    OperationsListRequest, OperationsUpdated,
};
use scuttle_schemas::protection::{ProtectAccepted, ProtectRequest};
use scuttle_schemas::shards::{ShardsList, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan, TeardownRequest};
use scuttle_schemas::{ErrorReply, HostId, OperationId, Partition};
use serde::Serialize;

use crate::record::change::Change;
use crate::record::rows::Trace;

/// A teardown request, with the values that the core cannot determine itself.
#[derive(Debug, Clone)]
pub struct TeardownArgs {
    /// The decoded payload of the request.
    pub request: TeardownRequest,
    /// The id of the new operation, if the request creates one.
    pub operation_id: OperationId,
    /// The user who sent the request, as the NATS server attests, or `unknown`.
    pub requested_by: String,
    /// The idempotency key in the request's `Nats-Msg-Id` header, if there is one.
    pub key: Option<String>,
    /// The W3C trace context of the request, which is copied to the operation's commands and
    /// broadcasts.
    pub trace: Option<Trace>,
}

/// An input of the core: a request, a report, or an event that changes or reads the record.
///
/// Every report comes with the host that its subject names. This host can be trusted, because the
/// NATS server lets only the agent of the host publish on the subject.
#[derive(Debug, Clone)]
pub enum Input {
    /// The start of a process, or its takeover as the leader. Must be the first input after a
    /// replay.
    Start,
    /// The passing of time. [`State::next_deadline`](crate::State::next_deadline) returns the time
    /// at which the next tick is due.
    Tick,
    /// A request on `swarm.teardown`, to tear down one decky or a whole host.
    Teardown(TeardownArgs),
    /// A request on `swarm.operations.cancel`, to cancel a queued operation.
    Cancel(CancelRequest),
    /// A request on `swarm.hosts.enroll`, to add a host to the swarm.
    Enroll {
        /// The name, address and labels of the host, and optionally its id.
        request: EnrollRequest,
        /// The id of the new host, if the request does not give one.
        host: HostId,
    },
    /// A request on `swarm.hosts.update`, to change a host or to reset its agent.
    UpdateHost(HostUpdateRequest),
    /// A request on `swarm.hosts.decommission`, to remove a host from the swarm.
    Decommission(DecommissionRequest),
    /// A request on `swarm.shards.protect`, to protect a decky or a host from teardowns, or to lift
    /// that protection.
    Protect(ProtectRequest),
    /// A request on `swarm.shards.list`, for one page of shards.
    ShardsList(ShardsListRequest),
    /// A request on `swarm.hosts.list`, for one page of hosts.
    HostsList(HostsListRequest),
    /// A request on `swarm.operations.list`, for one page of operations.
    OperationsList(OperationsListRequest),
    /// A request on `swarm.operations.get`, for one operation with its shards.
    OperationGet(OperationGetRequest),
    /// A list request from the leader of another partition. The reply must be linearizable, so the
    /// step forces an append to the journal. A deposed leader that does not know yet that it was
    /// replaced fails to append, and therefore never replies with outdated records.
    Linearizable(Box<Input>),
    /// A report on `agent.<host_uuid>.progress`: an agent has reached a step of an operation.
    Progress {
        /// The host that the report's subject names.
        host: HostId,
        /// The operation, and the step that the agent has reached.
        progress: TeardownProgress,
    },
    /// A report on `agent.<host_uuid>.results`: an operation has ended on its host.
    Result {
        /// The host that the report's subject names.
        host: HostId,
        /// The outcome of the operation, and of each decky.
        result: TeardownResult,
        /// The W3C trace context of the report, which is copied to the broadcasts about the
        /// operation.
        trace: Option<Trace>,
    },
    /// A report on `agent.<host_uuid>.heartbeat`: an agent is alive.
    Heartbeat {
        /// The host that the report's subject names.
        host: HostId,
        /// The agent's version and boot, and the host's inventory if it has changed.
        heartbeat: Heartbeat,
    },
    /// The agent of a host sends malformed messages, so its reports are no longer read. This input
    /// comes from the controller itself.
    Quarantine {
        /// The host that the subjects of the messages name.
        host: HostId,
    },
    /// A broadcast from the leader of another partition, to be published with this partition's next
    /// revision.
    Relay {
        /// The partition whose leader sent the broadcast.
        from: Partition,
        /// The encoded message, with its subject and its original revision.
        broadcast: RelayedBroadcast,
        /// The W3C trace context in the headers of the broadcast.
        trace: Option<Trace>,
    },
}

/// A message to send after the batch is durable. Effects are sent in the order in which they are
/// listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// A command to one agent.
    Command {
        /// The host whose agent receives the command.
        host: HostId,
        /// The teardown or cancel command.
        command: AgentCommand,
        /// The trace context of the request that caused the command.
        trace: Option<Trace>,
    },
    /// A broadcast on `shards.updated`, with the trace context of the operation that caused the
    /// changes.
    ShardsUpdated(ShardsUpdated, Option<Trace>),
    /// A broadcast on `hosts.updated`.
    HostsUpdated(HostsUpdated),
    /// A broadcast on `operations.updated`, with the operation's trace context if the message
    /// announces only one operation.
    OperationsUpdated(OperationsUpdated, Option<Trace>),
    /// The reports of a host are no longer read, or are read again. This effect is for the
    /// controller itself and is not published.
    Quarantine {
        /// The host that sends the reports.
        host: HostId,
        /// Whether the reports are dropped from now on.
        quarantined: bool,
    },
    /// A broadcast of another partition, published in this partition's sequence of revisions.
    Relayed {
        /// The revision that replaces the broadcast's original revision.
        revision: u64,
        /// The encoded message, which still contains its original revision.
        broadcast: RelayedBroadcast,
        /// The W3C trace context in the headers of the broadcast.
        trace: Option<Trace>,
    },
}

/// The reply to a request or report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// The reply to `swarm.teardown`: the operation that covers the target.
    Teardown(TeardownAccepted),
    /// The reply to `swarm.teardown` with `dry_run`: the targets, and a hash of them.
    Plan(TeardownPlan),
    /// The reply to `swarm.operations.cancel`: the cancelled operation.
    Cancelled(Box<CancelAccepted>),
    /// The reply to `swarm.hosts.enroll`: the enrolled host.
    Enroll(EnrollAccepted),
    /// The reply to `swarm.hosts.update`: the changed host.
    HostUpdated(HostUpdateAccepted),
    /// The reply to `swarm.hosts.decommission`: the decommissioned host.
    Decommissioned(DecommissionAccepted),
    /// The reply to `swarm.shards.protect`: whether the target is protected now.
    Protected(ProtectAccepted),
    /// The reply to `swarm.shards.list`: one page of shards.
    Shards(ShardsList),
    /// The reply to `swarm.hosts.list`: one page of hosts.
    Hosts(HostsList),
    /// The reply to `swarm.operations.list`: one page of operations.
    Operations(OperationsList),
    /// The reply to `swarm.operations.get`: one operation with its shards.
    Operation(Box<OperationGetReply>),
    /// The reply to a result, after which the agent stops repeating the result.
    Recorded(ResultRecorded),
    /// The reply to a heartbeat, which may request a full inventory.
    Heartbeat(HeartbeatAccepted),
    /// The reply to a request or report that was rejected. It is sent as the `error` of an
    /// `ErrorReplyBody`.
    #[serde(skip)]
    Rejected(ErrorReply),
}

/// The changes and effects of a batch of steps.
///
/// No reply of the batch and none of the `effects` may be sent before all `changes` are durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// The changes to store atomically: all of them, or none. If the list is empty, nothing has to
    /// be stored.
    pub changes: Vec<Change>,
    /// The messages to send after the changes are durable, in this order.
    pub effects: Vec<Effect>,
}

/// The subject of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `shards.updated`, on which changed and removed shards are announced.
    Shards,
    /// `hosts.updated`, on which changed hosts are announced.
    Hosts,
    /// `operations.updated`, on which changed operations are announced.
    Operations,
}

/// A broadcast that the leader of another partition has sent to be relayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayedBroadcast {
    /// The subject on which to publish the broadcast.
    pub topic: Topic,
    /// The revision that the sending partition gave to the broadcast.
    pub revision: u64,
    /// Whether the broadcast only repeats the last revision of an idle subject.
    pub is_repeat: bool,
    /// The whole message as JSON.
    pub message: Arc<[u8]>,
}
