//! The ledger on disk: one append-only file of lines with checksums. When the file has grown, it is
//! atomically replaced by a shorter one.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use scuttle_schemas::HostId;
use serde::Serialize;

use super::Ledger;
use super::entry::Entry;
use super::error::LedgerError;
use super::ledger_file::{DirectoryFile, LedgerFile};
use super::line_format::{self, FORMAT, Header};

/// The file size in bytes up to which no rewrite is requested.
const REWRITE_BYTES: u64 = 1024 * 1024;

/// A ledger in one file. By default, the file is in a directory that only this agent uses. A
/// simulation can provide another implementation of the file.
#[derive(Debug)]
pub struct DiskLedger<F = DirectoryFile> {
    host: HostId,
    /// The path that error messages name.
    path: PathBuf,
    file: F,
    /// The file size in bytes up to which no rewrite is requested.
    rewrite_bytes: u64,
    length: u64,
    /// The length of the file in bytes after the last rewrite, or 0 before the first.
    rewritten_to: u64,
}

impl DiskLedger {
    /// Opens the ledger of `host` in `directory`. Creates the directory and the ledger if they are
    /// missing. The directory is locked until the ledger is dropped.
    ///
    /// # Errors
    /// If another process has locked the directory, or an I/O operation fails.
    pub fn open(directory: &Path, host: &HostId) -> Result<Self, LedgerError> {
        let file = DirectoryFile::lock(directory)?;
        let path = file.path().to_owned();
        let exists = file.exists().map_err(LedgerError::io("look for", &path))?;
        let mut ledger = Self::from_file(file, &path, host, REWRITE_BYTES);
        if !exists {
            ledger.replace_entries(&[])?;
        }
        Ok(ledger)
    }
}

impl<F: LedgerFile> DiskLedger<F> {
    /// Uses a given file as the ledger of `host`. Performs no I/O. `path` names the file in error
    /// messages. No rewrite is requested while the file has at most `rewrite_bytes` bytes.
    pub fn from_file(file: F, path: &Path, host: &HostId, rewrite_bytes: u64) -> Self {
        Self {
            host: host.clone(),
            path: path.to_owned(),
            file,
            rewrite_bytes,
            length: 0,
            rewritten_to: 0,
        }
    }

    /// Replaces the content of the file with a header and these entries, and returns the new length
    /// of the file in bytes. With no entries, this creates an empty ledger.
    ///
    /// # Errors
    /// If the file could not be replaced. The file then has either the old content or the new one.
    pub fn replace_entries(&mut self, entries: &[Entry]) -> Result<u64, LedgerError> {
        let header = Header {
            scuttle_agent_ledger: FORMAT,
            host_uuid: self.host.clone(),
        };
        let mut bytes = to_line(&self.path, &header)?;
        for entry in entries {
            bytes.extend(to_line(&self.path, std::slice::from_ref(entry))?);
        }
        let replaced = self.file.replace(&bytes);
        replaced.map_err(LedgerError::io("replace", &self.path))?;
        Ok(bytes.len() as u64)
    }
}

impl<F: LedgerFile> Ledger for DiskLedger<F> {
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError> {
        let path = &self.path;
        let bytes = self.file.read().map_err(LedgerError::io("read", path))?;
        let content = line_format::read(&bytes).map_err(|damage| LedgerError::Damaged {
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
        self.length = content.valid_bytes as u64;
        if content.valid_bytes < bytes.len() {
            tracing::warn!(
                host_uuid = %self.host,
                path = %path.display(),
                bytes = bytes.len() - content.valid_bytes,
                "removed an incomplete append from the end of the ledger; a crash had interrupted it"
            );
            (self.file.truncate(self.length))
                .map_err(LedgerError::io("remove the incomplete end of", path))?;
        }
        Ok(content.entries)
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let line = to_line(&self.path, entries)?;
        let appended = self.file.append(&line);
        appended.map_err(LedgerError::io("append to", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn needs_rewrite(&self) -> bool {
        self.length > self.rewrite_bytes.max(2 * self.rewritten_to)
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.length = self.replace_entries(entries)?;
        self.rewritten_to = self.length;
        Ok(())
    }

    fn is_in_place(&mut self) -> Result<bool, LedgerError> {
        let in_place = self.file.is_in_place();
        in_place.map_err(LedgerError::io("look for", &self.path))
    }

    fn recreate(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.file.recreate()?;
        tracing::error!(
            host_uuid = %self.host,
            path = %self.path.display(),
            "the agent's ledger was removed while the agent was running; wrote it again from memory"
        );
        self.rewrite(entries)
    }
}

fn to_line<T: Serialize + ?Sized>(path: &Path, content: &T) -> Result<Vec<u8>, LedgerError> {
    line_format::write(content).map_err(|cause| {
        LedgerError::io("write an entry for", path)(io::Error::new(ErrorKind::InvalidData, cause))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use scuttle_schemas::HostId;

    use super::super::ledger_file::{FILE, NEW_FILE};
    use super::{DiskLedger, Entry, Ledger, LedgerError, REWRITE_BYTES};

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
    fn appended_entries_are_there_after_reopening() {
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
    fn an_incomplete_append_is_removed_and_the_next_append_follows_the_valid_lines() {
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
    fn a_second_agent_cannot_open_the_same_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = open(directory.path());
        let error = DiskLedger::open(directory.path(), &host()).expect_err("rejected");
        assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
        drop(first);
        open(directory.path());
    }

    #[test]
    fn a_ledger_that_was_removed_is_noticed_and_created_again() {
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("agent");
        let removals: [fn(&Path) -> std::io::Result<()>; 3] = [
            |directory| fs::remove_file(directory.join(FILE)),
            |directory| fs::remove_dir_all(directory),
            // Another file has taken the place of the ledger.
            |directory| {
                fs::copy(directory.join(FILE), directory.join(NEW_FILE))?;
                fs::rename(directory.join(NEW_FILE), directory.join(FILE))
            },
        ];
        for remove in removals {
            let mut ledger = open(&directory);
            ledger.append(&epochs(0..1)).expect("appended");
            assert!(ledger.is_in_place().expect("found out"));
            remove(&directory).expect("removed");
            assert!(!ledger.is_in_place().expect("found out"));
            ledger.recreate(&epochs(0..3)).expect("created again");
            assert!(ledger.is_in_place().expect("found out"));
            ledger.append(&epochs(3..4)).expect("appended");
            let second = DiskLedger::open(&directory, &host()).expect_err("locked");
            assert!(matches!(second, LedgerError::InUse { .. }), "{second}");
            drop(ledger);
            assert_eq!(open(&directory).load().expect("loaded"), epochs(0..4));
        }
    }

    #[test]
    fn damage_another_host_and_another_format_are_different_errors() {
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
            "a damaged ledger is not modified"
        );

        let newer = super::to_line(
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
    fn a_long_ledger_is_rewritten_and_a_partial_copy_is_ignored() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut ledger = open(directory.path());
        ledger.load().expect("loaded");
        while !ledger.needs_rewrite() {
            ledger.append(&epochs(0..10_000)).expect("appended");
        }
        ledger.rewrite(&epochs(7..8)).expect("rewritten");
        assert!(!ledger.needs_rewrite());
        ledger.append(&epochs(8..9)).expect("appended");
        drop(ledger);
        assert!(
            fs::metadata(directory.path().join(FILE))
                .expect("there")
                .len()
                < REWRITE_BYTES / 1000
        );
        fs::write(directory.path().join(NEW_FILE), b"half").expect("written");
        assert_eq!(open(directory.path()).load().expect("loaded"), epochs(7..9));
    }
}
