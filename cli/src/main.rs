//! `scuttle`: the command of operators and administrators. It shows the swarm (`shards`, `hosts`, `ops`, `op`, `watch`), tears
//! down (`teardown`, `cancel`, `retry`), makes the bus (`init`) and lets hosts and people in (`enroll`, `user add`) and out
//! (`decommission`, `user remove`). Each verb has a file in `verbs/`; only the choice of the verb lives here.
//!
//! What it finds out goes to standard output, what it says about its work to standard error.

mod accounts;
mod ask;
mod complete;
mod connect;
mod directory;
#[cfg(test)]
mod documents;
mod failure;
mod files;
mod follow;
mod issued;
mod jwt;
mod lists;
mod live;
mod look;
mod mirror;
mod output;
mod outputs;
mod progress;
mod request;
mod revoke;
mod roles;
mod server_conf;
mod table;
mod verbs;
mod words;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use failure::Failure;
use output::Format;

/// Takes down what runs on a swarm of hosts, and never loses track of it.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 timed out, 6 no controller.
#[derive(Debug, Parser)]
#[command(
    name = "scuttle",
    version,
    after_help = "Examples:
  scuttle hosts
  scuttle teardown worker-a --decky decky-03 --wait
  scuttle watch

Standard output has data only: a table for people, JSON with -o json or -o jsonl. All else goes to standard error."
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// How the result is written.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Teardown(verbs::teardown::Teardown),
    Shards(verbs::shards::Shards),
    Hosts(verbs::hosts::Hosts),
    Ops(verbs::ops::Ops),
    Op(verbs::op::Op),
    Cancel(verbs::cancel::Cancel),
    Retry(verbs::retry::Retry),
    Watch(verbs::watch::Watch),
    Doctor(verbs::doctor::Doctor),
    Init(verbs::init::Init),
    Enroll(verbs::enroll::Enroll),
    Decommission(verbs::decommission::Decommission),
    User(verbs::user::User),
    Completions(verbs::completions::Completions),
    Man(verbs::man::Man),
}

fn main() -> ExitCode {
    match complete::answer_the_shell() {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => {
            eprintln!("scuttle: {error}");
            return ExitCode::from(1);
        }
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::Terminal(error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has had enough of it.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::Told(_)) {
                eprintln!("scuttle: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let format = arguments.output;
    match arguments.verb {
        Verb::Teardown(verb) => verb.run(format).await,
        Verb::Shards(verb) => verb.run(format).await,
        Verb::Hosts(verb) => verb.run(format).await,
        Verb::Ops(verb) => verb.run(format).await,
        Verb::Op(verb) => verb.run(format).await,
        Verb::Cancel(verb) => verb.run(format).await,
        Verb::Retry(verb) => verb.run(format).await,
        Verb::Watch(verb) => verb.run(format).await,
        Verb::Doctor(verb) => verb.run(format).await,
        Verb::Init(verb) => verb.run(format),
        Verb::Enroll(verb) => verb.run(format).await,
        Verb::Decommission(verb) => verb.run(format).await,
        Verb::User(verb) => verb.run(format).await,
        Verb::Completions(verb) => verb.run(format),
        Verb::Man(verb) => verb.run(format),
    }
}

/// The whole command line, as data.
fn command() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent_and_checked() {
        Arguments::command().debug_assert();
        for right in [
            &["init"] as &[&str],
            &["enroll", "worker-a", "--label", "rack=3"],
            &["decommission", "worker-a", "--force"],
            &["user", "add", "alice", "--role", "operator"],
            &["user", "remove", "alice"],
            &[
                "teardown", "worker-a", "--decky", "a", "--decky", "b", "--wait",
            ],
            &[
                "teardown",
                "worker-a",
                "--yes",
                "--timeout",
                "90s",
                "-o",
                "json",
            ],
            &[
                "shards",
                "worker-a",
                "--state",
                "teardown_failed",
                "--creds",
                "f",
            ],
            &["retry", "--host", "worker-a", "-o", "jsonl"],
        ] {
            let words = ["scuttle"].iter().chain(right);
            assert!(Arguments::try_parse_from(words).is_ok(), "{right:?}");
        }
        for wrong in [
            &["enroll", "a b"] as &[&str],
            &["enroll", "worker-a", "--label", "rack"],
            &["enroll", "worker-a", "--host-uuid", "a.b"],
            &["user", "add", "alice"],
            &["user", "add", "alice", "--role", "agent"],
            &["init", "--server-cert", "c"],
            &["init", "--client-ca", "c"],
            &["teardown"],
            &["teardown", "worker-a", "--timeout", "600"],
            &["teardown", "worker-a", "--dry-run", "--wait"],
            &["shards", "--state", "gone"],
            &["op", "worker-a"],
            &["retry"],
            &[
                "retry",
                "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11",
                "--host",
                "worker-a",
            ],
            &["hosts", "-o", "yaml"],
        ] {
            let words = ["scuttle"].iter().chain(wrong);
            assert!(Arguments::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }
}
