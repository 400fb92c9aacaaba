//! That an operation is executed at most once under any order of commands, crashes and repeats.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Command(u128),
    Finish,
    Record,
    Crash,
    Connect(bool),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..6_u128).prop_map(Act::Command),
        4 => Just(Act::Finish),
        2 => Just(Act::Record),
        2 => Just(Act::Crash),
        1 => any::<bool>().prop_map(Act::Connect),
        2 => prop_oneof![0..40_000_u64, 0..800_000_u64].prop_map(Act::Pass),
    ]
}

proptest! {
    /// Whatever comes in whatever order: an operation that ended is never begun again while a copy of its
    /// command may be executed, only one runs, what ran is told the same way every time, numbers rise.
    #[test]
    fn an_operation_is_executed_at_most_once(acts in prop::collection::vec(act(), 1..120)) {
        let mut bench = Bench::connected();
        let mut running: Option<OperationId> = None;
        let mut ended = std::collections::BTreeMap::<OperationId, Option<TeardownResult>>::new();
        let mut reported = (bench.machine.boot_id(), 0);
        for act in acts {
            let was_running = running;
            bench.effects.clear();
            match act {
                Act::Command(operation) => { bench.command(operation, None); }
                Act::Finish => if let Some(operation_id) = running.take() {
                    ended.insert(operation_id, None);
                    bench.give(Input::Finished { operation_id, report: TeardownReport::default() });
                },
                Act::Record => if let Some(operation_id) = ended.keys().next().copied() {
                    let answer = Ok(ResultRecorded { recorded: true, detail: None });
                    bench.give(Input::ResultAnswered { operation_id, answer });
                },
                Act::Crash => { running = None; bench.crash(); }
                Act::Connect(up) => { bench.give(if up { Input::Connected } else { Input::Disconnected }); }
                Act::Pass(millis) => { bench.pass(millis); }
            }
            if matches!(act, Act::Crash) && was_running.is_some() {
                let resumed = started(&bench.effects);
                let late = bench.now.wall.as_millis() > START + 660_000;
                prop_assert!(late || resumed.first() == was_running.as_ref(), "{resumed:?}");
            }
            for operation_id in started(&bench.effects) {
                prop_assert!(running.is_none(), "two at once");
                prop_assert!(!ended.contains_key(&operation_id), "again");
                running = Some(operation_id);
            }
            for told in bench.effects.iter().filter_map(result) {
                // A copy that comes when all is forgotten is refused for its age.
                if told.error.is_some() {
                    continue;
                }
                let slot = ended.entry(told.operation_id).or_default();
                prop_assert_eq!(slot.get_or_insert_with(|| told.clone()), &told);
            }
            let read = bench.effects.iter().any(|effect| matches!(effect, Effect::ReadInventory));
            if read {
                bench.give(Input::InventoryRead(Ok(inventory(&["a"]))));
            }
            if let Some(sent) = bench.effects.iter().find_map(heartbeat) {
                prop_assert!((sent.boot_id, sent.sequence) > reported, "numbers rise");
                reported = (sent.boot_id, sent.sequence);
            }
        }
    }
}
