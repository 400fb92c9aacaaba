//! Random histories: whatever requests, reports, ticks and crashes come in whatever order, the
//! invariants hold, nothing accepted is lost, and the journal gives the same record back.
//!
//! (Faults of network and disk are for the simulation of the whole; here is the core alone.)

use proptest::prelude::*;
use scuttle_schemas::operations::OperationState;

use crate::api::Effect;
use crate::tests::scenario::Scenario;

const HOSTS: [&str; 2] = ["h", "i"];
const DECKIES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Act {
    Teardown {
        host: usize,
        decky: Option<usize>,
    },
    Heartbeat {
        host: usize,
        boot: u128,
        sequence: u64,
        listed: Option<Vec<bool>>,
    },
    Started {
        host: usize,
        operation: usize,
    },
    Result {
        host: usize,
        operation: usize,
        boot: u128,
        sequence: u64,
        mentioned: Vec<Option<bool>>,
        fails: bool,
    },
    Cancel {
        operation: usize,
    },
    Decommission {
        host: usize,
        force: bool,
    },
    Enroll {
        host: usize,
    },
    Pass {
        millis: i64,
    },
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    let host = 0..HOSTS.len();
    let operation = 0..8_usize;
    prop_oneof![
        4 => (host.clone(), proptest::option::of(0..DECKIES.len())).prop_map(|(host, decky)| Act::Teardown { host, decky }),
        6 => (host.clone(), 1..4_u128, 1..40_u64, proptest::option::of(proptest::collection::vec(any::<bool>(), 3)))
            .prop_map(|(host, boot, sequence, listed)| Act::Heartbeat { host, boot, sequence, listed }),
        2 => (host.clone(), operation.clone()).prop_map(|(host, operation)| Act::Started { host, operation }),
        2 => operation.clone().prop_map(|operation| Act::Cancel { operation }),
        1 => (host.clone(), any::<bool>()).prop_map(|(host, force)| Act::Decommission { host, force }),
        1 => host.clone().prop_map(|host| Act::Enroll { host }),
        4 => (host, operation, 1..4_u128, 1..40_u64, proptest::collection::vec(proptest::option::of(any::<bool>()), 3), any::<bool>())
            .prop_map(|(host, operation, boot, sequence, mentioned, fails)| Act::Result { host, operation, boot, sequence, mentioned, fails }),
        3 => (0..700_000_i64).prop_map(|millis| Act::Pass { millis }),
        1 => Just(Act::Crash),
    ]
}

struct History {
    swarm: Scenario,
    accepted: Vec<scuttle_schemas::OperationId>,
    /// The last `shards.updated` revision told.
    told: u64,
}

impl History {
    fn new() -> Self {
        let mut swarm = Scenario::new();
        for host in HOSTS {
            swarm
                .enroll(&format!("worker-{host}"), Some(host))
                .expect("new");
        }
        Self {
            swarm,
            accepted: Vec::new(),
            told: 0,
        }
    }

    /// Does it, and checks that the revisions told go up one by one.
    fn act(&mut self, act: Act) {
        let effects = match act {
            Act::Teardown { host, decky } => {
                match self
                    .swarm
                    .teardown(HOSTS[host], decky.map(|decky| DECKIES[decky]))
                {
                    Ok((accepted, effects)) => {
                        self.accepted.push(accepted.operation_id);
                        effects
                    }
                    Err(_) => Vec::new(),
                }
            }
            Act::Heartbeat {
                host,
                boot,
                sequence,
                listed,
            } => {
                let listed = listed.map(|listed| chosen(&listed));
                let told =
                    (self.swarm).try_heartbeat(HOSTS[host], (boot, sequence), listed.as_deref());
                told.map(|(_, effects)| effects).unwrap_or_default()
            }
            Act::Cancel { operation } => match self.accepted.get(operation) {
                Some(id) => self.swarm.cancel(*id),
                None => Vec::new(),
            },
            Act::Decommission { host, force } => {
                self.swarm.tries_to_decommission(HOSTS[host], force)
            }
            Act::Enroll { host } => {
                let name = format!("worker-{}", HOSTS[host]);
                let enrolled = self.swarm.enroll(&name, Some(HOSTS[host]));
                enrolled.expect("the same name and id");
                Vec::new()
            }
            Act::Started { host, operation } => match self.accepted.get(operation) {
                Some(id) => self.swarm.started(HOSTS[host], 1, *id),
                None => Vec::new(),
            },
            Act::Result {
                host,
                operation,
                boot,
                sequence,
                mentioned,
                fails,
            } => {
                let Some(id) = self.accepted.get(operation).copied() else {
                    return;
                };
                let shards: Vec<_> = (DECKIES.iter().zip(mentioned))
                    .filter_map(|(decky, failed)| {
                        failed.map(|failed| (*decky, failed.then_some("busy")))
                    })
                    .collect();
                let error = fails.then_some("stuck");
                self.swarm
                    .result(HOSTS[host], (boot, sequence), id, error, &shards)
            }
            Act::Pass { millis } => self.swarm.after_ms(millis),
            Act::Crash => self.swarm.crash(),
        };
        for effect in effects {
            if let Effect::ShardsUpdated(message, _) = effect {
                let repeat = message.updated.is_empty() && message.removed.is_empty();
                assert_eq!(message.revision, self.told + u64::from(!repeat));
                self.told = message.revision;
            }
        }
    }

    fn record(&mut self) -> String {
        let states = HOSTS.map(|host| self.swarm.states(host));
        let operations: Vec<_> = self.accepted.clone();
        let operations = operations.into_iter().map(|id| {
            let mut record = self.swarm.operation(id);
            // How far the agent was is known to the process that heard it alone.
            record.waiting_for = None;
            format!("{record:?}")
        });
        format!("{states:?} {:?}", operations.collect::<Vec<_>>())
    }
}

fn chosen(listed: &[bool]) -> Vec<&'static str> {
    DECKIES
        .iter()
        .zip(listed)
        .filter(|(_, listed)| **listed)
        .map(|(decky, _)| *decky)
        .collect()
}

proptest! {
    #[test]
    fn any_history_keeps_the_invariants_and_ends(acts in proptest::collection::vec(act(), 1..60)) {
        let mut history = History::new();
        for act in acts {
            history.act(act);
        }
        let before = history.record();
        history.act(Act::Crash);
        prop_assert_eq!(before, history.record(), "the journal gives the same record back");
        history.act(Act::Pass { millis: 700_000 });
        for id in history.accepted.clone() {
            let state = history.swarm.operation(id).state;
            prop_assert!(!matches!(state, OperationState::Queued | OperationState::Running), "{} is {:?}", id, state);
        }
    }
}
