//! The completions that a shell offers: the hosts, deckies and operations of the live swarm, and
//! the names of states.
//!
//! If the server is slow or a request fails, no completions are offered, because a shell has no
//! place to show an error.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::time::Duration;

use clap::{Command, Parser};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::{ShardState, ShardsListRequest};
use scuttle_settings::layers::parse_from;

use crate::client::connection::ConnectionArgs;
use crate::client::lists::{self, OperationsFilter};
use crate::client::nats_client::Client;
use crate::output::operation::format_operation_target;
use crate::output::style;

/// The environment variable that a shell sets to request completions.
pub(crate) const COMPLETION_VARIABLE: &str = "SCUTTLE_COMPLETE";

/// The maximum time to collect completions, after which none are offered. Users do not wait much
/// longer after they press Tab.
const COMPLETION_TIMEOUT: Duration = Duration::from_millis(800);

/// The maximum number of operations that are offered as completions. The newest are offered.
const MAX_OPERATIONS: usize = 50;

/// Prints completions if a shell has requested them. Returns whether it has, in which case the
/// program should exit.
pub(crate) fn complete_for_shell(command: fn() -> Command) -> Result<bool, clap::Error> {
    let directory = std::env::current_dir().ok();
    CompleteEnv::with_factory(command)
        .var(COMPLETION_VARIABLE)
        .try_complete(std::env::args_os(), directory.as_deref())
}

/// Returns a completer for the names of all hosts, including decommissioned ones.
pub(crate) fn complete_all_hosts() -> ArgValueCompleter {
    complete_hosts_if(|_| true)
}

/// Returns a completer for the names of the hosts that are not decommissioned.
pub(crate) fn complete_hosts() -> ArgValueCompleter {
    complete_hosts_if(|status| status != HostStatus::Decommissioned)
}

fn complete_hosts_if(is_offered: fn(HostStatus) -> bool) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let hosts = query(async |client| Some(lists::list_hosts(&client).await.ok()?.hosts));
        let hosts = hosts.into_iter().flatten();
        let offered = hosts.filter(|host| is_offered(host.status)).map(|host| {
            let help = format!(
                "{}, {}",
                style::host_label(host.status).word,
                style::format_decky_count(host.shards)
            );
            (host.name.to_string(), help)
        });
        filter_candidates(typed, offered)
    })
}

/// Returns a completer for the ids of deckies. If the command line names a host, only the deckies
/// of that host are offered.
pub(crate) fn complete_deckies() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let shards = query(async |client| {
            let hosts = lists::list_hosts(&client).await.ok()?.hosts;
            let mut words = words_to_complete().into_iter();
            let host = words.find_map(|word| lists::find_host(&hosts, &word).ok());
            let request = ShardsListRequest {
                host_uuid: host.map(|host| host.host_uuid.clone()),
                ..ShardsListRequest::default()
            };
            Some(lists::list_shards(&client, request).await.ok()?.shards)
        });
        // A decky that is being torn down needs no other request.
        let mut shards = shards.unwrap_or_default();
        shards.retain(|shard| shard.state != ShardState::TearingDown);
        let offered = shards.into_iter().map(|shard| {
            let state = style::shard_label(shard.state).word;
            let help = format!("{}, {state}", shard.host_name);
            (shard.decky_id.to_string(), help)
        });
        filter_candidates(typed, offered)
    })
}

/// Returns a completer for the ids of the newest operations in the states that `is_offered`
/// selects.
pub(crate) fn complete_operations(is_offered: fn(OperationState) -> bool) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let operations = query(async |client| {
            let filter = OperationsFilter::default();
            let list = lists::list_operations(&client, &filter, MAX_OPERATIONS).await;
            Some(list.ok()?.operations)
        });
        let mut operations = operations.unwrap_or_default();
        operations.retain(|operation| is_offered(operation.state));
        let offered = operations.into_iter().map(|operation| {
            let help = format!(
                "{}, {}",
                format_operation_target(&operation),
                style::operation_label(operation.state).word
            );
            (operation.operation_id.to_string(), help)
        });
        filter_candidates(typed, offered)
    })
}

/// Returns a completer for the states of shards.
pub(crate) fn complete_shard_states() -> ArgValueCompleter {
    complete_words(&[
        "pending",
        "running",
        "degraded",
        "failed",
        "tearing_down",
        "teardown_failed",
    ])
}

/// Returns a completer for the states of operations.
pub(crate) fn complete_operation_states() -> ArgValueCompleter {
    complete_words(&[
        "queued",
        "running",
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
        "open",
    ])
}

fn complete_words(words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let offered = words.iter().map(|word| ((*word).to_owned(), String::new()));
        filter_candidates(typed, offered)
    })
}

/// Returns the offered words that start with the typed text, without duplicates. Each offered word
/// comes with a help text, which may be empty.
fn filter_candidates(
    typed: &OsStr,
    offered: impl Iterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let mut seen = BTreeSet::new();
    offered
        .filter(|(word, _)| word.starts_with(&*typed) && seen.insert(word.clone()))
        .map(|(word, help)| {
            CompletionCandidate::new(word).help((!help.is_empty()).then(|| help.into()))
        })
        .collect()
}

/// Connects with the flags on the command line, and runs one query. Returns `None` if anything
/// fails, or after [`COMPLETION_TIMEOUT`].
fn query<T>(run: impl AsyncFnOnce(Client) -> Option<T>) -> Option<T> {
    let args = parse_connection_args(words_to_complete())?;
    let mut connection = args.resolve().ok()?;
    // A shell shows what is printed to standard error in the middle of the command line.
    connection.ignored_context = None;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let result = async { run(Client::connect(&connection).await.ok()?).await };
    let limited = async { tokio::time::timeout(COMPLETION_TIMEOUT, result).await };
    runtime.block_on(limited).ok()?
}

/// Returns the words of the command line that is being completed.
fn words_to_complete() -> Vec<String> {
    let words = std::env::args().skip_while(|word| word != "--");
    words.skip(1).collect()
}

/// Parses only the connection flags, because the rest of the command line is still incomplete.
fn parse_connection_args(line: Vec<String>) -> Option<ConnectionArgs> {
    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        nats: ConnectionArgs,
    }
    let mut words = vec!["scuttle".to_owned()];
    let mut line = line.into_iter();
    while let Some(word) = line.next() {
        let prefixes = ["--nats-", "--tls-", "--creds", "--context"];
        if prefixes.iter().any(|prefix| word.starts_with(prefix)) {
            let has_value = word.contains('=');
            words.push(word);
            words.extend((!has_value).then(|| line.next()).flatten());
        }
    }
    let words = words.into_iter().map(OsString::from);
    let flags: Flags = parse_from(words, |name| std::env::var_os(name)).ok()?;
    Some(flags.nats)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use scuttle_nats::Credentials;

    use super::{filter_candidates, parse_connection_args};

    #[test]
    fn connection_flags_are_read_from_an_incomplete_command_line() {
        let line = [
            "scuttle",
            "teardown",
            "--nats-url",
            "nats://a:1",
            "--creds=c",
            "--decky",
            "",
        ];
        let args = parse_connection_args(line.map(str::to_owned).into()).expect("valid flags");
        let config = args.resolve().expect("a connection").config;
        assert_eq!(config.url, "nats://a:1");
        assert_eq!(config.credentials, Credentials::File("c".into()));
    }

    #[test]
    fn candidates_start_with_the_typed_text_and_have_no_duplicates() {
        let offered = ["worker-a", "worker-b", "other", "worker-a"];
        let offered = offered.map(|word| (word.to_owned(), "help".to_owned()));
        let found = filter_candidates(OsStr::new("work"), offered.into_iter());
        let found: Vec<_> = found
            .iter()
            .map(|candidate| candidate.get_value().to_owned())
            .collect();
        assert_eq!(found, ["worker-a", "worker-b"]);
    }
}
