//! What the commit of a batch must write.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::{HostId, OperationId};

use crate::api::Effect;
use crate::record::change::Change;
use crate::record::rows::{OperationRow, Trace};

/// What the commit of this batch must write and tell.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) changes: Vec<Change>,
    /// What the steps asked for so far.
    pub(crate) effects: Vec<Effect>,
    /// The last of them, as long as more can be told with it.
    pub(crate) telling: Option<Telling>,
    /// Operations to write, as they now are, and whether to tell them.
    pub(crate) operations: BTreeMap<OperationId, (Arc<OperationRow>, bool)>,
    /// Hosts that had a durable change.
    pub(crate) touched: BTreeSet<HostId>,
    /// The swarm's own row changed by itself.
    pub(crate) meta: bool,
    /// Hosts to tell.
    pub(crate) told: BTreeSet<HostId>,
}

/// A `shards.updated` message that the batch still adds to.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) message: ShardsUpdated,
    pub(crate) trace: Option<Trace>,
    /// Bytes that are left in it.
    pub(crate) room: usize,
}

impl Telling {
    pub(crate) fn into_effect(self) -> Effect {
        Effect::ShardsUpdated(self.message, self.trace)
    }
}

impl Batch {
    /// Notes a durable change of a host.
    pub(crate) fn touch(&mut self, host: &HostId) {
        if !self.touched.contains(host) {
            self.touched.insert(host.clone());
        }
    }

    /// Notes that operators are to be told of a host.
    pub(crate) fn tell(&mut self, host: &HostId) {
        if !self.told.contains(host) {
            self.told.insert(host.clone());
        }
    }
}
