//! The error type of every subcommand, and the exit code of each kind of failure.

use scuttle_schemas::ErrorCode;

use crate::admin::files::FileError;
use crate::admin::keystore::KeystoreError;
use crate::admin::user_records::UserRecordError;
use crate::client::client_error::ClientError;
use crate::client::connection::ContextError;
use crate::client::revoke::RevokeError;

/// The reason why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments are invalid, or cannot be used together or without a terminal.
    #[error("{0}")]
    Usage(String),
    /// No user has the given name.
    #[error("{0}")]
    NotFound(String),
    /// The request conflicts with the current state, or the operator did not confirm it.
    #[error("{0}")]
    Conflict(String),
    /// The errors have already been printed. The process only has to exit with this exit code.
    #[error("")]
    AlreadyReported(u8),
    #[error("cannot write to standard output: {0}")]
    Output(std::io::Error),
    #[error("cannot use the terminal: {0}")]
    Terminal(std::io::Error),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Keystore(#[from] KeystoreError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    UserRecord(#[from] UserRecordError),
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// A certificate or key file cannot be used.
    #[error(transparent)]
    ConnectConfig(#[from] scuttle_nats::ConnectConfigError),
}

impl Failure {
    /// Returns the exit code: 1 for a failure, 2 for wrong usage, 3 for not found, 4 for a
    /// rejection, 5 for a timeout, or 6 for no controller or no server. An invalid setting of the
    /// connection, such as a malformed URL or a missing credentials file, counts as wrong usage.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Context(_)
            | Self::ConnectConfig(_)
            | Self::Keystore(KeystoreError::Missing(_)) => 2,
            Self::NotFound(_) => 3,
            Self::Conflict(_) => 4,
            Self::AlreadyReported(code) => *code,
            Self::Client(error) => match error {
                ClientError::Rejected(refusal) => match refusal.code {
                    ErrorCode::HostNotFound
                    | ErrorCode::ShardNotFound
                    | ErrorCode::OperationNotFound => 3,
                    _ => 4,
                },
                ClientError::HostNotFound(_) | ClientError::OperationNotFound(_) => 3,
                ClientError::AmbiguousHost { .. }
                | ClientError::AmbiguousOperation { .. }
                | ClientError::PermissionDenied { .. }
                | ClientError::OtherHost { .. }
                | ClientError::LoginRejected { .. } => 4,
                ClientError::TimedOut { .. } => 5,
                ClientError::NoController { .. } | ClientError::Unreachable { .. } => 6,
                ClientError::ConnectConfig(_) => 2,
                ClientError::Failed { .. } => 1,
            },
            Self::Output(_)
            | Self::Terminal(_)
            | Self::Keystore(_)
            | Self::File(_)
            | Self::UserRecord(_)
            | Self::Revoke(_) => 1,
        }
    }
}
