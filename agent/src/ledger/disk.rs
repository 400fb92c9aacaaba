//! The ledger on disk: one append-only file of checked lines, replaced as a whole when it has grown.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use scuttle_schemas::HostId;
use serde::Serialize;

use super::line::{self, FORMAT, Header};
use super::{Entry, Ledger, LedgerError};

const FILE: &str = "ledger.jsonl";
const NEW_FILE: &str = "ledger.jsonl.new";
const LOCK_FILE: &str = "ledger.lock";

/// How many bytes it takes before it asks to be rewritten: little beside what an agent's host has.
const LONG: u64 = 1024 * 1024;

/// A ledger in a directory of its own.
#[derive(Debug)]
pub struct DiskLedger {
    host: HostId,
    directory: PathBuf,
    path: PathBuf,
    file: File,
    length: u64,
    rewritten_to: u64,
    // Held open: closing it gives the lock back.
    _lock: File,
}

impl DiskLedger {
    /// Opens the ledger of `host` in `directory`, or makes both. The directory is this agent's alone until the
    /// ledger is dropped.
    ///
    /// # Errors
    /// Another process has it, or the operating system says no.
    pub fn open(directory: &Path, host: &HostId) -> Result<Self, LedgerError> {
        fs::create_dir_all(directory).map_err(io_error("create the directory of", directory))?;
        let lock = lock(&directory.join(LOCK_FILE))?;
        let path = directory.join(FILE);
        if !path.try_exists().map_err(io_error("look for", &path))? {
            replace(directory, host, &[])?;
        }
        let file = open_to_append(&path)?;
        Ok(Self {
            host: host.clone(),
            directory: directory.to_owned(),
            path,
            file,
            length: 0,
            rewritten_to: 0,
            _lock: lock,
        })
    }
}

impl Ledger for DiskLedger {
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError> {
        let path = &self.path;
        let bytes = fs::read(path).map_err(io_error("read", path))?;
        let content = line::read(&bytes).map_err(|damage| LedgerError::Damaged {
            path: path.clone(),
            line: damage.line,
            what: damage.what,
        })?;
        if content.header.scuttle_agent_ledger != FORMAT {
            return Err(LedgerError::OtherFormat {
                path: path.clone(),
                found: content.header.scuttle_agent_ledger,
                known: FORMAT,
            });
        }
        if content.header.host_uuid != self.host {
            return Err(LedgerError::OtherHost {
                path: path.clone(),
                found: content.header.host_uuid,
                expected: self.host.clone(),
            });
        }
        self.length = content.good as u64;
        if content.good < bytes.len() {
            tracing::warn!(
                path = %path.display(),
                bytes = bytes.len() - content.good,
                "cut off the ledger's last append, which a crash had left unfinished"
            );
            self.file
                .set_len(self.length)
                .and_then(|()| self.file.sync_all())
                .map_err(io_error("cut the unfinished end off", path))?;
        }
        Ok(content.entries)
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let line = written(&self.path, entries)?;
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .map_err(io_error("append to", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.length > LONG.max(2 * self.rewritten_to)
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.length = replace(&self.directory, &self.host, entries)?;
        self.rewritten_to = self.length;
        self.file = open_to_append(&self.path)?;
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, LedgerError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(io_error("open the lock of", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LedgerError::InUse {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(cause)) => Err(io_error("lock", path)(cause)),
    }
}

fn open_to_append(path: &Path) -> Result<File, LedgerError> {
    OpenOptions::new()
        .append(true)
        .open(path)
        .map_err(io_error("open", path))
}

/// Writes a whole ledger beside the old one, then puts it in its place. Returns its length.
fn replace(directory: &Path, host: &HostId, entries: &[Entry]) -> Result<u64, LedgerError> {
    let (new, path) = (directory.join(NEW_FILE), directory.join(FILE));
    let mut bytes = written(
        &new,
        &Header {
            scuttle_agent_ledger: FORMAT,
            host_uuid: host.clone(),
        },
    )?;
    for entry in entries {
        bytes.extend(written(&new, std::slice::from_ref(entry))?);
    }
    File::create(&new)
        .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
        .map_err(io_error("write a new copy of", &new))?;
    fs::rename(&new, &path).map_err(io_error("put a new copy in the place of", &path))?;
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(io_error("sync the directory of", &path))?;
    Ok(bytes.len() as u64)
}

fn written<T: Serialize + ?Sized>(path: &Path, content: &T) -> Result<Vec<u8>, LedgerError> {
    line::write(content).map_err(|cause| {
        io_error("write an entry for", path)(io::Error::new(ErrorKind::InvalidData, cause))
    })
}

fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> LedgerError + 'a {
    move |cause| LedgerError::Io {
        action,
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use scuttle_schemas::HostId;

    use super::{DiskLedger, Entry, FILE, LONG, Ledger, LedgerError, NEW_FILE};

    fn host() -> HostId {
        "worker-a".parse().expect("valid")
    }

    fn open(directory: &Path) -> DiskLedger {
        DiskLedger::open(directory, &host()).expect("opened")
    }

    fn epochs(range: std::ops::Range<u64>) -> Vec<Entry> {
        range
            .map(|controller_epoch| Entry::Epoch { controller_epoch })
            .collect()
    }

    #[test]
    fn what_was_appended_is_there_after_reopening() {
        let directory = tempfile::tempdir().expect("a directory");
        for round in 0..3 {
            let mut ledger = open(directory.path());
            assert_eq!(ledger.load().expect("loaded"), epochs(0..round * 2));
            ledger
                .append(&epochs(round * 2..round * 2 + 2))
                .expect("appended");
        }
    }

    #[test]
    fn an_unfinished_append_is_cut_and_the_next_one_follows_what_was_good() {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path())
            .append(&epochs(0..2))
            .expect("appended");
        let path = directory.path().join(FILE);
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .expect("opened");
        file.write_all(b"[\"0123456789abcdef\",[{\"entry\"")
            .expect("written");
        let mut ledger = open(directory.path());
        assert_eq!(ledger.load().expect("loaded"), epochs(0..2));
        ledger.append(&epochs(2..3)).expect("appended");
        drop(ledger);
        assert_eq!(open(directory.path()).load().expect("loaded"), epochs(0..3));
    }

    #[test]
    fn two_agents_on_one_directory_refuse() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = open(directory.path());
        let error = DiskLedger::open(directory.path(), &host()).expect_err("refused");
        assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
        drop(first);
        open(directory.path());
    }

    #[test]
    fn damage_another_host_and_another_format_are_told_apart() {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path())
            .append(&epochs(0..2))
            .expect("appended");
        let path = directory.path().join(FILE);
        let other = DiskLedger::open(directory.path(), &"worker-b".parse().expect("valid"))
            .expect("opened")
            .load()
            .expect_err("another host's");
        assert!(matches!(other, LedgerError::OtherHost { .. }), "{other}");

        let good = fs::read(&path).expect("read");
        let mut bad = good.clone();
        bad[30] ^= 1;
        fs::write(&path, &bad).expect("written");
        let error = open(directory.path())
            .load()
            .expect_err("damaged")
            .to_string();
        assert!(
            error.contains("ledger.jsonl is damaged at line 1"),
            "{error}"
        );
        assert_eq!(
            fs::read(&path).expect("read"),
            bad,
            "a damaged ledger is left as it is"
        );

        let newer = super::written(
            &path,
            &super::Header {
                scuttle_agent_ledger: 2,
                host_uuid: host(),
            },
        );
        fs::write(&path, newer.expect("written")).expect("written");
        let error = open(directory.path()).load().expect_err("newer");
        assert!(
            matches!(error, LedgerError::OtherFormat { found: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_long_ledger_is_rewritten_and_a_half_written_copy_does_no_harm() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = open(directory.path());
        ledger.load().expect("loaded");
        while !ledger.is_long() {
            ledger.append(&epochs(0..10_000)).expect("appended");
        }
        ledger.rewrite(&epochs(7..8)).expect("rewritten");
        assert!(!ledger.is_long());
        ledger.append(&epochs(8..9)).expect("appended");
        drop(ledger);
        assert!(
            fs::metadata(directory.path().join(FILE))
                .expect("there")
                .len()
                < LONG / 1000
        );
        fs::write(directory.path().join(NEW_FILE), b"half").expect("written");
        assert_eq!(open(directory.path()).load().expect("loaded"), epochs(7..9));
    }
}
