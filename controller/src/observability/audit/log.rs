//! Buffers audit lines and writes them to a file or to standard output.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The number of buffered bytes at which lines are written before the end of a batch. This is the
/// size of several hundred lines, which one batch of the engine produces under load.
const MAX_BUFFERED_BYTES: usize = 256 << 10;

/// The error for an audit log that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {} for appending: {cause}; give --audit-log a file that this user may write", .path.display())]
pub struct AuditError {
    path: PathBuf,
    cause: io::Error,
}

/// The buffered lines, and the output that they are written to: a file or standard output.
pub(crate) struct Log {
    /// The path of the audit log, or `None` for standard output.
    path: Option<PathBuf>,
    // Locked for as long as a write takes, never across an await.
    buffer: Mutex<Buffer>,
}

struct Buffer {
    bytes: Vec<u8>,
    out: Box<dyn Write + Send>,
    /// Whether the last write failed, perhaps in the middle of a line.
    incomplete: bool,
    /// The number of bytes that could not be written since the last report, and the last error.
    /// `None` if no bytes are left to report.
    lost: Option<(usize, io::Error)>,
}

impl Log {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, AuditError> {
        let out: Box<dyn Write + Send> = match path {
            Some(path) => Box::new(open_for_appending(path)?),
            None => Box::new(io::stdout()),
        };
        Ok(Self {
            path: path.map(Path::to_owned),
            buffer: Mutex::new(Buffer {
                bytes: Vec::new(),
                out,
                incomplete: false,
                lost: None,
            }),
        })
    }

    pub(crate) fn is_file(&self) -> bool {
        self.path.is_some()
    }

    /// Buffers one line, and writes the buffer if it is full.
    pub(crate) fn add(&self, append_line: impl FnOnce(&mut Vec<u8>)) {
        self.lock(|buffer| {
            append_line(&mut buffer.bytes);
            if buffer.bytes.len() >= MAX_BUFFERED_BYTES {
                buffer.write();
            }
        });
    }

    /// Writes the buffered lines.
    ///
    /// # Errors
    /// If bytes were lost since the last call. The error contains the number of lost bytes and the
    /// last I/O error.
    pub(crate) fn flush(&self) -> Result<(), (usize, io::Error)> {
        self.lock(|buffer| {
            buffer.write();
            buffer.lost.take().map_or(Ok(()), Err)
        })
    }

    /// Reopens the log at its path, for log rotation. Buffered lines still go to the old file. Does
    /// nothing for standard output.
    ///
    /// # Errors
    /// If the file cannot be opened or created. The old file then remains in use.
    pub(crate) fn reopen(&self) -> Result<(), AuditError> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let file = open_for_appending(path)?;
        self.lock(|buffer| {
            buffer.write();
            buffer.out = Box::new(file);
            buffer.incomplete = false;
        });
        Ok(())
    }

    fn lock<T>(&self, work: impl FnOnce(&mut Buffer) -> T) -> T {
        work(&mut self.buffer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Buffer {
    fn write(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let bytes = self.bytes.len();
        // End an incomplete line first, so that it is the only unreadable one.
        let line_end = if self.incomplete { "\n" } else { "" };
        let out = &mut self.out;
        let written = (out.write_all(line_end.as_bytes()))
            .and_then(|()| out.write_all(&self.bytes))
            .and_then(|()| out.flush());
        self.incomplete = written.is_err();
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

/// Opens a file for appending, and creates it if it is missing. A new file is readable only by its
/// owner.
fn open_for_appending(path: &Path) -> Result<File, AuditError> {
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
