//! `cargo xtask test`: runs the checks of CI. Without arguments, it runs all checks except those
//! that need root and a dockerd (`--docker`) and those that need Node and a browser (`--web`). To
//! run only some of the default steps, give their names.
//!
//! The steps are in steps/.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use crate::run::{self, Failure};
use crate::step::{self, Step, Summary};
use crate::steps::{alerts, chaos, dependencies, docker, instructions, rust, simulation, web};
use crate::workspace::Workspace;

/// The steps that run first and alone. Quick steps come before slow steps.
const FIRST: [Step; 6] = [
    Step {
        name: "tools",
        run: rust::find_tools,
    },
    Step {
        name: "tidy",
        run: rust::check_tidy,
    },
    Step {
        name: "format",
        run: rust::check_format,
    },
    Step {
        name: "alerts",
        run: alerts::check,
    },
    Step {
        name: "lint",
        run: rust::lint,
    },
    Step {
        name: "build",
        run: rust::build,
    },
];

/// The steps that start programs and spend most of their time waiting for them.
const FOREGROUND: [Step; 3] = [
    Step {
        name: "tests",
        run: rust::test,
    },
    Step {
        name: "chaos",
        run: chaos::test_single_server,
    },
    Step {
        name: "chaos-cluster",
        run: chaos::test_cluster,
    },
];

/// The steps that run at the same time as [`FOREGROUND`], at the lowest priority. They mostly
/// compute. They have separate build folders, so that no step waits for another step's lock.
const BACKGROUND: [Step; 3] = [
    Step {
        name: "simulation",
        run: simulation::test,
    },
    Step {
        name: "instructions",
        run: instructions::check,
    },
    Step {
        name: "dependencies",
        run: dependencies::check,
    },
];

const DOCKER: [Step; 3] = [
    Step {
        name: "docker tools",
        run: docker::find_tools,
    },
    Step {
        name: "build",
        run: rust::build,
    },
    Step {
        name: "docker tests",
        run: docker::test,
    },
];

const WEB: [Step; 4] = [
    Step {
        name: "web tools",
        run: web::find_tools,
    },
    Step {
        name: "page",
        run: web::check,
    },
    Step {
        name: "build",
        run: rust::build,
    },
    Step {
        name: "web tests",
        run: web::test,
    },
];

/// Runs the steps that the arguments select, up to the first failure.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    match arguments {
        [] => run_all(workspace),
        [docker] if docker == "--docker" => step::run_all(workspace, &DOCKER),
        [web] if web == "--web" => step::run_all(workspace, &WEB),
        names => step::run_all(workspace, find(names)?),
    }
}

/// Returns the named steps, in the given order. Fails if one of the names is not that of a step.
fn find(names: &[OsString]) -> Result<Vec<&'static Step>, Failure> {
    let find = |name: &OsString| {
        let steps = FIRST.iter().chain(&FOREGROUND).chain(&BACKGROUND);
        let step = steps.clone().find(|step| name == step.name);
        step.ok_or_else(|| {
            let known: Vec<_> = steps.map(|step| step.name).collect();
            let (name, known) = (name.to_string_lossy(), known.join(", "));
            Failure::usage(format!(
                "`test` takes --docker, --web, or steps, and there is no step `{name}`: {known}"
            ))
        })
    };
    names.iter().map(find).collect()
}

fn run_all(workspace: &Workspace) -> Result<(), Failure> {
    let start = Instant::now();
    let mut summary = Summary::default();
    let result = step::run_in_order(workspace, &FIRST, &mut summary).and_then(|()| {
        let background = Background::start(workspace)?;
        let foreground = step::run_in_order(workspace, &FOREGROUND, &mut summary);
        // A simulation that fails is reported even if a step in the foreground has failed too.
        let others = background.finish(&mut summary);
        foreground.and(others)
    });
    step::print_summary(start, summary);
    result
}

/// The process that runs the steps of [`BACKGROUND`].
struct Background {
    child: Child,
    /// The file that collects the output of the process until it exits, so that the output is not
    /// mixed with that of other steps.
    output: PathBuf,
}

impl Background {
    fn start(workspace: &Workspace) -> Result<Self, Failure> {
        let names = BACKGROUND.map(|step| step.name);
        println!("── in the background: {}", names.join(", "));
        let output = workspace.target.join("xtask-background.log");
        let failed = |error| Failure::new(format!("cannot write {}: {error}", output.display()));
        let file = File::create(&output).map_err(failed)?;
        let errors = file.try_clone().map_err(failed)?;
        let program = env::current_exe()
            .map_err(|error| Failure::new(format!("cannot find xtask's own program: {error}")))?;
        let mut command = Command::new("nice");
        command
            .args(["-n", "19"])
            .arg(program)
            .arg("test")
            .args(names);
        command
            .current_dir(&workspace.root)
            .env("CARGO_TARGET_DIR", &workspace.target);
        command.stdout(file).stderr(errors);
        let child = command
            .spawn()
            .map_err(|error| run::cannot_start("run steps in the background", &command, &error))?;
        Ok(Self { child, output })
    }

    /// Waits for the steps, prints their output and adds their outcomes to `summary`.
    fn finish(mut self, summary: &mut Summary) -> Result<(), Failure> {
        let status = self.child.wait();
        let output = fs::read_to_string(&self.output).map_err(|error| {
            Failure::new(format!("cannot read {}: {error}", self.output.display()))
        })?;
        println!("── from the background");
        print!("{output}");
        match output.lines().rev().find_map(Summary::from_line) {
            Some(counts) => summary.add(counts),
            None => summary.failed += 1,
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            _ => Err(Failure::new(
                "a step in the background failed: its output is above",
            )),
        }
    }
}
