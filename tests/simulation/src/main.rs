//! `scuttle-simulation [--seeds N] [--from S] [--seed S [--all]]`: many seeds on all cores, or one with its
//! transcript. `cargo xtask sim` builds and starts it.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use scuttle_simulation::{Broken, Counts, run};

// A quarter of a seed's time went to allocating.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many lines of a transcript are shown, unless all are wanted.
const SHOWN: usize = 200;

struct Arguments {
    seeds: u64,
    from: u64,
    seed: Option<u64>,
    all: bool,
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("scuttle-simulation: {wrong}");
            return ExitCode::from(2);
        }
    };
    // What panics is caught, and told with its transcript.
    std::panic::set_hook(Box::new(|_| {}));
    match arguments.seed {
        Some(seed) => one(seed, arguments.all),
        None => many(&arguments),
    }
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seeds: 2_000,
        from: 0,
        seed: None,
        all: false,
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let mut number = || {
            let value = given.next().ok_or(format!("{name} needs a number"))?;
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
                    "no argument {other}; there are --seeds, --from, --seed and --all"
                ));
            }
        }
    }
    Ok(arguments)
}

/// Runs one seed and shows what happened.
fn one(seed: u64, all: bool) -> ExitCode {
    let outcome = run(seed, true);
    let lines = &outcome.transcript;
    let first = if all {
        0
    } else {
        lines.len().saturating_sub(SHOWN)
    };
    if first > 0 {
        println!("({first} lines before these: --seed {seed} --all shows them)");
    }
    for line in &lines[first..] {
        println!("{line}");
    }
    if let Some(broken) = outcome.broken {
        println!("\nseed {seed}: {broken}");
        return ExitCode::FAILURE;
    }
    println!("\nseed {seed}: no invariant broken");
    ExitCode::SUCCESS
}

/// What many seeds came to.
#[derive(Default)]
struct Total {
    counts: Counts,
    seeds: u64,
    broken: Option<(u64, Broken)>,
}

/// Runs seeds on all cores until one breaks an invariant.
fn many(arguments: &Arguments) -> ExitCode {
    let began = Instant::now();
    let (next, end) = (
        AtomicU64::new(arguments.from),
        arguments.from + arguments.seeds,
    );
    let total: Mutex<Total> = Mutex::default();
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
                    let mut total = total
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    total.counts.add(&outcome.counts);
                    total.seeds += 1;
                    if let Some(broken) = outcome.broken
                        && (total.broken.as_ref()).is_none_or(|(first, _)| seed < *first)
                    {
                        stop.store(seed, Ordering::Relaxed);
                        total.broken = Some((seed, broken));
                    }
                }
            });
        }
    });
    let Total {
        counts,
        seeds,
        broken,
    } = total.into_inner().unwrap_or_default();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{seeds} seeds, {} steps, {} crashes, {} power losses, {} take-overs, {} messages sent, {} lost, {} operations accepted, \
         {} deckies removed, {} violations; {:.0} seeds/s on {cores} cores",
        counts.steps,
        counts.crashes,
        counts.power_losses,
        counts.takeovers,
        counts.sent,
        counts.dropped,
        counts.accepted,
        counts.removed,
        u64::from(broken.is_some()),
        seeds as f64 / seconds,
    );
    match broken {
        None => ExitCode::SUCCESS,
        Some((seed, broken)) => {
            println!("seed {seed}: {broken}\n");
            one(seed, arguments.all)
        }
    }
}
