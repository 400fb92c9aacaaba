//! When to stop: the first SIGTERM or SIGINT asks for it, a second one does not wait. And when to stop leading, which may be
//! before that.

use std::io;

use scuttle_schemas::{ErrorCode, ErrorReply};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

/// Tells every task that the shutdown has begun.
#[derive(Debug, Clone)]
pub struct Shutdown {
    asked: watch::Sender<bool>,
    begun: watch::Receiver<bool>,
}

impl Shutdown {
    /// Begins it, without a signal.
    pub fn begin(&self) {
        self.asked.send_replace(true);
    }

    /// Returns once the shutdown has begun.
    pub async fn begun(&mut self) {
        // This holds a sender itself, so there is no error.
        let _ = self.begun.wait_for(|begun| *begun).await;
    }

    /// Whether the shutdown has begun.
    pub fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }
}

/// Why a leader stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The shutdown has begun.
    Shutdown,
    /// It leads no more.
    SteppedDown,
}

impl StopReason {
    /// What whoever comes after it is told.
    pub fn refusal(self) -> ErrorReply {
        match self {
            Self::SteppedDown => ErrorReply::new(
                ErrorCode::NotLeader,
                "this controller does not lead any more: ask again, the one that does answers",
            ),
            Self::Shutdown => ErrorReply::new(
                ErrorCode::ShuttingDown,
                "the controller is stopping: ask again, its next start answers",
            ),
        }
    }
}

/// Tells every task of a leader that its time has ended.
#[derive(Debug, Clone)]
pub struct Term {
    shutdown: Shutdown,
    deposed: watch::Receiver<bool>,
}

/// Ends a leader's term before the shutdown does.
#[derive(Debug, Clone, Default)]
pub struct StepDown(watch::Sender<bool>);

impl StepDown {
    /// It leads no more.
    pub fn now(&self) {
        self.0.send_replace(true);
    }
}

impl Term {
    /// Of a leader that leads until the shutdown begins, unless it is deposed.
    pub fn until(shutdown: Shutdown) -> (Self, StepDown) {
        let depose = watch::Sender::new(false);
        let deposed = depose.subscribe();
        (Self { shutdown, deposed }, StepDown(depose))
    }

    /// Returns once it has ended.
    pub async fn ended(&mut self) {
        let deposed = async {
            if self.deposed.wait_for(|deposed| *deposed).await.is_err() {
                // Nobody can depose it any more.
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = self.shutdown.begun() => {}
            () = deposed => {}
        }
    }

    /// Why it has ended, if it has.
    pub fn end(&self) -> Option<StopReason> {
        if *self.deposed.borrow() {
            Some(StopReason::SteppedDown)
        } else {
            self.shutdown.has_begun().then_some(StopReason::Shutdown)
        }
    }
}

/// Listens for the signals from now on.
///
/// # Errors
/// The process may not handle signals.
pub fn listen() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (asked, begun) = watch::channel(false);
    let shutdown = Shutdown {
        asked: asked.clone(),
        begun,
    };
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        info!("{name}: stopping; what is in hand is finished first, a second signal does not wait");
        asked.send_replace(true);
        let name = next().await;
        info!("{name}: ending at once");
        #[allow(
            clippy::disallowed_methods,
            reason = "the second signal asks for exactly this"
        )]
        std::process::exit(130);
    });
    Ok(shutdown)
}
