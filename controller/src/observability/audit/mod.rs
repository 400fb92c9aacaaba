//! The audit log. It contains one line for each request for a change, whether accepted or rejected,
//! with the requester.
//!
//! A line is written when the outcome is certain. For an accepted request, this is after the change
//! is on disk. If the controller crashes between the change and the line, the line and the reply
//! are lost. A teardown can still be attributed, because its operation records who requested it,
//! when and why. `line` defines the format of a line, and `log` writes it.

mod line;
pub mod log;

use std::path::Path;
use std::sync::Arc;

use scuttle_core::{Input, Reply, TeardownArgs};
use scuttle_schemas::headers::UNKNOWN_REQUESTER;
use scuttle_schemas::truncate_chars;
use scuttle_schemas::types::text::MAX_TEXT_CHARS;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId};
use tracing::{info, warn};

use crate::clock;
use crate::observability::counters::{Cause, Counters, Ignored, Source};
use crate::request::endpoint::Endpoint;
use line::AuditLine;
use log::{AuditError, Log};

/// The user name in audit lines about actions of the controller itself. No user should have this
/// name, because the audit log could not distinguish that user from the controller.
const CONTROLLER: &str = "scuttle-controller";

/// The part of an audit line that is known from the request, as far as the request could be
/// decoded. It is kept until the reply is known.
#[derive(Debug)]
pub struct AuditSubject {
    action: &'static str,
    who: String,
    operation: Option<OperationId>,
    host: Option<HostId>,
    decky: Option<DeckyId>,
    reason: Option<String>,
    override_protection: bool,
    /// Whether a request to change a protection sets it or lifts it. `None` for other requests.
    sets_protection: Option<bool>,
}

impl AuditSubject {
    /// Returns the subject of a request for a change. Returns `None` for any other message: a list
    /// request, a report or a dry run. `input` is `None` if decoding failed.
    pub fn new(
        endpoint: Endpoint,
        requested_by: Option<String>,
        input: Option<&Input>,
    ) -> Option<Box<Self>> {
        if !endpoint.is_change() {
            return None;
        }
        let mut subject = Self {
            action: endpoint.action(),
            // A user that the headers hide is not one that the server vouches for.
            who: requested_by.unwrap_or_else(|| UNKNOWN_REQUESTER.to_owned()),
            operation: None,
            host: None,
            decky: None,
            reason: None,
            override_protection: false,
            sets_protection: None,
        };
        match input {
            Some(Input::Teardown(TeardownArgs { request, .. })) if request.dry_run => return None,
            Some(Input::Teardown(TeardownArgs { request, .. })) => {
                subject.host = Some(request.host_uuid.clone());
                subject.decky.clone_from(&request.decky_id);
                subject.reason.clone_from(&request.reason);
                subject.override_protection = request.override_protection;
            }
            Some(Input::Protect(request)) => {
                subject.host = Some(request.host_uuid.clone());
                subject.decky.clone_from(&request.decky_id);
                subject.reason.clone_from(&request.reason);
                subject.sets_protection = Some(request.protected);
            }
            Some(Input::Cancel(request)) => subject.operation = Some(request.operation_id),
            Some(Input::Enroll { request, .. }) => subject.host.clone_from(&request.host_uuid),
            Some(Input::UpdateHost(request)) => subject.host = Some(request.host_uuid.clone()),
            Some(Input::Decommission(request)) => subject.host = Some(request.host_uuid.clone()),
            _ => {}
        }
        Some(Box::new(subject))
    }

    fn to_line<'a>(&'a self, time: &'a str, reply: &'a Reply) -> AuditLine<'a> {
        let outcome = Outcome::new(self, reply);
        AuditLine {
            target: "audit",
            time,
            who: &self.who,
            action: self.action,
            outcome: outcome.name(),
            code: outcome.code,
            message: outcome
                .message
                .map(|message| truncate_chars(message, MAX_TEXT_CHARS)),
            repeated: outcome.repeated,
            operation_id: outcome.operation,
            host_uuid: outcome.host,
            decky_id: outcome.decky,
            reason: self.reason.as_deref(),
            override_protection: self.override_protection,
        }
    }
}

/// The outcome of a request, as shown in its audit line or trace. Fields that the reply lacks are
/// filled in from the request.
pub(crate) struct Outcome<'a> {
    code: Option<ErrorCode>,
    message: Option<&'a str>,
    pub(crate) repeated: bool,
    pub(crate) operation: Option<OperationId>,
    pub(crate) host: Option<&'a HostId>,
    pub(crate) decky: Option<&'a DeckyId>,
}

impl<'a> Outcome<'a> {
    /// Returns the name of the outcome in audit lines and traces.
    pub(crate) fn name(&self) -> &'static str {
        match self.code {
            None => "accepted",
            Some(_) => "rejected",
        }
    }

    pub(crate) fn new(subject: &'a AuditSubject, reply: &'a Reply) -> Self {
        let is_lifted = subject.sets_protection == Some(false);
        let subject = Self {
            code: None,
            message: None,
            repeated: false,
            operation: subject.operation,
            host: subject.host.as_ref(),
            decky: subject.decky.as_ref(),
        };
        match reply {
            Reply::Rejected(ErrorReply { code, message, .. }) => Self {
                code: Some(*code),
                message: Some(message),
                ..subject
            },
            Reply::Teardown(accepted) => Self {
                message: Some(&accepted.detail),
                repeated: accepted.repeated,
                operation: Some(accepted.operation_id),
                ..subject
            },
            Reply::Cancelled(accepted) => Self {
                host: Some(&accepted.operation.host_uuid),
                decky: accepted.operation.decky_id.as_ref(),
                ..subject
            },
            Reply::Enroll(accepted) => Self {
                repeated: accepted.repeated,
                host: Some(&accepted.host.host_uuid),
                ..subject
            },
            Reply::Decommissioned(accepted) => Self {
                message: Some(&accepted.detail),
                ..subject
            },
            Reply::Protected(accepted) => Self {
                message: Some(match (is_lifted, accepted.protected) {
                    (false, _) => "protected",
                    (true, false) => "protection lifted",
                    (true, true) => "protection lifted; its label or its host still protects it",
                }),
                ..subject
            },
            Reply::HostUpdated(_)
            | Reply::Plan(_)
            | Reply::Shards(_)
            | Reply::Hosts(_)
            | Reply::Operations(_)
            | Reply::Operation(_)
            | Reply::Recorded(_)
            | Reply::Heartbeat(_) => subject,
        }
    }
}

/// The audit log. Clones write to the same output.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Log>);

impl Audit {
    /// Opens the log for appending to `file`, or to standard output if `file` is `None`.
    ///
    /// # Errors
    /// If the file cannot be opened or created.
    pub fn open(file: Option<&Path>) -> Result<Self, AuditError> {
        Ok(Self(Arc::new(Log::open(file)?)))
    }

    /// Writes the lines of several replies at once. Lines that cannot be written are lost, which is
    /// counted. The service continues, because the changes themselves are durable.
    pub fn record_replies<'a>(
        &self,
        replies: impl IntoIterator<Item = (&'a AuditSubject, &'a Reply)>,
        counters: &Counters,
    ) {
        let mut replies = replies.into_iter().peekable();
        if replies.peek().is_none() {
            return;
        }
        let time = clock::now().to_string();
        for (subject, reply) in replies {
            let line = subject.to_line(&time, reply);
            self.0.add(|bytes| line.write_to(bytes));
        }
        self.flush(counters);
    }

    /// Writes a line about the start or the end of a host's quarantine. The line names the
    /// controller as the requester.
    pub fn record_quarantine(&self, host: &HostId, quarantined: bool, counters: &Counters) {
        let time = clock::now().to_string();
        let line = AuditLine {
            target: "audit",
            time: &time,
            who: CONTROLLER,
            action: if quarantined { "quarantine" } else { "readmit" },
            outcome: "accepted",
            code: None,
            message: None,
            repeated: false,
            operation_id: None,
            host_uuid: Some(host),
            decky_id: None,
            reason: quarantined.then_some("its agent sends malformed messages"),
            override_protection: false,
        };
        self.0.add(|bytes| line.write_to(bytes));
        self.flush(counters);
    }

    fn flush(&self, counters: &Counters) {
        if let Err((lost, error)) = self.0.flush() {
            let ignored = Ignored::new(Source::AuditLog, Cause::WriteFailed, lost);
            counters.count_ignored(&ignored, error);
        }
    }

    /// Reopens the file after a SIGHUP, as log rotation requires. Does nothing without a file.
    pub fn reopen(&self) {
        if !self.0.is_file() {
            return;
        }
        match self.0.reopen() {
            Ok(()) => info!("SIGHUP: reopened the audit log"),
            Err(error) => warn!("SIGHUP: {error}; continuing with the old file"),
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_core::Reply;
    use scuttle_schemas::{ErrorCode, ErrorReply};
    use serde_json::Value;

    use super::{Audit, AuditSubject};
    use crate::observability::counters::Counters;
    use crate::request::endpoint::Endpoint;

    /// User names come from the NATS server, where any text can be a name.
    #[test]
    fn a_hostile_name_or_message_stays_in_its_field() {
        let hostile = "a\n{\"who\":\"b\"}\u{1b}[2J\u{2028}";
        let long = hostile.repeat(100);
        let requester = Some(hostile.to_owned());
        let subject = AuditSubject::new(Endpoint::Teardown, requester, None).expect("a change");
        let rejected = Reply::Rejected(ErrorReply::new(ErrorCode::BadRequest, &long));
        let file = tempfile::NamedTempFile::new().expect("a file");
        let audit = Audit::open(Some(file.path())).expect("the log opens");
        audit.record_replies([(&*subject, &rejected)], &Counters::default());
        let text = std::fs::read_to_string(file.path()).expect("the file exists");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let truncated: String = long.chars().take(512).collect();
        assert_eq!(line["who"], hostile);
        assert_eq!(line["message"], truncated);
        assert_eq!(line["outcome"], "rejected");
        for missing in ["operation_id", "host_uuid", "decky_id", "reason"] {
            assert_eq!(line.get(missing), Some(&Value::Null), "{text}");
        }
    }
}
