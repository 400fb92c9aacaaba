//! The last token of a reply subject, which identifies the request that a reply belongs to.

use std::fmt;
use std::str::FromStr;

use scuttle_schemas::OperationId;

use crate::machine::HeartbeatPage;

/// The identity of an agent's request, as the last token of its reply subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestId {
    Heartbeat(HeartbeatPage),
    Result(OperationId),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heartbeat(HeartbeatPage { sequence, page }) => write!(f, "h-{sequence}-{page}"),
            Self::Result(operation_id) => write!(f, "r-{operation_id}"),
        }
    }
}

/// The error for a token that is not a `RequestId`.
#[derive(Debug, thiserror::Error)]
#[error("the last token of the reply subject identifies no request of this agent")]
pub struct InvalidRequestId;

impl FromStr for RequestId {
    type Err = InvalidRequestId;

    fn from_str(token: &str) -> Result<Self, InvalidRequestId> {
        let invalid = |_| InvalidRequestId;
        match token.split_once('-').ok_or(InvalidRequestId)? {
            ("h", rest) => {
                let (sequence, page) = rest.split_once('-').ok_or(InvalidRequestId)?;
                Ok(Self::Heartbeat(HeartbeatPage {
                    sequence: sequence.parse().map_err(invalid)?,
                    page: page.parse().map_err(invalid)?,
                }))
            }
            ("r", id) => id.parse().map(Self::Result).map_err(|_| InvalidRequestId),
            _ => Err(InvalidRequestId),
        }
    }
}
