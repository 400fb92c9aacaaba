//! The signals that stop the process. The first SIGTERM or SIGINT starts an orderly shutdown. The
//! second signal ends the process immediately.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// Listens for SIGTERM and SIGINT in the background, and returns the token that the first signal
/// cancels. The second signal ends the process.
///
/// # Errors
/// If a signal handler cannot be installed.
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
