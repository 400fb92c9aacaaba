//! The signals that stop the process: the first SIGTERM or SIGINT starts an orderly shutdown, a
//! second one ends the process at once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Starts to listen for the signals. Returns the token that the first signal cancels.
///
/// # Errors
/// If the process may not handle signals.
pub fn listen() -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        info!("{name}: stopping after the requests in progress; a second signal stops at once");
        signalled.cancel();
        let name = next().await;
        info!("{name}: stopping at once");
        #[allow(
            clippy::disallowed_methods,
            reason = "the second signal requests exactly this"
        )]
        std::process::exit(130);
    });
    Ok(shutdown)
}
