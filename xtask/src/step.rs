//! Runs the steps of a command in order, and reports the outcome of each.
//!
//! The steps are in steps/. The commands, each with its list of steps, are in commands/.

use std::time::{Duration, Instant};

use crate::run::Failure;
use crate::workspace::Workspace;

/// The outcome of a step that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Skipped,
}

pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Workspace) -> Result<Outcome, Failure>,
}

/// The number of steps with each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Summary {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Returns the line that ends the output of every command with steps. CI reads this line.
    pub(crate) fn to_line(self) -> String {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        format!("steps: {passed} passed, {failed} failed, {skipped} skipped")
    }

    /// Parses a line from [`Self::to_line`]. Returns `None` for any other line.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let counts = line.strip_prefix("steps: ")?;
        let mut counts = counts.split(", ").zip(["passed", "failed", "skipped"]);
        let mut next = || {
            let (count, name) = counts.next()?;
            count.strip_suffix(name)?.trim().parse().ok()
        };
        Some(Self {
            passed: next()?,
            failed: next()?,
            skipped: next()?,
        })
    }
}

/// Runs the steps in order, up to the first failure. Adds the outcome of each step to `summary`.
pub(crate) fn run_in_order<'a>(
    workspace: &Workspace,
    steps: impl IntoIterator<Item = &'a Step>,
    summary: &mut Summary,
) -> Result<(), Failure> {
    for step in steps {
        run_one(workspace, step.name, summary, step.run)?;
    }
    Ok(())
}

/// Runs one step, prints its outcome and duration, and adds the outcome to `summary`.
pub(crate) fn run_one(
    workspace: &Workspace,
    name: &str,
    summary: &mut Summary,
    run: impl FnOnce(&Workspace) -> Result<Outcome, Failure>,
) -> Result<(), Failure> {
    println!("── {name}");
    let start = Instant::now();
    let outcome = run(workspace);
    let took = show_seconds(start.elapsed());
    match outcome {
        Ok(Outcome::Passed) => {
            summary.passed += 1;
            println!("── {name}: passed in {took}");
        }
        Ok(Outcome::Skipped) => {
            summary.skipped += 1;
            println!("── {name}: skipped");
        }
        Err(failure) => {
            summary.failed += 1;
            println!("── {name}: failed after {took}");
            return Err(failure);
        }
    }
    Ok(())
}

/// Runs the steps in order, up to the first failure, and prints the summary.
pub(crate) fn run_all<'a>(
    workspace: &Workspace,
    steps: impl IntoIterator<Item = &'a Step>,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut summary = Summary::default();
    let result = run_in_order(workspace, steps, &mut summary);
    print_summary(start, summary);
    result
}

pub(crate) fn print_summary(start: Instant, summary: Summary) {
    println!(
        "── all steps together took {}",
        show_seconds(start.elapsed())
    );
    println!("{}", summary.to_line());
}

fn show_seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_as_it_is_printed() {
        let summary = Summary {
            passed: 11,
            failed: 0,
            skipped: 2,
        };
        assert_eq!(summary.to_line(), "steps: 11 passed, 0 failed, 2 skipped");
        assert_eq!(Summary::from_line(&summary.to_line()), Some(summary));
        assert_eq!(Summary::from_line("steps: 11 passed"), None);
        assert_eq!(Summary::from_line("── tests"), None);
    }
}
