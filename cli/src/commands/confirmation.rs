//! Asks the operator to confirm an action that cannot be undone.

use std::io::{self, BufRead, IsTerminal, Write};

use scuttle_schemas::escape_hidden;

use crate::failure::Failure;

/// Checks that the operator can be asked.
///
/// # Errors
/// If standard input is not a terminal. `action` completes `cannot ask whether to …`, and
/// `alternative` says what to do instead.
pub(super) fn require_terminal(action: &str, alternative: &str) -> Result<(), Failure> {
    if io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "cannot ask whether to {action}: standard input is not a terminal; {alternative}"
    )))
}

/// Asks a question, and returns whether the answer is yes.
pub(super) async fn confirm(question: &str) -> Result<bool, Failure> {
    eprint!("{} [y/N] ", escape_hidden(question));
    io::stderr().flush().map_err(Failure::Terminal)?;
    let answer = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(io::Error::from);
    let answer = answer.flatten().map_err(Failure::Terminal)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
