//! The generator's process. It reads the spec of a load, sends the requests and prints the outcome,
//! and repeats this until its input ends.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::ConnectOptions;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::load::cpu_time;
use crate::load::outcome::LoadOutcome;
use crate::load::schedule::{self, Recorder};
use crate::load::sender::Sender;
use crate::load::spec::LoadSpec;

/// The maximum time to wait for the last replies after the end of a load. If a reply takes longer,
/// the measurement fails.
const LAST_REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs each load whose spec arrives on standard input, and prints the outcome. [`Generator`]
/// starts the process that calls this function.
///
/// [`Generator`]: crate::load::driver::Generator
pub(crate) async fn serve() -> Result<ExitCode> {
    let mut specs = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = specs.next_line().await? {
        let spec = serde_json::from_str(&line)?;
        let outcome = run(spec).await.map_err(|error| format!("{error:#}"));
        println!("{}", serde_json::to_string(&outcome)?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(spec: LoadSpec) -> Result<LoadOutcome> {
    let options = match &spec.login {
        Some((user, password)) => {
            ConnectOptions::with_user_and_password(user.clone(), password.clone())
        }
        None => ConnectOptions::new(),
    };
    let client = options.connect(&spec.url).await?;
    let sender = Sender::prepare(&spec, &client).await?;
    let watched: Vec<u32> = std::iter::once(std::process::id())
        .chain(spec.watch.iter().copied())
        .collect();
    let read_cpu = || -> Result<Vec<f64>> {
        let all = watched.iter().map(|process| cpu_time::of_process(*process));
        all.map(|time| Ok(time?.as_secs_f64())).collect()
    };
    let before = read_cpu()?;
    let time = Duration::from_millis(spec.millis);
    let work = schedule::run(&sender, spec.pace, Recorder::begin(time));
    let recorder = tokio::time::timeout(time + LAST_REPLY_TIMEOUT, work)
        .await
        .context("a reply is missing")??;
    let cpu = read_cpu()?.into_iter().zip(before);
    let cpu = cpu.map(|(after, before)| after - before).collect();
    if recorder.replies == 0 {
        bail!("no reply within {time:?}");
    }
    Ok(recorder.into_outcome(cpu))
}
