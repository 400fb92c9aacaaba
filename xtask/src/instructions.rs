//! How many instructions a step of the core takes, counted by callgrind, beside the figures that are checked in: a figure
//! that does not depend on the machine's mood. `cargo xtask bench instructions --renew` writes them anew.
//!
//! What is counted is in bench/steps/. It is run with two numbers of steps, and the difference is theirs alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::apt;
use crate::run::{self, Failure};
use crate::test::Outcome;
use crate::workspace::Workspace;

const PACKAGE: &str = "scuttle-steps";
/// What is counted.
const KINDS: [&str; 3] = ["accept", "heartbeat", "result"];
/// The two numbers of steps.
const STEPS: [u64; 2] = [2_000, 4_000];
/// How far a count may be from its figure, in percent.
const TOLERANCE: u64 = 5;
const FIGURES: &str = "bench/steps/instructions.txt";
const ADVICE: &str = "look at what has changed (callgrind_annotate shows where instructions go); if it is meant, or came with another compiler, run \
     `cargo xtask bench instructions --renew` and check the file in";

/// Counts, and compares.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Failure> {
    if !apt::is_there("valgrind") {
        println!("valgrind is not installed: on Debian, `apt-get install valgrind` gets it");
        return Ok(Outcome::Skipped);
    }
    let path = workspace.root.join(FIGURES);
    let figures = read(&path)?;
    let mut far = Vec::new();
    for (kind, counted) in count_all(workspace)? {
        let Some(figure) = figures.get(kind) else {
            let missing = format!("{FIGURES} has no figure for {kind}");
            return Err(Failure::new(missing).advise(ADVICE));
        };
        println!("{kind:<10} {counted:>7} instructions a step; checked in: {figure}");
        if counted.abs_diff(*figure) * 100 > figure * TOLERANCE {
            far.push(kind);
        }
    }
    if far.is_empty() {
        return Ok(Outcome::Passed);
    }
    let far = far.join(", ");
    let failure = format!("{far}: more than {TOLERANCE} % from what is checked in");
    Err(Failure::new(failure).advise(ADVICE))
}

/// Counts, and writes the figures anew.
pub(crate) fn renew(workspace: &Workspace) -> Result<(), Failure> {
    let rustc = run::quietly(
        "ask for the compiler's version",
        Command::new("rustc").arg("-V"),
    )?;
    let mut lines = vec![
        "# Instructions a step of the core takes, counted by callgrind: `cargo xtask bench instructions --renew`".to_owned(),
        format!("# {}", rustc.trim_end()),
    ];
    for (kind, counted) in count_all(workspace)? {
        println!("{kind:<10} {counted:>7} instructions a step");
        lines.push(format!("{kind} {counted}"));
    }
    let text = lines.join("\n") + "\n";
    fs::write(workspace.root.join(FIGURES), text)
        .map_err(|error| Failure::new(format!("cannot write {FIGURES}: {error}")))
}

/// Each kind with its instructions a step.
fn count_all(workspace: &Workspace) -> Result<Vec<(&'static str, u64)>, Failure> {
    let program = build(workspace)?;
    let mut all = Vec::new();
    for kind in KINDS {
        let [few, many] = STEPS;
        let more = count(&program, kind, many)?.saturating_sub(count(&program, kind, few)?);
        all.push((kind, more / (many - few)));
    }
    Ok(all)
}

fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "build",
        "--profile",
        "instructions",
        "--locked",
        "-p",
        PACKAGE,
    ]);
    run::run("build what is counted", &mut cargo)?;
    Ok(workspace.target.join("instructions").join(PACKAGE))
}

/// All instructions of one run.
fn count(program: &Path, kind: &str, steps: u64) -> Result<u64, Failure> {
    let mut valgrind = Command::new("valgrind");
    // To standard output; the profile itself is not needed.
    valgrind.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--log-fd=1",
    ]);
    valgrind.arg(program).args([kind, &steps.to_string()]);
    let printed = run::quietly(&format!("count the instructions of {kind}"), &mut valgrind)?;
    let collected = printed.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected : ")?;
        count.trim().parse().ok()
    });
    collected.ok_or_else(|| {
        Failure::new(format!(
            "callgrind did not say what it collected:\n{printed}"
        ))
    })
}

/// A line for each kind; one that begins with `#` is a remark.
fn read(path: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let figures = lines.map(|line| {
        let (kind, count) = line.split_once(' ')?;
        Some((kind.to_owned(), count.parse().ok()?))
    });
    figures
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::new(format!("{}: not `KIND COUNT` a line", path.display())))
}
