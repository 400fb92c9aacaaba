//! The results of the checks, collected in order.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::output::format::Format;
use crate::output::json_types::{Finding, FindingStatus};

/// The results of the finished checks, and the exit code of the first failed check (0 if none has
/// failed).
pub(super) struct Findings {
    pub(super) checks: Vec<Finding>,
    pub(super) code: u8,
    /// The check that is running, and what it waits for.
    running: Option<(&'static str, &'static str)>,
    /// Whether a line on the terminal shows what the running check waits for.
    shows_progress: bool,
}

impl Findings {
    /// Creates an empty list for a command with this output format.
    pub(super) fn new(format: Format) -> Self {
        Self {
            checks: Vec::new(),
            code: 0,
            running: None,
            shows_progress: format.is_table() && io::stderr().is_terminal(),
        }
    }

    /// Records that `check` waits for `what`, and shows it on a terminal.
    pub(super) fn wait_for(&mut self, check: &'static str, what: &'static str) {
        self.running = Some((check, what));
        if self.shows_progress {
            self.clear_line();
            eprint!("{check}: waiting for {what}");
            let _ = io::stderr().flush();
        }
    }

    /// Adds a failure of the running check. Called when all checks together have taken longer than
    /// `timeout`.
    pub(super) fn give_up(&mut self, timeout: Duration) {
        if let Some((check, what)) = self.running.take() {
            self.fail(
                check,
                1,
                format!("still waiting for {what} after {} s", timeout.as_secs()),
                "run the command again; later checks did not run",
            );
        }
    }

    /// Removes the line that shows what the running check waits for.
    pub(super) fn clear_line(&self) {
        if self.shows_progress {
            eprint!("\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }

    pub(super) fn ok(&mut self, check: &'static str, found: impl Into<String>) {
        self.push(check, FindingStatus::Ok, found.into(), None);
    }

    pub(super) fn warn(&mut self, check: &'static str, found: impl Into<String>, to_do: &str) {
        self.push(check, FindingStatus::Warning, found.into(), Some(to_do));
    }

    pub(super) fn fail(
        &mut self,
        check: &'static str,
        code: u8,
        found: impl Into<String>,
        to_do: &str,
    ) {
        if self.code == 0 {
            self.code = code;
        }
        self.push(check, FindingStatus::Failed, found.into(), Some(to_do));
    }

    pub(super) fn skip(&mut self, checks: &[&'static str], reason: &str) {
        for check in checks {
            self.push(check, FindingStatus::Skipped, reason.to_owned(), None);
        }
    }

    fn push(
        &mut self,
        check: &'static str,
        status: FindingStatus,
        found: String,
        to_do: Option<&str>,
    ) {
        self.checks.push(Finding {
            check,
            status,
            found,
            to_do: to_do.map(str::to_owned),
        });
    }
}
