//! The agent's span of a teardown: from its beginning to its end in this boot, a child of the command's. Its context goes
//! with the result. A boot that only repeats what an earlier one has done has none: then the command's context goes on.

use std::collections::HashMap;

use scuttle_schemas::agents::{ReportedOutcome, ResultOutcome};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{HostId, OperationId, Text};
use scuttle_telemetry::{KeyValue, Kind, Span, start};

use crate::machine::{Input, Note, Progress};
use crate::runtime::{Teardown, TeardownReport};

/// The attribute of a span and of its events.
const DECKY: &str = "scuttle.decky_id";

/// The span of what runs, and the contexts of the results that are not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    running: Option<(OperationId, Span)>,
    /// Only what was traced; each goes when its result is recorded.
    results: HashMap<OperationId, String>,
}

impl Spans {
    /// A teardown begins.
    pub(crate) fn begin(&mut self, host: &HostId, teardown: &Teardown, parent: Option<&str>) {
        let Teardown {
            operation_id,
            decky_id,
        } = teardown;
        let span = start(Kind::Consumer, "execute teardown", parent, || {
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
        self.running = span.map(|mut span| {
            if let Some(decky) = decky_id {
                span.set(DECKY, decky.to_string());
            }
            (*operation_id, span)
        });
    }

    /// What the runtime says of it becomes events.
    pub(crate) fn take(&mut self, input: &Input) {
        match input {
            Input::Progress(progress) => self.step(progress),
            Input::Finished {
                operation_id,
                report,
            } => self.report(*operation_id, report),
            _ => {}
        }
    }

    /// What the machine says of it ends it.
    pub(crate) fn note(&mut self, note: &Note) {
        match note {
            Note::TeardownFinished {
                operation_id,
                outcome,
                error,
                ..
            } => self.end(*operation_id, *outcome, error.as_ref()),
            Note::ResultRecorded { operation_id, .. } => {
                self.results.remove(operation_id);
            }
            _ => {}
        }
    }

    fn of(&mut self, id: OperationId) -> Option<&mut Span> {
        let running = self.running.as_mut().filter(|(running, _)| *running == id);
        running.map(|(_, span)| span)
    }

    fn step(&mut self, progress: &Progress) {
        if let Some(span) = self.of(progress.operation_id) {
            let decky = progress.decky_id.as_ref();
            let decky = decky.map(|decky| KeyValue::new(DECKY, decky.to_string()));
            span.event(progress.step.as_str(), decky.into_iter().collect());
        }
    }

    fn report(&mut self, id: OperationId, report: &TeardownReport) {
        let Some(span) = self.of(id) else {
            return;
        };
        for shard in &report.shards {
            let name = match shard.outcome {
                ReportedOutcome::Removed => "removed",
                ReportedOutcome::Absent => "absent",
                ReportedOutcome::Failed => "failed",
            };
            let decky = KeyValue::new(DECKY, shard.decky_id.to_string());
            span.event(name, vec![decky]);
        }
    }

    /// Not always the one that runs: another may have come too late to be begun.
    fn end(&mut self, id: OperationId, outcome: ResultOutcome, error: Option<&Text>) {
        let Some((_, mut span)) = self.running.take_if(|(running, _)| *running == id) else {
            return;
        };
        match outcome {
            ResultOutcome::Succeeded => span.set("scuttle.outcome", "succeeded"),
            ResultOutcome::Failed => {
                span.set("scuttle.outcome", "failed");
                span.failed("teardown_failed", error.map_or("", Text::as_str));
            }
        }
        if let Some(context) = span.context() {
            self.results.insert(id, context);
        }
    }

    /// What goes with a result, whose command came with `parent`.
    pub(crate) fn of_result(&self, id: OperationId, parent: Option<String>) -> Option<String> {
        self.results.get(&id).cloned().or(parent)
    }
}
