//! `scuttle`: an administrator's command. It makes the bus (`init`), lets hosts and people in (`enroll`, `user add`) and out
//! (`decommission`, `user remove`). Each verb has a file in `verbs/`; only the choice of the verb lives here.
//!
//! What it finds out goes to standard output, what it says about its work to standard error.

mod accounts;
mod ask;
mod directory;
mod failure;
mod files;
mod issued;
mod jwt;
mod revoke;
mod roles;
mod server_conf;
mod verbs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Makes Scuttle's bus, and lets hosts and people in and out.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 no answer in time, 6 no controller.
#[derive(Debug, Parser)]
#[command(name = "scuttle", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Init(verbs::init::Init),
    Enroll(verbs::enroll::Enroll),
    Decommission(verbs::decommission::Decommission),
    User(verbs::user::User),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Init(verb) => verb.run(),
        Verb::Enroll(verb) => verb.run().await,
        Verb::Decommission(verb) => verb.run().await,
        Verb::User(verb) => verb.run().await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("scuttle: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
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
        ] {
            let words = ["scuttle"].iter().chain(wrong);
            assert!(Arguments::try_parse_from(words).is_err(), "{wrong:?}");
        }
    }
}
