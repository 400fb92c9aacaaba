//! `scuttle-simulation [--seeds N] [--from S] [--seed S [--all]]` runs many seeds on all cores, or
//! one seed with its transcript. `cargo xtask sim` builds and starts it.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use scuttle_simulation::oracle::violation::Violation;
use scuttle_simulation::run;
use scuttle_simulation::state::counts::Counts;

// The system allocator took a quarter of a run's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of transcript lines that are printed without `--all`.
const MAX_LINES_SHOWN: usize = 200;

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    all: bool,
}

fn main() -> ExitCode {
    let arguments = match parse_arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("scuttle-simulation: {error}");
            return ExitCode::from(2);
        }
    };
    // A panic is caught and reported together with the transcript.
    std::panic::set_hook(Box::new(|_| {}));
    match arguments.seed {
        Some(seed) => run_one(seed, arguments.all),
        None => run_many(&arguments),
    }
}

fn parse_arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 2_000,
        from: 0,
        seed: None,
        all: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let mut number = || {
            let value = args.next().ok_or(format!("{name} needs a number"))?;
            let parsed = value.replace('_', "").parse();
            parsed.map_err(|_| format!("{name} needs a number, not {value}"))
        };
        match name.as_str() {
            "--seeds" => arguments.seeds = number()?,
            "--from" => arguments.from = number()?,
            "--seed" => arguments.seed = Some(number()?),
            "--all" => arguments.all = true,
            other => {
                return Err(format!(
                    "unknown argument {other}; the arguments are --seeds, --from, --seed and --all"
                ));
            }
        }
    }
    Ok(arguments)
}

/// Runs one seed and prints its transcript: the last `MAX_LINES_SHOWN` lines, or all lines.
fn run_one(seed: u64, all: bool) -> ExitCode {
    let outcome = run(seed, true);
    let lines = &outcome.transcript;
    let first = if all {
        0
    } else {
        lines.len().saturating_sub(MAX_LINES_SHOWN)
    };
    if first > 0 {
        println!("({first} earlier lines are not shown; --seed {seed} --all shows them)");
    }
    for line in &lines[first..] {
        println!("{line}");
    }
    if let Some(violation) = outcome.violation {
        println!("\nseed {seed}: {violation}");
        return ExitCode::FAILURE;
    }
    println!("\nseed {seed}: no invariant violated");
    ExitCode::SUCCESS
}

/// The sums of the counts of many seeds, and the lowest seed that violated an invariant.
#[derive(Default)]
struct Totals {
    counts: Counts,
    seeds: u64,
    violation: Option<(u64, Violation)>,
}

/// Runs the seeds on all cores. If one violates an invariant, starts no higher seed, and prints the
/// transcript of the lowest seed that violated one.
fn run_many(arguments: &Arguments) -> ExitCode {
    let started_at = Instant::now();
    let (next, end) = (
        AtomicU64::new(arguments.from),
        arguments.from + arguments.seeds,
    );
    let totals: Mutex<Totals> = Mutex::default();
    let stop = AtomicU64::new(u64::MAX);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || seed > stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let outcome = run(seed, false);
                    let mut totals = totals
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    totals.counts.add(&outcome.counts);
                    totals.seeds += 1;
                    if let Some(violation) = outcome.violation
                        && (totals.violation.as_ref()).is_none_or(|(first, _)| seed < *first)
                    {
                        stop.store(seed, Ordering::Relaxed);
                        totals.violation = Some((seed, violation));
                    }
                }
            });
        }
    });
    let Totals {
        counts,
        seeds,
        violation,
    } = totals.into_inner().unwrap_or_default();
    let seconds = started_at.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds, {} steps, {} crashes, {} power losses, {} takeovers, {} messages sent, {} lost, {} operations accepted, \
         {} deckies removed, {} violations; {:.0} seeds/s on {cores} cores",
        counts.steps,
        counts.crashes,
        counts.power_losses,
        counts.takeovers,
        counts.sent,
        counts.dropped,
        counts.accepted,
        counts.removed,
        u64::from(violation.is_some()),
        seeds as f64 / seconds,
    );
    match violation {
        None => ExitCode::SUCCESS,
        Some((seed, violation)) => {
            println!("seed {seed}: {violation}\n");
            run_one(seed, arguments.all)
        }
    }
}
