//! Counts the instructions of a step of the core with callgrind, and compares the counts with the
//! recorded counts. Unlike a time, a count does not depend on the load of the machine. `cargo xtask
//! bench instructions --renew` records the counts of this machine.
//!
//! The program is in bench/steps/. It runs twice with different numbers of steps. The difference
//! between the two counts comes from the additional steps, not from the program's start.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::tools::apt;
use crate::workspace::Workspace;

const PACKAGE: &str = "scuttle-steps";
/// The kinds of steps.
const KINDS: [&str; 3] = ["accept", "heartbeat", "result"];
/// The number of steps in each of the two runs.
const STEP_COUNTS: [u64; 2] = [2_000, 4_000];
/// The maximum difference between a count and the recorded count, in percent.
const TOLERANCE_PERCENT: u64 = 5;
const RECORDED: &str = "bench/steps/instructions.txt";
const ADVICE: &str = "find out what has changed (callgrind_annotate shows which functions take how many instructions); if \
     the change is intended, or comes from another compiler, run `cargo xtask bench instructions --renew` \
     and commit the file";

/// Counts the instructions and compares them with the recorded counts.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Failure> {
    if !apt::is_installed("valgrind") {
        println!("valgrind is not installed: on Debian, `apt-get install valgrind` installs it");
        return Ok(Outcome::Skipped);
    }
    let path = workspace.root.join(RECORDED);
    let recorded = read(&path)?;
    let mut far = Vec::new();
    for (kind, counted) in count_all(workspace)? {
        let Some(count) = recorded.get(kind) else {
            let missing = format!("{RECORDED} has no count for {kind}");
            return Err(Failure::new(missing).advise(ADVICE));
        };
        println!("{kind:<10} {counted:>7} instructions per step; recorded: {count}");
        if counted.abs_diff(*count) * 100 > count * TOLERANCE_PERCENT {
            far.push(kind);
        }
    }
    if far.is_empty() {
        return Ok(Outcome::Passed);
    }
    let far = far.join(", ");
    let failure = format!("{far}: more than {TOLERANCE_PERCENT} % away from the recorded count");
    Err(Failure::new(failure).advise(ADVICE))
}

/// Counts the instructions and records the counts.
pub(crate) fn renew(workspace: &Workspace) -> Result<(), Failure> {
    let rustc = run::capture(
        "find out the compiler's version",
        Command::new("rustc").arg("-V"),
    )?;
    let mut lines = vec![
        "# Instructions per step of the core, counted by callgrind: `cargo xtask bench instructions --renew`".to_owned(),
        format!("# {}", rustc.trim_end()),
    ];
    for (kind, counted) in count_all(workspace)? {
        println!("{kind:<10} {counted:>7} instructions per step");
        lines.push(format!("{kind} {counted}"));
    }
    let text = lines.join("\n") + "\n";
    fs::write(workspace.root.join(RECORDED), text)
        .map_err(|error| Failure::new(format!("cannot write {RECORDED}: {error}")))
}

/// Returns the instructions per step for each kind.
fn count_all(workspace: &Workspace) -> Result<Vec<(&'static str, u64)>, Failure> {
    let program = build(workspace)?;
    let mut all = Vec::new();
    for kind in KINDS {
        let [few, many] = STEP_COUNTS;
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
    run::run(
        "build the program whose instructions are counted",
        &mut cargo,
    )?;
    Ok(workspace.target.join("instructions").join(PACKAGE))
}

/// Returns the number of instructions in a run with `steps` steps.
fn count(program: &Path, kind: &str, steps: u64) -> Result<u64, Failure> {
    let mut valgrind = Command::new("valgrind");
    // The count goes to standard output, and the profile is not needed.
    valgrind.args([
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        "--log-fd=1",
    ]);
    valgrind.arg(program).args([kind, &steps.to_string()]);
    let printed = run::capture(&format!("count the instructions of {kind}"), &mut valgrind)?;
    let collected = printed.lines().find_map(|line| {
        let (_, count) = line.split_once("Collected : ")?;
        count.trim().parse().ok()
    });
    collected.ok_or_else(|| Failure::new(format!("callgrind did not print a count:\n{printed}")))
}

/// Reads the recorded counts: a line for each kind. A line that begins with `#` is a comment.
fn read(path: &Path) -> Result<BTreeMap<String, u64>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let recorded = lines.map(|line| {
        let (kind, count) = line.split_once(' ')?;
        Some((kind.to_owned(), count.parse().ok()?))
    });
    recorded.collect::<Option<_>>().ok_or_else(|| {
        Failure::new(format!(
            "{}: a line is not of the form `KIND COUNT`",
            path.display()
        ))
    })
}
