//! What a shell offers when the tab key is pressed: hosts, deckies and operations of the living swarm. Whatever goes wrong, and
//! whatever takes long, offers nothing: a shell has no place for an error.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;

use clap::Parser;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::CompleteEnv;
use scuttle_schemas::operations::OperationsListRequest;
use scuttle_schemas::shards::ShardsListRequest;

use crate::ask::Bus;
use crate::connect::Connect;
use crate::verbs::ops::target;
use crate::{lists, look};

/// The variable by which a shell asks.
pub(crate) const VARIABLE: &str = "SCUTTLE_COMPLETE";

/// As long as a person waits for a key to do something.
const PATIENCE: Duration = Duration::from_millis(800);

/// How many operations are offered: the newest.
const OPERATIONS: usize = 50;

/// Answers a shell, if it is one that asks.
///
/// # Errors
/// It asks for something that is not known.
pub(crate) fn answer_the_shell() -> Result<bool, clap::Error> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(crate::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), folder.as_deref())
}

/// Hosts, by name.
pub(crate) fn hosts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let all = ask(async |bus| Some(lists::hosts(&bus).await.ok()?.hosts));
        let offered = all.into_iter().flatten().map(|host| {
            let help = format!(
                "{}, {}",
                look::host(host.status).word,
                look::deckies(host.shards)
            );
            (host.name.to_string(), help)
        });
        matching(typed, offered)
    })
}

/// Deckies: those of the host that is named on the line, if one is.
pub(crate) fn deckies() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let all = ask(async |bus| {
            let hosts = lists::hosts(&bus).await.ok()?.hosts;
            let mut words = line().into_iter();
            let host = words.find_map(|word| lists::find(&hosts, &word).ok());
            let request = ShardsListRequest {
                host_uuid: host.map(|host| host.host_uuid.clone()),
                ..ShardsListRequest::default()
            };
            Some(lists::shards(&bus, request).await.ok()?.shards)
        });
        let offered = all.into_iter().flatten().map(|shard| {
            let help = format!("{}, {}", shard.host_name, look::shard(shard.state).word);
            (shard.decky_id.to_string(), help)
        });
        matching(typed, offered)
    })
}

/// The newest operations, by id.
pub(crate) fn operations() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let all = ask(async |bus| {
            let request = OperationsListRequest::default();
            let list = lists::operations(&bus, request, OPERATIONS).await.ok()?;
            Some(list.operations)
        });
        let offered = all.into_iter().flatten().map(|operation| {
            let help = format!(
                "{}, {}",
                target(&operation),
                look::operation(operation.state).word
            );
            (operation.operation_id.to_string(), help)
        });
        matching(typed, offered)
    })
}

/// A shard's states.
pub(crate) fn shard_states() -> ArgValueCompleter {
    words(&[
        "pending",
        "running",
        "degraded",
        "failed",
        "tearing_down",
        "teardown_failed",
    ])
}

/// An operation's states.
pub(crate) fn operation_states() -> ArgValueCompleter {
    words(&[
        "queued",
        "running",
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
    ])
}

fn words(all: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        matching(
            typed,
            all.iter().map(|word| ((*word).to_owned(), String::new())),
        )
    })
}

/// What begins with what was typed, each once.
fn matching(
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

/// Asks the swarm that the line's flags lead to.
fn ask<T>(question: impl AsyncFnOnce(Bus) -> Option<T>) -> Option<T> {
    let connection = flags(line())?.connection().ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let asked = async { question(Bus::connect(&connection).await.ok()?).await };
    let answered = async { tokio::time::timeout(PATIENCE, asked).await };
    runtime.block_on(answered).ok()?
}

/// The line that the shell wants completed.
fn line() -> Vec<String> {
    let words = std::env::args().skip_while(|word| word != "--");
    words.skip(1).collect()
}

/// The flags of the line that say where the server is. The line is not whole yet, so nothing else of it is read.
fn flags(line: Vec<String>) -> Option<Connect> {
    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        nats: Connect,
    }
    let mut words = vec!["scuttle".to_owned()];
    let mut line = line.into_iter();
    while let Some(word) = line.next() {
        let ours = ["--nats-", "--tls-", "--creds", "--context"];
        if ours.iter().any(|flag| word.starts_with(flag)) {
            let whole = word.contains('=');
            words.push(word);
            words.extend((!whole).then(|| line.next()).flatten());
        }
    }
    Some(Flags::try_parse_from(words).ok()?.nats)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use scuttle_nats::Credentials;

    use super::{flags, matching};

    #[test]
    fn a_line_that_is_not_whole_says_where_the_server_is() {
        let line = [
            "scuttle",
            "teardown",
            "--nats-url",
            "nats://a:1",
            "--creds=c",
            "--decky",
            "",
        ];
        let connect = flags(line.map(str::to_owned).into()).expect("flags");
        let access = connect.connection().expect("a connection").access;
        assert_eq!(access.url, "nats://a:1");
        assert_eq!(access.credentials, Credentials::File("c".into()));
    }

    #[test]
    fn what_begins_as_typed_is_offered_once() {
        let offered = ["worker-a", "worker-b", "other", "worker-a"];
        let offered = offered.map(|word| (word.to_owned(), "help".to_owned()));
        let found = matching(OsStr::new("work"), offered.into_iter());
        let found: Vec<_> = found.iter().map(|one| one.get_value().to_owned()).collect();
        assert_eq!(found, ["worker-a", "worker-b"]);
    }
}
