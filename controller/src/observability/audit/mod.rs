//! The audit log: one line for each request that would change something, accepted or refused, with who asked for it.
//! What a line says is decided here, as events of the target `audit`; how they become JSON is in `lines`, where
//! they go in `log`.
//!
//! A line is written once its outcome is certain: with an acceptance, when the change is on disk. A crash in between
//! takes the line and the answer, not the change: the operation itself says who asked for it, when and why.

mod lines;
mod log;

use std::path::Path;
use std::sync::Arc;

use scuttle_core::{Input, Reply};
use scuttle_schemas::headers::UNKNOWN_REQUESTER;
use scuttle_schemas::truncate_chars;
use scuttle_schemas::types::text::MAX_TEXT_CHARS;
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId};
use serde::Serialize;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

use crate::clock;
use crate::observability::counters::{Cause, Counters, Source};
use crate::request::endpoint::Endpoint;
use lines::Lines;
pub use log::AuditError;
use log::Log;

/// The target of the events. The log on standard error leaves it out.
const TARGET: &str = "audit";

/// What a request for a change is about, as far as it could be read: kept until it is answered.
#[derive(Debug)]
pub struct AuditSubject {
    action: &'static str,
    who: String,
    operation: Option<OperationId>,
    host: Option<HostId>,
    decky: Option<DeckyId>,
    reason: Option<String>,
}

impl AuditSubject {
    /// None for what changes nothing: a list, a report, a dry run. `input` is what the message was read as, if
    /// it could be.
    pub fn new(
        endpoint: Endpoint,
        requested_by: Option<String>,
        input: Option<&Input>,
    ) -> Option<Box<Self>> {
        if !endpoint.is_change() {
            return None;
        }
        let mut asked = Self {
            action: endpoint.name(),
            // A user that the headers hide is not one that the server vouches for.
            who: requested_by.unwrap_or_else(|| UNKNOWN_REQUESTER.to_owned()),
            operation: None,
            host: None,
            decky: None,
            reason: None,
        };
        match input {
            Some(Input::Teardown { request, .. }) if request.dry_run => return None,
            Some(Input::Teardown { request, .. }) => {
                asked.host = Some(request.host_uuid.clone());
                asked.decky.clone_from(&request.decky_id);
                asked.reason.clone_from(&request.reason);
            }
            Some(Input::Cancel(request)) => asked.operation = Some(request.operation_id),
            Some(Input::Enroll { request, .. }) => asked.host.clone_from(&request.host_uuid),
            Some(Input::Decommission(request)) => asked.host = Some(request.host_uuid.clone()),
            _ => {}
        }
        Some(Box::new(asked))
    }

    /// One event; what is `None` is `null` in its line.
    fn told(&self, time: &str, reply: &Reply) {
        let outcome = Outcome::of(self, reply);
        info!(
            target: TARGET,
            time,
            who = self.who.as_str(),
            action = self.action,
            outcome = outcome.word(),
            code = outcome.code.and_then(word).as_deref(),
            message = outcome.message.map(|message| truncate_chars(message, MAX_TEXT_CHARS)).as_deref(),
            repeated = outcome.repeated,
            operation_id = outcome.operation.map(tracing::field::display),
            host_uuid = outcome.host.map(HostId::as_str),
            decky_id = outcome.decky.map(DeckyId::as_str),
            reason = self.reason.as_deref(),
        );
    }
}

/// What an answer says, and where it says nothing, what the request said.
pub(crate) struct Outcome<'a> {
    code: Option<ErrorCode>,
    message: Option<&'a str>,
    pub(crate) repeated: bool,
    pub(crate) operation: Option<OperationId>,
    pub(crate) host: Option<&'a HostId>,
    pub(crate) decky: Option<&'a DeckyId>,
}

impl<'a> Outcome<'a> {
    pub(crate) fn word(&self) -> &'static str {
        match self.code {
            None => "accepted",
            Some(_) => "refused",
        }
    }

    pub(crate) fn of(asked: &'a AuditSubject, reply: &'a Reply) -> Self {
        let asked = Self {
            code: None,
            message: None,
            repeated: false,
            operation: asked.operation,
            host: asked.host.as_ref(),
            decky: asked.decky.as_ref(),
        };
        match reply {
            Reply::Rejected(ErrorReply { code, message, .. }) => Self {
                code: Some(*code),
                message: Some(message),
                ..asked
            },
            Reply::Teardown(accepted) => Self {
                message: Some(&accepted.detail),
                repeated: accepted.repeated,
                operation: Some(accepted.operation_id),
                ..asked
            },
            Reply::Cancelled(accepted) => Self {
                host: Some(&accepted.operation.host_uuid),
                decky: accepted.operation.decky_id.as_ref(),
                ..asked
            },
            Reply::Enroll(accepted) => Self {
                repeated: accepted.repeated,
                host: Some(&accepted.host.host_uuid),
                ..asked
            },
            Reply::Decommissioned(accepted) => Self {
                message: Some(&accepted.detail),
                ..asked
            },
            Reply::Plan(_)
            | Reply::Shards(_)
            | Reply::Hosts(_)
            | Reply::Operations(_)
            | Reply::Operation(_)
            | Reply::Recorded(_)
            | Reply::Heartbeat(_) => asked,
        }
    }
}

/// As it is written on the wire.
pub(crate) fn word(value: impl Serialize) -> Option<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Some(word),
        _ => None,
    }
}

/// Where the lines go; clones write to the same place.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Log>);

impl Audit {
    /// Writes to the end of a file, or to standard output.
    ///
    /// # Errors
    /// The file cannot be opened or made.
    pub fn open(file: Option<&Path>) -> Result<Self, AuditError> {
        Ok(Self(Arc::new(Log::open(file)?)))
    }

    /// What makes lines of the events. Without it nothing is written.
    pub fn layer<S>(&self) -> impl Layer<S>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours = Targets::new().with_target(TARGET, LevelFilter::INFO);
        Lines(self.0.clone()).with_filter(ours)
    }

    /// A filter for everybody else's log: the same, without these events.
    pub fn left_out_of(filter: EnvFilter) -> EnvFilter {
        match format!("{TARGET}=off").parse() {
            Ok(directive) => filter.add_directive(directive),
            // Not reached: it is a target and a level.
            Err(_) => filter,
        }
    }

    /// Writes the lines of some answers, in one go. A line that cannot be written is counted and lost: the service
    /// goes on, since the operation itself is the record that must not be lost.
    pub fn record_replies<'a>(
        &self,
        answers: impl IntoIterator<Item = (&'a AuditSubject, &'a Reply)>,
        counters: &Counters,
    ) {
        let mut answers = answers.into_iter().peekable();
        if answers.peek().is_none() {
            return;
        }
        let time = clock::now().to_string();
        for (asked, reply) in answers {
            asked.told(&time, reply);
        }
        if let Err((lost, error)) = self.0.flush() {
            counters.count(Source::AuditLog, Cause::WriteFailed, lost, error);
        }
    }

    /// Opens a file anew at each SIGHUP, as those who rotate logs ask. Where there is none, SIGHUP stays what it is.
    ///
    /// # Errors
    /// The process may not handle signals.
    pub fn reopen_on_hangup(&self) -> std::io::Result<()> {
        if !self.0.is_file() {
            return Ok(());
        }
        let mut hangups = signal(SignalKind::hangup())?;
        let log = self.0.clone();
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                match log.reopen() {
                    Ok(()) => info!("SIGHUP: the audit log is opened anew"),
                    Err(error) => warn!("SIGHUP: {error}; the old file is written on"),
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use scuttle_core::Reply;
    use scuttle_schemas::{ErrorCode, ErrorReply};
    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Audit, AuditSubject};
    use crate::observability::counters::Counters;
    use crate::request::endpoint::Endpoint;

    /// What the NATS server says of a user is the name that somebody gave it.
    #[test]
    fn no_name_or_message_breaks_its_line() {
        let evil = "a\n{\"who\":\"b\"}\u{1b}[2J\u{2028}";
        let lengthy = evil.repeat(100);
        let asked =
            AuditSubject::new(Endpoint::Teardown, Some(evil.to_owned()), None).expect("a change");
        let refused = Reply::Rejected(ErrorReply::new(ErrorCode::BadRequest, &lengthy));
        let file = tempfile::NamedTempFile::new().expect("a file");
        let audit = Audit::open(Some(file.path())).expect("it opens");
        let log = tracing_subscriber::registry().with(audit.layer());
        tracing::subscriber::with_default(log, || {
            tracing::info!("somebody else's event");
            audit.record_replies([(&*asked, &refused)], &Counters::default());
        });
        let text = std::fs::read_to_string(file.path()).expect("it is there");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        let cut: String = lengthy.chars().take(512).collect();
        assert_eq!(line["who"], evil);
        assert_eq!(line["message"], cut);
        assert_eq!(line["outcome"], "refused");
        for nothing in ["operation_id", "host_uuid", "decky_id", "reason"] {
            assert_eq!(line.get(nothing), Some(&Value::Null), "{text}");
        }
    }
}
