//! Property test: in any order of commands, crashes and repeats, an operation is executed at most
//! once, and commands run in order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// The number of different operations. Every fourth one is for the whole host.
const OPERATIONS: u128 = 16;

#[derive(Debug, Clone)]
enum Action {
    SendCommand(u128),
    Cancel(u128),
    /// Ends one of the running teardowns.
    FinishTeardown(prop::sample::Index),
    ConfirmResult,
    /// Restarts the agent with another maximum number of teardowns at the same time.
    Crash(usize),
    Connect(bool),
    Advance(u64),
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (0..OPERATIONS).prop_map(Action::SendCommand),
        1 => (0..OPERATIONS).prop_map(Action::Cancel),
        5 => any::<prop::sample::Index>().prop_map(Action::FinishTeardown),
        2 => Just(Action::ConfirmResult),
        2 => (1..=4_usize).prop_map(Action::Crash),
        1 => any::<bool>().prop_map(Action::Connect),
        2 => prop_oneof![0..40_000_u64, 0..800_000_u64].prop_map(Action::Advance),
    ]
}

/// Returns the number from which the id of an operation is made. The id contains a time, so that
/// the agent does not forget a cancelled operation too early.
fn to_id(operation: u128) -> u128 {
    u128::from(START.cast_unsigned()) << 80 | operation
}

/// Returns the target of an operation: one of three deckies, or the whole host.
fn target_of(operation: u128) -> Option<&'static str> {
    [None, Some("a"), Some("b"), Some("c")][(operation % 4) as usize]
}

/// The expected state of the agent's commands.
#[derive(Debug, Default)]
struct Expected {
    concurrency: usize,
    /// The running operations.
    running: Vec<u128>,
    /// The unfinished commands, running ones included, in order of arrival.
    arrived: Vec<u128>,
    /// The operations that this boot or an earlier one has started.
    started: BTreeSet<u128>,
    cancelled: BTreeSet<u128>,
    ended: BTreeSet<u128>,
}

impl Expected {
    fn command_arrives(&mut self, operation: u128) {
        let is_known = self.arrived.contains(&operation)
            || self.cancelled.contains(&operation)
            || self.ended.contains(&operation);
        if !is_known {
            self.arrived.push(operation);
        }
    }

    fn cancel(&mut self, operation: u128) {
        if !self.started.contains(&operation) && !self.ended.contains(&operation) {
            self.cancelled.insert(operation);
            self.arrived.retain(|arrived| *arrived != operation);
        }
    }

    /// A crash loses the commands that have not started. The others are resumed in order.
    fn crash(&mut self, concurrency: usize) {
        self.concurrency = concurrency;
        self.running.clear();
        self.arrived
            .retain(|operation| self.started.contains(operation));
    }

    fn end(&mut self, operation: u128) {
        self.ended.insert(operation);
        self.running.retain(|running| *running != operation);
        self.arrived.retain(|arrived| *arrived != operation);
    }

    /// Returns whether a command has to wait for a command that arrived before it.
    fn has_to_wait(&self, operation: u128) -> bool {
        let target = target_of(operation);
        let before = self
            .arrived
            .iter()
            .take_while(|arrived| **arrived != operation);
        before
            .map(|earlier| target_of(*earlier))
            .any(|earlier| earlier.is_none() || target.is_none() || earlier == target)
    }

    fn start(&mut self, operation: u128) {
        assert!(!self.ended.contains(&operation), "it started again");
        assert!(!self.cancelled.contains(&operation), "it was cancelled");
        assert!(self.arrived.contains(&operation), "there is no command");
        assert!(!self.running.contains(&operation), "it runs already");
        assert!(self.running.len() < self.concurrency, "too many teardowns");
        assert!(!self.has_to_wait(operation), "it had to wait: {self:?}");
        self.started.insert(operation);
        self.running.push(operation);
    }

    fn check_none_startable(&self) {
        let waits = |operation: &&u128| !self.running.contains(operation);
        let mut waiting = self.arrived.iter().filter(waits);
        assert!(
            self.running.len() == self.concurrency
                || waiting.all(|operation| self.has_to_wait(*operation)),
            "a command waits that may start: {self:?}"
        );
    }

    fn observe(&mut self, effect: &Effect) {
        let number = |id: OperationId| id.0.as_u128() % (1 << 64);
        match effect {
            Effect::StartTeardown { teardown, .. } => self.start(number(teardown.operation_id)),
            Effect::Emit(AgentEvent::TeardownFinished { operation_id, .. }) => {
                self.end(number(*operation_id));
            }
            _ => {}
        }
    }
}

proptest! {
    /// Checks in every history that:
    ///
    /// - an operation that ended never starts again while a copy of its command may still be
    ///   executed, and neither does a cancelled operation,
    /// - at most the configured number of teardowns runs at a time,
    /// - commands for the same decky run one after another, in order of arrival,
    /// - a whole-host command waits for the commands before it, and the commands after it wait for
    ///   it,
    /// - a command that need not wait is started,
    /// - every copy of a result is identical, and
    /// - sequence numbers increase.
    #[test]
    fn an_operation_is_executed_at_most_once_and_in_order(
        actions in prop::collection::vec(any_action(), 1..160),
    ) {
        let mut agent = TestAgent::connected();
        let mut expected = Expected { concurrency: CONCURRENCY, ..Expected::default() };
        let mut results = BTreeMap::<OperationId, TeardownResult>::new();
        let mut reported = (agent.machine.boot_id(), 0);
        for action in actions {
            agent.effects.clear();
            match action {
                Action::SendCommand(operation) => {
                    expected.command_arrives(operation);
                    agent.send_command(to_id(operation), target_of(operation));
                }
                Action::Cancel(operation) => {
                    expected.cancel(operation);
                    agent.handle(cancel_command(to_id(operation)));
                }
                Action::FinishTeardown(index) => if !expected.running.is_empty() {
                    let operation = *index.get(&expected.running);
                    agent.finish_teardown(to_id(operation), TeardownReport::default());
                },
                Action::ConfirmResult => if let Some(operation) = expected.ended.first() {
                    agent.confirm_result(to_id(*operation));
                },
                Action::Crash(concurrency) => {
                    expected.crash(concurrency);
                    agent.concurrency = concurrency;
                    agent.crash();
                }
                Action::Connect(up) => {
                    agent.handle(if up { Input::Connected } else { Input::Disconnected });
                }
                Action::Advance(millis) => { agent.advance(millis); }
            }
            for effect in &agent.effects {
                expected.observe(effect);
            }
            expected.check_none_startable();
            for sent in agent.effects.iter().filter_map(as_result) {
                // A command that arrives after its operation was forgotten has expired.
                if sent.error.is_none() {
                    let first = results.entry(sent.operation_id).or_insert_with(|| sent.clone());
                    prop_assert_eq!(&*first, &sent);
                }
            }
            let wants_inventory =
                agent.effects.iter().any(|effect| matches!(effect, Effect::ReadInventory));
            if wants_inventory {
                agent.handle(Input::InventoryRead(Ok(build_inventory(&["a"]))));
            }
            if let Some(sent) = agent.effects.iter().find_map(as_heartbeat) {
                prop_assert!((sent.boot_id, sent.sequence) > reported, "sequence numbers increase");
                reported = (sent.boot_id, sent.sequence);
            }
        }
    }
}
