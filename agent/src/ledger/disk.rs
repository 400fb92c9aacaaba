//! The ledger on disk: one append-only file of checked lines, replaced as a whole when it has grown.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use scuttle_schemas::HostId;
use serde::Serialize;

use super::file::{DirectoryFile, LedgerFile};
use super::line::{self, FORMAT, Header};
use super::{Entry, Ledger, LedgerError};

/// How many bytes it takes before it asks to be rewritten: little beside what an agent's host has.
const LONG: u64 = 1024 * 1024;

/// A ledger in a file: in a directory of its own, unless a simulation gives another.
#[derive(Debug)]
pub struct DiskLedger<F = DirectoryFile> {
    host: HostId,
    /// For messages.
    path: PathBuf,
    file: F,
    /// See `LONG`.
    long: u64,
    length: u64,
    rewritten_to: u64,
}

impl DiskLedger {
    /// Opens the ledger of `host` in `directory`, or makes both. The directory is this agent's alone until the
    /// ledger is dropped.
    ///
    /// # Errors
    /// Another process has it, or the operating system says no.
    pub fn open(directory: &Path, host: &HostId) -> Result<Self, LedgerError> {
        let file = DirectoryFile::take(directory)?;
        let path = file.path().to_owned();
        let exists = file.exists().map_err(LedgerError::io("look for", &path))?;
        let mut ledger = Self::over(file, &path, host, LONG);
        if !exists {
            ledger.replace(&[])?;
        }
        Ok(ledger)
    }
}

impl<F: LedgerFile> DiskLedger<F> {
    /// A ledger of `host` over a file that holds one. Errors name it by `path`; at `long` bytes it asks to be
    /// rewritten.
    pub fn over(file: F, path: &Path, host: &HostId, long: u64) -> Self {
        Self {
            host: host.clone(),
            path: path.to_owned(),
            file,
            long,
            length: 0,
            rewritten_to: 0,
        }
    }

    /// Puts a whole ledger in the place of what the file holds: also how one begins. Returns its length.
    ///
    /// # Errors
    /// The file holds what it held, or all that is new.
    pub fn replace(&mut self, entries: &[Entry]) -> Result<u64, LedgerError> {
        let header = Header {
            scuttle_agent_ledger: FORMAT,
            host_uuid: self.host.clone(),
        };
        let mut bytes = written(&self.path, &header)?;
        for entry in entries {
            bytes.extend(written(&self.path, std::slice::from_ref(entry))?);
        }
        let replaced = self.file.replace(&bytes);
        replaced.map_err(LedgerError::io(
            "put a new copy in the place of",
            &self.path,
        ))?;
        Ok(bytes.len() as u64)
    }
}

impl<F: LedgerFile> Ledger for DiskLedger<F> {
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError> {
        let path = &self.path;
        let bytes = self.file.read().map_err(LedgerError::io("read", path))?;
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
                host_uuid = %self.host,
                path = %path.display(),
                bytes = bytes.len() - content.good,
                "cut off the ledger's last append, which a crash had left unfinished"
            );
            (self.file.cut(self.length))
                .map_err(LedgerError::io("cut the unfinished end off", path))?;
        }
        Ok(content.entries)
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        let line = written(&self.path, entries)?;
        let appended = self.file.append(&line);
        appended.map_err(LedgerError::io("append to", &self.path))?;
        self.length += line.len() as u64;
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.length > self.long.max(2 * self.rewritten_to)
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        self.length = self.replace(entries)?;
        self.rewritten_to = self.length;
        Ok(())
    }
}

fn written<T: Serialize + ?Sized>(path: &Path, content: &T) -> Result<Vec<u8>, LedgerError> {
    line::write(content).map_err(|cause| {
        LedgerError::io("write an entry for", path)(io::Error::new(ErrorKind::InvalidData, cause))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use scuttle_schemas::HostId;

    use super::super::file::{FILE, NEW_FILE};
    use super::{DiskLedger, Entry, LONG, Ledger, LedgerError};

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
