//! A swarm of any size as the core sees it, and inputs for the core's steps. The benchmarks of
//! `scuttle-core` and `scuttle-controller` use both, and so does the program in main.rs, whose
//! instructions are counted.
//!
//! There is no clock and no random number, so every run takes the same steps.

use scuttle_core::{Commit, Input, Reply, State, TeardownArgs};
use scuttle_schemas::agents::{
    Heartbeat, HeartbeatType, ReportedOutcome, ReportedShard, ReportedState, ResultOutcome,
    ShardResult, TeardownResult, TeardownResultType,
};
use scuttle_schemas::hosts::EnrollRequest;
use scuttle_schemas::operations::CancelRequest;
use scuttle_schemas::teardown::TeardownRequest;
use scuttle_schemas::{BootId, DeckyId, HostId, Labels, OperationId, Services, Text, Timestamp};
use uuid::Uuid;

const NOW_MS: i64 = 1_795_425_109_000;
const BOOT: BootId = BootId(Uuid::from_u128(7));

/// A swarm whose shards are all `running`.
#[derive(Debug)]
pub struct Swarm {
    state: State,
    hosts: usize,
    deckies: usize,
    ids: u128,
    sequence: u64,
}

impl Swarm {
    /// Registers `hosts` hosts with `deckies` deckies each.
    pub fn new(hosts: usize, deckies: usize) -> Self {
        let mut swarm = Self {
            state: State::default(),
            hosts,
            deckies,
            ids: 0,
            sequence: 0,
        };
        swarm.step(Input::Start);
        for number in 0..hosts {
            let host = host(number);
            let request = EnrollRequest {
                name: host.as_str().parse().expect("a name"),
                address: None,
                labels: None,
                host_uuid: Some(host.clone()),
            };
            swarm.step(Input::Enroll { request, host });
            let inventory = (0..deckies).map(reported).collect();
            let heartbeat = swarm.heartbeat(number, Some(inventory));
            swarm.step(heartbeat);
            swarm.close();
        }
        swarm
    }

    /// Takes one step of the core, and returns the reply if the core makes one in this step.
    pub fn step(&mut self, input: Input) -> Option<Reply> {
        self.state.step(now(), input)
    }

    /// Ends the batch of all steps since the last call, and returns its changes and effects.
    pub fn close(&mut self) -> Commit {
        self.state.close(now())
    }

    /// Returns a teardown request for shard `number`, and the id of its operation. The shards are
    /// numbered across the hosts: first the first decky of each host, then the second decky of each
    /// host, and so on. Numbers beyond the last shard start again at the first shard.
    pub fn accept(&mut self, number: usize) -> (OperationId, Input) {
        self.ids += 1;
        let operation_id = OperationId(Uuid::from_u128(self.ids));
        let request = TeardownRequest {
            host_uuid: host(number % self.hosts),
            decky_id: Some(self.decky(number)),
            timeout_s: 600,
            dry_run: false,
            expect_plan: None,
            reason: None,
            override_protection: false,
        };
        let input = Input::Teardown(TeardownArgs {
            request,
            operation_id,
            requested_by: "alice".to_owned(),
            key: None,
            trace: None,
        });
        (operation_id, input)
    }

    /// Returns the report that the teardown of shard `number` has succeeded.
    pub fn result(&mut self, number: usize, operation_id: OperationId) -> Input {
        let host = host(number % self.hosts);
        let shard = ShardResult {
            decky_id: self.decky(number),
            outcome: ReportedOutcome::Removed,
            error: None,
            evidence: None,
        };
        let result = TeardownResult {
            kind: TeardownResultType,
            operation_id,
            host_uuid: host.clone(),
            boot_id: BOOT,
            sequence: self.next_sequence(),
            outcome: ResultOutcome::Succeeded,
            error: None,
            shards: vec![shard],
            started_at: now(),
            finished_at: now(),
        };
        Input::Result {
            host,
            result,
            trace: None,
        }
    }

    /// Cancels the operation, which returns the shard to its former state.
    pub fn cancel(&mut self, operation_id: OperationId) {
        self.step(Input::Cancel(CancelRequest { operation_id }));
        self.close();
    }

    /// Returns a heartbeat that reports no change, from the host with this number.
    pub fn unchanged(&mut self, number: usize) -> Input {
        self.heartbeat(number % self.hosts, None)
    }

    fn heartbeat(&mut self, number: usize, shards: Option<Vec<ReportedShard>>) -> Input {
        let host = host(number);
        let heartbeat = Heartbeat {
            kind: HeartbeatType,
            host_uuid: host.clone(),
            agent_version: Text::from("1.0.0"),
            boot_id: BOOT,
            sequence: self.next_sequence(),
            sent_at: None,
            interval_ms: 10_000,
            page: 1,
            pages: 1,
            shards,
            inventory_error: None,
            notes: Vec::new(),
        };
        Input::Heartbeat { host, heartbeat }
    }

    fn decky(&self, number: usize) -> DeckyId {
        decky(number / self.hosts % self.deckies)
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW_MS)
}

fn host(number: usize) -> HostId {
    format!("host-{number:05}").parse().expect("a host")
}

fn decky(number: usize) -> DeckyId {
    format!("decky-{number:04}").parse().expect("a decky")
}

/// Returns a decky as an agent reports it.
fn reported(number: usize) -> ReportedShard {
    ReportedShard {
        decky_id: decky(number),
        state: ReportedState::Running,
        services: Services::default(),
        decky_ip: Some("10.0.0.7".to_owned()),
        labels: Labels::default(),
        deployment: None,
        reason: None,
    }
}
