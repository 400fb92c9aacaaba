//! `scuttle-demo`, which `cargo xtask demo` becomes: real teardowns over a real NATS server, for people who watch.
//!
//! `stage` starts and stops the processes, `acts` is the play, `show` asks and tells, `view` follows the broadcasts,
//! `summary` counts and checks at the end, `keep` stays up, `terminal` prints.

mod keep_running;
mod operator;
mod processes;
mod record_view;
mod scenario;
mod summary;
mod terminal;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use scuttle_tests::programs::shutdown::{self, StopRequests};

use crate::operator::Operator;
use crate::processes::Processes;
use crate::terminal::{Terminal, Unread};

/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Tears down deckies and whole hosts of a simulated swarm, and prints what happens.
///
/// It starts a nats-server, a controller and the simulated hosts, and stops them again, whatever happens.
#[derive(Debug, Parser)]
#[command(name = "scuttle-demo", version)]
struct Args {
    /// Stay up afterwards, say how to connect, and print what happens until Ctrl-C: as always on a terminal.
    #[arg(long)]
    keep: bool,
    /// How many simulated hosts.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(scenario::HOSTS as i64..=1000))]
    hosts: u32,
    /// How many deckies on each.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    deckies_per_host: u32,
    /// Decides what the simulated hosts do: how long it takes, what fails, which agent crashes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// In the process group of the children.
    #[arg(long, hide = true)]
    inside: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = if args.inside {
        Box::pin(inside(&args)).await
    } else {
        shutdown::run_inner_program().await
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is::<Unread>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            terminal::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn inside(args: &Args) -> Result<ExitCode> {
    let mut stop = StopRequests::listen()?;
    let terminal = Terminal::new();
    let start = Box::pin(Processes::start(args, &terminal));
    let Some(mut processes) = stop.run_until_stopped(start).await? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let played = play(args, &mut processes, &terminal, &mut stop).await;
    if played.as_ref().is_err_and(|error| !error.is::<Unread>()) {
        processes.keep_files();
    }
    match stop.run_until_stopped(processes.stop()).await {
        Ok(Some(())) => terminal.stopped("simulated hosts, controller, nats-server")?,
        Ok(None) => terminal::complain("all killed, without waiting for their end"),
        Err(error) => terminal::complain(&format!("while stopping: {error:#}")),
    }
    played
}

async fn play(
    args: &Args,
    processes: &mut Processes,
    terminal: &Terminal,
    stop: &mut StopRequests,
) -> Result<ExitCode> {
    let Some(mut operator) = stop
        .run_until_stopped(Operator::open(processes, terminal))
        .await?
    else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let all = async {
        scenario::play(&mut operator).await?;
        summary::print(&mut operator).await
    };
    if stop.run_until_stopped(all).await?.is_none() {
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
