//! What goes into a step and what comes out of it.

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

/// Everything that can happen to the swarm's record. Reports name the host of their subject, which the
/// NATS server vouches for.
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
        /// The idempotency key.
        key: Option<String>,
        /// The request's trace context.
        trace: Option<Trace>,
    },
    /// `swarm.operations.cancel`.
    Cancel(CancelRequest),
    /// `swarm.hosts.enroll`.
    Enroll {
        /// The request.
        request: EnrollRequest,
        /// The id for a new host, where the request gives none.
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
    /// A list that is asked for by the leader of another partition. It is answered after an append: so that whoever was followed
    /// without knowing it does not answer with what the next one has changed since.
    Linearizable(Box<Input>),
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
    /// The leader of another partition told something: it is told on, under a revision of this one's.
    Relay {
        /// Which.
        from: Partition,
        /// What.
        broadcast: RelayedBroadcast,
        /// Its trace context.
        trace: Option<Trace>,
    },
}

/// What a batch asks the shell to do, once it is durable. In order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
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
    /// Publish what another partition told.
    Relayed {
        /// The revision under which it is told, in the place of its own.
        revision: u64,
        /// What it told.
        broadcast: RelayedBroadcast,
        /// Its trace context.
        trace: Option<Trace>,
    },
}

/// An answer to whoever sent a step's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `swarm.teardown`.
    Teardown(TeardownAccepted),
    /// To a dry run of it.
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
    /// To anything that was refused; travels in a `ErrorReplyBody`.
    #[serde(skip)]
    Rejected(ErrorReply),
}

/// The end of a batch: what must be on disk before any reply or effect of the batch leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// To be made durable, all or nothing. Empty: nothing to write.
    pub changes: Vec<Change>,
    /// What the batch asks the shell to do then.
    pub effects: Vec<Effect>,
}

/// What a broadcast is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// `shards.updated`.
    Shards,
    /// `hosts.updated`.
    Hosts,
    /// `operations.updated`.
    Operations,
}

/// A broadcast of another partition's leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayedBroadcast {
    /// What it is about.
    pub topic: Topic,
    /// Its revision, by the count of that partition.
    pub revision: u64,
    /// It only repeats the last revision.
    pub is_repeat: bool,
    /// All of it, as JSON.
    pub message: Arc<[u8]>,
}
