//! Random histories: after any sequence of requests, reports, ticks and crashes, the invariants
//! hold, no accepted operation is lost, and a replay of the journal gives the same record.
//!
//! The simulation tests faults of the network and the disk, with the whole controller.

use proptest::prelude::*;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardRecord;

use crate::api::Effect;
use crate::tests::scenario::{Scenario, report};

const HOSTS: [&str; 2] = ["h", "i"];
const DECKIES: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
enum Action {
    Teardown {
        host: usize,
        decky: Option<usize>,
    },
    Heartbeat {
        host: usize,
        boot: u128,
        sequence: u64,
        /// The deployment of each decky that is listed. 0 stands for none.
        listed: Option<Vec<Option<u8>>>,
    },
    Started {
        host: usize,
        operation: usize,
    },
    Received {
        host: usize,
        boot: u128,
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
    Protect {
        host: usize,
        decky: Option<usize>,
        protected: bool,
    },
    AdvanceClock {
        millis: i64,
    },
    Crash,
}

fn any_action() -> impl Strategy<Value = Action> {
    let host = 0..HOSTS.len();
    let operation = 0..8_usize;
    prop_oneof![
        4 => (host.clone(), proptest::option::of(0..DECKIES.len())).prop_map(|(host, decky)| Action::Teardown { host, decky }),
        6 => (host.clone(), 1..4_u128, 1..40_u64, proptest::option::of(proptest::collection::vec(proptest::option::of(0..3_u8), 3)))
            .prop_map(|(host, boot, sequence, listed)| Action::Heartbeat { host, boot, sequence, listed }),
        2 => (host.clone(), operation.clone()).prop_map(|(host, operation)| Action::Started { host, operation }),
        2 => (host.clone(), 1..4_u128, operation.clone()).prop_map(|(host, boot, operation)| Action::Received { host, boot, operation }),
        2 => operation.clone().prop_map(|operation| Action::Cancel { operation }),
        1 => (host.clone(), any::<bool>()).prop_map(|(host, force)| Action::Decommission { host, force }),
        1 => host.clone().prop_map(|host| Action::Enroll { host }),
        2 => (host.clone(), proptest::option::of(0..DECKIES.len()), any::<bool>())
            .prop_map(|(host, decky, protected)| Action::Protect { host, decky, protected }),
        4 => (host, operation, 1..4_u128, 1..40_u64, proptest::collection::vec(proptest::option::of(any::<bool>()), 3), any::<bool>())
            .prop_map(|(host, operation, boot, sequence, mentioned, fails)| Action::Result { host, operation, boot, sequence, mentioned, fails }),
        3 => (0..700_000_i64).prop_map(|millis| Action::AdvanceClock { millis }),
        1 => Just(Action::Crash),
    ]
}

struct History {
    swarm: Scenario,
    accepted: Vec<scuttle_schemas::OperationId>,
    /// The revision of the last `shards.updated` message.
    last_revision: u64,
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
            last_revision: 0,
        }
    }

    /// Applies an action. Checks that every `shards.updated` message with changes has the next
    /// revision, and that every other one repeats the last revision.
    fn apply(&mut self, action: Action) {
        let effects = match action {
            Action::Teardown { host, decky } => {
                let decky = decky.map(|decky| DECKIES[decky]);
                let is_protected = self.is_protected(HOSTS[host], decky);
                match self.swarm.teardown(HOSTS[host], decky) {
                    Ok((accepted, effects)) => {
                        assert!(!is_protected, "a protected target is torn down");
                        self.accepted.push(accepted.operation_id);
                        effects
                    }
                    Err(_) => Vec::new(),
                }
            }
            Action::Heartbeat {
                host,
                boot,
                sequence,
                listed,
            } => {
                let id = report(boot, sequence);
                let reply = match listed {
                    Some(listed) => {
                        let deckies = select_deckies(&listed);
                        self.swarm
                            .try_heartbeat_with_deployments(HOSTS[host], id, &deckies)
                    }
                    None => self.swarm.try_heartbeat(HOSTS[host], id, None),
                };
                reply.map(|(_, effects)| effects).unwrap_or_default()
            }
            Action::Cancel { operation } => match self.accepted.get(operation) {
                Some(id) => self.swarm.try_cancel(*id),
                None => Vec::new(),
            },
            Action::Decommission { host, force } => self.swarm.try_decommission(HOSTS[host], force),
            Action::Enroll { host } => {
                let name = format!("worker-{}", HOSTS[host]);
                let enrolled = self.swarm.enroll(&name, Some(HOSTS[host]));
                enrolled.expect("the same name and id");
                Vec::new()
            }
            Action::Protect {
                host,
                decky,
                protected,
            } => {
                let decky = decky.map(|decky| DECKIES[decky]);
                let reply = self.swarm.protect(HOSTS[host], decky, protected);
                reply.map(|(_, effects)| effects).unwrap_or_default()
            }
            Action::Started { host, operation } => match self.accepted.get(operation) {
                Some(id) => self.swarm.report_started(HOSTS[host], 1, *id),
                None => Vec::new(),
            },
            Action::Received {
                host,
                boot,
                operation,
            } => match self.accepted.get(operation) {
                Some(id) => self.swarm.report_received(HOSTS[host], boot, *id),
                None => Vec::new(),
            },
            Action::Result {
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
                    .report_result(HOSTS[host], report(boot, sequence), id, error, &shards)
            }
            Action::AdvanceClock { millis } => self.swarm.advance_ms(millis),
            Action::Crash => self.swarm.crash_and_restart(),
        };
        for effect in effects {
            if let Effect::ShardsUpdated(message, _) = effect {
                let is_repeat = message.updated.is_empty() && message.removed.is_empty();
                assert_eq!(message.revision, self.last_revision + u64::from(!is_repeat));
                self.last_revision = message.revision;
            }
        }
    }

    /// Returns whether the record shows that the host, the decky or, without a decky, any decky of
    /// the host is protected.
    fn is_protected(&mut self, host: &str, decky: Option<&str>) -> bool {
        let shards = self.swarm.shards(host);
        let is_target =
            |shard: &ShardRecord| decky.is_none_or(|decky| shard.decky_id.as_str() == decky);
        self.swarm.state.hosts[host].row.protected
            || (shards.iter()).any(|shard| shard.protected && is_target(shard))
    }

    /// Returns all shards and operations as text.
    fn describe_record(&mut self) -> String {
        let states = HOSTS.map(|host| {
            let protected = DECKIES.map(|decky| self.is_protected(host, Some(decky)));
            let whole = self.is_protected(host, None);
            (self.swarm.states(host), protected, whole)
        });
        let operations: Vec<_> = self.accepted.clone();
        let operations = operations.into_iter().map(|id| {
            let mut record = self.swarm.operation(id);
            // The progress of the agent and the retries are not stored.
            record.waiting_for = None;
            record.attempts = 0;
            format!("{record:?}")
        });
        format!("{states:?} {:?}", operations.collect::<Vec<_>>())
    }
}

/// Returns the listed deckies, each with its deployment.
fn select_deckies(listed: &[Option<u8>]) -> Vec<(&'static str, &'static str)> {
    let all = DECKIES.iter().zip(listed);
    let listed = all.filter_map(|(decky, listed)| listed.map(|deployment| (*decky, deployment)));
    listed
        .map(|(decky, deployment)| (decky, ["", "1", "2"][usize::from(deployment)]))
        .collect()
}

proptest! {
    #[test]
    fn any_history_keeps_the_invariants_and_ends_every_operation(actions in proptest::collection::vec(any_action(), 1..60)) {
        let mut history = History::new();
        for action in actions {
            history.apply(action);
        }
        let before = history.describe_record();
        history.apply(Action::Crash);
        prop_assert_eq!(before, history.describe_record(), "a replay of the journal gives the same record");
        history.apply(Action::AdvanceClock { millis: 700_000 });
        for id in history.accepted.clone() {
            let state = history.swarm.operation(id).state;
            prop_assert!(!matches!(state, OperationState::Queued | OperationState::Running), "{} is {:?}", id, state);
        }
    }
}
