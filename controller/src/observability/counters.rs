//! Counters of replies, and of messages that were rejected or ignored, by source and cause.
//!
//! The first event of each combination of source and cause is logged as a warning, and later events
//! only at level `debug`. There are few combinations, so no sender can fill the log.

use std::borrow::Cow;
use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use scuttle_core::Reply;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{ErrorCode, OperationId, truncate_chars};
use tracing::{debug, warn};

use crate::observability::service_counts::ServiceCounts;
use crate::request::endpoint::Endpoint;
use crate::wire_name::wire_name;

/// The origin of a message or event that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The requests or reports that one endpoint receives.
    Endpoint(Endpoint),
    /// The subjects on which agents publish progress reports.
    Progress,
    /// The broadcasts that the leaders of other partitions send to be relayed.
    Relays,
    /// The connection to the NATS server.
    Connection,
    AuditLog,
}

/// The reason why a message or event was rejected, ignored or lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The payload is not UTF-8.
    NotUtf8,
    /// The payload is not JSON.
    NotJson,
    /// The payload is not a valid message for its subject.
    Invalid,
    /// The headers or the reply subject are malformed.
    Malformed,
    /// The host is quarantined.
    Quarantined,
    /// The payload names a different host than the subject.
    OtherHost,
    /// The capacity for this kind of message was exhausted.
    Overloaded,
    /// The host exceeded its rate limit.
    RateLimited,
    /// The request names a reply subject that is not an inbox.
    ReplySubject,
    /// The result is for an operation that does not exist.
    UnknownOperation,
    /// The reply could not be published.
    ReplyFailed,
    /// The NATS client dropped messages because the controller read too slowly.
    MessagesLost,
    /// The NATS server or the NATS client reported an error.
    ServerError,
    /// Audit lines could not be written.
    WriteFailed,
}

impl Cause {
    const ALL: [Self; 14] = [
        Self::NotUtf8,
        Self::NotJson,
        Self::Invalid,
        Self::Malformed,
        Self::Quarantined,
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

    /// Returns the description of the cause in log lines.
    fn text(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::NotJson => "not JSON",
            Self::Invalid => "invalid",
            Self::Malformed => "malformed headers",
            Self::Quarantined => "from a quarantined host",
            Self::OtherHost => "for another host",
            Self::Overloaded => "overloaded",
            Self::RateLimited => "over the host's rate limit",
            Self::ReplySubject => "reply subject not allowed",
            Self::UnknownOperation => "result of an unknown operation",
            Self::ReplyFailed => "reply not sent",
            Self::MessagesLost => "messages lost",
            Self::ServerError => "error of the NATS server",
            Self::WriteFailed => "not written",
        }
    }

    /// Returns whether the cause has a time series at `source` from the start, so that monitoring
    /// sees the first increment. The other time series appear when they are first counted.
    fn can_occur_at(self, source: Source) -> bool {
        match (self, source) {
            (Self::MessagesLost | Self::ServerError, Source::Connection)
            | (Self::WriteFailed, Source::AuditLog)
            | (Self::UnknownOperation, Source::Endpoint(Endpoint::AgentResults))
            | (Self::OtherHost, Source::Endpoint(Endpoint::TeardownHost))
            | (Self::ReplySubject | Self::ReplyFailed, Source::Endpoint(_))
            | (Self::RateLimited | Self::Quarantined, Source::Progress)
            | (
                Self::NotUtf8 | Self::NotJson | Self::Invalid | Self::Malformed | Self::Overloaded,
                Source::Endpoint(_) | Source::Progress,
            ) => true,
            (
                Self::RateLimited | Self::OtherHost | Self::Quarantined,
                Source::Endpoint(endpoint),
            ) => endpoint.channel().is_some(),
            _ => false,
        }
    }

    /// Returns the value of the label `cause` in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::Invalid => "invalid",
            Self::Malformed => "malformed",
            Self::Quarantined => "quarantined",
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

    /// Returns the value of the label `source` in the metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Endpoint(endpoint) => endpoint.name(),
            Self::Progress => "agent-progress",
            Self::Relays => "partitions",
            Self::Connection => "connection",
            Self::AuditLog => "audit-log",
        }
    }
}

/// The maximum length of a host id in the log, in characters. A subject may contain any text in
/// place of the host id.
const MAX_ID_CHARS: usize = 64;

/// A message or event that was rejected or ignored, with what is logged about it.
#[derive(Debug, Clone)]
pub struct Ignored<'a> {
    source: Source,
    cause: Cause,
    /// The length of the payload in bytes, or the number of lost bytes of the audit log.
    length: usize,
    host: Option<Cow<'a, str>>,
    operation: Option<OperationId>,
}

impl<'a> Ignored<'a> {
    /// Creates an event without a host or an operation. `length` is the length of the payload in
    /// bytes, or the number of lost bytes of the audit log.
    pub fn new(source: Source, cause: Cause, length: usize) -> Self {
        Self {
            source,
            cause,
            length,
            host: None,
            operation: None,
        }
    }

    /// Adds the host that `subject` names, if it is a subject of `channel`.
    #[must_use]
    pub fn with_subject(self, channel: Option<AgentChannel>, subject: &'a str) -> Self {
        self.with_host(channel.and_then(|channel| channel.host_token(subject)))
    }

    #[must_use]
    pub fn with_host(self, host: Option<&'a str>) -> Self {
        Self {
            host: host.map(|host| truncate_chars(host, MAX_ID_CHARS)),
            ..self
        }
    }

    #[must_use]
    pub fn with_operation(self, operation: Option<OperationId>) -> Self {
        Self { operation, ..self }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    endpoint: &'static str,
    code: CodeLabel,
}

/// An error code as a metric label. The code is converted to text only when the metrics are
/// encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct CodeLabel(ErrorCode);

impl EncodeLabelValue for CodeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        wire_name(self.0).as_str().encode(encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TeardownLabels {
    repeated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IgnoredLabels {
    source: &'static str,
    cause: &'static str,
}

/// All counters, which start at 0 when the process starts.
#[derive(Debug)]
pub struct Counters {
    requests: Family<RequestLabels, Counter>,
    rejections: Family<RejectionLabels, Counter>,
    accepted_teardowns: Family<TeardownLabels, Counter>,
    ignored: Family<IgnoredLabels, Counter>,
    reconnects: Counter,
    /// The counts for service discovery.
    pub service: ServiceCounts,
}

impl Default for Counters {
    /// Creates the counters, with a time series for each combination of labels that is expected.
    fn default() -> Self {
        let counters = Self {
            requests: Family::default(),
            rejections: Family::default(),
            accepted_teardowns: Family::default(),
            ignored: Family::default(),
            reconnects: Counter::default(),
            service: ServiceCounts::default(),
        };
        for endpoint in Endpoint::ALL {
            counters.replies_to(endpoint);
            counters.rejections(endpoint).for_each(drop);
        }
        for repeated in [false, true] {
            counters.accepted_teardowns(repeated);
        }
        for source in Source::all() {
            for cause in Cause::ALL {
                if cause.can_occur_at(source) {
                    let labels = IgnoredLabels::new(source, cause);
                    drop(counters.ignored.get_or_create(&labels));
                }
            }
        }
        counters
    }
}

impl Counters {
    /// Registers the counters, so that they appear in `/metrics`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "scuttle_requests",
            "Replies to requests and reports, rejections included, by endpoint",
            self.requests.clone(),
        );
        registry.register(
            "scuttle_requests_refused",
            "Rejected requests and reports, by endpoint and error code",
            self.rejections.clone(),
        );
        registry.register(
            "scuttle_teardowns_accepted",
            "Accepted teardowns; `repeated` is true if the reply names an existing operation",
            self.accepted_teardowns.clone(),
        );
        registry.register(
            "scuttle_ignored",
            "Messages and events that were rejected or ignored, by source and cause, also those without a reply",
            self.ignored.clone(),
        );
        registry.register(
            "scuttle_nats_reconnects",
            "Reconnections to the NATS server after a lost connection. Counts only the connections on which the controller sends",
            self.reconnects.clone(),
        );
    }

    /// Counts the reply to a request, whether or not it can be sent.
    pub fn count_reply(&self, endpoint: Endpoint, reply: &Reply) {
        let labels = RequestLabels {
            endpoint: endpoint.name(),
        };
        self.requests.get_or_create(&labels).inc();
        match reply {
            Reply::Rejected(error) => {
                let labels = RejectionLabels::new(endpoint, error.code);
                self.rejections.get_or_create(&labels).inc();
                self.service.set_last_error(endpoint, error);
            }
            Reply::Teardown(accepted) => {
                let repeated = accepted.repeated;
                let labels = TeardownLabels { repeated };
                self.accepted_teardowns.get_or_create(&labels).inc();
            }
            _ => {}
        }
    }

    /// Counts a rejected or ignored message, and logs it. `detail` describes the problem and must
    /// be bounded in length.
    pub fn count_ignored(&self, ignored: &Ignored<'_>, detail: impl fmt::Display) {
        let Ignored { source, cause, .. } = *ignored;
        let labels = IgnoredLabels::new(source, cause);
        let previous = self.ignored.get_or_create(&labels).inc();
        let (from, reason, length) = (source.label(), cause.text(), ignored.length);
        let host_uuid = ignored.host.as_deref();
        let operation_id = ignored.operation.map(tracing::field::display);
        if previous == 0 {
            warn!(
                operation_id,
                host_uuid,
                from,
                length,
                "{reason}: {detail}; further messages of this kind are only counted"
            );
        } else {
            debug!(operation_id, host_uuid, from, length, "{reason}: {detail}");
        }
    }

    /// Returns each combination of source and cause that has occurred, with the number of
    /// occurrences.
    pub fn ignored(&self) -> impl Iterator<Item = (Source, Cause, u64)> {
        Source::all().flat_map(move |source| {
            let counts = Cause::ALL.into_iter().filter_map(move |cause| {
                let counter = self.ignored.get(&IgnoredLabels::new(source, cause))?;
                Some((source, cause, counter.get()))
            });
            counts.filter(|(_, _, count)| *count > 0)
        })
    }

    /// Returns the number of an endpoint's replies, including rejections and replies that could not
    /// be sent.
    pub fn replies_to(&self, endpoint: Endpoint) -> u64 {
        let endpoint = endpoint.name();
        self.requests
            .get_or_create(&RequestLabels { endpoint })
            .get()
    }

    /// Returns the number of requests to an endpoint that were not rejected.
    pub fn granted(&self, endpoint: Endpoint) -> u64 {
        let rejected: u64 = self.rejections(endpoint).map(|(_, count)| count).sum();
        // The two counters of a rejection are not incremented at the same instant.
        self.replies_to(endpoint).saturating_sub(rejected)
    }

    /// Returns the number of rejected requests to an endpoint, for each error code.
    pub fn rejections(&self, endpoint: Endpoint) -> impl Iterator<Item = (ErrorCode, u64)> {
        ErrorCode::ALL.into_iter().map(move |code| {
            let labels = RejectionLabels::new(endpoint, code);
            (code, self.rejections.get_or_create(&labels).get())
        })
    }

    /// Returns the number of accepted teardown requests. If `repeated` is true, counts the requests
    /// whose reply named an existing operation, otherwise the requests that created an operation.
    pub fn accepted_teardowns(&self, repeated: bool) -> u64 {
        self.accepted_teardowns
            .get_or_create(&TeardownLabels { repeated })
            .get()
    }

    /// Counts a reconnection to the NATS server.
    pub fn count_reconnect(&self) {
        self.reconnects.inc();
    }
}

impl RejectionLabels {
    fn new(endpoint: Endpoint, code: ErrorCode) -> Self {
        Self {
            endpoint: endpoint.name(),
            code: CodeLabel(code),
        }
    }
}

impl IgnoredLabels {
    fn new(source: Source, cause: Cause) -> Self {
        Self {
            source: source.label(),
            cause: cause.label(),
        }
    }
}

/// Lists the counts of rejected and ignored messages and events, for example `teardown: 1 invalid,
/// agent-progress: 2 not JSON`.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (source, cause, count)) in self.ignored().enumerate() {
            let separator = if number == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {count} {}", source.label(), cause.text())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Counters, Ignored, Source};
    use crate::request::endpoint::Endpoint;

    #[test]
    fn every_source_and_cause_has_a_separate_count() {
        let counters = Counters::default();
        for source in Source::all() {
            for cause in Cause::ALL {
                counters.count_ignored(&Ignored::new(source, cause, 0), "");
            }
        }
        let combinations = Source::all().count() * Cause::ALL.len();
        assert_eq!(counters.ignored().count(), combinations);
        assert!(counters.ignored().all(|(_, _, count)| count == 1));
    }

    #[test]
    fn ignored_messages_are_listed_in_one_line() {
        let counters = Counters::default();
        assert_eq!(counters.to_string(), "");
        for (source, cause) in [
            (Source::Progress, Cause::NotJson),
            (Source::Progress, Cause::NotJson),
            (Source::Endpoint(Endpoint::Teardown), Cause::Invalid),
        ] {
            counters.count_ignored(&Ignored::new(source, cause, 3), "");
        }
        assert_eq!(
            counters.to_string(),
            "teardown: 1 invalid, agent-progress: 2 not JSON"
        );
    }
}
