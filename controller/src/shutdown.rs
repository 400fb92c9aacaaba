//! When to stop: the first SIGTERM or SIGINT asks for it, a second one does not wait.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::info;

/// Tells every task that the shutdown has begun.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Returns once the shutdown has begun.
    pub async fn begun(&mut self) {
        // An error: nobody can ask any more, which is the same.
        let _ = self.0.wait_for(|begun| *begun).await;
    }

    /// Whether the shutdown has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
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
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        info!("{name}: stopping; what is in hand is finished first, a second signal does not wait");
        let _ = asked.send(true);
        let name = next().await;
        info!("{name}: ending at once");
        #[allow(
            clippy::disallowed_methods,
            reason = "the second signal asks for exactly this"
        )]
        std::process::exit(130);
    });
    Ok(Shutdown(begun))
}
