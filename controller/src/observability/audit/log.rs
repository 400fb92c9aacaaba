//! Where audit lines are gathered and written: a file, or standard output. What they say is not here.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// How many bytes are gathered at the most before they are written, answered or not: several hundred lines, as many
/// as the engine answers in a batch under load.
const GATHERED: usize = 256 << 10;

/// An audit log that cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {} for appending: {cause}; give --audit-log a file that this user may write", .path.display())]
pub struct AuditError {
    path: PathBuf,
    cause: io::Error,
}

/// The lines that wait, and where they go.
pub(crate) struct Log {
    /// None: standard output.
    path: Option<PathBuf>,
    // LeaseGuard for as long as a write takes, never across an await.
    lines: Mutex<Gathered>,
}

struct Gathered {
    bytes: Vec<u8>,
    out: Box<dyn Write + Send>,
    /// The last write failed, perhaps in the middle of a line.
    torn: bool,
    /// How many bytes could not be written, and the last reason, until somebody is told.
    lost: Option<(usize, io::Error)>,
}

impl Log {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let out: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(append(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(Self {
            path: path.map(Path::to_owned),
            lines: Mutex::new(Gathered {
                bytes: Vec::new(),
                out,
                torn: false,
                lost: None,
            }),
        })
    }

    pub(crate) fn is_file(&self) -> bool {
        self.path.is_some()
    }

    /// Gathers one line more.
    pub(crate) fn add(&self, line: impl FnOnce(&mut Vec<u8>)) {
        self.with(|lines| {
            line(&mut lines.bytes);
            if lines.bytes.len() >= GATHERED {
                lines.write();
            }
        });
    }

    /// Writes what is gathered; says how many bytes were lost since the last time.
    pub(crate) fn flush(&self) -> Result<(), (usize, io::Error)> {
        self.with(|lines| {
            lines.write();
            lines.lost.take().map_or(Ok(()), Err)
        })
    }

    /// Goes on in a new file of the same name.
    pub(crate) fn reopen(&self) -> Result<(), AuditError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let file = append(path)?;
        self.with(|lines| {
            lines.write();
            lines.out = Box::new(file);
            lines.torn = false;
        });
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Gathered) -> T) -> T {
        work(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gathered {
    fn write(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let bytes = self.bytes.len();
        // Half a line is ended first, so that it is the only one that nobody can read.
        let ended = if self.torn { "\n" } else { "" };
        let out = &mut self.out;
        let written = (out.write_all(ended.as_bytes()))
            .and_then(|()| out.write_all(&self.bytes))
            .and_then(|()| out.flush());
        self.torn = written.is_err();
        if let Err(error) = written {
            let before = self.lost.take().map_or(0, |(bytes, _)| bytes);
            self.lost = Some((before + bytes, error));
        }
        self.bytes.clear();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Only its owner may read who did what and why.
fn append(path: &Path) -> Result<File, AuditError> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|cause| AuditError {
            path: path.to_owned(),
            cause,
        })
}
