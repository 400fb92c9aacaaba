//! Handles the signals of the process. The first SIGTERM or SIGINT starts an orderly shutdown, and
//! the second ends the process immediately. SIGHUP reloads the settings that can change while the
//! process runs.

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

/// Listens for SIGHUP in the background, and calls `reload` for each. The signal no longer ends the
/// process.
///
/// # Errors
/// If the signal handler cannot be installed.
pub fn listen_for_hangups(reload: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            reload();
        }
    });
    Ok(())
}
