//! The results of the checks, collected in order.

use crate::output::json_types::{Finding, FindingStatus};

/// The results of the finished checks, and the exit code of the first failed check (0 if none has
/// failed).
#[derive(Default)]
pub(super) struct Findings {
    pub(super) checks: Vec<Finding>,
    pub(super) code: u8,
}

impl Findings {
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
