//! The error for evidence that could not be kept.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The reason why evidence could not be kept, or why its directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    #[error("cannot {action} {}: {cause}; {}", .path.display(), advise(.cause))]
    Io {
        action: &'static str,
        path: PathBuf,
        cause: io::Error,
    },
    #[error(
        "the evidence directory {} is in use by another process; stop the other agent, or give this one a different --evidence-dir", .0.display()
    )]
    InUse(PathBuf),
    #[error(
        "the evidence directory {} can be written by other users (mode {mode:o}); run `chmod go-w` on it, or choose a different --evidence-dir", .path.display()
    )]
    WritableByOthers { path: PathBuf, mode: u32 },
    /// The path cannot be part of a result.
    #[error(
        "the evidence directory {} must be UTF-8 with at most {max} characters; choose a different --evidence-dir", .path.display()
    )]
    UnusablePath { path: PathBuf, max: usize },
    /// The containers could not be read, so there was nothing to write.
    #[error("cannot read the evidence: {0}")]
    Source(String),
    /// An archive was written, but some of the evidence is missing in it.
    #[error("the evidence {} is incomplete: {problem}", .path.display())]
    Incomplete { path: PathBuf, problem: String },
    /// The thread that wrote the archive ended early.
    #[error("the writing of the evidence was aborted")]
    Aborted,
}

impl EvidenceError {
    /// Returns a function for `map_err` that turns an I/O error into `Self::Io` with this action
    /// and path.
    pub(crate) fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |cause| Self::Io {
            action,
            path: path.to_owned(),
            cause,
        }
    }
}

fn advise(cause: &io::Error) -> &'static str {
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space on its filesystem, or lower --evidence-max-mb"
        }
        ErrorKind::PermissionDenied => {
            "give the agent's user the permission, or choose a different --evidence-dir"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "mount its filesystem writable (a systemd unit needs ReadWritePaths=), or choose a \
             different --evidence-dir"
        }
        ErrorKind::NotFound => "mount or create the evidence directory again",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "choose a different --evidence-dir, or move the file away"
        }
        _ => "check the disk",
    }
}
