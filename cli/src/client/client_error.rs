//! The reasons why a connection or a request failed, and their texts for the operator.

use std::time::Duration;

use scuttle_nats::{ConnectConfigError, hint};
use scuttle_schemas::{ErrorCode, ErrorReply, HostName, subjects};

/// The maximum time to wait for a reply. The controller replies as soon as a change is durable.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The reason why a connection or a request failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address, credentials or certificates cannot be used.
    #[error(transparent)]
    ConnectConfig(#[from] ConnectConfigError),
    /// The server rejected the login.
    #[error("{}", describe_rejected_login(.url, .user, *.is_anonymous, .cause))]
    LoginRejected {
        url: String,
        user: String,
        /// Whether no credentials are given.
        is_anonymous: bool,
        cause: async_nats::ConnectError,
    },
    #[error("cannot connect to {url}: {cause}; {}{}", hint(cause), advise_on_default_address(*.is_default))]
    Unreachable {
        url: String,
        /// Whether no address is given.
        is_default: bool,
        cause: async_nats::ConnectError,
    },
    /// The server's permissions do not allow the user to send this message.
    #[error("{}", describe_denied(.user, .subject, *.may_read))]
    PermissionDenied {
        user: String,
        subject: String,
        /// Whether the user may send requests that read.
        may_read: bool,
    },
    /// The user may tear down only on other hosts than the requested one.
    #[error("{user} may tear down only on {}; use the credentials of an operator of the other host (--creds FILE)", format_hosts(.hosts))]
    OtherHost { user: String, hosts: Vec<HostName> },
    /// The controller rejected the request.
    #[error("rejected: {}{}", .0.message, describe_next_step(.0))]
    Rejected(ErrorReply),
    #[error("host {0} not found: no host has this name or ID; `scuttle hosts` lists all hosts")]
    HostNotFound(String),
    #[error(
        "{name_or_id} is ambiguous: {} hosts have this name or ID ({}); give the other identifier (name or ID) of the host that you mean",
        .hosts.len(), .hosts.join("; ")
    )]
    AmbiguousHost {
        name_or_id: String,
        /// A description of each of the hosts.
        hosts: Vec<String>,
    },
    /// No operation on record has an id with this prefix.
    #[error("no operation has an id that starts with {0}; `scuttle ops` lists the operations")]
    OperationNotFound(String),
    /// Several operations have an id with this prefix.
    #[error(
        "{prefix} is ambiguous: {} operations have an id that starts with it ({}); give more of the id",
        .operations.len(), .operations.join("; ")
    )]
    AmbiguousOperation {
        prefix: String,
        /// The id and the target of each of the operations.
        operations: Vec<String>,
    },
    /// No controller has subscribed to the subject of the request.
    #[error(
        "no controller answers on {subject}: start scuttle-controller, or see in its log why it is not connected"
    )]
    NoController { subject: String },
    #[error("{}", describe_timeout(.subject))]
    TimedOut { subject: String },
    /// The connection broke, the subscription failed, or the reply is invalid.
    #[error("request on {subject} failed: {cause}; the request may have been accepted: try again")]
    Failed { subject: String, cause: String },
}

/// Formats the hosts of a limited operator for a message.
pub(crate) fn format_hosts(hosts: &[HostName]) -> String {
    let names: Vec<_> = hosts.iter().map(HostName::as_str).collect();
    names.join(", ")
}

fn describe_rejected_login(
    url: &str,
    user: &str,
    is_anonymous: bool,
    cause: &async_nats::ConnectError,
) -> String {
    if is_anonymous {
        return format!(
            "not logged in: no credentials given for {url}. Use --creds FILE, or run in a folder with ./scuttle-bus"
        );
    }
    format!(
        "not logged in: {url} does not accept {user}: {}",
        hint(cause)
    )
}

fn advise_on_default_address(is_default: bool) -> &'static str {
    if is_default {
        ". This is the default address: give another with --nats-url, or run in a folder with ./scuttle-bus"
    } else {
        ""
    }
}

fn describe_denied(user: &str, subject: &str, may_read: bool) -> String {
    let action = match subject {
        subjects::TEARDOWN => "tear down",
        subjects::OPERATIONS_CANCEL => "cancel operations",
        subjects::HOSTS_ENROLL => "enroll hosts",
        subjects::HOSTS_UPDATE => "change hosts",
        subjects::HOSTS_DECOMMISSION => "decommission hosts",
        subjects::SHARDS_PROTECT => "protect deckies",
        subjects::HOSTS_LIST => "list hosts",
        subjects::SHARDS_LIST => "list deckies",
        subjects::OPERATIONS_LIST | subjects::OPERATIONS_GET => "list operations",
        subject => return format!("{user} may not publish on {subject}"),
    };
    let reader = match subject {
        _ if !may_read => "",
        // A limited operator gets `OtherHost` instead.
        subjects::TEARDOWN => " is a viewer and",
        _ => " may read, but",
    };
    let role = if subjects::CHANGE_REQUESTS.contains(&subject) {
        "an operator"
    } else {
        "an operator or a viewer"
    };
    format!("{user}{reader} cannot {action}; use the credentials of {role} (--creds FILE)")
}

fn describe_timeout(subject: &str) -> String {
    let seconds = REQUEST_TIMEOUT.as_secs();
    let is_host_teardown = subjects::host_teardown_token(subject).is_some();
    if is_host_teardown || subjects::CHANGE_REQUESTS.contains(&subject) {
        format!(
            "the controller did not answer within {seconds} s; the request may have been accepted: try again"
        )
    } else {
        format!("the controller did not answer within {seconds} s; try again")
    }
}

/// Returns the suffix of an error message that says what to do next, or an empty string if nothing
/// general can be said.
fn describe_next_step(error: &ErrorReply) -> String {
    let Some(delay_ms) = error.retry_after_ms else {
        let next_step = match error.code {
            ErrorCode::HostNotFound => "; `scuttle hosts` lists all hosts",
            ErrorCode::ShardNotFound => "; `scuttle shards` lists all deckies",
            ErrorCode::OperationNotFound => "; `scuttle ops` lists the operations",
            _ => "",
        };
        return next_step.to_owned();
    };
    match delay_ms.div_ceil(1_000) {
        seconds @ 0..60 => format!("; try again in {seconds} s"),
        seconds @ 60..7_200 => format!("; try again in {} minutes", seconds.div_ceil(60)),
        seconds => format!("; try again in {} hours", seconds.div_ceil(3_600)),
    }
}

impl ClientError {
    /// Returns the controller's error code if the controller rejected the request, or `None`
    /// otherwise.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Rejected(error) => Some(error.code),
            _ => None,
        }
    }
}
