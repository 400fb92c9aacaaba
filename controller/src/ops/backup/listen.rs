//! The controller's side of a backup: a socket, and whoever connects is handed the store as it is then. One at a
//! time, on a thread of its own; the thread that writes the store does not notice.

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

use crate::ops::backup::wire;
use crate::store::{FORMAT, Snapshot, Snapshots, StoreError, Table};

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "backup.sock";

/// How long a client may take to take anything: one that hangs is not to keep what is freed from being used again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a backup may take, for the same reason. A million shards take seconds.
const LONGEST: Duration = Duration::from_mins(10);

/// How much is sent in one go.
const PIECE: usize = 256 << 10;

/// How long to wait when a connection cannot be taken: for a file descriptor, usually.
const PAUSE: Duration = Duration::from_millis(100);

const BUSY: &str = "another backup is being made; try again when that is done";

/// Hands out backups as long as it is there.
#[derive(Debug)]
pub struct Backups(Option<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Backups {
    /// Listens in a data directory. Where that cannot be, the controller does without.
    pub fn offer(data_dir: &Path, snapshots: Snapshots) -> Self {
        match bind(data_dir) {
            Ok(listener) => {
                let (stop, stopped) = oneshot::channel();
                let task = serve(listener, data_dir.join(SOCKET_NAME), snapshots, stopped);
                Self(Some((stop, tokio::spawn(task))))
            }
            Err(cause) => {
                let path = data_dir.join(SOCKET_NAME);
                warn!(
                    "no backup can be made while this controller runs: cannot listen at {}: {cause}",
                    path.display()
                );
                Self(None)
            }
        }
    }

    /// Lets go of the store; a backup that is being made breaks off.
    pub async fn stop(self) {
        if let Some((stop, task)) = self.0 {
            drop(stop);
            // An error is a panic, which has been told.
            let _ = task.await;
        }
    }
}

/// The socket's path as the kernel takes it: through the open directory, since a socket's own path may be no longer than
/// 107 bytes.
pub(crate) fn through(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}

/// Listens under another name first: so that nobody but the directory's owner ever gets in, and the socket of a
/// controller that was killed is replaced. (Whoever comes here has the store to himself.)
fn bind(data_dir: &Path) -> io::Result<UnixListener> {
    const DRAFT: &str = "backup.sock.new";
    let directory = File::open(data_dir)?;
    let draft = through(&directory, DRAFT);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&draft)?;
    fs::set_permissions(&draft, Permissions::from_mode(0o600))?;
    fs::rename(&draft, through(&directory, SOCKET_NAME))?;
    Ok(listener)
}

async fn serve(
    listener: UnixListener,
    socket: PathBuf,
    snapshots: Snapshots,
    mut stopped: oneshot::Receiver<()>,
) {
    let turn = Arc::new(Semaphore::new(1));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = &mut stopped => break,
        };
        let begun = match accepted {
            Ok((stream, _)) => begin(stream, &snapshots, &turn).await,
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            warn!("cannot hand out a backup: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
    // Left over, it would be replaced by the next start.
    let _ = fs::remove_file(socket);
}

/// Takes the snapshot, and leaves it to a thread. No handle of the store itself goes there: once this task has ended,
/// the store's file is closed with the store.
async fn begin(
    stream: tokio::net::UnixStream,
    snapshots: &Snapshots,
    turn: &Arc<Semaphore>,
) -> io::Result<()> {
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    if wire::greet(&mut &stream, FORMAT).is_err() {
        // Gone already: it only wanted to know whether a controller runs.
        return Ok(());
    }
    let Ok(turn) = Arc::clone(turn).try_acquire_owned() else {
        return wire::refuse(&mut &stream, BUSY);
    };
    let snapshots = snapshots.clone();
    let taken = tokio::task::spawn_blocking(move || snapshots.take()).await?;
    let snapshot = match taken {
        Ok(snapshot) => snapshot,
        Err(error) => return wire::refuse(&mut &stream, &error.to_string()),
    };
    let hand_out = move || {
        hand_out(&snapshot, &stream);
        drop((snapshot, turn));
    };
    std::thread::Builder::new()
        .name("backup".to_owned())
        .spawn(hand_out)?;
    Ok(())
}

/// Why a backup was not sent whole.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("whoever asked for it does not take it: {0}")]
    Client(#[from] io::Error),
    #[error("it takes longer than {} minutes", LONGEST.as_secs() / 60)]
    TooSlow,
}

fn hand_out(snapshot: &Snapshot, stream: &UnixStream) {
    let start = Instant::now();
    match send(snapshot, stream, start + LONGEST) {
        Ok((values, bytes)) => info!(
            "handed out a backup: {values} values, {} KiB, in {:.1} s",
            bytes >> 10,
            start.elapsed().as_secs_f64()
        ),
        Err(error) => {
            warn!("a backup broke off: {error}");
            if let Broken::Store(error) = error {
                // If it does not arrive, the end of the stream tells as much.
                let _ = wire::refuse(&mut &*stream, &error.to_string());
            }
        }
    }
}

fn send(snapshot: &Snapshot, stream: &UnixStream, deadline: Instant) -> Result<(u64, u64), Broken> {
    let mut out = BufWriter::with_capacity(PIECE, stream);
    let (mut values, mut bytes) = (0, 0);
    let sent = snapshot.each(|table: Table, value: &[u8]| {
        if Instant::now() > deadline {
            return Err(Broken::TooSlow);
        }
        values += 1;
        bytes += value.len() as u64;
        wire::value(&mut out, table, value).map_err(Broken::Client)
    });
    match sent {
        Ok(()) => wire::end(&mut out, values)?,
        // What is in the buffer goes first: a refusal must begin where a value ends.
        Err(Broken::Store(error)) => {
            io::Write::flush(&mut out)?;
            return Err(error.into());
        }
        Err(other) => {
            // Dropped, it would be sent, and wait again for whoever does not take it.
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

    /// A store whose content is more than both ends of a socket hold.
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

    /// Whoever takes nothing, or too little for too long, is left alone, and what it held of the store with it.
    #[test]
    fn a_client_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = large(dir.path());
        let snapshots = store.snapshots();
        let (ours, _theirs) = UnixStream::pair().expect("a socket");
        let patience = Some(Duration::from_millis(20));
        ours.set_write_timeout(patience).expect("a timeout");
        let snapshot = snapshots.take().expect("a snapshot");
        let error = send(&snapshot, &ours, Instant::now() + LONGEST).expect_err("given up");
        let hung = |cause: &io::Error| cause.kind() == io::ErrorKind::WouldBlock;
        assert!(
            matches!(&error, Broken::Client(cause) if hung(cause)),
            "{error}"
        );

        let (ours, _theirs) = UnixStream::pair().expect("a socket");
        let error = send(&snapshot, &ours, Instant::now()).expect_err("given up");
        assert!(matches!(error, Broken::TooSlow), "{error}");
    }
}
