//! The count of the hostile messages whose effect the tests of one run have checked.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// Adds the checks of one test, and prints them with the total so far. The last line of a run has
/// the total of the run.
///
/// # Errors
/// If standard output cannot be written.
pub fn report_hostile_checks(test: &str, checks: usize) -> io::Result<()> {
    let total = TOTAL.fetch_add(checks, Ordering::Relaxed) + checks;
    let line = format!("{test}: {checks} hostile checks, {total} in this run so far\n");
    // Written directly, because the test runner hides the output of `println!` from tests that
    // pass.
    io::stdout().write_all(line.as_bytes())
}
