//! The memory of a leader during its term.

use std::collections::{BTreeMap, VecDeque};

use scuttle_controller::engine::{CommittedBatch, Job, PendingBatch};
use scuttle_controller::leadership::term::StopReason;
use scuttle_core::{Effect, Input, Reply};

use crate::state::controllers::requester::Requester;
use crate::state::controllers::scatter_gather::ScatterGather;

/// The memory of a leader. A request passes through `inbox`, `pending_batches`, `committed` and
/// `outgoing`, in this order.
pub(crate) struct LeaderTerm {
    pub(crate) inbox: VecDeque<Job<Requester>>,
    pub(crate) pending_batches: VecDeque<PendingBatch<Requester>>,
    /// Committed batches, which may be sent while the leader holds its lease.
    pub(crate) committed: Vec<CommittedBatch<Requester>>,
    /// The replies and effects that are being sent.
    pub(crate) outgoing: VecDeque<Outgoing>,
    pub(crate) deciding: bool,
    pub(crate) committing: bool,
    pub(crate) wakes: u64,
    pub(crate) last_id: u128,
    /// The list requests that still wait for pages from other leaders, or from this one. The key is
    /// the value of `gather_count` when the request arrived.
    pub(crate) scatter_gathers: BTreeMap<u64, ScatterGather>,
    pub(crate) gather_count: u64,
}

pub(crate) enum Outgoing {
    Reply(Requester, Box<Reply>),
    Effect(Effect),
}

impl LeaderTerm {
    pub(crate) fn new() -> Self {
        Self {
            inbox: VecDeque::from([Job {
                input: Input::Start,
                context: None,
            }]),
            pending_batches: VecDeque::new(),
            committed: Vec::new(),
            outgoing: VecDeque::new(),
            deciding: false,
            committing: false,
            wakes: 0,
            last_id: 0,
            scatter_gathers: BTreeMap::new(),
            gather_count: 0,
        }
    }

    /// Returns a `not_leader` reply to each request that the leader has not replied to yet.
    pub(crate) fn into_not_leader_replies(self) -> Vec<(Requester, Reply)> {
        let not_leader = |requester| {
            (
                requester,
                Reply::Rejected(StopReason::SteppedDown.error_reply()),
            )
        };
        let waiting = self.inbox.into_iter().filter_map(|job| job.context);
        let gather = (self.scatter_gathers.into_values()).map(|gather| gather.requester);
        let outgoing = self
            .outgoing
            .into_iter()
            .filter_map(|outgoing| match outgoing {
                Outgoing::Reply(requester, _) => Some(requester),
                Outgoing::Effect(_) => None,
            });
        let decided = self
            .pending_batches
            .into_iter()
            .map(|batch| batch.into_rejected(StopReason::SteppedDown));
        let committed = (self
            .committed
            .into_iter()
            .map(|batch| batch.into_rejected(StopReason::SteppedDown)))
        .chain(decided);
        let replies = committed.flat_map(|batch| batch.replies);
        (outgoing.map(not_leader).chain(replies))
            .chain(waiting.map(not_leader))
            .chain(gather.map(not_leader))
            .collect()
    }

    /// Moves the content of the committed batches to `outgoing`: replies first, then effects.
    pub(crate) fn queue_committed(&mut self) {
        let (replies, effects): (Vec<_>, Vec<_>) = (self.committed.drain(..))
            .map(|batch| (batch.replies, batch.effects))
            .unzip();
        let replies = replies.into_iter().flatten();
        self.outgoing
            .extend(replies.map(|(requester, reply)| Outgoing::Reply(requester, Box::new(reply))));
        let effects = effects.into_iter().flatten();
        self.outgoing.extend(effects.map(Outgoing::Effect));
    }
}
