//! Tests of the machine with a ledger in memory and clocks that the test advances.

mod commands;
mod heartbeats;
mod random_histories;
mod results;

use scuttle_schemas::agents::{
    AgentCommand, CancelCommand, Heartbeat, HeartbeatAccepted, ProgressStep, ReportedOutcome,
    ReportedShard, ReportedState, ResultOutcome, ResultRecorded, ShardResult, TeardownCommand,
    TeardownResult,
};
use scuttle_schemas::{
    BootId, DeckyId, ErrorCode, ErrorReply, Labels, MAX_HEARTBEAT_BYTES, OperationId, Services,
    Text, Timestamp,
};
use uuid::Uuid;

use super::commands::MAX_QUEUED;
use super::effect::Effect;
use super::event::{AgentEvent, IgnoreReason};
use super::input::{HeartbeatPage, Input, Now, RequestFailure};
use super::state::{Config, Machine};
use crate::ledger::Entry;
use crate::runtime::{Inventory, Progress, RuntimeError, TeardownReport};

/// The wall clock at the start of each test, in milliseconds since 1970.
const START: i64 = 1_795_425_109_000;
/// The heartbeat interval in milliseconds.
const INTERVAL: u64 = 10_000;
/// The maximum number of teardowns at the same time, unless a test sets another number.
const CONCURRENCY: usize = 4;

/// An agent under test: a machine, its ledger, and its clocks.
struct TestAgent {
    machine: Machine,
    ledger: Vec<Entry>,
    now: Now,
    /// The number of boots, from which the next boot id is derived.
    boots: u128,
    /// The maximum number of teardowns at the same time, from the next boot on.
    concurrency: usize,
    /// The effects of the last step.
    effects: Vec<Effect>,
}

impl TestAgent {
    fn new() -> Self {
        let now = Now {
            monotonic_ms: 0,
            wall: Timestamp::from_millis(START),
        };
        let (machine, step) = Machine::start(build_config(1, CONCURRENCY), Vec::new(), now);
        Self {
            machine,
            ledger: step.writes,
            now,
            boots: 1,
            concurrency: CONCURRENCY,
            effects: step.effects,
        }
    }

    fn connected() -> Self {
        let mut agent = Self::new();
        agent.handle(Input::Connected);
        agent
    }

    fn handle(&mut self, input: Input) -> &[Effect] {
        let step = self.machine.handle(self.now, input);
        self.ledger.extend(step.writes);
        self.effects = step.effects;
        &self.effects
    }

    fn advance(&mut self, millis: u64) -> &[Effect] {
        self.now.monotonic_ms += millis;
        self.now.wall = self.now.wall.plus_millis(millis.cast_signed());
        self.handle(Input::Tick)
    }

    /// Advances from deadline to deadline until `find` returns a value for an effect.
    fn run_until<T>(&mut self, find: impl Fn(&Effect) -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) = self.effects.iter().find_map(&find) {
                return found;
            }
            let wait = self
                .machine
                .next_deadline()
                .saturating_sub(self.now.monotonic_ms);
            self.advance(wait);
        }
        panic!("no match after 1000 deadlines");
    }

    /// Drops the agent and starts a new one with the same ledger.
    fn crash(&mut self) -> &[Effect] {
        self.boots += 1;
        let config = build_config(self.boots, self.concurrency);
        let (machine, step) = Machine::start(config, self.ledger.clone(), self.now);
        self.machine = machine;
        self.ledger.extend(step.writes);
        self.effects = step.effects;
        &self.effects
    }

    fn send_command(&mut self, operation: u128, decky: Option<&str>) -> &[Effect] {
        let not_after = Timestamp::from_millis(START + 600_000);
        self.handle(teardown_command(operation, decky, 1, not_after))
    }

    fn finish_teardown(&mut self, operation: u128, report: TeardownReport) -> &[Effect] {
        self.handle(Input::Finished {
            operation_id: operation_id(operation),
            report,
        })
    }

    fn confirm_result(&mut self, operation: u128) {
        let reply = Ok(ResultRecorded {
            recorded: true,
            detail: None,
        });
        self.handle(Input::ResultReply {
            operation_id: operation_id(operation),
            reply,
        });
    }

    /// Advances to the next heartbeat, for which the runtime returns this inventory.
    fn next_heartbeat(&mut self, inventory: &Inventory) -> Heartbeat {
        self.run_until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
        self.handle(Input::InventoryRead(Ok(inventory.clone())));
        self.run_until(as_heartbeat)
    }

    fn accept_heartbeat(
        &mut self,
        heartbeat: &Heartbeat,
        send_inventory: bool,
        stale: bool,
    ) -> &[Effect] {
        self.handle(Input::HeartbeatReply {
            request: HeartbeatPage {
                sequence: heartbeat.sequence,
                page: heartbeat.page,
            },
            reply: Ok(HeartbeatAccepted {
                accepted: true,
                send_inventory,
                stale,
                other_agent: None,
            }),
        })
    }
}

fn build_config(boot: u128, concurrency: usize) -> Config {
    Config {
        host: "worker-a".parse().expect("valid"),
        boot_id: BootId(Uuid::from_u128(boot << 80)),
        version: Text::from("test"),
        interval_ms: INTERVAL as u32,
        seed: 1,
        concurrency,
    }
}

fn operation_id(operation: u128) -> OperationId {
    OperationId(Uuid::from_u128(operation))
}

fn teardown_command(
    operation: u128,
    decky: Option<&str>,
    epoch: u64,
    not_after: Timestamp,
) -> Input {
    Input::Command {
        command: AgentCommand::Teardown(TeardownCommand {
            operation_id: operation_id(operation),
            host_uuid: "worker-a".parse().expect("valid"),
            decky_id: decky.map(|decky| decky.parse().expect("valid")),
            attempt: 1,
            controller_epoch: epoch,
            not_after,
            override_protection: false,
        }),
        traceparent: Some("00-a-b-01".to_owned()),
    }
}

fn cancel_command(operation: u128) -> Input {
    Input::Command {
        command: AgentCommand::Cancel(CancelCommand {
            operation_id: operation_id(operation),
            host_uuid: "worker-a".parse().expect("valid"),
            controller_epoch: 1,
        }),
        traceparent: None,
    }
}

fn shard_result(decky: &str, outcome: ReportedOutcome, error: Option<&str>) -> ShardResult {
    ShardResult {
        decky_id: decky.parse().expect("valid"),
        outcome,
        error: error.map(Text::from),
        evidence: None,
    }
}

fn build_inventory(deckies: &[&str]) -> Inventory {
    let shard = |decky: &&str| ReportedShard {
        decky_id: decky.parse::<DeckyId>().expect("valid"),
        state: ReportedState::Running,
        services: Services::default(),
        decky_ip: None,
        labels: Labels::default(),
        deployment: None,
        reason: None,
    };
    deckies.iter().map(shard).collect()
}

fn started_operations(effects: &[Effect]) -> Vec<OperationId> {
    let started = effects.iter().filter_map(|effect| match effect {
        Effect::StartTeardown { teardown, .. } => Some(teardown.operation_id),
        _ => None,
    });
    started.collect()
}

fn as_result(effect: &Effect) -> Option<TeardownResult> {
    match effect {
        Effect::RequestResult {
            message,
            traceparent,
        } => {
            assert_eq!(traceparent.as_deref(), Some("00-a-b-01"));
            Some(message.clone())
        }
        _ => None,
    }
}

fn as_heartbeat(effect: &Effect) -> Option<Heartbeat> {
    match effect {
        Effect::RequestHeartbeat(heartbeat) => Some(heartbeat.clone()),
        _ => None,
    }
}

fn published_progress(effects: &[Effect]) -> Vec<(OperationId, ProgressStep)> {
    let progress = effects.iter().filter_map(|effect| match effect {
        Effect::PublishProgress { message, .. } => Some((message.operation_id, message.step)),
        _ => None,
    });
    progress.collect()
}

fn progress_steps(effects: &[Effect]) -> Vec<ProgressStep> {
    let progress = published_progress(effects).into_iter();
    progress.map(|(_, step)| step).collect()
}

fn emitted_events(effects: &[Effect]) -> Vec<AgentEvent> {
    let events = effects.iter().filter_map(|effect| match effect {
        Effect::Emit(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}
