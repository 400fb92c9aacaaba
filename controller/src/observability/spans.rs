//! The controller's trace spans: requests for a change with their commit, commands, and results.
//! The trace context of a request or result is replaced by the context of its span. The core then
//! copies the context to the commands and broadcasts that the message causes. So the spans form a
//! tree that follows the messages.

use scuttle_core::{Effect, Input, Reply, TeardownArgs, Trace};
use scuttle_schemas::agents::{AgentCommand, ResultOutcome};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_telemetry::span::is_enabled;
use scuttle_telemetry::{KeyValue, Span, SpanKind, start_span};

use crate::engine::CommitTiming;
use crate::observability::audit::{AuditSubject, Outcome};
use crate::request::decode::{RequestHead, parse_trace};
use crate::wire_name::wire_name;

/// The attributes that Scuttle defines have the names of the log's fields.
const OPERATION: &str = "scuttle.operation_id";
const HOST: &str = "scuttle.host_uuid";
const DECKY: &str = "scuttle.decky_id";
const OUTCOME: &str = "scuttle.outcome";

/// Starts the span of an audited request, or of the result of a traced operation.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the caller passes on its own optional reference"
)]
pub(crate) fn start_request(
    head: &RequestHead<'_>,
    is_audited: bool,
    input: Option<&mut Input>,
) -> Option<Box<Span>> {
    if !is_enabled() {
        return None;
    }
    let parent = parse_trace(head.message);
    let (kind, name) = if let Some(Input::Result { .. }) = input {
        parent.as_ref()?;
        (SpanKind::Consumer, "result recorded")
    } else {
        if !is_audited {
            return None;
        }
        (SpanKind::Server, head.endpoint.name())
    };
    let subject = head.message.subject.to_string();
    let mut span = start_span(kind, name, parent.as_deref(), || {
        messaging_attributes("process", subject)
    })?;
    let trace = match input {
        Some(Input::Teardown(TeardownArgs { trace, .. })) => Some(trace),
        Some(Input::Result { trace, result, .. }) => {
            span.set_attribute(OPERATION, result.operation_id.to_string());
            span.set_attribute(HOST, result.host_uuid.to_string());
            span.set_attribute(
                OUTCOME,
                match result.outcome {
                    ResultOutcome::Succeeded => "succeeded",
                    ResultOutcome::Failed => "failed",
                },
            );
            Some(trace)
        }
        _ => None,
    };
    if let Some((trace, context)) = trace.zip(span.traceparent()) {
        *trace = Some(Trace::from(context));
    }
    Some(Box::new(span))
}

/// Records the outcome and the commit in the span. The span ends when it is dropped, after the
/// reply is sent.
pub(crate) fn finish_request(
    span: &mut Span,
    subject: Option<&AuditSubject>,
    reply: &Reply,
    timing: Option<CommitTiming>,
) {
    if let Some(subject) = subject {
        let outcome = Outcome::new(subject, reply);
        for (name, id) in [
            (OPERATION, outcome.operation.map(|id| id.to_string())),
            (HOST, outcome.host.map(ToString::to_string)),
            (DECKY, outcome.decky.map(ToString::to_string)),
        ] {
            if let Some(id) = id {
                span.set_attribute(name, id);
            }
        }
        span.set_attribute(OUTCOME, outcome.name());
        span.set_attribute("scuttle.repeated", outcome.repeated);
    }
    if let Reply::Rejected(error) = reply {
        span.set_error(wire_name(error.code), &*error.message);
    } else if let Some(timing) = timing {
        span.record_child("commit", timing.decided_at, timing.durable_at);
    }
}

/// Starts a span each time that a traced command is sent, and makes it the parent of the agent's
/// spans.
pub(crate) fn start_command(effect: &mut Effect) -> Option<Span> {
    if !is_enabled() {
        return None;
    }
    let Effect::Command {
        host,
        command,
        trace: Some(trace),
    } = effect
    else {
        return None;
    };
    let mut span = start_span(SpanKind::Producer, "publish command", Some(trace), || {
        messaging_attributes("send", AgentChannel::Commands.subject(host))
    })?;
    span.set_attribute(HOST, host.to_string());
    match command {
        AgentCommand::Teardown(teardown) => {
            span.set_attribute("scuttle.command", "teardown");
            span.set_attribute(OPERATION, teardown.operation_id.to_string());
            span.set_attribute("scuttle.attempt", i64::from(teardown.attempt));
            if let Some(decky) = &teardown.decky_id {
                span.set_attribute(DECKY, decky.to_string());
            }
        }
        AgentCommand::Cancel(cancel) => {
            span.set_attribute("scuttle.command", "cancel");
            span.set_attribute(OPERATION, cancel.operation_id.to_string());
        }
    }
    if let Some(context) = span.traceparent() {
        *trace = Trace::from(context);
    }
    Some(span)
}

/// Returns the attributes that OpenTelemetry's semantic conventions require of a message span.
fn messaging_attributes(operation: &'static str, subject: String) -> [KeyValue; 4] {
    [
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.name", subject),
    ]
}
