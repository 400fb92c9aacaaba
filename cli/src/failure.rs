//! How the command fails: one exit code for each kind, the same for every verb.

use scuttle_schemas::ErrorCode;

use crate::ask::AskError;
use crate::connect::ContextError;
use crate::directory::DirectoryError;
use crate::files::FileError;
use crate::issued::IssueError;
use crate::revoke::RevokeError;

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The words do not fit together.
    #[error("{0}")]
    Usage(String),
    /// No such host or user.
    #[error("{0}")]
    NotFound(String),
    /// It would undo what is there.
    #[error("{0}")]
    Conflict(String),
    /// All has been said; what is left is the exit code.
    #[error("")]
    Told(u8),
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    /// A terminal.
    #[error("cannot use the terminal: {0}")]
    Terminal(std::io::Error),
    /// A context of the nats command.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The controller.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The bus directory.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A user.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// A revocation.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// A server's certificate.
    #[error(transparent)]
    ConnectConfig(#[from] scuttle_nats::ConnectConfigError),
}

impl Failure {
    /// 1 failed, 2 usage, 3 not found, 4 refused, 5 timed out, 6 no controller.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Conflict(_) => 4,
            Self::Told(code) => *code,
            Self::Ask(error) => match error {
                AskError::Refused(refusal) => match refusal.code {
                    ErrorCode::HostNotFound
                    | ErrorCode::ShardNotFound
                    | ErrorCode::OperationNotFound => 3,
                    _ => 4,
                },
                AskError::Denied { .. } | AskError::NotLetIn { .. } => 4,
                AskError::TimedOut { .. } => 5,
                AskError::NoController { .. } => 6,
                AskError::ConnectConfig(_)
                | AskError::Unreachable { .. }
                | AskError::Broken { .. } => 1,
            },
            Self::Output(_)
            | Self::Terminal(_)
            | Self::Context(_)
            | Self::Directory(_)
            | Self::File(_)
            | Self::Issue(_)
            | Self::Revoke(_)
            | Self::ConnectConfig(_) => 1,
        }
    }
}
