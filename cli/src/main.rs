//! The `scuttle` command for operators and administrators.
//!
//! This file runs one command from start to exit code. The command line is defined in `arguments`,
//! and each subcommand has a file or folder in `commands/`. Results go to standard output.
//! Progress, questions and errors go to standard error.

mod admin;
mod arguments;
mod client;
mod clock;
mod commands;
mod failure;
#[cfg(test)]
mod generated_docs;
mod output;
mod parse;
mod tui;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::CommandFactory;

use arguments::Arguments;
use commands::shell::candidates;
use failure::Failure;
use output::message::print_error;

fn main() -> ExitCode {
    match candidates::complete_for_shell(Arguments::command) {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => {}
        Err(error) => {
            print_error(error);
            return ExitCode::from(1);
        }
    }
    let arguments: Arguments = scuttle_settings::parse_or_exit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(arguments.run()),
        Err(error) => Err(Failure::Terminal(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output, such as `head`, has closed the pipe.
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            if !matches!(failure, Failure::AlreadyReported(_)) {
                print_error(&failure);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
