//! The controller's side of a backup: a Unix socket that sends every client a snapshot of the
//! store. One backup runs at a time, on a separate thread, and does not delay the thread that
//! writes to the store.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::ops::backup::protocol;
use crate::store::format_version::FORMAT;
use crate::store::snapshot::Table;
use crate::store::{Snapshot, Snapshots, StoreError};

/// The name of the backup socket in the data directory.
pub const SOCKET_NAME: &str = "backup.sock";

/// The timeout after which a client that reads nothing is disconnected. The store cannot reuse
/// freed pages while a snapshot exists, so a client that hangs must not keep the snapshot.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum duration of a backup. It limits how long a slow client keeps the snapshot. A backup
/// of a million shards takes seconds.
const BACKUP_TIMEOUT: Duration = Duration::from_mins(10);

/// The size of the send buffer in bytes.
const BUFFER_SIZE: usize = 256 << 10;

/// The delay after a failure to accept a connection or to start a backup. The usual cause is a lack
/// of file descriptors.
const RETRY_DELAY: Duration = Duration::from_millis(100);

const BUSY: &str = "another backup is being made; try again when it has finished";

/// The server of the backup socket. It runs until [`stop`](Self::stop). Contains `None` if the
/// socket could not be created.
#[derive(Debug)]
pub struct BackupServer(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl BackupServer {
    /// Creates the backup socket in a data directory and starts to serve backups. On failure, logs
    /// a warning and returns a server that does nothing.
    pub fn start(data_dir: &Path, snapshots: Snapshots) -> Self {
        match bind(data_dir) {
            Ok(listener) => {
                let (stop, stopped) = oneshot::channel();
                let task = serve(listener, data_dir.join(SOCKET_NAME), snapshots, stopped);
                Self(Some((stop, tokio::spawn(task))))
            }
            Err(cause) => {
                let path = data_dir.join(SOCKET_NAME);
                warn!(
                    "backups are unavailable while this controller runs: cannot listen at {}: {cause}",
                    path.display()
                );
                Self(None)
            }
        }
    }

    /// Stops listening and releases the store. A running backup is aborted when the store is
    /// closed.
    pub async fn stop(self) {
        if let Some((stop, task)) = self.0 {
            drop(stop);
            // The task fails only by a panic, which was already reported.
            let _ = task.await;
        }
    }
}

/// Returns a short path to `name` in an open directory, through the descriptor of the directory.
/// The path of a Unix socket is limited to 107 bytes.
pub(crate) fn path_through(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Creates the socket under a temporary name, restricts its permissions and then renames it, so
/// that only the directory's owner can ever connect. Replaces the socket of a killed controller,
/// which is safe because the caller has the store open exclusively.
fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    const TEMPORARY_NAME: &str = "backup.sock.new";
    let directory = File::open(data_dir)?;
    let temporary = path_through(&directory, TEMPORARY_NAME);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&temporary)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o600))?;
    fs::rename(&temporary, path_through(&directory, SOCKET_NAME))?;
    Ok(listener)
}

async fn serve(
    listener: UnixListener,
    socket: PathBuf,
    snapshots: Snapshots,
    mut stopped: oneshot::Receiver<()>,
) {
    let permits = Arc::new(Semaphore::new(1));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let started = match accepted {
            Ok((stream, _)) => start_backup(stream, &snapshots, &permits).await,
            Err(error) => Err(error),
        };
        if let Err(error) = started {
            warn!("could not start a backup: {error}");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
    // If this fails, the next start replaces the socket.
    let _ = fs::remove_file(socket);
}

/// Takes a snapshot and starts a thread that sends it. Rejects the client if another backup is
/// running. The thread gets no handle to the store itself, so that the store's file can be closed
/// while the thread runs.
async fn start_backup(
    stream: tokio::net::UnixStream,
    snapshots: &Snapshots,
    permits: &Arc<Semaphore>,
) -> io::Result<()> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    if protocol::write_greeting(&mut &stream, FORMAT).is_err() {
        // The client has disconnected: it only checked whether a controller is running.
        return Ok(());
    }
    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
        return protocol::write_rejection(&mut &stream, BUSY);
    };
    let snapshots = snapshots.clone();
    let taken = tokio::task::spawn_blocking(move || snapshots.take()).await?;
    let snapshot = match taken {
        Ok(snapshot) => snapshot,
        Err(error) => return protocol::write_rejection(&mut &stream, &error.to_string()),
    };
    let run = move || {
        run_backup(&snapshot, &stream);
        drop((snapshot, permit));
    };
    std::thread::Builder::new()
        .name("backup".to_owned())
        .spawn(run)?;
    Ok(())
}

/// The reason why a backup was not sent completely.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the client stopped reading: {0}")]
    Client(#[from] io::Error),
    #[error("it took longer than {} minutes", BACKUP_TIMEOUT.as_secs() / 60)]
    TooSlow,
}

fn run_backup(snapshot: &Snapshot, stream: &UnixStream) {
    let start = Instant::now();
    match send(snapshot, stream, start + BACKUP_TIMEOUT) {
        Ok((values, bytes)) => info!(
            "sent a backup: {values} values, {} KiB, in {:.1} s",
            bytes >> 10,
            start.elapsed().as_secs_f64()
        ),
        Err(error) => {
            warn!("a backup was aborted: {error}");
            if let SendError::Store(error) = error {
                // If the rejection does not arrive, the client notices that the data ended early.
                let _ = protocol::write_rejection(&mut &*stream, &error.to_string());
            }
        }
    }
}

fn send(
    snapshot: &Snapshot,
    stream: &UnixStream,
    deadline: Instant,
) -> Result<(u64, u64), SendError> {
    let mut out = BufWriter::with_capacity(BUFFER_SIZE, stream);
    let (mut values, mut bytes) = (0, 0);
    let sent = snapshot.for_each_encoded(|table: Table, value: &[u8]| {
        if Instant::now() > deadline {
            return Err(SendError::TooSlow);
        }
        values += 1;
        bytes += value.len() as u64;
        protocol::write_value(&mut out, table, value).map_err(SendError::Client)
    });
    match sent {
        Ok(()) => protocol::write_end(&mut out, values)?,
        // Flush the buffer first: a rejection must start where a value ends.
        Err(SendError::Store(error)) => {
            io::Write::flush(&mut out)?;
            return Err(error.into());
        }
        Err(other) => {
            // Dropping the writer would send the buffer and block on the same client again.
            let _ = out.into_parts();
            return Err(other);
        }
    }
    Ok((values, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{RedbStore, Store};

    /// Creates a store whose content is larger than the buffers of a socket.
    fn large(dir: &Path) -> RedbStore {
        let mut store = RedbStore::open(dir).expect("the store opens");
        let row = |number: u64| {
            scuttle_core::Change::Meta(scuttle_core::Meta {
                epoch: number,
                ..Default::default()
            })
        };
        let batch: Vec<_> = (0..100_000).map(row).collect();
        for _ in 0..20 {
            store.append(&batch).expect("an append");
        }
        store
    }

    #[test]
    fn a_backup_for_a_client_that_hangs_is_aborted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = large(dir.path());
        let snapshots = store.snapshots();
        let (ours, _theirs) = UnixStream::pair().expect("a socket");
        let timeout = Some(Duration::from_millis(20));
        ours.set_write_timeout(timeout).expect("a timeout");
        let snapshot = snapshots.take().expect("a snapshot");
        let error = send(&snapshot, &ours, Instant::now() + BACKUP_TIMEOUT).expect_err("aborted");
        let hung = |cause: &io::Error| cause.kind() == io::ErrorKind::WouldBlock;
        assert!(
            matches!(&error, SendError::Client(cause) if hung(cause)),
            "{error}"
        );

        let (ours, _theirs) = UnixStream::pair().expect("a socket");
        let error = send(&snapshot, &ours, Instant::now()).expect_err("aborted");
        assert!(matches!(error, SendError::TooSlow), "{error}");
    }
}
