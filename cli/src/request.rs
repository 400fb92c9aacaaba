//! Asking for teardowns, any number at once, and saying what became of each: what `teardown` and `retry` share.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownRequest};
use scuttle_schemas::{DeckyId, HostId, HostName, OperationId, subjects};

use crate::ask::{AskError, Bus};
use crate::failure::Failure;
use crate::follow::follow;
use crate::look::{self, Look, Paint, Tone, ago, plain, took};
use crate::output::{self, Format};
use crate::outputs::{Refused, Teardown, Teardowns};
use crate::progress::Progress;
use crate::table::{Cell, Column, Table};
use crate::verbs::op::is_gone;
use crate::verbs::ops::counts;

/// What is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host_uuid: HostId,
    pub(crate) host_name: HostName,
    /// None: the whole host.
    pub(crate) decky_id: Option<DeckyId>,
}

impl Target {
    /// As people write it.
    pub(crate) fn text(&self) -> String {
        look::target(&self.host_name, self.decky_id.as_ref())
    }
}

/// How it is to go.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) timeout_s: u32,
    pub(crate) reason: Option<String>,
    pub(crate) expect_plan: Option<String>,
    pub(crate) wait: bool,
}

impl Order {
    /// The request for one target.
    pub(crate) fn request(&self, target: &Target) -> TeardownRequest {
        TeardownRequest {
            host_uuid: target.host_uuid.clone(),
            decky_id: target.decky_id.clone(),
            timeout_s: self.timeout_s,
            dry_run: false,
            expect_plan: self.expect_plan.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Asks for all of them at once, waits if it is to, and says what became of them.
pub(crate) async fn tear_down(
    bus: &Bus,
    format: Format,
    targets: &[Target],
    order: &Order,
) -> Result<(), Failure> {
    let asked = targets.iter().map(|target| async {
        let request = order.request(target);
        bus.ask_once::<TeardownAccepted>(subjects::TEARDOWN, &request)
            .await
    });
    let answers = join_all(asked).await;
    if !answers.is_empty() && answers.iter().all(Result::is_err) {
        return Err(all_refused(targets, answers));
    }
    let accepted = |answer: &Result<TeardownAccepted, AskError>| -> Option<OperationId> {
        Some(answer.as_ref().ok()?.operation_id)
    };
    let mut ids: Vec<OperationId> = answers.iter().filter_map(accepted).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut ended = BTreeMap::new();
    if order.wait && !ids.is_empty() {
        ended = follow(bus, &ids, &mut Progress::new()).await?;
    }
    let teardowns = targets.iter().zip(answers);
    let teardowns: Vec<_> = teardowns
        .map(|(target, answer)| outcome(target, answer, &ended))
        .collect();
    for teardown in &teardowns {
        if let Some(refused) = &teardown.refused {
            eprintln!("scuttle: {}: {}", text(teardown), refused.message);
        }
    }
    let code = worst(teardowns.iter().map(code));
    let all = Teardowns { teardowns };
    format.many(&all, &all.teardowns, || {
        if order.wait {
            ended_table(&all.teardowns)
        } else {
            accepted_table(&all.teardowns)
        }
    })?;
    if !order.wait && format.is_table() && !ids.is_empty() {
        eprintln!(
            "Accepted, and on disk. `scuttle op ID` shows how far one is; with --wait this command stays until the end."
        );
    }
    if format.is_table() {
        say_what_is_left(&ended);
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::Told(code)),
    }
}

/// What can be done about what was not removed.
fn say_what_is_left(ended: &BTreeMap<OperationId, OperationRecord>) {
    for (id, operation) in ended {
        if matches!(
            operation.state,
            OperationState::Failed | OperationState::TimedOut
        ) {
            eprintln!("`scuttle retry {id}` asks again for what is left.");
        }
    }
}

/// Nothing was accepted: the one reason, or each target with its own.
fn all_refused(targets: &[Target], answers: Vec<Result<TeardownAccepted, AskError>>) -> Failure {
    let mut errors: Vec<AskError> = answers.into_iter().filter_map(Result::err).collect();
    let first = errors.first().map(ToString::to_string);
    if errors.iter().all(|error| Some(error.to_string()) == first)
        && let Some(error) = errors.pop()
    {
        return error.into();
    }
    let codes = targets.iter().zip(errors).map(|(target, error)| {
        let failure = Failure::from(error);
        eprintln!("scuttle: {}: {failure}", target.text());
        failure.exit_code()
    });
    Failure::Told(worst(codes))
}

fn outcome(
    target: &Target,
    answer: Result<TeardownAccepted, AskError>,
    ended: &BTreeMap<OperationId, OperationRecord>,
) -> Teardown {
    let (accepted, refused) = match answer {
        Ok(accepted) => (Some(accepted), None),
        Err(error) => (None, Some(Refused::from(&error.into()))),
    };
    let operation = accepted
        .as_ref()
        .and_then(|accepted| ended.get(&accepted.operation_id).cloned());
    Teardown {
        host_uuid: target.host_uuid.clone(),
        host_name: target.host_name.clone(),
        decky_id: target.decky_id.clone(),
        accepted,
        refused,
        operation,
    }
}

/// Of several outcomes the worst decides.
fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let order = [0, 5, 1, 3, 4, 6];
    let rank = |code: &u8| order.iter().position(|known| known == code);
    codes
        .max_by_key(|code| rank(code).unwrap_or(order.len()))
        .unwrap_or(0)
}

/// What one teardown would end the command with.
fn code(teardown: &Teardown) -> u8 {
    if let Some(refused) = &teardown.refused {
        return refused.exit_code;
    }
    match &teardown.operation {
        None => 0,
        Some(operation) => match own(teardown, operation) {
            // An operation on the whole host had it in hand: its other deckies are not this one's matter.
            Some(outcome) if is_gone(outcome) => 0,
            _ => match operation.state {
                OperationState::Succeeded => 0,
                OperationState::TimedOut => 5,
                _ => 1,
            },
        },
    }
}

/// What became of the decky that was asked for, where the operation is one on the whole host.
fn own(teardown: &Teardown, operation: &OperationRecord) -> Option<ShardOutcome> {
    let decky = teardown.decky_id.as_ref()?;
    if operation.decky_id.is_some() {
        return None;
    }
    let mut shards = operation.shards.iter().flatten();
    Some(shards.find(|shard| shard.decky_id == *decky)?.outcome)
}

fn text(teardown: &Teardown) -> String {
    look::target(&teardown.host_name, teardown.decky_id.as_ref())
}

/// What was accepted.
fn accepted_table(teardowns: &[Teardown]) -> Table {
    let mut table = Table::new(&[
        Column::new("TARGET"),
        Column::new("ANSWER"),
        Column::new("DECKIES"),
        Column::new("GIVEN UP"),
        Column::whole("OPERATION"),
    ]);
    let now = look::now();
    for teardown in teardowns {
        let target = Cell::from(text(teardown));
        match &teardown.accepted {
            Some(accepted) => table.row([
                target,
                Cell::toned(Tone::Good, &format!("✓ {}", accepted.detail)),
                accepted.shards.to_string().into(),
                ago(accepted.deadline, now).into(),
                accepted.operation_id.to_string().into(),
            ]),
            None => table.row([
                target,
                Cell::toned(Tone::Bad, "✗ not accepted"),
                Cell::default(),
                Cell::default(),
                Cell::default(),
            ]),
        }
    }
    table
}

/// What was removed, what failed, and why.
fn ended_table(teardowns: &[Teardown]) -> Table {
    let mut table = Table::new(&[
        Column::new("TARGET"),
        Column::new("OUTCOME"),
        Column::new("DECKIES"),
        Column::new("TOOK"),
        Column::new("ERROR"),
    ]);
    for teardown in teardowns {
        let Some(operation) = &teardown.operation else {
            let mut row: [Cell; 5] = Default::default();
            row[0] = text(teardown).into();
            row[1] = Cell::toned(Tone::Bad, "✗ not accepted");
            table.row(row);
            continue;
        };
        let finished = operation.finished_at.unwrap_or(operation.deadline);
        let look: Look = match own(teardown, operation) {
            Some(outcome) => look::outcome(outcome),
            None => look::operation(operation.state),
        };
        let error = operation.error.as_ref().map_or("", |error| error.as_str());
        table.row([
            text(teardown).into(),
            look.into(),
            counts(operation).into(),
            took(finished.millis_since(operation.accepted_at)).into(),
            Cell::toned(Tone::Bad, error),
        ]);
        let failed = operation.shards.iter().flatten();
        let failed = failed.filter(|shard| shard.outcome == ShardOutcome::Failed);
        for shard in failed.filter(|_| teardown.decky_id.is_none()) {
            let error = shard.error.as_ref().map_or("", |error| error.as_str());
            let mut row: [Cell; 5] = Default::default();
            row[0] = format!("  {}", shard.decky_id).into();
            row[1] = look::outcome(shard.outcome).into();
            row[4] = Cell::toned(Tone::Bad, error);
            table.row(row);
        }
    }
    table
}

/// What would go, for people.
pub(crate) fn targets_text(
    target: &Target,
    targets: &[scuttle_schemas::teardown::PlanTarget],
) -> String {
    let mut text = match targets.len() {
        0 => format!(
            "{}: no decky is on the record; its agent removes what it finds.\n",
            plain(&target.text())
        ),
        count => format!("{}: {} would go.\n", target.text(), look::deckies(count)),
    };
    let mut table = Table::new(&[Column::new("  DECKY"), Column::new("STATE")]);
    for one in targets {
        table.row([
            format!("  {}", one.decky_id).into(),
            look::shard(one.state).into(),
        ]);
    }
    text += &table.render(output::width(), Paint::NONE);
    text
}

#[cfg(test)]
mod tests {
    use super::worst;

    #[test]
    fn the_worst_outcome_decides() {
        let worst = |codes: &[u8]| Some(worst(codes.iter().copied()));
        assert_eq!(worst(&[0, 0]), Some(0));
        assert_eq!(worst(&[0, 5]), Some(5));
        assert_eq!(worst(&[1, 5, 0]), Some(1));
        assert_eq!(worst(&[1, 3]), Some(3));
        assert_eq!(worst(&[3, 4, 1]), Some(4));
    }
}
