//! The lock file of the bus directory. Only its owner can open the file, so no other user can take
//! the lock.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use crate::admin::files::FileError;

/// The maximum time to wait for another command. No command holds the lock for longer than it takes
/// to send one update to the server.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a lock file, creating it if necessary, and waits for at most `timeout` to acquire the
/// lock. Closing the returned file releases the lock. A file that other users may read, which an
/// earlier version has left, becomes private.
///
/// # Errors
/// If the file cannot be opened, or another process holds the lock. The error then has the id of
/// that process.
pub(super) fn acquire(path: &Path, timeout: Duration) -> Result<File, FileError> {
    let failed = |verb| {
        move |cause| FileError::Failed {
            verb,
            path: path.to_owned(),
            cause,
        }
    };
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("open"))?;
    if metadata.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(failed("make private"))?;
    }
    // A thread that still waits when the time is over ends with the process.
    let (locked, result) = sync_channel(1);
    thread::spawn(move || {
        let _ = locked.send(file.lock().map(|()| file));
    });
    match result.recv_timeout(timeout) {
        Ok(locked) => locked.map_err(failed("lock")),
        Err(RecvTimeoutError::Disconnected) => Err(failed("lock")(io::ErrorKind::Other.into())),
        Err(RecvTimeoutError::Timeout) => Err(FileError::Locked {
            path: path.to_owned(),
            seconds: timeout.as_secs(),
            holder: match find_holder(metadata.dev(), metadata.ino()) {
                Some(pid) => format!("process {pid}"),
                None => "another process".to_owned(),
            },
        }),
    }
}

/// Returns the id of the process that holds a lock on the file, from the kernel's list of locks.
fn find_holder(device: u64, inode: u64) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").ok()?;
    parse_holder(&locks, device, inode)
}

/// Finds the holder in lines such as `1: FLOCK  ADVISORY  WRITE 4711 fd:01:131 0 EOF`. A process
/// that waits has `->` after the number.
fn parse_holder(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let major = ((device >> 8) & 0xfff) | ((device >> 32) & !0xfff);
    let minor = (device & 0xff) | ((device >> 12) & !0xff);
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_lock = fields.next()? == "FLOCK";
        let pid = fields.nth(2)?.parse().ok()?;
        (is_lock && fields.next()? == file).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::time::Duration;

    use super::{LOCK_TIMEOUT, acquire, parse_holder};
    use crate::admin::files::FileError;

    #[test]
    fn the_wait_for_a_lock_ends_and_the_error_has_the_holder() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("lock");
        fs::write(&path, "").expect("the directory is writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("an own file");
        let held = acquire(&path, LOCK_TIMEOUT).expect("the lock is free");
        assert_eq!(held.metadata().expect("open").mode() & 0o777, 0o600);
        let error = acquire(&path, Duration::from_millis(1)).expect_err("locked");
        assert!(matches!(error, FileError::Locked { .. }), "{error}");
        let holder = format!("process {}", std::process::id());
        assert!(error.to_string().contains(&holder), "{error}");
        drop(held);
        acquire(&path, LOCK_TIMEOUT).expect("the lock is free again");
    }

    #[test]
    fn a_process_that_waits_for_the_lock_does_not_hold_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 fd:01:131 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 2 fd:01:131 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 3 fd:01:132 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 4 fd:01:131 0 EOF\n";
        assert_eq!(parse_holder(locks, 0xfd01, 131), Some(4));
        assert_eq!(parse_holder(locks, 0xfd01, 133), None);
    }
}
