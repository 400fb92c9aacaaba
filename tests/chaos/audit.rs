//! The audit: every promise of the record, held against what operators were told, what was broadcast, and what really
//! happened on the hosts.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use scuttle_tests::clients::client::to_wire_name;

use crate::book::{Answer, Ask};
use crate::truth::Truth;
use crate::witness::Removal;

/// How far apart two processes' readings of the same clock may be, in milliseconds: a time is read before it is written.
pub(crate) const SKEW_MS: i64 = 5;

/// All that is compared.
pub(crate) struct Evidence<'a> {
    pub(crate) answered: &'a [(Ask, Answer)],
    pub(crate) cancelled: &'a BTreeSet<OperationId>,
    /// Whole, from `get`, of all that the list has.
    pub(crate) operations: &'a BTreeMap<OperationId, OperationRecord>,
    pub(crate) shards: &'a [ShardRecord],
    pub(crate) truths: &'a BTreeMap<HostId, Truth>,
    pub(crate) removals: &'a BTreeMap<(HostId, DeckyId), Vec<Removal>>,
    /// When a shard came to the record, if it was not there from the beginning.
    pub(crate) registered: &'a BTreeMap<(HostId, DeckyId), Timestamp>,
}

/// What the audit found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) losses: Vec<String>,
    /// Failures of deckies that the record did not know yet: only their operation tells of them.
    pub(crate) unregistered: usize,
}

/// Holds everything against everything.
pub(crate) fn audit(evidence: &Evidence<'_>) -> Findings {
    let mut losses = Vec::new();
    accepted_exist_and_ended(evidence, &mut losses);
    one_operation_for_a_key(evidence, &mut losses);
    record_equals_reality(evidence, &mut losses);
    removals_were_done(evidence, &mut losses);
    outcomes_are_true(evidence, &mut losses);
    executed_once(evidence, &mut losses);
    let unregistered = failures_are_visible(evidence, &mut losses);
    Findings {
        losses,
        unregistered,
    }
}

/// Whether it is over.
pub(crate) fn ended(operation: &OperationRecord) -> bool {
    !matches!(
        operation.state,
        OperationState::Queued | OperationState::Running
    )
}

fn accepted_exist_and_ended(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    for (ask, answer) in evidence.answered {
        let Answer::Accepted(accepted) = answer else {
            continue;
        };
        let id = accepted.operation_id;
        match evidence.operations.get(&id) {
            None => losses.push(format!("{id} was accepted ({}) and is not there", ask.key)),
            Some(found) if found.host_uuid != ask.host => losses.push(format!(
                "{id} was accepted for {} and is for {}",
                ask.host, found.host_uuid
            )),
            Some(found) if found.decky_id.is_some() && found.decky_id != ask.decky => {
                losses.push(format!(
                    "{id} was accepted for {ask:?} and is for another decky"
                ));
            }
            Some(_) => {}
        }
    }
    for operation in evidence.operations.values() {
        let id = operation.operation_id;
        if !ended(operation) || operation.finished_at.is_none() {
            losses.push(format!(
                "{id} has not ended: {}",
                to_wire_name(&operation.state)
            ));
        }
        if operation.counts.pending > 0 && operation.state != OperationState::Cancelled {
            losses.push(format!("{id} has ended with {:?}", operation.counts));
        }
    }
    for id in evidence.cancelled {
        let state = evidence.operations.get(id).map(|found| found.state);
        if let None | Some(OperationState::TimedOut) = state {
            losses.push(format!("{id} was cancelled and is {state:?}"));
        }
    }
}

fn one_operation_for_a_key(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    let mut by_key: BTreeMap<&str, Vec<OperationId>> = BTreeMap::new();
    for operation in evidence.operations.values() {
        if let Some(key) = &operation.reason {
            by_key.entry(key).or_default().push(operation.operation_id);
        }
    }
    for (key, made) in by_key.iter().filter(|(_, made)| made.len() > 1) {
        losses.push(format!("the key {key} made {made:?}"));
    }
    for (ask, answer) in evidence.answered {
        let made = by_key.get(&*ask.key).and_then(|made| made.first());
        match (answer, made) {
            (Answer::Accepted(told), Some(made)) if told.operation_id != *made => losses.push(
                format!("{} made {made} and was told {}", ask.key, told.operation_id),
            ),
            (Answer::Refused(code), Some(made)) => {
                losses.push(format!("{} made {made} and was refused: {code:?}", ask.key));
            }
            _ => {}
        }
    }
}

fn record_equals_reality(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    let key = |shard: &ShardRecord| (shard.host_uuid.clone(), shard.decky_id.clone());
    let recorded: BTreeSet<_> = evidence.shards.iter().map(key).collect();
    let here = |truth: &Truth| {
        let host = truth.host.clone();
        let with_host = move |decky: &DeckyId| (host.clone(), decky.clone());
        truth.deckies.iter().map(with_host).collect::<Vec<_>>()
    };
    let real: BTreeSet<_> = evidence.truths.values().flat_map(here).collect();
    for (host, decky) in recorded.difference(&real) {
        losses.push(format!(
            "{host}/{decky} is on the record and not on the host"
        ));
    }
    for (host, decky) in real.difference(&recorded) {
        losses.push(format!(
            "{host}/{decky} is on the host and not on the record"
        ));
    }
    for shard in evidence.shards {
        if !matches!(
            shard.state,
            ShardState::Running | ShardState::TeardownFailed
        ) {
            losses.push(format!(
                "{}/{} is {} at the end",
                shard.host_uuid,
                shard.decky_id,
                to_wire_name(&shard.state)
            ));
        }
    }
}

/// The record lost a shard no more often than its host did, and never before.
fn removals_were_done(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    for ((host, decky), told) in evidence.removals {
        let Some(truth) = evidence.truths.get(host) else {
            losses.push(format!("{host}/{decky} was removed, of no known host"));
            continue;
        };
        let done = truth.removals(decky);
        if told.len() > done {
            losses.push(format!(
                "{host}/{decky} was told removed {} times, and went {done} times",
                told.len()
            ));
        }
        let long_ago = Timestamp::from_millis(0);
        let mut since = long_ago;
        for removal in told {
            let at = removal.at.plus_millis(SKEW_MS);
            if !truth.absent_between(decky, since, at) {
                losses.push(format!(
                    "{host}/{decky} was told removed while there: revision {}, {removal:?}",
                    removal.revision
                ));
            }
            since = removal.at;
            let of_this_host = |id| {
                let found = evidence.operations.get(&id);
                found.is_some_and(|operation| operation.host_uuid == *host)
            };
            if removal.operation.is_some_and(|id| !of_this_host(id)) {
                losses.push(format!(
                    "{host}/{decky} was removed by another host's: {removal:?}"
                ));
            }
        }
    }
}

fn outcomes_are_true(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    for operation in evidence.operations.values() {
        let id = operation.operation_id;
        let Some(truth) = evidence.truths.get(&operation.host_uuid) else {
            losses.push(format!("{id} is of no known host"));
            continue;
        };
        let until = operation.finished_at.unwrap_or(operation.deadline);
        for shard in operation.shards.iter().flatten() {
            let decky = &shard.decky_id;
            let holds = match shard.outcome {
                ShardOutcome::Removed => truth.removed_for(id, decky),
                ShardOutcome::Absent => {
                    let until = until.plus_millis(SKEW_MS);
                    truth.absent_between(decky, operation.accepted_at, until)
                }
                ShardOutcome::Pending | ShardOutcome::Failed => true,
            };
            if !holds {
                losses.push(format!(
                    "{id} says that {}/{decky} is {}, and its host knows nothing of it",
                    operation.host_uuid,
                    to_wire_name(&shard.outcome)
                ));
            }
        }
    }
}

/// No host did what was not asked of it, or did it twice to the end.
fn executed_once(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    use scuttle_agent_sim::action_log::Action;

    for truth in evidence.truths.values() {
        let host = &truth.host;
        let mut ends = BTreeMap::new();
        for result in &truth.finished {
            if ends
                .insert(result.operation_id, result.finished_at)
                .is_some()
            {
                losses.push(format!("{host} ended {} twice", result.operation_id));
            }
        }
        let mut begun = BTreeSet::new();
        let mut latest = None;
        for line in &truth.log {
            match &line.action {
                Action::Started { operation_id, .. } => {
                    if !begun.insert(*operation_id) && latest != Some(*operation_id) {
                        losses.push(format!("{host} began {operation_id} again after another"));
                    }
                    latest = Some(*operation_id);
                }
                Action::Removed {
                    operation_id,
                    decky_id,
                } => {
                    let asked = evidence.operations.get(operation_id).is_some_and(|found| {
                        found.host_uuid == *host
                            && found.decky_id.as_ref().is_none_or(|one| one == decky_id)
                    });
                    if !asked {
                        losses.push(format!("{host} removed {decky_id} unasked: {line:?}"));
                    }
                    let late = ends.get(operation_id).is_some_and(|end| line.at > *end);
                    if late {
                        losses.push(format!("{host} removed {decky_id} after the end: {line:?}"));
                    }
                }
                Action::Deployed { .. } | Action::Failed { .. } => {}
            }
        }
    }
}

/// What failed, and was not tried again, is `teardown_failed` with its error, or gone. Says how many the record did not
/// know when they failed: deployed anew, and not reported by a heartbeat yet.
fn failures_are_visible(evidence: &Evidence<'_>, losses: &mut Vec<String>) -> usize {
    let mut unregistered = 0;
    let mut latest: BTreeMap<(&HostId, &DeckyId), &OperationRecord> = BTreeMap::new();
    // In the order of their acceptance: the ids are UUIDv7, but two of one millisecond have no order.
    let mut operations: Vec<_> = evidence.operations.values().collect();
    operations.sort_by_key(|operation| operation.accepted_at);
    for operation in operations {
        for shard in operation.shards.iter().flatten() {
            latest.insert((&operation.host_uuid, &shard.decky_id), operation);
        }
    }
    let key = |shard: &'_ ShardRecord| (shard.host_uuid.clone(), shard.decky_id.clone());
    let recorded: BTreeMap<_, _> = evidence.shards.iter().map(|s| (key(s), s)).collect();
    for ((host, decky), operation) in latest {
        let failed = operation
            .shards
            .iter()
            .flatten()
            .any(|shard| shard.decky_id == *decky && shard.outcome == ShardOutcome::Failed);
        let Some(shard) = recorded.get(&(host.clone(), decky.clone())) else {
            continue;
        };
        let shown = shard.state == ShardState::TeardownFailed
            && shard.last_error.is_some()
            && shard.operation_id == Some(operation.operation_id);
        // It was gone in between, by an operation that was accepted earlier and carried out later.
        let ended = operation.finished_at.unwrap_or(operation.deadline);
        let truth = evidence.truths.get(host);
        let anew = truth.is_some_and(|truth| truth.deployed_after(decky, ended));
        if !failed || shown || anew {
            continue;
        }
        let came = evidence.registered.get(&(host.clone(), decky.clone()));
        if came.is_some_and(|came| *came >= ended) {
            unregistered += 1;
        } else {
            losses.push(format!(
                "{host}/{decky} failed in {}, and is {} without a word of it",
                operation.operation_id,
                to_wire_name(&shard.state)
            ));
        }
    }
    unregistered
}
