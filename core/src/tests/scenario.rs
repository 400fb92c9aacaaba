//! A swarm in a few words, for the tests of the rules: a state, a clock that the test turns, and the
//! journal, so that any moment can be a crash.

use scuttle_schemas::agents::{
    Heartbeat, HeartbeatAccepted, HeartbeatType, ProgressStep, ReportedOutcome, ReportedShard,
    ReportedState, ResultOutcome, ShardResult, TeardownProgress, TeardownProgressType,
    TeardownResult, TeardownResultType,
};
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, EnrollAccepted, EnrollRequest,
};
use scuttle_schemas::operations::{CancelRequest, OperationGetRequest, OperationRecord};
use scuttle_schemas::shards::{ShardRecord, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownRequest};
use scuttle_schemas::{BootId, ErrorReply, HostId, Labels, OperationId, Services, Text, Timestamp};
use uuid::Uuid;

use crate::api::{Effect, Input, Reply};
use crate::record::change::Change;
use crate::state::State;

pub(crate) struct Scenario {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    pub(crate) journal: Vec<Change>,
    ids: u128,
    /// What the next heartbeats say of why they list nothing.
    pub(crate) inventory_error: Option<&'static str>,
}

impl Scenario {
    pub(crate) fn new() -> Self {
        let now = Timestamp::from_millis(1_795_425_109_000);
        let mut swarm = Self {
            state: State::default(),
            now,
            journal: Vec::new(),
            ids: 0,
            inventory_error: None,
        };
        swarm.input(Input::Start);
        swarm
    }

    /// Steps, commits, and checks that the state and its invariants hold.
    pub(crate) fn input(&mut self, input: Input) -> (Option<Reply>, Vec<Effect>) {
        let reply = self.state.step(self.now, input);
        let commit = self.state.close(self.now);
        self.journal.extend(commit.changes);
        crate::state::invariants::check_all(&self.state).expect("the invariants hold");
        (reply, commit.effects)
    }

    /// The same, with a request.
    pub(crate) fn ask(&mut self, input: Input) -> (Reply, Vec<Effect>) {
        let (reply, effects) = self.input(input);
        (reply.expect("a request is answered"), effects)
    }

    /// The process dies, and another starts from the journal.
    pub(crate) fn crash(&mut self) -> Vec<Effect> {
        self.state = State::default();
        for change in self.journal.clone() {
            self.state.replay(change).expect("the journal replays");
        }
        self.input(Input::Start).1
    }

    /// Turns the clock, tick by tick.
    pub(crate) fn after_ms(&mut self, millis: i64) -> Vec<Effect> {
        let until = self.now.plus_millis(millis);
        let mut effects = Vec::new();
        while self.state.next_deadline() <= until {
            self.now = self.now.max(self.state.next_deadline());
            effects.extend(self.input(Input::Tick).1);
        }
        self.now = until;
        effects
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    pub(crate) fn enroll(
        &mut self,
        name: &str,
        id: Option<&str>,
    ) -> Result<EnrollAccepted, ErrorReply> {
        let request = EnrollRequest {
            name: name.parse().unwrap(),
            address: None,
            labels: Labels::default(),
            host_uuid: id.map(|id| id.parse().unwrap()),
        };
        let host = self.id().to_string().parse().unwrap();
        match self.ask(Input::Enroll { request, host }).0 {
            Reply::Enroll(accepted) => Ok(accepted),
            Reply::Rejected(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// Steps for several teardowns in one batch; answers with what the batch tells of shards.
    pub(crate) fn teardowns(&mut self, targets: &[(&str, Option<&str>)]) -> Vec<ShardsUpdated> {
        for (host, decky) in targets {
            let input = self.teardown_input(host, *decky);
            self.state.step(self.now, input);
        }
        let commit = self.state.close(self.now);
        self.journal.extend(commit.changes);
        let told = commit
            .effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::ShardsUpdated(message, _) => Some(message),
                _ => None,
            });
        told.collect()
    }

    pub(crate) fn teardown_input(&mut self, host: &str, decky: Option<&str>) -> Input {
        let request = TeardownRequest {
            host_uuid: host.parse().unwrap(),
            decky_id: decky.map(|decky| decky.parse().unwrap()),
            timeout_s: 600,
            dry_run: false,
            expect_plan: None,
            reason: None,
        };
        Input::Teardown {
            request,
            operation_id: OperationId(self.id()),
            requested_by: "alice".to_owned(),
            key: None,
            trace: None,
        }
    }

    /// Asks as a client does, with a key or none.
    pub(crate) fn teardown_json(
        &mut self,
        request: &str,
        key: Option<&str>,
        requested_by: &str,
    ) -> (Reply, Vec<Effect>) {
        let request = scuttle_schemas::read("teardown request", request.as_bytes());
        let input = Input::Teardown {
            request: request.expect("a valid request"),
            operation_id: OperationId(self.id()),
            requested_by: requested_by.to_owned(),
            key: key.map(str::to_owned),
            trace: None,
        };
        self.ask(input)
    }

    /// Tries to cancel: it may be too late.
    pub(crate) fn cancel(&mut self, operation_id: OperationId) -> Vec<Effect> {
        self.ask(Input::Cancel(CancelRequest { operation_id })).1
    }

    /// Tries to decommission: it may be done, or shards may remain.
    pub(crate) fn tries_to_decommission(&mut self, host: &str, force: bool) -> Vec<Effect> {
        let host_uuid = host.parse().unwrap();
        let request = DecommissionRequest { host_uuid, force };
        self.ask(Input::Decommission(request)).1
    }

    pub(crate) fn decommission(
        &mut self,
        host: &str,
        force: bool,
    ) -> Result<DecommissionAccepted, ErrorReply> {
        let host_uuid = host.parse().unwrap();
        let request = DecommissionRequest { host_uuid, force };
        match self.ask(Input::Decommission(request)).0 {
            Reply::Decommissioned(answer) => Ok(answer),
            Reply::Rejected(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// Another swarm with the same past: its process has just begun.
    pub(crate) fn again(&self) -> Self {
        let mut other = Self {
            state: State::default(),
            now: self.now,
            journal: self.journal.clone(),
            ids: self.ids,
            inventory_error: self.inventory_error,
        };
        other.crash();
        other
    }

    /// Asks for a teardown; its effects come with the answer.
    pub(crate) fn teardown(
        &mut self,
        host: &str,
        decky: Option<&str>,
    ) -> Result<(TeardownAccepted, Vec<Effect>), ErrorReply> {
        let input = self.teardown_input(host, decky);
        match self.ask(input) {
            (Reply::Teardown(accepted), effects) => Ok((accepted, effects)),
            (Reply::Rejected(refusal), _) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    /// A heartbeat of a boot, with an inventory of running deckies or none.
    pub(crate) fn heartbeat(
        &mut self,
        host: &str,
        report: (u128, u64),
        deckies: Option<&[&str]>,
    ) -> (HeartbeatAccepted, Vec<Effect>) {
        self.try_heartbeat(host, report, deckies)
            .expect("a living host")
    }

    pub(crate) fn try_heartbeat(
        &mut self,
        host: &str,
        report: (u128, u64),
        deckies: Option<&[&str]>,
    ) -> Result<(HeartbeatAccepted, Vec<Effect>), ErrorReply> {
        let shards = deckies.map(|deckies| deckies.iter().map(|decky| running(decky)).collect());
        self.reports(host, report, shards)
    }

    /// A heartbeat with an inventory of deckies in these states.
    pub(crate) fn heartbeat_of(
        &mut self,
        host: &str,
        report: (u128, u64),
        deckies: &[(&str, &str)],
    ) {
        let shards = deckies.iter().map(|(decky, state)| ReportedShard {
            state: match *state {
                "running" => ReportedState::Running,
                "degraded" => ReportedState::Degraded,
                "failed" => ReportedState::Failed,
                other => panic!("{other}"),
            },
            ..running(decky)
        });
        self.reports(host, report, Some(shards.collect()))
            .expect("a living host");
    }

    fn reports(
        &mut self,
        host: &str,
        (boot, sequence): (u128, u64),
        shards: Option<Vec<ReportedShard>>,
    ) -> Result<(HeartbeatAccepted, Vec<Effect>), ErrorReply> {
        let heartbeat = Heartbeat {
            kind: HeartbeatType,
            host_uuid: host.parse().unwrap(),
            agent_version: Text::from("1.0.0"),
            boot_id: BootId(Uuid::from_u128(boot)),
            sequence,
            interval_ms: 10_000,
            page: 1,
            pages: 1,
            shards,
            inventory_error: self.inventory_error.map(Text::from),
        };
        let answered = self.ask(Input::Heartbeat {
            host: host.parse().unwrap(),
            heartbeat,
        });
        match answered {
            (Reply::Heartbeat(answer), effects) => Ok((answer, effects)),
            (Reply::Rejected(refusal), _) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn started(
        &mut self,
        host: &str,
        boot: u128,
        operation: OperationId,
    ) -> Vec<Effect> {
        let progress = TeardownProgress {
            kind: TeardownProgressType,
            operation_id: operation,
            boot_id: BootId(Uuid::from_u128(boot)),
            step: ProgressStep::Started,
            decky_id: None,
            done: None,
            total: None,
        };
        let host = host.parse().unwrap();
        self.input(Input::Progress { host, progress }).1
    }

    /// A result: each decky with its error, or none where it was removed.
    pub(crate) fn result(
        &mut self,
        host: &str,
        (boot, sequence): (u128, u64),
        operation: OperationId,
        overall: Option<&str>,
        shards: &[(&str, Option<&str>)],
    ) -> Vec<Effect> {
        let failed = overall.is_some() || shards.iter().any(|(_, error)| error.is_some());
        let shards = shards.iter().map(|(decky, error)| ShardResult {
            decky_id: decky.parse().unwrap(),
            outcome: if error.is_some() {
                ReportedOutcome::Failed
            } else {
                ReportedOutcome::Removed
            },
            error: error.map(Text::from),
        });
        let result = TeardownResult {
            kind: TeardownResultType,
            operation_id: operation,
            host_uuid: host.parse().unwrap(),
            boot_id: BootId(Uuid::from_u128(boot)),
            sequence,
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
        let reported = Input::Result {
            host: host.parse().unwrap(),
            result,
            trace: None,
        };
        match self.ask(reported) {
            (Reply::Recorded(_) | Reply::Rejected(_), effects) => effects,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn shards(&mut self, host: &str) -> Vec<ShardRecord> {
        let host_uuid: Option<HostId> = Some(host.parse().unwrap());
        let request = ShardsListRequest {
            host_uuid,
            ..Default::default()
        };
        match self.ask(Input::ShardsList(request)).0 {
            Reply::Shards(list) => list.shards,
            other => panic!("{other:?}"),
        }
    }

    /// A host's shards in one line: `a:running b:tearing_down`.
    pub(crate) fn states(&mut self, host: &str) -> String {
        let shards = self.shards(host);
        let states = shards
            .iter()
            .map(|shard| format!("{}:{:?}", shard.decky_id, shard.state));
        states.collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn operation(&mut self, operation_id: OperationId) -> OperationRecord {
        self.find(operation_id).expect("a known operation")
    }

    pub(crate) fn find(
        &mut self,
        operation_id: OperationId,
    ) -> Result<OperationRecord, ErrorReply> {
        match self
            .ask(Input::OperationGet(OperationGetRequest { operation_id }))
            .0
        {
            Reply::Operation(answer) => Ok(answer.operation),
            Reply::Rejected(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn running(decky: &str) -> ReportedShard {
    ReportedShard {
        decky_id: decky.parse().unwrap(),
        state: ReportedState::Running,
        services: Services::default(),
        decky_ip: None,
        labels: Labels::default(),
    }
}
