//! The context that accompanies a request from its arrival to its reply.

use std::time::Instant;

use async_nats::Message;
use scuttle_core::Input;
use scuttle_schemas::OperationId;
use scuttle_telemetry::Span;

use crate::admission::capacity::Permit;
use crate::observability::audit::AuditSubject;
use crate::observability::counters::Source;
use crate::observability::spans;
use crate::partition::name_registry::NameClaim;
use crate::request::decode::RequestHead;
use crate::request::endpoint::Endpoint;

/// The data that accompanies a request. The context is created when the message arrives, and
/// dropped when the reply has been sent. If the message gets no reply, the context is dropped when
/// the input has been decided.
#[derive(Debug)]
pub struct RequestContext {
    /// The source of the message, for the counters.
    pub source: Source,
    /// The time at which the message was taken from its subscription.
    pub received_at: Instant,
    /// The message to reply to. `None` if the message gets no reply.
    pub request: Option<Message>,
    /// The fields of the request's audit line. `None` if the request is not audited.
    pub audit: Option<Box<AuditSubject>>,
    /// The request's trace span. `None` if the request is not traced.
    pub span: Option<Box<Span>>,
    /// The operation whose result the message reports. `None` for other messages.
    pub operation_id: Option<OperationId>,
    /// The capacity that the request holds until this context is dropped. `None` before admission.
    pub permit: Option<Permit>,
    /// The claim on the name of a host to be enrolled, held until the host is in the record.
    pub name_claim: Option<NameClaim>,
}

impl RequestContext {
    pub fn new(source: Source) -> Self {
        Self {
            source,
            received_at: Instant::now(),
            request: None,
            audit: None,
            span: None,
            operation_id: None,
            permit: None,
            name_claim: None,
        }
    }

    /// Returns the endpoint that received the request, or `None` for a message without a reply.
    pub fn endpoint(&self) -> Option<Endpoint> {
        match self.source {
            Source::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        }
    }

    /// Records the fields of the request's audit line, and starts the request's span. `input` is
    /// the decoded request, or `None` if decoding failed.
    pub(super) fn describe(&mut self, head: &mut RequestHead<'_>, input: Option<&mut Input>) {
        self.audit = AuditSubject::new(head.endpoint, head.take_requester(), input.as_deref());
        self.span = spans::start_request(head, self.audit.is_some(), input);
    }
}
