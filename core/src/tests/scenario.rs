//! A swarm for tests: the state, a clock that the test advances, and the journal, so that the test
//! can crash and restart the process at any time.

use scuttle_schemas::agents::Evidence;
use scuttle_schemas::hosts::{
    DecommissionAccepted, DecommissionRequest, EnrollAccepted, EnrollRequest,
};
use scuttle_schemas::operations::{CancelRequest, OperationGetRequest, OperationRecord};
use scuttle_schemas::protection::ProtectRequest;
use scuttle_schemas::shards::{ShardRecord, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownRequest};
use scuttle_schemas::{BootId, ErrorReply, HostId, OperationId, Timestamp};
use uuid::Uuid;

use crate::api::{Effect, Input, Reply, TeardownArgs};
use crate::record::change::Change;
use crate::record::rows::ReportId;
use crate::state::State;

/// A page of an inventory: its number, and the number of pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page(pub(crate) u32, pub(crate) u32);

/// A swarm with one process of the core.
pub(crate) struct Scenario {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// All changes so far, in order.
    pub(crate) journal: Vec<Change>,
    last_id: u128,
    /// The `inventory_error` in every heartbeat that is sent from now on.
    pub(crate) inventory_error: Option<&'static str>,
    /// The `sent_at` in every heartbeat that is sent from now on.
    pub(crate) sent_at: Option<Timestamp>,
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
            sent_at: None,
            notes: &[],
            evidence: None,
        };
        swarm.apply(Input::Start);
        swarm
    }

    /// Runs a batch with one step, adds the changes to the journal, and checks the invariants.
    pub(crate) fn apply(&mut self, input: Input) -> (Option<Reply>, Vec<Effect>) {
        let reply = self.state.step(self.now, input);
        self.tick_if_due();
        let commit = self.state.close(self.now);
        self.journal.extend(commit.changes);
        crate::state::invariants::check_all(&self.state).expect("an invariant is broken");
        (reply, commit.effects)
    }

    /// Runs the timers that are due, as the engine does at the end of every batch.
    fn tick_if_due(&mut self) {
        if self.state.next_deadline() <= self.now {
            self.state.step(self.now, Input::Tick);
        }
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

    /// Advances the clock like [`advance_ms`](Self::advance_ms), while a host sends a heartbeat
    /// every 10 s. Returns the effects.
    pub(crate) fn advance_online_ms(
        &mut self,
        host: &str,
        last: ReportId,
        millis: i64,
    ) -> Vec<Effect> {
        const INTERVAL_MS: i64 = 10_000;
        let until = self.now.plus_millis(millis);
        let mut effects = Vec::new();
        let mut sequence = last.sequence;
        while self.now < until {
            effects.extend(self.advance_ms(INTERVAL_MS.min(until.millis_since(self.now))));
            sequence += 1;
            let report = ReportId { sequence, ..last };
            effects.extend(self.heartbeat(host, report, None).1);
        }
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

    /// Requests to protect a decky or a host, or to lift the protection. Returns whether the target
    /// is protected after that, and the effects.
    pub(crate) fn protect(
        &mut self,
        host: &str,
        decky: Option<&str>,
        protected: bool,
    ) -> Result<(bool, Vec<Effect>), ErrorReply> {
        let request = ProtectRequest {
            host_uuid: host.parse().unwrap(),
            decky_id: decky.map(|decky| decky.parse().unwrap()),
            protected,
            reason: None,
        };
        match self.request(Input::Protect(request)) {
            (Reply::Protected(accepted), effects) => Ok((accepted.protected, effects)),
            (Reply::Rejected(error), _) => Err(error),
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
            sent_at: self.sent_at,
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
