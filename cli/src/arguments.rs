//! The command line: the global `--output` flag, the subcommands, and the dispatch to each
//! subcommand's code. The flags of a subcommand are defined in its file in `commands/`.

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::admin::{decommission, enroll, host, init, user};
use crate::commands::operations::{cancel, protect, retry, teardown, wait_command};
use crate::commands::shell::{completions, man};
use crate::commands::show::{hosts, op, ops, shards, version};
use crate::commands::{doctor, events, evidence, watch};
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::local_time;

/// Tear down deckies (decoy containers) on a swarm of hosts, and follow every teardown to its end.
///
/// Exit codes: 0 success, 1 failed, 2 wrong usage, 3 not found, 4 rejected, 5 timed out, 6 no
/// controller or no server.
#[derive(Debug, Parser)]
#[command(
    name = "scuttle",
    version,
    after_help = "Examples:
  scuttle hosts
  scuttle teardown worker-a --decky decky-03 --wait
  scuttle watch

Standard output has only data: a table, or JSON with -o json or -o jsonl. Everything else goes to standard error."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Output format.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table"
    )]
    output: Format,
    /// Show times in UTC instead of the local time zone. JSON always has UTC.
    #[arg(long, global = true)]
    utc: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Teardown(teardown::Teardown),
    Shards(shards::Shards),
    Hosts(hosts::Hosts),
    Ops(ops::Ops),
    Op(op::Op),
    Cancel(cancel::Cancel),
    Retry(retry::Retry),
    Protect(protect::Protect),
    Unprotect(protect::Unprotect),
    Wait(wait_command::Wait),
    Watch(watch::Watch),
    Events(events::Events),
    Doctor(doctor::Doctor),
    Version(version::Version),
    Evidence(evidence::Evidence),
    Init(init::Init),
    Enroll(enroll::Enroll),
    Host(host::Host),
    Decommission(decommission::Decommission),
    User(user::User),
    Completions(completions::Completions),
    Man(man::Man),
}

impl Arguments {
    /// Runs the subcommand, and writes its result in the chosen format.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let format = self.output;
        if self.utc {
            local_time::use_utc();
        }
        match self.verb {
            Verb::Teardown(verb) => verb.run(format).await,
            Verb::Shards(verb) => verb.run(format).await,
            Verb::Hosts(verb) => verb.run(format).await,
            Verb::Ops(verb) => verb.run(format).await,
            Verb::Op(verb) => verb.run(format).await,
            Verb::Cancel(verb) => verb.run(format).await,
            Verb::Retry(verb) => verb.run(format).await,
            Verb::Protect(verb) => verb.run(format).await,
            Verb::Unprotect(verb) => verb.run(format).await,
            Verb::Wait(verb) => verb.run(format).await,
            Verb::Watch(verb) => verb.run(format).await,
            Verb::Events(verb) => verb.run(format).await,
            Verb::Doctor(verb) => verb.run(format).await,
            Verb::Version(verb) => verb.run(format).await,
            Verb::Evidence(verb) => verb.run(format),
            Verb::Init(verb) => verb.run(format),
            Verb::Enroll(verb) => verb.run(format).await,
            Verb::Host(verb) => verb.run(format).await,
            Verb::Decommission(verb) => verb.run(format).await,
            Verb::User(verb) => verb.run(format).await,
            Verb::Completions(verb) => verb.run(format),
            Verb::Man(verb) => verb.run(format, Self::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn clap_accepts_valid_command_lines_and_rejects_invalid_ones() {
        Arguments::command().debug_assert();
        for valid in [
            &["init"] as &[&str],
            &["enroll", "worker-a", "--label", "rack=3"],
            &[
                "host", "set", "worker-a", "--label", "rack=4", "--name", "b",
            ],
            &["host", "set", "worker-a", "--address", "", "--reset-agent"],
            &["decommission", "worker-a", "--force", "--yes"],
            &["user", "add", "alice", "--role", "operator"],
            &["user", "remove", "alice", "--force"],
            &["user", "list"],
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
            &["protect", "worker-a", "--decky", "a", "--reason", "r"],
            &["unprotect", "worker-a"],
            &["evidence", "list", "--dir", "d", "--verify"],
        ] {
            let words = ["scuttle"].iter().chain(valid);
            assert!(Arguments::try_parse_from(words).is_ok(), "{valid:?}");
        }
        for invalid in [
            &["enroll", "a b"] as &[&str],
            &["enroll", "worker-a", "--label", "rack"],
            &["enroll", "worker-a", "--host-uuid", "a.b"],
            &["host", "set", "worker-a"],
            &["host", "set", "worker-a", "--name", "a b"],
            &["user", "add", "alice"],
            &["user", "add", "alice", "--role", "agent"],
            &["init", "--server-cert", "c"],
            &["init", "--client-ca", "c"],
            &["teardown"],
            &["teardown", "worker-a", "--timeout", "600"],
            &["teardown", "worker-a", "--dry-run", "--wait"],
            &["shards", "--state", "gone"],
            &["op", "worker-a"],
            &["protect"],
            &["protect", "worker-a", "--decky", "a b"],
            &[
                "retry",
                "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11",
                "--host",
                "worker-a",
            ],
            &["evidence"],
            &["hosts", "-o", "yaml"],
        ] {
            let words = ["scuttle"].iter().chain(invalid);
            assert!(Arguments::try_parse_from(words).is_err(), "{invalid:?}");
        }
    }
}
