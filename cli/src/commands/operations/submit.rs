//! Submits teardown requests and reports the result of each, for `scuttle teardown` and `scuttle
//! retry`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use scuttle_schemas::OperationId;
use scuttle_schemas::operations::{OperationRecord, OperationState, ShardOutcome, explain_error};
use scuttle_schemas::teardown::TeardownAccepted;

use super::wait::{Awaited, wait_for_operations};
use crate::client::client_error::ClientError;
use crate::client::nats_client::Client;
use crate::client::teardown::{
    Target, TeardownOptions, format_host, format_target, request_teardown,
};
use crate::clock;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::json_types::{Rejection, Teardown, Teardowns};
use crate::output::message::{print_error, print_line};
use crate::output::operation::format_counts;
use crate::output::progress::Progress;
use crate::output::style::{self, Tone, format_duration, format_relative};
use crate::output::table::{Cell, Column, Table};

/// Submits all teardowns concurrently, waits for them to end if `options.wait` is set, and writes
/// the results. If any request or operation fails, returns a failure with the most serious exit
/// code.
pub(crate) async fn submit_teardowns(
    client: &Client,
    format: Format,
    targets: &[Target],
    options: &TeardownOptions,
) -> Result<(), Failure> {
    let requests = targets.iter().map(|target| async {
        let request = options.to_request(target);
        request_teardown(client, &request).await
    });
    let replies = join_all(requests).await;
    let waiting = Waiting::from_option(options.wait);
    report_replies(client, format, targets, replies, waiting).await
}

/// Whether a command waits for the end of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    No,
    /// Waits until all operations have ended, or for at most `limit`.
    UntilEnd {
        limit: Option<Duration>,
    },
}

impl Waiting {
    /// Returns the value for the option `--wait`.
    pub(super) fn from_option(wait: bool) -> Self {
        if wait {
            Self::UntilEnd { limit: None }
        } else {
            Self::No
        }
    }
}

/// Waits for the end of the accepted teardowns if `waiting` says so, and writes the results: with
/// `-o jsonl`, each line as soon as its teardown has ended. If any request or operation has failed,
/// returns a failure with the most serious exit code.
pub(super) async fn report_replies(
    client: &Client,
    format: Format,
    targets: &[Target],
    replies: Vec<Result<TeardownAccepted, ClientError>>,
    waiting: Waiting,
) -> Result<(), Failure> {
    let wait = waiting != Waiting::No;
    if !replies.is_empty() && replies.iter().all(Result::is_err) {
        return Err(combine_errors(targets, replies));
    }
    let accepted = |reply: &Result<TeardownAccepted, ClientError>| -> Option<OperationId> {
        Some(reply.as_ref().ok()?.operation_id)
    };
    let mut ids: Vec<OperationId> = replies.iter().filter_map(accepted).collect();
    ids.sort_unstable();
    ids.dedup();
    let teardowns = targets.iter().zip(replies);
    let mut teardowns: Vec<_> = teardowns
        .map(|(target, reply)| build_result(target, reply))
        .collect();
    let is_stream = wait && format == Format::Jsonl;
    for teardown in &teardowns {
        if let Some(rejection) = &teardown.refused {
            print_error(format!("{}: {}", target_of(teardown), rejection.message));
            if is_stream {
                format::write_json_line(teardown)?;
            }
        }
    }
    let mut ended = BTreeMap::new();
    if let Waiting::UntilEnd { limit } = waiting
        && !ids.is_empty()
    {
        let mut on_end = |operation: &OperationRecord| {
            for teardown in teardowns_of(&mut teardowns, operation) {
                teardown.operation = Some(operation.clone());
                if is_stream {
                    format::write_json_line(teardown)?;
                }
            }
            Ok(())
        };
        let awaited = Awaited { ids: &ids, limit };
        ended = wait_for_operations(client, awaited, &mut Progress::new(), &mut on_end).await?;
    }
    let code = worst_exit_code(teardowns.iter().map(exit_code));
    let results = Teardowns { teardowns };
    if !is_stream {
        format.write_list(&results, &results.teardowns, || {
            if wait {
                build_ended_table(&results.teardowns)
            } else {
                build_accepted_table(&results.teardowns)
            }
        })?;
    }
    if !wait && format.is_table() && !ids.is_empty() {
        eprintln!(
            "Accepted and durable. `scuttle op ID` shows the progress of an operation; --wait waits for its end."
        );
    }
    if !ids.is_empty() {
        print_line(format!(
            "{}Swarm: {}.",
            describe_hosts(targets),
            client.swarm()
        ));
    }
    if format.is_table() {
        suggest_retries(&ended);
    }
    match code {
        0 => Ok(()),
        code => Err(Failure::AlreadyReported(code)),
    }
}

/// Returns the names and ids of the hosts whose name differs from their id. The table shows names
/// only.
fn describe_hosts(targets: &[Target]) -> String {
    let differ = |target: &&Target| target.host_name.as_str() != target.host_uuid.as_str();
    let hosts: BTreeSet<_> = targets
        .iter()
        .filter(differ)
        .map(|target| format_host(&target.host_name, &target.host_uuid))
        .collect();
    let hosts: Vec<_> = hosts.into_iter().collect();
    match hosts.len() {
        0 => String::new(),
        1 => format!("Host: {}. ", hosts[0]),
        _ => format!("Hosts: {}. ", hosts.join(", ")),
    }
}

/// For each operation that failed or timed out, prints the command that retries its remaining
/// deckies.
fn suggest_retries(ended: &BTreeMap<OperationId, OperationRecord>) {
    for (id, operation) in ended {
        if matches!(
            operation.state,
            OperationState::Failed | OperationState::TimedOut
        ) {
            eprintln!("`scuttle retry {id}` retries the deckies that are left.");
        }
    }
}

/// Builds the failure of a command whose requests all failed.
///
/// If all targets have the same error, returns that error. Otherwise, prints one error per target,
/// and returns the most serious exit code.
fn combine_errors(
    targets: &[Target],
    replies: Vec<Result<TeardownAccepted, ClientError>>,
) -> Failure {
    let mut errors: Vec<ClientError> = replies.into_iter().filter_map(Result::err).collect();
    let first = errors.first().map(ToString::to_string);
    if errors.iter().all(|error| Some(error.to_string()) == first)
        && let Some(error) = errors.pop()
    {
        return error.into();
    }
    let codes = targets.iter().zip(errors).map(|(target, error)| {
        let failure = Failure::from(error);
        print_error(format!("{target}: {failure}"));
        failure.exit_code()
    });
    Failure::AlreadyReported(worst_exit_code(codes))
}

/// Returns the teardowns that were accepted as this operation.
fn teardowns_of<'t>(
    teardowns: &'t mut [Teardown],
    operation: &OperationRecord,
) -> impl Iterator<Item = &'t mut Teardown> {
    let id = operation.operation_id;
    teardowns.iter_mut().filter(move |teardown| {
        let accepted = teardown.accepted.as_ref();
        accepted.is_some_and(|accepted| accepted.operation_id == id)
    })
}

/// Builds the result of a teardown that has not ended yet.
fn build_result(target: &Target, reply: Result<TeardownAccepted, ClientError>) -> Teardown {
    let (accepted, refused) = match reply {
        Ok(accepted) => (Some(accepted), None),
        Err(error) => (None, Some(Rejection::from(&error.into()))),
    };
    Teardown {
        host_uuid: target.host_uuid.clone(),
        host_name: target.host_name.clone(),
        decky_id: target.decky_id.clone(),
        accepted,
        refused,
        operation: None,
    }
}

/// Returns the most serious of several exit codes, which becomes the exit code of the command.
fn worst_exit_code(codes: impl Iterator<Item = u8>) -> u8 {
    let by_severity = [0, 5, 1, 3, 4, 6];
    let severity = |code: &u8| by_severity.iter().position(|known| known == code);
    codes
        .max_by_key(|code| severity(code).unwrap_or(by_severity.len()))
        .unwrap_or(0)
}

/// Returns the exit code that the command would have with this teardown alone.
fn exit_code(teardown: &Teardown) -> u8 {
    if let Some(rejection) = &teardown.refused {
        return rejection.exit_code;
    }
    match &teardown.operation {
        None => 0,
        Some(operation) => match requested_decky_outcome(teardown, operation) {
            // The operation covers the whole host, but only one decky was requested. The outcome of
            // the other deckies does not matter here.
            Some(ShardOutcome::Removed | ShardOutcome::Absent) => 0,
            _ => match operation.state {
                OperationState::Succeeded => 0,
                OperationState::TimedOut => 5,
                _ => 1,
            },
        },
    }
}

/// Returns the outcome of the requested decky if the operation covers the whole host. Returns
/// `None` if the whole host was requested, or if the operation covers only one decky or lacks the
/// outcome.
fn requested_decky_outcome(
    teardown: &Teardown,
    operation: &OperationRecord,
) -> Option<ShardOutcome> {
    let decky = teardown.decky_id.as_ref()?;
    if operation.decky_id.is_some() {
        return None;
    }
    let mut shards = operation.shards.iter().flatten();
    Some(shards.find(|shard| shard.decky_id == *decky)?.outcome)
}

fn target_of(teardown: &Teardown) -> String {
    format_target(&teardown.host_name, teardown.decky_id.as_ref())
}

/// Builds the table of accepted and rejected teardowns, printed without `--wait`.
fn build_accepted_table(teardowns: &[Teardown]) -> Table {
    let mut table = Table::new(&[
        Column::name("TARGET"),
        Column::new("RESULT"),
        Column::uncut("OPERATION"),
        Column::new("DECKIES"),
        Column::new("DEADLINE"),
    ]);
    let now = clock::now();
    for teardown in teardowns {
        let target = Cell::from(target_of(teardown));
        match &teardown.accepted {
            Some(accepted) => table.add_row([
                target,
                Cell::styled(Tone::Success, &format!("✓ {}", accepted.detail)),
                accepted.operation_id.to_string().into(),
                accepted.shards.to_string().into(),
                format_relative(accepted.deadline, now).into(),
            ]),
            None => table.add_row([
                target,
                Cell::styled(Tone::Error, "✗ rejected"),
                Cell::default(),
                Cell::default(),
                Cell::default(),
            ]),
        }
    }
    table
}

/// Builds the table of ended and rejected teardowns, with their failed deckies, printed with
/// `--wait`.
fn build_ended_table(teardowns: &[Teardown]) -> Table {
    let mut table = Table::new(&[
        Column::name("TARGET"),
        Column::new("RESULT"),
        Column::new("DECKIES"),
        Column::new("DURATION"),
        Column::wrapped("ERROR"),
    ]);
    for teardown in teardowns {
        let Some(operation) = &teardown.operation else {
            let mut row: [Cell; 5] = Default::default();
            row[0] = target_of(teardown).into();
            row[1] = Cell::styled(Tone::Error, "✗ rejected");
            table.add_row(row);
            continue;
        };
        let finished = operation.finished_at.unwrap_or(operation.deadline);
        let label = match requested_decky_outcome(teardown, operation) {
            Some(outcome) => style::outcome_label(outcome),
            None => style::operation_label(operation.state),
        };
        let error = operation.error.as_ref().map_or("", |error| error.as_str());
        table.add_row([
            target_of(teardown).into(),
            label.into(),
            format_counts(operation).into(),
            format_duration(finished.millis_since(operation.accepted_at)).into(),
            Cell::styled(Tone::Error, &explain_error(error)),
        ]);
        let failed = operation.shards.iter().flatten();
        let failed = failed.filter(|shard| shard.outcome == ShardOutcome::Failed);
        for shard in failed.filter(|_| teardown.decky_id.is_none()) {
            let error = shard.error.as_ref().map_or("", |error| error.as_str());
            let mut row: [Cell; 5] = Default::default();
            row[0] = format!("  {}", shard.decky_id).into();
            row[1] = style::outcome_label(shard.outcome).into();
            row[4] = Cell::styled(Tone::Error, &explain_error(error));
            table.add_row(row);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::worst_exit_code;

    #[test]
    fn the_most_serious_exit_code_wins() {
        let worst = |codes: &[u8]| worst_exit_code(codes.iter().copied());
        assert_eq!(worst(&[0, 0]), 0);
        assert_eq!(worst(&[0, 5]), 5);
        assert_eq!(worst(&[1, 5, 0]), 1);
        assert_eq!(worst(&[1, 3]), 3);
        assert_eq!(worst(&[3, 4, 1]), 4);
    }
}
