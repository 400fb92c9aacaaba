//! Asks the operator to confirm what a subcommand is about to do.

use std::io::{self, BufRead, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::ops::backup::Interrupt;

/// The interval at which the command checks, while it waits for an answer, whether it was
/// interrupted.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Asks a question on standard error, and returns whether the answer is `yes`. An interrupt counts
/// as no.
///
/// # Errors
/// If the question cannot be written, or the answer cannot be read.
pub(super) fn confirm(question: &str, interrupt: &Interrupt) -> io::Result<bool> {
    io::stderr().write_all(question.as_bytes())?;
    // A separate thread reads the answer, because a signal does not end the read.
    let (sender, answers) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = io::stdin().lock().read_line(&mut answer);
        sender.send(read.map(|_| answer))
    });
    while !interrupt.is_set() {
        match answers.recv_timeout(POLL_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(answer) => return answer.map(|answer| answer.trim() == "yes"),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(false)
}
