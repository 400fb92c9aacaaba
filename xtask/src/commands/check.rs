//! `cargo xtask check [FILTER]`: the quick checks to run while editing.
//!
//! These checks need no NATS server and start none of Scuttle's programs. The other checks are in
//! `cargo xtask test`.

use std::ffi::OsString;
use std::time::Instant;

use crate::run::Failure;
use crate::step::{self, Step, Summary};
use crate::steps::rust;
use crate::workspace::Workspace;

const STEPS: [Step; 3] = [
    Step {
        name: "format",
        run: rust::check_format,
    },
    Step {
        name: "tidy",
        run: rust::check_tidy,
    },
    Step {
        name: "lint",
        run: rust::lint,
    },
];

/// Runs the steps in order and then the unit tests, up to the first failure.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    let filter = match arguments {
        [] => String::new(),
        [filter] if !filter.to_string_lossy().starts_with('-') => {
            filter.to_string_lossy().into_owned()
        }
        _ => {
            return Err(Failure::usage(
                "`check` takes at most one argument: a part of a test's name",
            ));
        }
    };
    let start = Instant::now();
    let mut summary = Summary::default();
    let result = step::run_in_order(workspace, &STEPS, &mut summary).and_then(|()| {
        step::run_one(workspace, "unit tests", &mut summary, |workspace| {
            rust::test_units(workspace, &filter)
        })
    });
    step::print_summary(start, summary);
    result
}
