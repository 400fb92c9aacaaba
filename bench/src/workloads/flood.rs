//! `flood`: the service that operators and other agents get while one agent publishes as fast as it
//! can, compared with the service without a flood in the same run.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use scuttle_tests::faults::flood::{Flood, FloodMessage, FloodPlan, Rate};
use scuttle_tests::teardown_load::{HOSTS, LoadResult, TeardownLoad};
use scuttle_tests::{Cluster, Controller};

use crate::arguments::FloodArgs;

/// Measures and prints the results: first without a flood, then with each kind of flood, then again
/// without a flood.
pub(crate) async fn run(args: &FloodArgs) -> Result<ExitCode> {
    let mut cluster = Cluster::start().await?;
    let flooder = cluster.enroll_host("flooder").await?;
    let mut load = TeardownLoad::start(&cluster).await?;
    println!(
        "{HOSTS} hosts with heartbeats each second, 8 operators at work; one agent floods over {} connection(s), {} s each\n",
        args.connections,
        args.seconds.as_secs_f64()
    );
    println!(
        "flood                 sent/s   accepted in p50     p99   gone in p50     p99  teardowns  unserved  offline  unheard  memory"
    );
    let messages = FloodMessage::ALL.into_iter().map(Some);
    for message in std::iter::once(None).chain(messages).chain([None]) {
        let flood = message
            .map(|message| {
                let plan = FloodPlan {
                    message,
                    rate: Rate::Unlimited,
                    connections: args.connections.into(),
                };
                Flood::start(&cluster.servers[0], &flooder, plan)
            })
            .transpose()?;
        let result = load.measure(args.seconds).await?;
        let rate = flood.map_or(Ok(0.0), Flood::stop)?;
        let memory_kib = cluster.controllers[0].process().resident_kib()?;
        print_row(message, rate, &result, memory_kib);
    }
    print_warnings(&mut cluster.controllers[0]);
    load.process().quiet = true;
    Ok(ExitCode::SUCCESS)
}

fn print_row(message: Option<FloodMessage>, rate: f64, result: &LoadResult, memory_kib: usize) {
    let millis = |sorted: &[Duration], percent| {
        let value = LoadResult::percentile(sorted, percent).map(|time| time.as_secs_f64() * 1e3);
        value.map_or("never".into(), |millis| format!("{millis:.1}ms"))
    };
    println!(
        "{:<20} {rate:>7.0} {:>17} {:>7} {:>13} {:>7} {:>10} {:>9} {:>8} {:>8} {:>4} MiB",
        message.map_or("none", FloodMessage::name),
        millis(&result.accept_times, 50),
        millis(&result.accept_times, 99),
        millis(&result.teardown_times, 50),
        millis(&result.teardown_times, 99),
        result.teardown_times.len(),
        result.failed_requests,
        result.offline_hosts.len(),
        result.lost_heartbeats,
        memory_kib / 1024
    );
}

/// Prints the warnings that the controller has logged.
fn print_warnings(controller: &mut Controller) {
    let process = controller.process();
    process.quiet = true;
    println!();
    for line in process.log().lines().filter(|line| line.contains(" WARN ")) {
        println!(
            "{}",
            line.split_once("WARN ")
                .map_or(line, |(_, message)| message)
        );
    }
}
