//! The controller's trace spans: for requests for a change and their commits, for commands, and for
//! results.
//!
//! The span of a request or result replaces the trace context in the decoded input with its own.
//! The core copies this context to the commands and broadcasts that the input causes. The spans
//! therefore form a tree that follows the messages.

use scuttle_core::{Effect, Input, Reply, TeardownArgs, Trace};
use scuttle_schemas::agents::{AgentCommand, ResultOutcome};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_telemetry::span::is_enabled;
use scuttle_telemetry::{KeyValue, Span, SpanKind, start_span};

use crate::engine::CommitTiming;
use crate::observability::audit::{AuditSubject, Outcome};
use crate::request::decode::{RequestHead, parse_trace};
use crate::wire_name::wire_name;

/// The attribute for the operation's id. Scuttle's own attributes are named like the fields of log
/// lines.
const OPERATION: &str = "scuttle.operation_id";
const HOST: &str = "scuttle.host_uuid";
const DECKY: &str = "scuttle.decky_id";
const OUTCOME: &str = "scuttle.outcome";

/// Starts the span of an audited request, or of a result that carries a trace context, and puts the
/// span's context into `input`. Returns `None` for any other message, or if traces are not
/// exported.
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
        (SpanKind::Server, head.endpoint.action())
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

/// Records the outcome and the commit of a request in its span. The span ends when it is dropped,
/// after the reply is sent.
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

/// Starts a span for sending a traced command, and puts the span's context into the command, so
/// that the agent's spans become its children. Returns `None` for any other effect, or if traces
/// are not exported.
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

/// Returns the attributes that OpenTelemetry's semantic conventions require of a span for a
/// message.
fn messaging_attributes(operation: &'static str, subject: String) -> [KeyValue; 4] {
    [
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.name", subject),
    ]
}
