//! Runs other programs, and describes how a command failed.

use std::fmt;
use std::io::{self, Write};
use std::process::{Command, ExitCode, ExitStatus};

/// The reason why a command ended early: the failed action, its object, and advice.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 1,
        }
    }

    /// Returns a failure for arguments that the command does not take.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: 2,
        }
    }

    /// Adds a line with advice on the failure.
    pub(crate) fn advise(mut self, advice: &str) -> Self {
        self.message.push('\n');
        self.message.push_str(advice);
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Runs `command` with this process's terminal. If the program fails, the failure has its exit
/// code. `what` completes the message "could not …".
pub(crate) fn run(what: &str, command: &mut Command) -> Result<(), Failure> {
    let status = command
        .status()
        .map_err(|error| cannot_start(what, command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure {
        message: format!("could not {what}: {} ended with {status}", show(command)),
        code: code(status),
    })
}

/// Runs `command` without showing its output, and returns its standard output. If the program
/// fails, the failure contains its whole output. `what` completes the message "could not …".
pub(crate) fn capture(what: &str, command: &mut Command) -> Result<String, Failure> {
    let output = command
        .output()
        .map_err(|error| cannot_start(what, command, &error))?;
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    printed.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(Failure {
        message: format!(
            "could not {what}: {} ended with {}\n{}",
            show(command),
            output.status,
            printed.trim_end()
        ),
        code: code(output.status),
    })
}

/// Prints a text. Ignores a closed pipe, because the reader may stop early.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn cannot_start(what: &str, command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!(
        "could not {what}: cannot start {}: {error}",
        show(command)
    ))
}

/// Returns the command line in backticks. Arguments are not quoted.
fn show(command: &Command) -> String {
    let mut shown = format!("`{}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        shown.push(' ');
        shown.push_str(&argument.to_string_lossy());
    }
    shown.push('`');
    shown
}

/// Returns the exit code, or 1 for a program that was ended by a signal.
fn code(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}
