//! Ctrl-C, and that nothing is left behind.
//!
//! A terminal sends Ctrl-C to its whole foreground process group, which would end the server under the agents. So the
//! program that the user started only starts itself again in a process group of its own, where all the others are
//! started too, and asks that one to stop over its standard input. The input's end asks as well: even
//! when the outer one is killed, what it started stops in order.

use std::fs::File;
use std::future::Future;
use std::io::{Read, Write};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Requests that are not heard yet: nobody presses Ctrl-C more often.
const PENDING: usize = 8;

/// Runs this program again, with `--inside`; stops it as asked, and ends with its exit code.
///
/// # Errors
/// It cannot be started.
pub async fn outside() -> Result<ExitCode> {
    outside_through(Command::new(std::env::current_exe()?)).await
}

/// The same in a mount namespace of its own, where what is mounted is gone with the last process; none if that may not be.
///
/// # Errors
/// It cannot be started.
pub async fn outside_with_own_mounts() -> Result<Option<ExitCode>> {
    let through = || {
        let mut through = Command::new("unshare");
        through.args(["--mount", "--"]);
        through
    };
    let tried = through().arg("true").stderr(Stdio::null()).status().await;
    if !tried.is_ok_and(|tried| tried.success()) {
        return Ok(None);
    }
    let mut command = through();
    command.arg(std::env::current_exe()?).arg("--own-mounts");
    outside_through(command).await.map(Some)
}

async fn outside_through(mut command: Command) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut child = command
        .args(std::env::args_os().skip(1))
        .arg("--inside")
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("start this program again, inside")?;
    let input = child.stdin.take().context("its standard input")?;
    let mut input = File::from(input.into_owned_fd()?);
    loop {
        tokio::select! {
            status = child.wait() => {
                let code = status?.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.map_or(ExitCode::FAILURE, ExitCode::from));
            }
            // When it has ended meanwhile, there is nothing to stop.
            () = signals.any() => {
                let _ = input.write_all(b"\n");
            }
        }
    }
}

/// The inner program's ear.
#[derive(Debug)]
pub struct Stop {
    input: mpsc::Receiver<()>,
    signals: Signals,
    asked_by_input: u32,
    asked_by_signal: u32,
}

impl Stop {
    /// Listens to the outer program, and to signals.
    ///
    /// # Errors
    /// The signals cannot be listened to.
    pub fn listen() -> Result<Self> {
        let (ask, input) = mpsc::channel(PENDING);
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut byte = [0];
            let mut asked = false;
            while matches!(input.read(&mut byte), Ok(1)) && ask.blocking_send(()).is_ok() {
                asked = true;
            }
            if !asked {
                let _ = ask.blocking_send(());
            }
        });
        Ok(Self {
            input,
            signals: Signals::listen()?,
            asked_by_input: 0,
            asked_by_signal: 0,
        })
    }

    /// What `work` gives; `None` when it was asked to stop before.
    ///
    /// # Errors
    /// `work` fails.
    pub async fn unless<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        tokio::select! {
            done = work => done.map(Some),
            () = self.asked() => Ok(None),
        }
    }

    /// Returns at the first request, and at the second one by the same way: `pkill` asks both programs,
    /// and means it once.
    async fn asked(&mut self) {
        loop {
            tokio::select! {
                Some(()) = self.input.recv() => self.asked_by_input += 1,
                () = self.signals.any() => self.asked_by_signal += 1,
            }
            let most = self.asked_by_input.max(self.asked_by_signal);
            if self.asked_by_input + self.asked_by_signal == 1 || most > 1 {
                return;
            }
        }
    }
}

/// The signals that ask to stop.
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

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
