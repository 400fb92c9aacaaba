//! The trace span of a teardown, from its start to its end in this boot. The span's parent is the
//! span of the command, and the span's context is sent with the result. A boot that only resends
//! the result of an earlier boot has no span for it, and sends the context of the command instead.

use std::collections::HashMap;

use scuttle_schemas::agents::{ReportedOutcome, ResultOutcome};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{HostId, OperationId, Text};
use scuttle_telemetry::{KeyValue, Span, SpanKind, start_span};

use crate::machine::{AgentEvent, Input};
use crate::runtime::{Progress, Teardown, TeardownReport};

/// The name of the attribute that names a decky, on spans and on their events.
const DECKY: &str = "scuttle.decky_id";

/// The spans of the running teardowns, and the trace contexts of the results that are not recorded
/// yet.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    running: HashMap<OperationId, Span>,
    /// The trace context of each ended operation that was traced, until its result is recorded.
    results: HashMap<OperationId, String>,
}

impl Spans {
    /// Starts the span of a teardown.
    pub(crate) fn start_teardown(
        &mut self,
        host: &HostId,
        teardown: &Teardown,
        parent: Option<&str>,
    ) {
        let Teardown {
            operation_id,
            decky_id,
            ..
        } = teardown;
        let span = start_span(SpanKind::Consumer, "execute teardown", parent, || {
            [
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.type", "process"),
                KeyValue::new("messaging.operation.name", "process"),
                KeyValue::new(
                    "messaging.destination.name",
                    AgentChannel::Commands.subject(host),
                ),
                KeyValue::new("scuttle.operation_id", operation_id.to_string()),
                KeyValue::new("scuttle.host_uuid", host.to_string()),
            ]
        });
        if let Some(mut span) = span {
            if let Some(decky) = decky_id {
                span.set_attribute(DECKY, decky.to_string());
            }
            self.running.insert(*operation_id, span);
        }
    }

    /// Adds the progress and the report of the runtime to the span as events.
    pub(crate) fn observe_input(&mut self, input: &Input) {
        match input {
            Input::Progress(progress) => self.add_progress(progress),
            Input::Finished {
                operation_id,
                report,
            } => self.add_report(*operation_id, report),
            _ => {}
        }
    }

    /// Ends the span when the machine reports the end of its teardown. Drops the context of a
    /// result that the controller has recorded.
    pub(crate) fn observe_event(&mut self, event: &AgentEvent) {
        match event {
            AgentEvent::TeardownFinished {
                operation_id,
                outcome,
                error,
                ..
            } => self.end(*operation_id, *outcome, error.as_ref()),
            AgentEvent::ResultRecorded { operation_id, .. } => {
                self.results.remove(operation_id);
            }
            _ => {}
        }
    }

    fn add_progress(&mut self, progress: &Progress) {
        if let Some(span) = self.running.get_mut(&progress.operation_id) {
            let decky = progress.decky_id.as_ref();
            let decky = decky.map(|decky| KeyValue::new(DECKY, decky.to_string()));
            span.add_event(progress.step.as_str(), decky.into_iter().collect());
        }
    }

    fn add_report(&mut self, id: OperationId, report: &TeardownReport) {
        let Some(span) = self.running.get_mut(&id) else {
            return;
        };
        for shard in &report.shards {
            let name = match shard.outcome {
                ReportedOutcome::Removed => "removed",
                ReportedOutcome::Absent => "absent",
                ReportedOutcome::Failed => "failed",
            };
            let decky = KeyValue::new(DECKY, shard.decky_id.to_string());
            span.add_event(name, vec![decky]);
        }
    }

    /// Ends the span of an operation. An operation that expired before it started has no span.
    fn end(&mut self, id: OperationId, outcome: ResultOutcome, error: Option<&Text>) {
        let Some(mut span) = self.running.remove(&id) else {
            return;
        };
        match outcome {
            ResultOutcome::Succeeded => span.set_attribute("scuttle.outcome", "succeeded"),
            ResultOutcome::Failed => {
                span.set_attribute("scuttle.outcome", "failed");
                span.set_error("teardown_failed", error.map_or("", Text::as_str));
            }
        }
        if let Some(context) = span.traceparent() {
            self.results.insert(id, context);
        }
    }

    /// Returns the trace context to send with the result of an operation: the context of the
    /// operation's span, or `parent`, the context of the command, if no span was recorded.
    pub(crate) fn result_context(&self, id: OperationId, parent: Option<String>) -> Option<String> {
        self.results.get(&id).cloned().or(parent)
    }
}
