//! `flood`: how operators and other agents are served while one agent publishes as fast as it can,
//! compared with how they are served without a flood, in the same run.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use scuttle_tests::faults::flood::{Flood, Shape, Speed};
use scuttle_tests::teardown_load::{HOSTS, Served, Service};
use scuttle_tests::{Controller, Swarm};

use crate::arguments::FloodArgs;

/// Measures and prints: first without a flood, then with each kind of flood, then without again.
pub(crate) async fn run(args: &FloodArgs) -> Result<ExitCode> {
    let mut swarm = Swarm::start().await?;
    let flooder = swarm.host("flooder").await?;
    let mut service = Service::start(&swarm).await?;
    println!(
        "{HOSTS} hosts with heartbeats each second, 8 operators at work; one agent floods over {} connection(s), {} s each\n",
        args.connections,
        args.seconds.as_secs_f64()
    );
    println!(
        "flood                 sent/s   accepted in p50     p99   gone in p50     p99  teardowns  unserved  offline  unheard  memory"
    );
    let shapes = Shape::ALL.into_iter().map(Some);
    for shape in std::iter::once(None).chain(shapes).chain([None]) {
        let flood = shape
            .map(|shape| {
                let how = (Speed::Full, args.connections.into());
                Flood::start(&swarm.nats, &flooder, shape, how)
            })
            .transpose()?;
        let served = service.measure(args.seconds).await?;
        let rate = flood.map_or(Ok(0.0), Flood::stop)?;
        print_row(shape, rate, &served, swarm.controller.process().memory()?);
    }
    print_warnings(&mut swarm.controller);
    service.process().quiet = true;
    Ok(ExitCode::SUCCESS)
}

fn print_row(shape: Option<Shape>, rate: f64, served: &Served, memory: usize) {
    let millis = |sorted: &[Duration], percent| {
        let value = Served::quantile(sorted, percent).map(|time| time.as_secs_f64() * 1e3);
        value.map_or("never".into(), |millis| format!("{millis:.1}ms"))
    };
    println!(
        "{:<20} {rate:>7.0} {:>17} {:>7} {:>13} {:>7} {:>10} {:>9} {:>8} {:>8} {:>4} MiB",
        shape.map_or("none", Shape::name),
        millis(&served.accepts, 50),
        millis(&served.accepts, 99),
        millis(&served.teardowns, 50),
        millis(&served.teardowns, 99),
        served.teardowns.len(),
        served.unserved,
        served.offline.len(),
        served.unheard,
        memory / 1024
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
