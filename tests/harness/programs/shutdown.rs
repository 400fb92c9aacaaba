//! Handles Ctrl-C in chaos and the demo, and guarantees that no process is left behind.
//!
//! A terminal sends Ctrl-C to its whole foreground process group, which would stop the nats-server
//! while the agents still need it. Therefore, the program that the user starts (the outer program)
//! only runs itself again, as the inner program, in a separate process group. The inner program
//! starts all other processes.
//!
//! On a signal, the outer program writes a byte to the standard input of the inner program, which
//! then stops everything in order. The end of the standard input has the same effect, so the inner
//! program stops in order even when the outer program is killed.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The maximum number of pending stop requests. No user presses Ctrl-C more often.
const MAX_PENDING: usize = 8;

/// Runs this program again as the inner program, with the argument `--inside`. Forwards stop
/// signals to the inner program, and returns its exit code.
pub async fn run_inner_program() -> Result<ExitCode> {
    run_through(Command::new(std::env::current_exe()?)).await
}

/// Runs the inner program as [`run_inner_program`] does, but in a separate mount namespace and with
/// the argument `--own-mounts`. All mounts in the namespace disappear with its last process.
///
/// Returns `None`, without running the program, if this user may not create a namespace.
pub async fn run_inner_program_with_own_mounts() -> Result<Option<ExitCode>> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--"]);
        command
    };
    let status = unshare().arg("true").stderr(Stdio::null()).status().await;
    if !status.is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let mut command = unshare();
    command.arg(std::env::current_exe()?).arg("--own-mounts");
    run_through(command).await.map(Some)
}

async fn run_through(mut command: Command) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut child = command
        .args(std::env::args_os().skip(1))
        .arg("--inside")
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("start the inner program")?;
    let input = child
        .stdin
        .take()
        .context("the inner program has no standard input")?;
    let mut input = File::from(input.into_owned_fd()?);
    loop {
        tokio::select! {
            status = child.wait() => {
                let code = status?.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            // The write fails if the inner program has just ended; then there is nothing to stop.
            () = signals.receive() => {
                let _ = input.write_all(b"\n");
            }
        }
    }
}

/// The stop requests that reach the inner program.
#[derive(Debug)]
pub struct StopRequests {
    input: mpsc::Receiver<()>,
    signals: Signals,
    count_by_input: u32,
    count_by_signal: u32,
}

impl StopRequests {
    /// Starts to listen for signals, and for stop requests from the outer program.
    pub fn listen() -> Result<Self> {
        let (requests, input) = mpsc::channel(MAX_PENDING);
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut byte = [0];
            let mut requested = false;
            while matches!(input.read(&mut byte), Ok(1)) && requests.blocking_send(()).is_ok() {
                requested = true;
            }
            if !requested {
                let _ = requests.blocking_send(());
            }
        });
        Ok(Self {
            input,
            signals: Signals::listen()?,
            count_by_input: 0,
            count_by_signal: 0,
        })
    }

    /// Runs `work` to completion and returns its result, or `None` if a stop is requested first.
    pub async fn run_until_stopped<T>(
        &mut self,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        tokio::select! {
            result = work => result.map(Some),
            () = self.next_request() => Ok(None),
        }
    }

    /// Waits for the next stop request.
    ///
    /// `pkill` sends a signal to both programs, so that one request arrives in two ways: as a
    /// signal, and through the standard input. Therefore, a second request counts only if it
    /// arrives in the same way as the first.
    async fn next_request(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.input.recv() => self.count_by_input += 1,
                () = self.signals.receive() => self.count_by_signal += 1,
            }
            let highest = self.count_by_input.max(self.count_by_signal);
            if self.count_by_input + self.count_by_signal == 1 || highest > 1 {
                return;
            }
        }
    }
}

/// The signals that request a stop.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn receive(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
