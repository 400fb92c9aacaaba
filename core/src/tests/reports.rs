//! The reports of agents in a [`Scenario`].

use std::collections::BTreeMap;

use scuttle_schemas::agents::{
    Heartbeat, HeartbeatAccepted, HeartbeatType, ProgressStep, ReportedOutcome, ReportedShard,
    ReportedState, ResultOutcome, ShardResult, TeardownProgress, TeardownProgressType,
    TeardownResult, TeardownResultType,
};
use scuttle_schemas::{BootId, ErrorReply, Labels, Note, OperationId, Services, Text};
use uuid::Uuid;

use crate::api::{Effect, Input, Reply};
use crate::record::rows::ReportId;
use crate::tests::scenario::{Page, Scenario};

/// The only page of a heartbeat that is not paged.
const WHOLE: Page = Page(1, 1);

impl Scenario {
    /// Sends a heartbeat with a full inventory of `deckies`, all of them running, or without an
    /// inventory.
    pub(crate) fn heartbeat(
        &mut self,
        host: &str,
        report: ReportId,
        deckies: Option<&[&str]>,
    ) -> (HeartbeatAccepted, Vec<Effect>) {
        self.try_heartbeat(host, report, deckies)
            .expect("an active host")
    }

    /// Sends a heartbeat, and returns an error if it is rejected.
    pub(crate) fn try_heartbeat(
        &mut self,
        host: &str,
        report: ReportId,
        deckies: Option<&[&str]>,
    ) -> Result<(HeartbeatAccepted, Vec<Effect>), ErrorReply> {
        let shards =
            deckies.map(|deckies| deckies.iter().map(|decky| running_decky(decky)).collect());
        self.send_heartbeat(host, report, WHOLE, shards)
    }

    /// Sends one page of an inventory, and returns the reply.
    pub(crate) fn send_page(
        &mut self,
        host: &str,
        report: ReportId,
        page: Page,
        deckies: &[&str],
    ) -> HeartbeatAccepted {
        let shards = deckies.iter().map(|decky| running_decky(decky)).collect();
        let sent = self.send_heartbeat(host, report, page, Some(shards));
        sent.expect("an active host").0
    }

    /// Sends a heartbeat with a full inventory of deckies in these states.
    pub(crate) fn heartbeat_with_states(
        &mut self,
        host: &str,
        report: ReportId,
        deckies: &[(&str, &str)],
    ) {
        let shards = deckies.iter().map(|(decky, state)| ReportedShard {
            state: match *state {
                "running" => ReportedState::Running,
                "degraded" => ReportedState::Degraded,
                "failed" => ReportedState::Failed,
                other => panic!("{other}"),
            },
            ..running_decky(decky)
        });
        self.send_heartbeat(host, report, WHOLE, Some(shards.collect()))
            .expect("an active host");
    }

    /// Sends a heartbeat with a full inventory of one decky, degraded if there is a reason.
    pub(crate) fn heartbeat_with_reason(
        &mut self,
        host: &str,
        report: ReportId,
        decky: &str,
        reason: Option<&str>,
    ) {
        let state = match reason {
            Some(_) => ReportedState::Degraded,
            None => ReportedState::Running,
        };
        let shard = ReportedShard {
            state,
            reason: reason.map(Note::from),
            ..running_decky(decky)
        };
        self.send_heartbeat(host, report, WHOLE, Some(vec![shard]))
            .expect("an active host");
    }

    /// Sends a heartbeat with a full inventory of running deckies, each with its deployment. An
    /// empty string means that the agent does not report the decky's deployment.
    pub(crate) fn heartbeat_with_deployments(
        &mut self,
        host: &str,
        report: ReportId,
        deckies: &[(&str, &str)],
    ) -> Vec<Effect> {
        self.try_heartbeat_with_deployments(host, report, deckies)
            .expect("an active host")
            .1
    }

    /// Sends a heartbeat like [`heartbeat_with_deployments`](Self::heartbeat_with_deployments), and
    /// returns an error if it is rejected.
    pub(crate) fn try_heartbeat_with_deployments(
        &mut self,
        host: &str,
        report: ReportId,
        deckies: &[(&str, &str)],
    ) -> Result<(HeartbeatAccepted, Vec<Effect>), ErrorReply> {
        let shards = deckies.iter().map(|(decky, deployment)| ReportedShard {
            deployment: deployment.parse().ok(),
            ..running_decky(decky)
        });
        self.send_heartbeat(host, report, WHOLE, Some(shards.collect()))
    }

    /// Sends a heartbeat with a full inventory of running deckies, each with the same label,
    /// `KEY=VALUE`.
    pub(crate) fn heartbeat_with_label(
        &mut self,
        host: &str,
        report: ReportId,
        deckies: &[&str],
        label: &str,
    ) {
        let (key, value) = label.split_once('=').expect("a label KEY=VALUE");
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let shards = deckies.iter().map(|decky| ReportedShard {
            labels: Labels::try_from(labels.clone()).expect("within the limits"),
            ..running_decky(decky)
        });
        self.send_heartbeat(host, report, WHOLE, Some(shards.collect()))
            .expect("an active host");
    }

    fn send_heartbeat(
        &mut self,
        host: &str,
        report: ReportId,
        Page(page, pages): Page,
        shards: Option<Vec<ReportedShard>>,
    ) -> Result<(HeartbeatAccepted, Vec<Effect>), ErrorReply> {
        let heartbeat = Heartbeat {
            kind: HeartbeatType,
            host_uuid: host.parse().unwrap(),
            agent_version: Text::from("1.0.0"),
            boot_id: report.boot,
            sequence: report.sequence,
            sent_at: self.sent_at,
            interval_ms: 10_000,
            page,
            pages,
            shards,
            inventory_error: self.inventory_error.map(Text::from),
            notes: self.notes.iter().map(|note| Note::from(*note)).collect(),
        };
        let replied = self.request(Input::Heartbeat {
            host: host.parse().unwrap(),
            heartbeat,
        });
        match replied {
            (Reply::Heartbeat(reply), effects) => Ok((reply, effects)),
            (Reply::Rejected(error), _) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Reports that an agent has started an operation.
    pub(crate) fn report_started(
        &mut self,
        host: &str,
        boot: u128,
        operation: OperationId,
    ) -> Vec<Effect> {
        self.report_step(host, boot, operation, ProgressStep::Started, false)
    }

    /// Reports that an agent has received the teardown command of an operation.
    pub(crate) fn report_received(
        &mut self,
        host: &str,
        boot: u128,
        operation: OperationId,
    ) -> Vec<Effect> {
        self.report_step(host, boot, operation, ProgressStep::Received, false)
    }

    /// Reports a step, and whether it acknowledges a cancel command.
    pub(crate) fn report_step(
        &mut self,
        host: &str,
        boot: u128,
        operation: OperationId,
        step: ProgressStep,
        cancelled: bool,
    ) -> Vec<Effect> {
        let boot_id = BootId(Uuid::from_u128(boot));
        let progress = TeardownProgress {
            kind: TeardownProgressType,
            operation_id: operation,
            boot_id,
            step,
            cancelled,
            decky_id: None,
            done: None,
            total: None,
        };
        let host = host.parse().unwrap();
        self.apply(Input::Progress { host, progress }).1
    }

    /// Reports the result of an operation. Each decky comes with its error, or with `None` if it
    /// was removed.
    pub(crate) fn report_result(
        &mut self,
        host: &str,
        report: ReportId,
        operation: OperationId,
        overall: Option<&str>,
        shards: &[(&str, Option<&str>)],
    ) -> Vec<Effect> {
        self.try_report_result(host, report, operation, overall, shards)
            .unwrap_or_default()
    }

    /// Reports the result of an operation, and returns an error if it is rejected.
    pub(crate) fn try_report_result(
        &mut self,
        host: &str,
        report: ReportId,
        operation: OperationId,
        overall: Option<&str>,
        shards: &[(&str, Option<&str>)],
    ) -> Result<Vec<Effect>, ErrorReply> {
        let failed = overall.is_some() || shards.iter().any(|(_, error)| error.is_some());
        let shards = shards.iter().map(|(decky, error)| ShardResult {
            decky_id: decky.parse().unwrap(),
            outcome: if error.is_some() {
                ReportedOutcome::Failed
            } else {
                ReportedOutcome::Removed
            },
            error: error.map(Text::from),
            evidence: self.evidence.clone(),
        });
        let result = TeardownResult {
            kind: TeardownResultType,
            operation_id: operation,
            host_uuid: host.parse().unwrap(),
            boot_id: report.boot,
            sequence: report.sequence,
            outcome: if failed {
                ResultOutcome::Failed
            } else {
                ResultOutcome::Succeeded
            },
            error: overall.map(Text::from),
            shards: shards.collect(),
            started_at: self.now,
            finished_at: self.now,
        };
        let input = Input::Result {
            host: host.parse().unwrap(),
            result,
            trace: None,
        };
        match self.request(input) {
            (Reply::Recorded(_), effects) => Ok(effects),
            (Reply::Rejected(error), _) => Err(error),
            other => panic!("{other:?}"),
        }
    }
}

fn running_decky(decky: &str) -> ReportedShard {
    ReportedShard {
        decky_id: decky.parse().unwrap(),
        state: ReportedState::Running,
        services: Services::default(),
        decky_ip: None,
        labels: Labels::default(),
        deployment: None,
        reason: None,
    }
}
