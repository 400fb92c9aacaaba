//! `scuttle doctor`: checks everything between this command and a working swarm, and changes
//! nothing.

mod accounts;
mod agents;
mod checks;
mod durability;
mod findings;
mod journal;
mod record;

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use scuttle_schemas::escape_hidden;
use tokio::time::timeout;

use self::findings::Findings;
use crate::client::connection::ConnectionArgs;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::json_types::{Diagnosis, FindingStatus};
use crate::output::style::{Colors, StateLabel, Tone};

/// The maximum time for all checks together.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Diagnose the connection, the server, the login, the controller and the clocks.
///
/// Checks the server and its version, the login and its permissions, the controllers, their record
/// and journal, the accounts, the agents, the clocks, and how durably the servers store data.
/// Prints what to do about each problem. Changes nothing. Takes at most 10 s.
///
/// Exit codes: 0 no check failed, 4 the login is rejected or lacks a permission, 6 no controller
/// answers, 1 any other failure.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle doctor
  scuttle doctor --context lab
  scuttle doctor -o json | jq '.checks[] | select(.status != \"ok\")'")]
pub(crate) struct Doctor {
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Doctor {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let mut findings = Findings::new(format);
        match self.nats.resolve() {
            Ok(connection) => {
                let found = format!("{} (from {})", connection.config.url, connection.source);
                findings.ok("connection", found);
                let checking = checks::run_checks(&connection, &mut findings);
                if timeout(TOTAL_TIMEOUT, checking).await.is_err() {
                    findings.give_up(TOTAL_TIMEOUT);
                }
            }
            Err(error) => {
                findings.fail(
                    "connection",
                    1,
                    error.to_string(),
                    "correct the context, or give --nats-url and a login",
                );
                findings.skip(
                    &[
                        "server",
                        "version",
                        "login",
                        "authentication",
                        "permissions",
                        "controller",
                        "record",
                        "journal",
                        "accounts",
                        "durability",
                        "clock",
                    ],
                    "the address of the server is unknown",
                );
            }
        }
        findings.clear_line();
        let diagnosis = Diagnosis {
            healthy: findings.code == 0,
            checks: findings.checks,
        };
        match format {
            Format::Jsonl => diagnosis
                .checks
                .iter()
                .try_for_each(format::write_json_line)?,
            _ => format.write_one(&diagnosis, || render(&diagnosis))?,
        }
        match findings.code {
            0 => Ok(()),
            code => Err(Failure::AlreadyReported(code)),
        }
    }
}

fn render(diagnosis: &Diagnosis) -> String {
    let colors = Colors::stdout();
    let mut text = String::new();
    for check in &diagnosis.checks {
        let label = match check.status {
            FindingStatus::Ok => StateLabel::new("✓", "ok", Tone::Success),
            FindingStatus::Warning => StateLabel::new("!", "warning", Tone::Warning),
            FindingStatus::Failed => StateLabel::new("✗", "failed", Tone::Error),
            FindingStatus::Skipped => StateLabel::new("–", "skipped", Tone::Dim),
        };
        let status = format!("{} {:<7}", label.symbol, label.word);
        let status = colors.apply(label.tone, &status);
        let found = escape_hidden(&check.found);
        let _ = writeln!(text, "{status}  {:<14}  {found}", check.check);
        if let Some(to_do) = &check.to_do {
            let _ = writeln!(text, "{:27}→ {}", "", escape_hidden(to_do));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Diagnosis, FindingStatus, render};
    use crate::output::json_types::Finding;

    #[test]
    fn the_findings_and_the_next_steps_of_all_checks_are_aligned() {
        let finding = |check, to_do: Option<&str>| Finding {
            check,
            status: FindingStatus::Warning,
            found: "FOUND".to_owned(),
            to_do: to_do.map(str::to_owned),
        };
        let text = render(&Diagnosis {
            healthy: true,
            checks: vec![
                finding("authentication", None),
                finding("clock", Some("DO")),
            ],
        });
        let columns: Vec<_> = text
            .lines()
            .map(|line| line.chars().position(|letter| "F→".contains(letter)))
            .collect();
        assert_eq!(columns, [Some(27); 3], "{text}");
    }
}
