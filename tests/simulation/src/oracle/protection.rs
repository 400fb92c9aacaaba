//! The rules for protection: a protected target is torn down only by a request that overrides the
//! protection, and a protection changes only by a request or with its decky or host.

use std::collections::BTreeMap;

use scuttle_controller::engine::CommittedBatch;
use scuttle_core::{Change, Input, OperationRow, Reply};
use scuttle_schemas::protection::ProtectRequest;
use scuttle_schemas::teardown::TeardownRequest;
use scuttle_schemas::{DeckyId, HostId, OperationId};

use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{PROTECTED, Violation, ensure};
use crate::state::controllers::requester::Requester;

/// A decky, or a whole host.
type Target = (HostId, Option<DeckyId>);

impl PartitionOracle {
    pub(crate) fn note_protect_request(&mut self, controller: usize, request: &ProtectRequest) {
        let requests = &mut self.terms[controller].protect_requests;
        requests.push(request.clone());
    }

    /// Checks that the protection of a target has not changed, or that a request has changed it.
    /// The protection of a host may also end because the host is decommissioned.
    pub(crate) fn check_protection_change(&self, change: &Change) -> Result<(), Violation> {
        let (host, decky, protected) = match change {
            Change::Host(row) => (&row.host, None, row.protected),
            Change::Shard(row) => (&row.host, Some(&row.decky), row.protected),
            _ => return Ok(()),
        };
        let ends = decky.is_none() && !protected && self.departing.contains(host);
        let requests = &self.terms[self.writer].protect_requests;
        let is_requested = requests.iter().any(|request| {
            let target = (&request.host_uuid, request.decky_id.as_ref());
            target == (host, decky) && request.protected == protected
        });
        let is_same = self.is_protected(host, decky) == protected;
        ensure(is_same || ends || is_requested, PROTECTED, || {
            format!("the protection of {host}/{decky:?} is now {protected}, but was not requested")
        })
    }

    /// Checks that none of the teardowns that batches accept has a protected target, unless its
    /// request overrides the protection. Called before `changes`, the changes of the batches, are
    /// applied to the record.
    pub(crate) fn check_accepted_teardowns(
        &self,
        batches: &[CommittedBatch<Requester>],
        changes: &[Change],
    ) -> Result<(), Violation> {
        // The protections that these batches change. All others are those of the record.
        let mut changed: BTreeMap<Target, bool> = BTreeMap::new();
        let departing = self.find_departing_hosts(changes);
        for (requester, reply) in batches.iter().flat_map(|batch| &batch.replies) {
            match (&requester.input, reply) {
                (Some(Input::Protect(request)), Reply::Protected(_)) => {
                    changed.insert(target_of(request), request.protected);
                }
                (Some(Input::Teardown(args)), Reply::Teardown(reply)) if !reply.repeated => {
                    let TeardownRequest { host_uuid, .. } = &args.request;
                    // It is unknown whether the host left before or after the request.
                    if args.request.override_protection || departing.contains(host_uuid) {
                        continue;
                    }
                    let is_protected = |decky: Option<&DeckyId>| {
                        let target = (host_uuid.clone(), decky.cloned());
                        let known = changed.get(&target).copied();
                        known.unwrap_or_else(|| self.is_protected(host_uuid, decky))
                            && !decky.is_some_and(|decky| is_removed(changes, host_uuid, decky))
                    };
                    let mut deckies = covered_deckies(changes, reply.operation_id);
                    let decky = deckies.find(|decky| is_protected(Some(decky)));
                    ensure(decky.is_none() && !is_protected(None), PROTECTED, || {
                        format!("{reply:?} tears down a protected target: {decky:?}")
                    })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks that the record has the protections that batches have confirmed. Called after the
    /// changes of the batches were applied to the record.
    pub(crate) fn check_confirmed_protections(
        &self,
        batches: &[CommittedBatch<Requester>],
        changes: &[Change],
    ) -> Result<(), Violation> {
        let mut confirmed: BTreeMap<Target, bool> = BTreeMap::new();
        for (requester, reply) in batches.iter().flat_map(|batch| &batch.replies) {
            if let (Some(Input::Protect(request)), Reply::Protected(_)) = (&requester.input, reply)
            {
                confirmed.insert(target_of(request), request.protected);
            }
        }
        for ((host, decky), protected) in confirmed {
            let has_left = self.departing.contains(&host)
                || (decky.as_ref()).is_some_and(|decky| is_removed(changes, &host, decky));
            let recorded = self.is_protected(&host, decky.as_ref());
            ensure(has_left || recorded == protected, PROTECTED, || {
                format!("the reply for {host}/{decky:?} was {protected}, but the record differs")
            })?;
        }
        Ok(())
    }

    /// Returns the protection that a request has set, according to the durable record.
    fn is_protected(&self, host: &HostId, decky: Option<&DeckyId>) -> bool {
        match decky {
            None => (self.record.hosts.get(host)).is_some_and(|row| row.protected),
            Some(decky) => (self.record.shards.get(&(host.clone(), decky.clone())))
                .is_some_and(|shard| shard.row.protected),
        }
    }
}

fn target_of(request: &ProtectRequest) -> Target {
    (request.host_uuid.clone(), request.decky_id.clone())
}

fn is_removed(changes: &[Change], host: &HostId, decky: &DeckyId) -> bool {
    changes.iter().any(|change| {
        matches!(change, Change::ShardRemoved { host: from, decky: removed }
            if (from, removed) == (host, decky))
    })
}

/// Returns the deckies that a new operation covers.
fn covered_deckies(changes: &[Change], id: OperationId) -> impl Iterator<Item = &DeckyId> {
    let rows = changes.iter().filter_map(move |change| match change {
        Change::Operation(row) if row.id == id => Some(&**row),
        _ => None,
    });
    rows.take(1)
        .flat_map(|row: &OperationRow| row.outcomes.iter().map(|outcome| &outcome.decky))
}
