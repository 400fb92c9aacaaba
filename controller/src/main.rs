//! `scuttle-controller`: parses the arguments and runs the service or one of the subcommands. The
//! service itself is in `app`.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use scuttle_controller::config::command::Command;
use scuttle_controller::config::options::Config;
use scuttle_controller::observability::audit::Audit;
use scuttle_controller::ops::backup::{self, Interrupt};
use scuttle_controller::{app, clock, signals};
use scuttle_schemas::escape_hidden;
use scuttle_telemetry::InstalledLog;
use tracing::{error, info, warn};

/// The global allocator. The state consists of millions of small allocations, which one thread
/// makes and other threads free. The system's allocator is slow at that.
///
/// Huge pages are disabled in the build: on a virtual machine, clearing a new huge page took a
/// millisecond, which cost a third of the throughput of accepted requests.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Command::load(std::env::args_os()) {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Backup {
            data_dir,
            file,
            force,
        }) => run_once(move |interrupt| backup::create(&data_dir, &file, force, interrupt)),
        Ok(Command::Restore { data_dir, file }) => {
            let now = clock::now();
            run_once(move |interrupt| backup::restore(&data_dir, &file, now, interrupt))
        }
        Ok(Command::RemoveLeftovers(removal)) => run_once(move |interrupt| removal.run(interrupt)),
        Ok(Command::SetReplicas(change)) => run_once(move |_| change.run()),
        Ok(Command::Recover(recovery)) => run_once(move |interrupt| recovery.run(interrupt)),
        Ok(Command::Migrate(migration)) => run_once(move |_| migration.run()),
        Err(error) => ExitCode::from(error.print()),
    }
}

fn serve(config: Config) -> ExitCode {
    let audit = match Audit::open(config.audit_log.as_deref()) {
        Ok(audit) => audit,
        Err(error) => {
            eprintln!("scuttle-controller: {error}");
            return ExitCode::from(2);
        }
    };
    // `async_nats` is off, because the controller logs the events of its connections itself, and
    // the NATS client would log each failed attempt.
    let filter = "info,async_nats=off";
    let log = scuttle_telemetry::log::install(config.log_format, config.log.as_ref(), filter);
    // A retry would not help, so the controller ends instead of waiting for the server.
    if let Err(error) = config.nats.connect_options() {
        error!("{error}");
        return ExitCode::from(2);
    }
    let endpoint = config.otlp_endpoint.as_ref();
    let traces = endpoint.map(|endpoint| {
        scuttle_telemetry::export::install_exporter("scuttle-controller", endpoint)
    });
    let traces = match traces.transpose() {
        Ok(traces) => traces,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(2);
        }
    };
    let config = Arc::new(config);
    let ended = app::start_runtime().and_then(|runtime| {
        runtime.block_on(async {
            let (config, audit) = (Arc::clone(&config), audit.clone());
            let reload = {
                let (config, audit) = (Arc::clone(&config), audit.clone());
                move || reload(&config, &audit, &log)
            };
            signals::listen_for_hangups(reload).context("cannot listen for signals")?;
            app::run(&config, &audit).await
        })
    });
    let code = match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    // Sends the last spans, or drops them if that fails.
    drop(traces);
    code
}

/// Reloads what can change while the service runs: reopens the audit log, and reads the log filter
/// and the credentials again. A connection that is up keeps its credentials.
fn reload(config: &Config, audit: &Audit, log: &InstalledLog) {
    audit.reopen();
    match Command::load(std::env::args_os()) {
        Ok(Command::Serve(config)) => log.reload(config.log.as_ref()),
        Ok(_) => {}
        Err(error) => warn!("SIGHUP: {error}; the log filter stays as it was"),
    }
    match config.nats.credentials.check_file() {
        Ok(Some(path)) => info!("SIGHUP: the next connection uses {}", path.display()),
        Ok(None) => {}
        Err(error) => warn!("SIGHUP: {error}; the next connection uses the old credentials"),
    }
}

/// Runs a one-shot subcommand on a blocking thread, and prints its result or error. SIGTERM or
/// Ctrl-C sets the [`Interrupt`] that `work` receives.
fn run_once<D: Display + Send + 'static, E: std::error::Error + Send + Sync + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<D, E> + Send + 'static,
) -> ExitCode {
    let interrupt = Arc::new(Interrupt::default());
    let interrupted = Arc::clone(&interrupt);
    let outcome = app::start_runtime().and_then(|runtime| {
        runtime.block_on(async {
            let shutdown = signals::listen().context("cannot listen for signals")?;
            signals::listen_for_hangups(|| {
                // The terminal may be gone, so that nothing can be printed.
                let _ = writeln!(std::io::stderr(), "scuttle-controller: ignored SIGHUP");
            })
            .context("cannot listen for signals")?;
            let mut work = tokio::task::spawn_blocking(move || work(&interrupted));
            let done = tokio::select! {
                done = &mut work => done,
                () = shutdown.cancelled() => {
                    interrupt.set();
                    work.await
                }
            };
            Ok(done.context("the command panicked")??)
        })
    });
    match outcome {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "scuttle-controller: {}",
                escape_hidden(&format!("{error:#}"))
            );
            ExitCode::FAILURE
        }
    }
}
