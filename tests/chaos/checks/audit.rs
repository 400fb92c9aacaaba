//! The audit of a run: compares the final record with the replies that operators received, with the
//! broadcasts, and with what happened on the hosts.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome};
use scuttle_schemas::shards::{ShardRecord, ShardState};
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use scuttle_tests::clients::client::to_wire_name;

use crate::checks::final_record::has_ended;
use crate::checks::ground_truth::GroundTruth;
use crate::load::request_log::{Outcome, TeardownRequest};
use crate::observers::broadcast_recorder::Removal;
use crate::outages::MAX_CLOCK_SKEW_MS;

/// The inputs of [`run_audit`]: the operators' requests, the final record, the broadcasts, and the
/// ground truth of the hosts.
pub(crate) struct Evidence<'a> {
    pub(crate) requests: &'a [(TeardownRequest, Outcome)],
    pub(crate) cancelled: &'a BTreeSet<OperationId>,
    /// All operations in the final record, each with all its shards.
    pub(crate) operations: &'a BTreeMap<OperationId, OperationRecord>,
    pub(crate) shards: &'a [ShardRecord],
    pub(crate) ground_truths: &'a BTreeMap<HostId, GroundTruth>,
    pub(crate) removals: &'a BTreeMap<(HostId, DeckyId), Vec<Removal>>,
    /// When each shard was first broadcast after its latest removal. Only shards that were removed
    /// and deployed again are present.
    pub(crate) registered: &'a BTreeMap<(HostId, DeckyId), Timestamp>,
}

/// The results of the audit. Each loss describes one violated guarantee.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) losses: Vec<String>,
    /// The number of deckies whose teardown failed before they were in the record. Only the
    /// operation's record shows such a failure.
    pub(crate) unregistered: usize,
}

/// Runs all checks of the audit and collects the losses that they find.
pub(crate) fn run_audit(evidence: &Evidence<'_>) -> Findings {
    let mut losses = Vec::new();
    check_accepted_exist_and_ended(evidence, &mut losses);
    check_one_operation_per_key(evidence, &mut losses);
    check_record_matches_reality(evidence, &mut losses);
    check_removals(evidence, &mut losses);
    check_outcomes(evidence, &mut losses);
    check_executed_once(evidence, &mut losses);
    let unregistered = check_failures_are_shown(evidence, &mut losses);
    Findings {
        losses,
        unregistered,
    }
}

fn check_accepted_exist_and_ended(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    for (request, outcome) in evidence.requests {
        let Outcome::Accepted(accepted) = outcome else {
            continue;
        };
        let id = accepted.operation_id;
        match evidence.operations.get(&id) {
            None => losses.push(format!(
                "{id} was accepted ({}) and does not exist",
                request.key
            )),
            Some(found) if found.host_uuid != request.host => losses.push(format!(
                "{id} was accepted for {} and is for {}",
                request.host, found.host_uuid
            )),
            Some(found) if found.decky_id.is_some() && found.decky_id != request.decky => {
                losses.push(format!(
                    "{id} was accepted for {request:?} and is for another decky"
                ));
            }
            Some(_) => {}
        }
    }
    for operation in evidence.operations.values() {
        let id = operation.operation_id;
        if !has_ended(operation) || operation.finished_at.is_none() {
            losses.push(format!(
                "{id} has not ended: {}",
                to_wire_name(&operation.state)
            ));
        }
        if operation.counts.pending > 0 && operation.state != OperationState::Cancelled {
            losses.push(format!(
                "{id} has ended with pending shards: {:?}",
                operation.counts
            ));
        }
    }
    for id in evidence.cancelled {
        let state = evidence.operations.get(id).map(|found| found.state);
        if let None | Some(OperationState::TimedOut) = state {
            losses.push(format!("{id} was cancelled and is {state:?}"));
        }
    }
}

fn check_one_operation_per_key(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    let mut by_key: BTreeMap<&str, Vec<OperationId>> = BTreeMap::new();
    for operation in evidence.operations.values() {
        if let Some(key) = &operation.reason {
            by_key.entry(key).or_default().push(operation.operation_id);
        }
    }
    for (key, made) in by_key.iter().filter(|(_, made)| made.len() > 1) {
        losses.push(format!(
            "the key {key} created several operations: {made:?}"
        ));
    }
    for (request, outcome) in evidence.requests {
        let made = by_key.get(&*request.key).and_then(|made| made.first());
        match (outcome, made) {
            (Outcome::Accepted(reply), Some(made)) if reply.operation_id != *made => {
                losses.push(format!(
                    "{} created {made}, but the reply named {}",
                    request.key, reply.operation_id
                ));
            }
            (Outcome::Rejected(code), Some(made)) => {
                losses.push(format!(
                    "{} created {made} and was rejected: {code:?}",
                    request.key
                ));
            }
            _ => {}
        }
    }
}

fn check_record_matches_reality(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    let key = |shard: &ShardRecord| (shard.host_uuid.clone(), shard.decky_id.clone());
    let recorded: BTreeSet<_> = evidence.shards.iter().map(key).collect();
    let here = |ground_truth: &GroundTruth| {
        let host = ground_truth.host.clone();
        let with_host = move |decky: &DeckyId| (host.clone(), decky.clone());
        ground_truth
            .deckies
            .iter()
            .map(with_host)
            .collect::<Vec<_>>()
    };
    let real: BTreeSet<_> = evidence.ground_truths.values().flat_map(here).collect();
    for (host, decky) in recorded.difference(&real) {
        losses.push(format!(
            "{host}/{decky} is in the record and not on the host"
        ));
    }
    for (host, decky) in real.difference(&recorded) {
        losses.push(format!(
            "{host}/{decky} is on the host and not in the record"
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

/// Checks the removals in the broadcasts:
///
/// - A shard is broadcast as removed at most as often as its host removed it.
/// - A removal is never broadcast before it happened on the host.
/// - The operation in the broadcast, if any, belongs to the same host.
fn check_removals(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    for ((host, decky), removals) in evidence.removals {
        let Some(ground_truth) = evidence.ground_truths.get(host) else {
            losses.push(format!("{host}/{decky} was removed, its host is unknown"));
            continue;
        };
        let done = ground_truth.count_removals(decky);
        if removals.len() > done {
            losses.push(format!(
                "{host}/{decky} was broadcast as removed {} times and removed {done} times",
                removals.len()
            ));
        }
        let mut since = Timestamp::from_millis(0);
        for removal in removals {
            let at = removal.at.plus_millis(MAX_CLOCK_SKEW_MS);
            if !ground_truth.was_absent_between(decky, since, at) {
                losses.push(format!(
                    "{host}/{decky} was broadcast as removed while it existed: revision {}, {removal:?}",
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
                    "{host}/{decky} was removed by an operation on another host: {removal:?}"
                ));
            }
        }
    }
}

fn check_outcomes(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    for operation in evidence.operations.values() {
        let id = operation.operation_id;
        let Some(ground_truth) = evidence.ground_truths.get(&operation.host_uuid) else {
            losses.push(format!("{id} names an unknown host"));
            continue;
        };
        let until = operation.finished_at.unwrap_or(operation.deadline);
        for shard in operation.shards.iter().flatten() {
            let decky = &shard.decky_id;
            let holds = match shard.outcome {
                ShardOutcome::Removed => ground_truth.was_removed_by(id, decky),
                ShardOutcome::Absent => {
                    let until = until.plus_millis(MAX_CLOCK_SKEW_MS);
                    ground_truth.was_absent_between(decky, operation.accepted_at, until)
                }
                ShardOutcome::Pending | ShardOutcome::Failed => true,
            };
            if !holds {
                losses.push(format!(
                    "{id}: {}/{decky} has the outcome {}, but nothing on its host confirms that",
                    operation.host_uuid,
                    to_wire_name(&shard.outcome)
                ));
            }
        }
    }
}

/// Checks that no host:
///
/// - removed a decky without a request
/// - removed a decky after the operation had ended
/// - started an operation after it had ended, or while another operation ran for which it had to
///   wait
/// - finished an operation twice
fn check_executed_once(evidence: &Evidence<'_>, losses: &mut Vec<String>) {
    use scuttle_agent_sim::action_log::Action;

    for ground_truth in evidence.ground_truths.values() {
        let host = &ground_truth.host;
        let mut ends = BTreeMap::new();
        for result in &ground_truth.finished {
            if ends
                .insert(result.operation_id, result.finished_at)
                .is_some()
            {
                losses.push(format!("{host} finished {} twice", result.operation_id));
            }
        }
        let mut started = BTreeMap::new();
        for line in &ground_truth.log {
            match &line.action {
                Action::Started { operation_id, .. } => {
                    let Some(found) = evidence.operations.get(operation_id) else {
                        losses.push(format!("{host} started {operation_id} without a request"));
                        continue;
                    };
                    let decky = found.decky_id.as_ref();
                    let ends_after = |id| ends.get(id).is_some_and(|end| *end > line.at);
                    if ends.get(operation_id).is_some_and(|end| line.at > *end) {
                        losses.push(format!(
                            "{host} started {operation_id} after its operation had ended"
                        ));
                    }
                    let obstacle = started.iter().find(|(id, other)| {
                        *id != operation_id && must_not_overlap(decky, **other) && ends_after(*id)
                    });
                    if let Some((other, _)) = obstacle {
                        losses.push(format!("{host} started {operation_id} while {other} ran"));
                    }
                    started.insert(*operation_id, decky);
                }
                Action::Removed {
                    operation_id,
                    decky_id,
                } => {
                    let requested = evidence.operations.get(operation_id).is_some_and(|found| {
                        found.host_uuid == *host
                            && found.decky_id.as_ref().is_none_or(|one| one == decky_id)
                    });
                    if !requested {
                        losses.push(format!(
                            "{host} removed {decky_id} without a request: {line:?}"
                        ));
                    }
                    let late = ends.get(operation_id).is_some_and(|end| line.at > *end);
                    if late {
                        losses.push(format!(
                            "{host} removed {decky_id} after its operation had ended: {line:?}"
                        ));
                    }
                }
                Action::Deployed { .. } | Action::Failed { .. } => {}
            }
        }
    }
}

/// Returns whether two operations of a host must not run at the same time. `None` stands for the
/// whole host.
fn must_not_overlap(first: Option<&DeckyId>, second: Option<&DeckyId>) -> bool {
    match (first, second) {
        (Some(first), Some(second)) => first == second,
        (None, _) | (_, None) => true,
    }
}

/// Checks that each shard whose latest operation failed shows the failure: the shard is
/// `teardown_failed`, has an error, and names that operation. Shards that were removed or
/// redeployed afterwards are exempt.
///
/// Returns the number of failed shards that were not in the record when they failed. They had just
/// been redeployed, and no heartbeat had reported them yet.
fn check_failures_are_shown(evidence: &Evidence<'_>, losses: &mut Vec<String>) -> usize {
    let mut unregistered = 0;
    let mut latest: BTreeMap<(&HostId, &DeckyId), &OperationRecord> = BTreeMap::new();
    // Sorted by the time of acceptance: ids are UUIDv7, which do not order operations of one
    // millisecond.
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
        // An operation that was accepted earlier and executed later removed the decky in between.
        let ended = operation.finished_at.unwrap_or(operation.deadline);
        let ground_truth = evidence.ground_truths.get(host);
        let was_redeployed =
            ground_truth.is_some_and(|ground_truth| ground_truth.was_deployed_after(decky, ended));
        if !failed || shown || was_redeployed {
            continue;
        }
        let registered_at = evidence.registered.get(&(host.clone(), decky.clone()));
        if registered_at.is_some_and(|at| *at >= ended) {
            unregistered += 1;
        } else {
            losses.push(format!(
                "{host}/{decky} failed in {}, but is {} without that error",
                operation.operation_id,
                to_wire_name(&shard.state)
            ));
        }
    }
    unregistered
}
