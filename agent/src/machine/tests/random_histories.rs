//! Property test: an operation is executed at most once in any order of commands, crashes and
//! repeats.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Action {
    SendCommand(u128),
    FinishTeardown,
    ConfirmResult,
    Crash,
    Connect(bool),
    Advance(u64),
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..6_u128).prop_map(Action::SendCommand),
        4 => Just(Action::FinishTeardown),
        2 => Just(Action::ConfirmResult),
        2 => Just(Action::Crash),
        1 => any::<bool>().prop_map(Action::Connect),
        2 => prop_oneof![0..40_000_u64, 0..800_000_u64].prop_map(Action::Advance),
    ]
}

proptest! {
    /// Checks in every history that:
    ///
    /// - an operation that ended never starts again while a copy of its command may still be
    ///   executed,
    /// - only one operation runs at a time,
    /// - every copy of a result is identical, and
    /// - sequence numbers increase.
    #[test]
    fn an_operation_is_executed_at_most_once(actions in prop::collection::vec(any_action(), 1..120)) {
        let mut agent = TestAgent::connected();
        let mut running: Option<OperationId> = None;
        let mut ended = std::collections::BTreeMap::<OperationId, Option<TeardownResult>>::new();
        let mut reported = (agent.machine.boot_id(), 0);
        for action in actions {
            let was_running = running;
            agent.effects.clear();
            match action {
                Action::SendCommand(operation) => { agent.send_command(operation, None); }
                Action::FinishTeardown => if let Some(operation_id) = running.take() {
                    ended.insert(operation_id, None);
                    agent.handle(Input::Finished { operation_id, report: TeardownReport::default() });
                },
                Action::ConfirmResult => if let Some(operation_id) = ended.keys().next().copied() {
                    let reply = Ok(ResultRecorded { recorded: true, detail: None });
                    agent.handle(Input::ResultReply { operation_id, reply });
                },
                Action::Crash => { running = None; agent.crash(); }
                Action::Connect(up) => { agent.handle(if up { Input::Connected } else { Input::Disconnected }); }
                Action::Advance(millis) => { agent.advance(millis); }
            }
            if matches!(action, Action::Crash) && was_running.is_some() {
                let resumed = started_operations(&agent.effects);
                let late = agent.now.wall.as_millis() > START + 660_000;
                prop_assert!(late || resumed.first() == was_running.as_ref(), "{resumed:?}");
            }
            for operation_id in started_operations(&agent.effects) {
                prop_assert!(running.is_none(), "two teardowns at the same time");
                prop_assert!(!ended.contains_key(&operation_id), "the operation started again");
                running = Some(operation_id);
            }
            for sent in agent.effects.iter().filter_map(as_result) {
                // A command that arrives after its operation was forgotten has expired.
                if sent.error.is_some() {
                    continue;
                }
                let slot = ended.entry(sent.operation_id).or_default();
                prop_assert_eq!(slot.get_or_insert_with(|| sent.clone()), &sent);
            }
            let wants_inventory = agent.effects.iter().any(|effect| matches!(effect, Effect::ReadInventory));
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
