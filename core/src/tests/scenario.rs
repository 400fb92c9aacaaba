//! A swarm for tests: the state, a clock that the test advances, and the journal, so that the test
//! can crash and restart the process at any time.

use scuttle_schemas::agents::{
    Evidence, Heartbeat, HeartbeatAccepted, HeartbeatType, ProgressStep, ReportedOutcome,
    ReportedShard, ReportedState, ResultOutcome, ShardResult, TeardownProgress,
    TeardownProgressType, TeardownResult, TeardownResultType,
};
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, EnrollAccepted, EnrollRequest,
};
use scuttle_schemas::operations::{CancelRequest, OperationGetRequest, OperationRecord};
use scuttle_schemas::shards::{ShardRecord, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownRequest};
use scuttle_schemas::{
    BootId, ErrorReply, HostId, Labels, Note, OperationId, Services, Text, Timestamp,
};
use uuid::Uuid;

use crate::api::{Effect, Input, Reply, TeardownArgs};
use crate::record::change::Change;
use crate::record::rows::ReportId;
use crate::state::State;

/// A page of an inventory: its number, and the number of pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page(pub(crate) u32, pub(crate) u32);

/// The only page of a heartbeat that is not paged.
const WHOLE: Page = Page(1, 1);

/// A swarm with one process of the core.
pub(crate) struct Scenario {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// All changes so far, in order.
    pub(crate) journal: Vec<Change>,
    last_id: u128,
    /// The `inventory_error` in every heartbeat that is sent from now on.
    pub(crate) inventory_error: Option<&'static str>,
    /// The `notes` in every heartbeat that is sent from now on.
    pub(crate) notes: &'static [&'static str],
    /// The evidence of each decky in every result that is sent from now on.
    pub(crate) evidence: Option<Evidence>,
}

impl Scenario {
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_millis(1_795_425_109_000);
        let mut swarm = Self {
            state: State::default(),
            now,
            journal: Vec::new(),
            last_id: 0,
            inventory_error: None,
            notes: &[],
            evidence: None,
        };
        swarm.apply(Input::Start);
        swarm
    }

    /// Runs a batch with one step, adds the changes to the journal, and checks the invariants.
    pub(crate) fn apply(&mut self, input: Input) -> (Option<Reply>, Vec<Effect>) {
        let reply = self.state.step(self.now, input);
        let commit = self.state.close(self.now);
        self.journal.extend(commit.changes);
        crate::state::invariants::check_all(&self.state).expect("an invariant is broken");
        (reply, commit.effects)
    }

    /// Applies an input that gets a reply. Returns the reply and the effects.
    pub(crate) fn request(&mut self, input: Input) -> (Reply, Vec<Effect>) {
        let (reply, effects) = self.apply(input);
        (reply.expect("a reply"), effects)
    }

    /// Replaces the process with a new one that starts from the journal. Returns the effects of the
    /// start.
    pub(crate) fn crash_and_restart(&mut self) -> Vec<Effect> {
        self.state = State::default();
        for change in self.journal.clone() {
            self.state.replay(change).expect("the journal replays");
        }
        self.apply(Input::Start).1
    }

    /// Advances the clock, and applies each `Tick` at the time at which it is due. Returns the
    /// effects.
    pub(crate) fn advance_ms(&mut self, millis: i64) -> Vec<Effect> {
        let until = self.now.plus_millis(millis);
        let mut effects = Vec::new();
        while self.state.next_deadline() <= until {
            self.now = self.now.max(self.state.next_deadline());
            effects.extend(self.apply(Input::Tick).1);
        }
        self.now = until;
        effects
    }

    fn next_id(&mut self) -> Uuid {
        self.last_id += 1;
        Uuid::from_u128(self.last_id)
    }

    pub(crate) fn enroll(
        &mut self,
        name: &str,
        id: Option<&str>,
    ) -> Result<EnrollAccepted, ErrorReply> {
        let request = EnrollRequest {
            name: name.parse().unwrap(),
            address: None,
            labels: None,
            host_uuid: id.map(|id| id.parse().unwrap()),
        };
        let host = self.next_id().to_string().parse().unwrap();
        match self.request(Input::Enroll { request, host }).0 {
            Reply::Enroll(accepted) => Ok(accepted),
            Reply::Rejected(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Requests several teardowns in one batch. Returns the `shards.updated` messages of the batch.
    pub(crate) fn teardown_in_one_batch(
        &mut self,
        targets: &[(&str, Option<&str>)],
    ) -> Vec<ShardsUpdated> {
        for (host, decky) in targets {
            let input = self.teardown_input(host, *decky);
            self.state.step(self.now, input);
        }
        let commit = self.state.close(self.now);
        self.journal.extend(commit.changes);
        let effects = commit.effects.into_iter();
        let messages = effects.filter_map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    pub(crate) fn teardown_input(&mut self, host: &str, decky: Option<&str>) -> Input {
        let request = TeardownRequest {
            host_uuid: host.parse().unwrap(),
            decky_id: decky.map(|decky| decky.parse().unwrap()),
            timeout_s: 600,
            dry_run: false,
            expect_plan: None,
            reason: None,
            override_protection: false,
        };
        Input::Teardown(TeardownArgs {
            request,
            operation_id: OperationId(self.next_id()),
            requested_by: "alice".to_owned(),
            key: None,
            trace: None,
        })
    }

    /// Requests a teardown that is given as JSON, with an optional idempotency key.
    pub(crate) fn teardown_json(
        &mut self,
        request: &str,
        key: Option<&str>,
        requested_by: &str,
    ) -> (Reply, Vec<Effect>) {
        let request = scuttle_schemas::read("teardown request", request.as_bytes());
        let input = Input::Teardown(TeardownArgs {
            request: request.expect("a valid request"),
            operation_id: OperationId(self.next_id()),
            requested_by: requested_by.to_owned(),
            key: key.map(str::to_owned),
            trace: None,
        });
        self.request(input)
    }

    /// Requests the cancellation of an operation. The request may be rejected. Returns the effects.
    pub(crate) fn try_cancel(&mut self, operation_id: OperationId) -> Vec<Effect> {
        self.request(Input::Cancel(CancelRequest { operation_id }))
            .1
    }

    /// Requests the decommissioning of a host. The request may be rejected. Returns the effects.
    pub(crate) fn try_decommission(&mut self, host: &str, force: bool) -> Vec<Effect> {
        let host_uuid = host.parse().unwrap();
        let request = DecommissionRequest { host_uuid, force };
        self.request(Input::Decommission(request)).1
    }

    pub(crate) fn decommission(
        &mut self,
        host: &str,
        force: bool,
    ) -> Result<DecommissionAccepted, ErrorReply> {
        let host_uuid = host.parse().unwrap();
        let request = DecommissionRequest { host_uuid, force };
        match self.request(Input::Decommission(request)).0 {
            Reply::Decommissioned(accepted) => Ok(accepted),
            Reply::Rejected(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Returns a copy of the swarm with a new process that has started from the same journal.
    pub(crate) fn restarted_copy(&self) -> Self {
        let mut other = Self {
            state: State::default(),
            now: self.now,
            journal: self.journal.clone(),
            last_id: self.last_id,
            inventory_error: self.inventory_error,
            notes: self.notes,
            evidence: self.evidence.clone(),
        };
        other.crash_and_restart();
        other
    }

    /// Requests a teardown. Returns the reply and the effects.
    pub(crate) fn teardown(
        &mut self,
        host: &str,
        decky: Option<&str>,
    ) -> Result<(TeardownAccepted, Vec<Effect>), ErrorReply> {
        let input = self.teardown_input(host, decky);
        match self.request(input) {
            (Reply::Teardown(accepted), effects) => Ok((accepted, effects)),
            (Reply::Rejected(error), _) => Err(error),
            other => panic!("{other:?}"),
        }
    }

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
        let boot_id = BootId(Uuid::from_u128(boot));
        let progress = TeardownProgress {
            kind: TeardownProgressType,
            operation_id: operation,
            boot_id,
            step: ProgressStep::Started,
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

    /// Returns the records of a host's shards.
    pub(crate) fn shards(&mut self, host: &str) -> Vec<ShardRecord> {
        let host_uuid: Option<HostId> = Some(host.parse().unwrap());
        let request = ShardsListRequest {
            host_uuid,
            ..Default::default()
        };
        match self.request(Input::ShardsList(request)).0 {
            Reply::Shards(list) => list.shards,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the states of a host's shards in one line: `a:Running b:TearingDown`.
    pub(crate) fn states(&mut self, host: &str) -> String {
        let shards = self.shards(host);
        let states = shards
            .iter()
            .map(|shard| format!("{}:{:?}", shard.decky_id, shard.state));
        states.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn operation(&mut self, operation_id: OperationId) -> OperationRecord {
        self.find_operation(operation_id).expect("an operation")
    }

    pub(crate) fn find_operation(
        &mut self,
        operation_id: OperationId,
    ) -> Result<OperationRecord, ErrorReply> {
        match self
            .request(Input::OperationGet(OperationGetRequest { operation_id }))
            .0
        {
            Reply::Operation(reply) => Ok(reply.operation),
            Reply::Rejected(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }
}

/// Returns the id of a report, from the number of the boot and the sequence number.
pub(crate) fn report(boot: u128, sequence: u64) -> ReportId {
    ReportId {
        boot: BootId(Uuid::from_u128(boot)),
        sequence,
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
    }
}
