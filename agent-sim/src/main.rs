//! `scuttle-agent-sim`: reads the command line, connects, enrols, runs the fleet until it is told to stop.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Parser;
use scuttle_agent::Link;
use scuttle_agent_sim::args::Args;
use scuttle_agent_sim::{enroll, fleet};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Thousands of agents on a few threads allocate more than the system's allocator is quick at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let traces = args.telemetry.begin("scuttle-agent", "warn,async_nats=off");
    let outcome = match &traces {
        Ok(_) => run(args).await,
        Err(error) => Err(anyhow!("{error}")),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scuttle-agent-sim: {error:#}");
            ExitCode::FAILURE
        }
    };
    // The last spans leave, or are given up.
    drop(traces);
    code
}

async fn run(args: Args) -> Result<()> {
    let (stop, stopped) = watch::channel(false);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut told = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let work = simulate(args, stopped);
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = told() => stop.send_replace(true),
    };
    // A second signal ends it at once.
    tokio::select! {
        done = &mut work => done,
        () = told() => Ok(()),
    }
}

async fn simulate(args: Args, mut stopped: watch::Receiver<bool>) -> Result<()> {
    fleet::prepare(args.data_dir.as_deref())?;
    let hosts = fleet::hosts(&args)?;
    let begin = async {
        let link = Link::connect("scuttle-agent-sim", &args.connect_config(), None).await?;
        if args.enroll {
            let access = args.operator_connect_config();
            let operator = Link::connect("scuttle-agent-sim, enrolling", &access, None).await?;
            enroll::enroll(operator.client(), &fleet::ids(&args)).await?;
        }
        anyhow::Ok(link)
    };
    let link = tokio::select! {
        link = begin => link?,
        _ = stopped.wait_for(|stop| *stop) => return Ok(()),
    };
    fleet::run(&hosts, &link, stopped.clone()).await
}
