//! The machine over a ledger in memory and clocks that the test turns. The rules are tested in the modules.

mod at_most_once;
mod commands;
mod heartbeats;
mod results;

use std::sync::Arc;

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

use super::{Config, Effect, Ignored, Input, MAX_QUEUED, Machine, Note, Now, Unanswered};
use crate::ledger::Entry;
use crate::runtime::{Inventory, RuntimeError, TeardownReport};

const START: i64 = 1_795_425_109_000;
const INTERVAL: u64 = 10_000;

/// A machine, its ledger, and its clocks.
struct Bench {
    machine: Machine,
    ledger: Vec<Entry>,
    now: Now,
    boots: u128,
    /// The effects of the last step.
    effects: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        let now = Now {
            monotonic_ms: 0,
            wall: Timestamp::from_millis(START),
        };
        let (machine, step) = Machine::start(config(1), Vec::new(), now);
        Self {
            machine,
            ledger: step.writes,
            now,
            boots: 1,
            effects: step.effects,
        }
    }

    fn connected() -> Self {
        let mut bench = Self::new();
        bench.give(Input::Connected);
        bench
    }

    fn give(&mut self, input: Input) -> &[Effect] {
        let step = self.machine.handle(self.now, input);
        self.ledger.extend(step.writes);
        self.effects = step.effects;
        &self.effects
    }

    fn pass(&mut self, millis: u64) -> &[Effect] {
        self.now.monotonic_ms += millis;
        self.now.wall = self.now.wall.plus_millis(millis.cast_signed());
        self.give(Input::Tick)
    }

    /// Ticks at every deadline until `find` finds something.
    fn until<T>(&mut self, find: impl Fn(&Effect) -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(found) = self.effects.iter().find_map(&find) {
                return found;
            }
            let wait = self
                .machine
                .next_deadline()
                .saturating_sub(self.now.monotonic_ms);
            self.pass(wait);
        }
        panic!("nothing came of 1000 deadlines");
    }

    /// The agent is gone at once; a new one starts on its ledger.
    fn crash(&mut self) -> &[Effect] {
        self.boots += 1;
        let (machine, step) = Machine::start(config(self.boots), self.ledger.clone(), self.now);
        self.machine = machine;
        self.ledger.extend(step.writes);
        self.effects = step.effects;
        &self.effects
    }

    fn command(&mut self, operation: u128, decky: Option<&str>) -> &[Effect] {
        let not_after = Timestamp::from_millis(START + 600_000);
        self.give(command(operation, decky, 1, not_after))
    }

    fn finish(&mut self, operation: u128, report: TeardownReport) -> &[Effect] {
        self.give(Input::Finished {
            operation_id: id(operation),
            report,
        })
    }

    fn record(&mut self, operation: u128) {
        let answer = Ok(ResultRecorded {
            recorded: true,
            detail: None,
        });
        self.give(Input::ResultAnswered {
            operation_id: id(operation),
            answer,
        });
    }

    /// Lets the next heartbeat come, over this inventory.
    fn heartbeat(&mut self, inventory: &Inventory) -> Heartbeat {
        self.until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
        self.give(Input::InventoryRead(Ok(inventory.clone())));
        self.until(heartbeat)
    }

    fn answer(&mut self, heartbeat: &Heartbeat, send_inventory: bool, stale: bool) -> &[Effect] {
        self.give(Input::HeartbeatAnswered {
            sequence: heartbeat.sequence,
            page: heartbeat.page,
            answer: Ok(HeartbeatAccepted {
                accepted: true,
                send_inventory,
                stale,
            }),
        })
    }
}

fn config(boot: u128) -> Config {
    Config {
        host: "worker-a".parse().expect("valid"),
        boot_id: BootId(Uuid::from_u128(boot << 80)),
        version: Text::from("test"),
        interval_ms: INTERVAL as u32,
        seed: 1,
    }
}

fn id(operation: u128) -> OperationId {
    OperationId(Uuid::from_u128(operation))
}

fn command(operation: u128, decky: Option<&str>, epoch: u64, not_after: Timestamp) -> Input {
    Input::Command {
        command: AgentCommand::Teardown(TeardownCommand {
            operation_id: id(operation),
            host_uuid: "worker-a".parse().expect("valid"),
            decky_id: decky.map(|decky| decky.parse().expect("valid")),
            attempt: 1,
            controller_epoch: epoch,
            not_after,
        }),
        traceparent: Some("00-a-b-01".to_owned()),
    }
}

fn outcome(decky: &str, outcome: ReportedOutcome, error: Option<&str>) -> ShardResult {
    ShardResult {
        decky_id: decky.parse().expect("valid"),
        outcome,
        error: error.map(Text::from),
    }
}

fn inventory(deckies: &[&str]) -> Inventory {
    let shard = |decky: &&str| ReportedShard {
        decky_id: decky.parse::<DeckyId>().expect("valid"),
        state: ReportedState::Running,
        services: Services::default(),
        decky_ip: None,
        labels: Labels::default(),
    };
    deckies.iter().map(shard).collect()
}

fn started(effects: &[Effect]) -> Vec<OperationId> {
    let started = effects.iter().filter_map(|effect| match effect {
        Effect::StartTeardown { teardown, .. } => Some(teardown.operation_id),
        _ => None,
    });
    started.collect()
}

fn result(effect: &Effect) -> Option<TeardownResult> {
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

fn heartbeat(effect: &Effect) -> Option<Heartbeat> {
    match effect {
        Effect::RequestHeartbeat(heartbeat) => Some(heartbeat.clone()),
        _ => None,
    }
}

fn progress(effects: &[Effect]) -> Vec<ProgressStep> {
    let steps = effects.iter().filter_map(|effect| match effect {
        Effect::PublishProgress { message, .. } => Some(message.step),
        _ => None,
    });
    steps.collect()
}

fn notes(effects: &[Effect]) -> Vec<Note> {
    let notes = effects.iter().filter_map(|effect| match effect {
        Effect::Note(note) => Some(note.clone()),
        _ => None,
    });
    notes.collect()
}
