//! `scuttle-demo`, which `cargo xtask demo` runs. It tears down deckies over a real NATS server,
//! and shows an audience what happens.
//!
//! - `arguments` declares the command line.
//! - `processes` starts and stops the programs.
//! - `scenario` lists the steps that the operator takes.
//! - `scale` defines how many hosts each step uses.
//! - `operator` sends the requests and prints what happens.
//! - `record_view` follows the broadcasts.
//! - `summary` checks the final state and prints the totals.
//! - `keep_running` keeps the swarm running afterwards.
//! - `terminal` formats the output.

mod arguments;
mod keep_running;
mod operator;
mod processes;
mod record_view;
mod scale;
mod scenario;
mod summary;
mod terminal;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use scuttle_tests::programs::shutdown::{self, StopRequests};

use crate::arguments::Args;
use crate::operator::Operator;
use crate::processes::Processes;
use crate::terminal::{OutputClosed, Terminal};

/// The exit code after Ctrl-C, or after standard output was closed.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.inside {
        Box::pin(run_inside(&args)).await
    } else {
        shutdown::run_inner_program().await
    };
    match result {
        Ok(code) => code,
        Err(error) if error.is::<OutputClosed>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            terminal::print_error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run_inside(args: &Args) -> Result<ExitCode> {
    let mut stop = StopRequests::listen()?;
    let terminal = Terminal::new();
    let starting = Box::pin(Processes::start(args, &terminal));
    let Some(mut processes) = stop.run_until_stopped(starting).await? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let result = run_scenario(args, &mut processes, &terminal, &mut stop).await;
    if result
        .as_ref()
        .is_err_and(|error| !error.is::<OutputClosed>())
    {
        processes.keep_files();
    }
    match stop.run_until_stopped(processes.stop()).await {
        Ok(Some(())) => terminal.stopped("simulated hosts, controller, nats-server")?,
        Ok(None) => terminal::print_error("killed all processes without waiting for them to exit"),
        Err(error) => terminal::print_error(&format!("cannot stop all processes: {error:#}")),
    }
    result
}

async fn run_scenario(
    args: &Args,
    processes: &mut Processes,
    terminal: &Terminal,
    stop: &mut StopRequests,
) -> Result<ExitCode> {
    let opening = Operator::open(processes, terminal);
    let Some(mut operator) = stop.run_until_stopped(opening).await? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let steps = async {
        scenario::run(&mut operator).await?;
        summary::check_and_print(&mut operator).await
    };
    if stop.run_until_stopped(steps).await?.is_none() {
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if args.keep || io::stdout().is_terminal() {
        stop.run_until_stopped(keep_running::keep_running(&mut operator))
            .await?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
