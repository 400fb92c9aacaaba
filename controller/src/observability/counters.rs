//! What was answered (`answers`), and what was refused or ignored, counted by where it came from and why. Each combination is logged when it
//! first happens, and then only counted: there are few of them, whatever is sent, so nobody else decides
//! how much is written to the log.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{OperationId, truncate_chars};
use tracing::{debug, warn};

use crate::observability::metrics::request_counters::Answers;
use crate::request::endpoint::Endpoint;

/// Where something came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A request.
    Endpoint(Endpoint),
    /// What agents publish on their progress subjects.
    Progress,
    /// What the leaders of other partitions tell.
    Relays,
    /// The connection to the NATS server.
    Connection,
    /// The audit log.
    AuditLog,
}

/// Why it was refused or ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its payload is no text.
    NotUtf8,
    /// Its payload is no JSON.
    NotJson,
    /// Its payload is not what its subject takes.
    Invalid,
    /// It names another host than its subject.
    OtherHost,
    /// There was no room for it.
    Overloaded,
    /// Its host had had all that one host may have for now.
    RateLimited,
    /// Its answer would have gone where the asker may not write.
    ReplySubject,
    /// It was a result that changed nothing.
    UnknownOperation,
    /// Its answer could not be sent.
    ReplyFailed,
    /// It was lost in the NATS client: more came than was read.
    MessagesLost,
    /// The NATS server complained.
    ServerError,
    /// It could not be written.
    WriteFailed,
}

impl Cause {
    const ALL: [Self; 12] = [
        Self::NotUtf8,
        Self::NotJson,
        Self::Invalid,
        Self::OtherHost,
        Self::Overloaded,
        Self::RateLimited,
        Self::ReplySubject,
        Self::UnknownOperation,
        Self::ReplyFailed,
        Self::MessagesLost,
        Self::ServerError,
        Self::WriteFailed,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::NotJson => "not JSON",
            Self::Invalid => "invalid",
            Self::OtherHost => "for another host",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "beyond its host's share",
            Self::ReplySubject => "a reply subject that is not the asker's",
            Self::UnknownOperation => "a result that changed nothing",
            Self::ReplyFailed => "not answered",
            Self::MessagesLost => "messages lost",
            Self::ServerError => "the NATS server complained",
            Self::WriteFailed => "not written",
        }
    }

    /// Whether it can come from there: whoever watches wants to see a count before it is one.
    pub fn is_of(self, source: Source) -> bool {
        let agents = |endpoint: Endpoint| endpoint.channel().is_some();
        match (self, source) {
            (Self::MessagesLost | Self::ServerError, Source::Connection)
            | (Self::WriteFailed, Source::AuditLog)
            | (Self::UnknownOperation, Source::Endpoint(Endpoint::AgentResults))
            | (Self::ReplySubject | Self::ReplyFailed, Source::Endpoint(_))
            | (Self::RateLimited, Source::Progress)
            | (
                Self::NotUtf8 | Self::NotJson | Self::Invalid | Self::Overloaded,
                Source::Endpoint(_) | Source::Progress,
            ) => true,
            (Self::RateLimited | Self::OtherHost, Source::Endpoint(endpoint)) => agents(endpoint),
            _ => false,
        }
    }

    /// What programs call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::Invalid => "invalid",
            Self::OtherHost => "other_host",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "share",
            Self::ReplySubject => "reply_subject",
            Self::UnknownOperation => "unknown_operation",
            Self::ReplyFailed => "unanswered",
            Self::MessagesLost => "lost",
            Self::ServerError => "complaint",
            Self::WriteFailed => "unwritten",
        }
    }
}

/// The most characters of a host's id that are logged: a subject may have anything there.
const MAX_ID: usize = 64;

/// Whom and what it is about, as far as that is known.
#[derive(Debug, Clone, Default)]
pub struct About<'a> {
    host: Option<Cow<'a, str>>,
    operation: Option<OperationId>,
}

impl<'a> About<'a> {
    /// The host whose channel a subject is.
    pub fn host(channel: Option<AgentChannel>, subject: &'a str) -> Self {
        Self::host_text(channel.and_then(|channel| channel.host_token(subject)))
    }

    /// The host that a subject was found to name.
    pub fn host_text(host: Option<&'a str>) -> Self {
        Self {
            host: host.map(|host| truncate_chars(host, MAX_ID)),
            operation: None,
        }
    }

    /// This operation, too.
    #[must_use]
    pub fn operation(self, operation: Option<OperationId>) -> Self {
        Self { operation, ..self }
    }
}

const SOURCES: usize = Endpoint::ALL.len() + 4;
const CAUSES: usize = Cause::ALL.len();

/// The counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    ignored: [[AtomicU64; CAUSES]; SOURCES],
    /// What was answered.
    pub answers: Answers,
    reconnects: AtomicU64,
}

impl Counters {
    /// Counts one more; logs it if it is the first of its kind. `length` is that of the payload in bytes,
    /// `what` says what is wrong with it, in a bounded number of words.
    pub fn count(&self, source: Source, cause: Cause, length: usize, what: impl fmt::Display) {
        self.count_about(&About::default(), source, cause, length, what);
    }

    /// The same, of what is known to be about a host or an operation.
    pub fn count_about(
        &self,
        about: &About<'_>,
        source: Source,
        cause: Cause,
        length: usize,
        what: impl fmt::Display,
    ) {
        let (from, why) = (source.name(), cause.text());
        let host_uuid = about.host.as_deref();
        let operation_id = about.operation.map(tracing::field::display);
        let before = self.ignored[source.index()][cause as usize].fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            warn!(
                operation_id,
                host_uuid,
                from,
                length,
                "{why}: {what}; further ones are only counted, until the stop"
            );
        } else {
            debug!(operation_id, host_uuid, from, length, "{why}: {what}");
        }
    }

    /// What was refused or ignored: a count for each source and cause, most of them none.
    pub fn ignored(&self) -> impl Iterator<Item = (Source, Cause, u64)> {
        Source::all().flat_map(move |source| {
            Cause::ALL.into_iter().map(move |cause| {
                let count = self.ignored[source.index()][cause as usize].load(Ordering::Relaxed);
                (source, cause, count)
            })
        })
    }

    /// What was refused or ignored, at least once each.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let counted = self.ignored().filter(|(_, _, count)| *count > 0);
        counted.map(|(source, cause, count)| (source.name(), cause.text(), count))
    }

    /// The NATS server was lost, and is there again.
    pub fn reconnected(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// `agent-progress: 12 not JSON, agent-progress: 1 invalid`
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (source, cause, count)) in self.all().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{source}: {count} {cause}")?;
        }
        Ok(())
    }
}

impl Source {
    fn all() -> impl Iterator<Item = Self> {
        let endpoints = Endpoint::ALL.into_iter().map(Self::Endpoint);
        endpoints.chain([
            Self::Progress,
            Self::Relays,
            Self::Connection,
            Self::AuditLog,
        ])
    }

    fn index(self) -> usize {
        match self {
            Self::Endpoint(endpoint) => endpoint as usize,
            Self::Progress => Endpoint::ALL.len(),
            Self::Relays => Endpoint::ALL.len() + 1,
            Self::Connection => Endpoint::ALL.len() + 2,
            Self::AuditLog => Endpoint::ALL.len() + 3,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.name(),
            Self::Progress => "agent-progress",
            Self::Relays => "partitions",
            Self::Connection => "connection",
            Self::AuditLog => "audit-log",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Counters, Source};
    use crate::request::endpoint::Endpoint;

    #[test]
    fn every_source_and_cause_has_a_count_of_its_own() {
        let counters = Counters::default();
        for source in Source::all() {
            for cause in Cause::ALL {
                counters.count(source, cause, 0, "");
            }
        }
        assert_eq!(
            counters.all().count(),
            Source::all().count() * Cause::ALL.len()
        );
        assert!(counters.all().all(|(_, _, count)| count == 1));
    }

    #[test]
    fn what_was_counted_is_told_in_one_line() {
        let counters = Counters::default();
        assert_eq!(counters.to_string(), "");
        counters.count(Source::Progress, Cause::NotJson, 3, "");
        counters.count(Source::Progress, Cause::NotJson, 4, "");
        counters.count(Source::Endpoint(Endpoint::Teardown), Cause::Invalid, 5, "");
        assert_eq!(
            counters.to_string(),
            "teardown: 1 invalid, agent-progress: 2 not JSON"
        );
    }
}
