//! What an agent must remember across a crash, and the trait of what remembers it. What the entries
//! *mean* is the machine's matter.

mod disk;
mod file;
mod line;
mod memory;

use std::io;
use std::path::{Path, PathBuf};

use scuttle_schemas::agents::TeardownResult;
use scuttle_schemas::{BootId, DeckyId, HostId, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

pub use disk::DiskLedger;
pub use file::{DirectoryFile, LedgerFile};
pub use memory::MemoryLedger;

/// One fact, never changed once written; later ones add to earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// An agent started.
    Boot {
        /// Under this id; the next one must sort after it.
        boot_id: BootId,
    },
    /// A controller of a higher epoch than all before has spoken.
    Epoch {
        /// Its epoch.
        controller_epoch: u64,
    },
    /// The runtime is about to be touched.
    Started(Started),
    /// A teardown ended; its result is to be told until it is recorded.
    Finished(Finished),
    /// The controller has withdrawn an operation that was not begun.
    Withdrawn {
        /// This one.
        operation_id: OperationId,
    },
    /// The controller has the result on disk.
    Recorded {
        /// Of this operation.
        operation_id: OperationId,
    },
}

/// A teardown that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The operation.
    pub operation_id: OperationId,
    /// The decky; `None`: the whole host.
    pub decky_id: Option<DeckyId>,
    /// The operation's deadline.
    pub not_after: Timestamp,
    /// The command's trace context.
    pub traceparent: Option<String>,
    /// When it was begun.
    pub started_at: Timestamp,
}

/// A teardown that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// The operation's deadline: until then no late copy may find this entry gone.
    pub not_after: Timestamp,
    /// The command's trace context.
    pub traceparent: Option<String>,
    /// The result, as it is sent every time.
    pub result: TeardownResult,
}

/// Keeps entries.
pub trait Ledger: Send + 'static {
    /// All that is kept, in the order in which it was appended.
    ///
    /// # Errors
    /// What is kept cannot be read, or is not what was written.
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError>;

    /// Appends; on return the entries are durable. After an error the ledger is not to be used again: what
    /// it then holds is found out by the next start.
    ///
    /// # Errors
    /// The entries could not be made durable.
    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError>;

    /// Whether it has grown so long that it should be rewritten.
    fn is_long(&self) -> bool;

    /// Whether its verbs wait for a disk, so that they want a thread that may wait.
    fn waits(&self) -> bool {
        true
    }

    /// Replaces all that is kept, in one stroke.
    ///
    /// # Errors
    /// As with `append`; the old content is then still there.
    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError>;
}

impl<L: Ledger + ?Sized> Ledger for Box<L> {
    fn load(&mut self) -> Result<Vec<Entry>, LedgerError> {
        (**self).load()
    }

    fn append(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        (**self).append(entries)
    }

    fn is_long(&self) -> bool {
        (**self).is_long()
    }

    fn waits(&self) -> bool {
        (**self).waits()
    }

    fn rewrite(&mut self, entries: &[Entry]) -> Result<(), LedgerError> {
        (**self).rewrite(entries)
    }
}

/// Why a ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The operating system said no.
    #[error(
        "cannot {action} the agent's ledger {path}: {cause}; check the disk, its free space and the permissions, then start the agent again"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: io::Error,
    },
    /// Another agent has it.
    #[error(
        "the agent's ledger {path} is in use by another process; stop the other agent, or give this one its own data directory"
    )]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It is another host's.
    #[error(
        "the agent's ledger {path} belongs to host {found}, not to {expected}; give every host its own data directory"
    )]
    OtherHost {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: HostId,
        /// Whose it should be.
        expected: HostId,
    },
    /// It is of a version that this program does not know.
    #[error(
        "the agent's ledger {path} has format {found}; this program knows format {known}: install the version of Scuttle that wrote it, or a newer one"
    )]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// It is not what was written.
    #[error(
        "the agent's ledger {path} is damaged at line {line}: {what}; restore the file from a backup, or, when no teardown of this host is open, move it away and start the agent again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl LedgerError {
    /// For `map_err`: what the operating system says about this file.
    fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |cause| Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }
}
