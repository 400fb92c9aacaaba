//! The limit of shards that one host may have in the record. Shards that the agent's inventories no
//! longer list leave the record after 24 hours, or earlier to make room for new ones.

use scuttle_schemas::agents::MAX_NOTES;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostId, MAX_SHARDS_PER_HOST, Note, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::record::rows::ShardRow;
use crate::state::State;
use crate::state::host::Host;
use crate::state::inventory::UNREPORTED_RETENTION_MS;

/// The maximum number of shards that leave the record because of one report, so that no request
/// waits long. The others leave with the next reports.
const MAX_REMOVALS_PER_REPORT: usize = MAX_SHARDS_PER_HOST;

/// The beginning of the note that a host has reached its limit of shards. Notes of agents never
/// begin with this text.
const LIMIT_NOTE: &str = "decky limit reached";

impl State {
    /// Removes the shards of a host that inventories have not listed for 24 hours, and those above
    /// the limit. Must be called only when a removal is due, and when a heartbeat of the host has
    /// just confirmed the last inventory.
    pub(crate) fn remove_unreported_shards(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get(id) else {
            return;
        };
        let changes = ShardChanges {
            host: id,
            cause: None,
            put: Vec::new(),
            removed: select_leaving_shards(host, now, host.shards.len()),
        };
        self.change_shards(now, changes);
        self.schedule_removal(now, id);
    }

    /// Sets the time at which the next shard of a host may have to leave the record.
    pub(crate) fn schedule_removal(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        let unreported = host.shards.values();
        let unreported = unreported.filter_map(|shard| shard.row.unreported_since());
        let oldest = unreported.min();
        let expires_at = oldest.map(|since| since.plus_millis(UNREPORTED_RETENTION_MS));
        let is_over_limit = host.shards.len() > MAX_SHARDS_PER_HOST;
        host.inventory.removal_due_at = if is_over_limit { Some(now) } else { expires_at };
    }
}

/// Returns the shards that must leave the record: those that inventories have not listed for 24
/// hours and, if the host would otherwise have `count` shards, which exceeds the limit, those that
/// have been missing longest. A shard that an open operation tears down does not leave, because the
/// operation decides on it.
pub(crate) fn select_leaving_shards(host: &Host, now: Timestamp, count: usize) -> Vec<DeckyId> {
    let expired = now.plus_millis(-UNREPORTED_RETENTION_MS);
    let excess = count.saturating_sub(MAX_SHARDS_PER_HOST);
    let mut missing: Vec<(Timestamp, &DeckyId)> = (host.shards.iter())
        .filter(|(_, shard)| !shard.listed)
        .filter_map(|(decky, shard)| Some((missing_since(&shard.row, now)?, decky)))
        .collect();
    missing.sort_unstable();
    let leaving = missing.into_iter().enumerate();
    leaving
        .take_while(|(position, (since, _))| *position < excess || *since <= expired)
        .take(MAX_REMOVALS_PER_REPORT)
        .map(|(_, (_, decky))| decky.clone())
        .collect()
}

/// Returns the time since which inventories do not list an unlisted shard, which is `now` if the
/// present inventory is the first. Returns `None` for a shard of an operation.
fn missing_since(row: &ShardRow, now: Timestamp) -> Option<Timestamp> {
    match row.state {
        ShardState::TearingDown | ShardState::TeardownFailed => None,
        ShardState::Pending | ShardState::Running | ShardState::Failed | ShardState::Degraded => {
            Some(row.unreported_since().unwrap_or(now))
        }
    }
}

/// Adds the recorded note on the limit, if there is one, to the notes of a heartbeat.
pub(crate) fn carry_limit_note(mut notes: Vec<Note>, recorded: &[Note]) -> Vec<Note> {
    notes.retain(|note| !is_limit_note(note));
    let limit_note = recorded.iter().find(|note| is_limit_note(note));
    insert_first(notes, limit_note.cloned())
}

/// Replaces the note on the limit. `unregistered` is the number of deckies in the last inventory
/// that were not registered.
pub(crate) fn set_limit_note(mut notes: Vec<Note>, unregistered: usize) -> Vec<Note> {
    notes.retain(|note| !is_limit_note(note));
    let text = format!(
        "{LIMIT_NOTE}: {unregistered} deckies of this host are not on record, which holds at most \
         {MAX_SHARDS_PER_HOST} deckies of one host"
    );
    insert_first(notes, (unregistered > 0).then(|| Note::from(text.as_str())))
}

fn is_limit_note(note: &Note) -> bool {
    note.as_str().starts_with(LIMIT_NOTE)
}

fn insert_first(mut notes: Vec<Note>, first: Option<Note>) -> Vec<Note> {
    if let Some(first) = first {
        notes.insert(0, first);
        notes.truncate(MAX_NOTES);
    }
    notes
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;
    use scuttle_schemas::{MAX_DECKIES_PER_HOST, MAX_SHARDS_PER_HOST, Note};

    use crate::api::Effect;
    use crate::record::rows::ReportId;
    use crate::state::inventory::UNREPORTED_RETENTION_MS;
    use crate::tests::scenario::{Scenario, report};

    fn swarm_with_host() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm
    }

    /// Sends an inventory with as many deckies as one may have. Their names begin with `prefix`.
    fn send_full_inventory(swarm: &mut Scenario, report: ReportId, prefix: &str) -> Vec<Effect> {
        let names: Vec<String> = (0..MAX_DECKIES_PER_HOST)
            .map(|number| format!("{prefix}-{number:04}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        swarm.heartbeat("h", report, Some(&names)).1
    }

    fn count(swarm: &Scenario, prefix: &str) -> usize {
        let names = swarm.state.hosts["h"].shards.keys();
        names
            .filter(|name| name.as_str().starts_with(prefix))
            .count()
    }

    fn notes(swarm: &Scenario) -> String {
        let notes = &swarm.state.hosts["h"].row.notes;
        let notes: Vec<&str> = notes.iter().map(Note::as_str).collect();
        notes.join("; ")
    }

    #[test]
    fn the_shards_that_have_been_missing_longest_make_room_for_new_ones() {
        let mut swarm = swarm_with_host();
        for (sequence, prefix) in (1..).zip(["a", "b", "c", "d", "e"]) {
            let effects = send_full_inventory(&mut swarm, report(7, sequence), prefix);
            swarm.advance_ms(1_000);
            let removed = effects.iter().map(|effect| match effect {
                Effect::ShardsUpdated(message, _) => message.removed.len(),
                _ => 0,
            });
            let expected = if sequence > 2 {
                MAX_DECKIES_PER_HOST
            } else {
                0
            };
            assert_eq!(removed.sum::<usize>(), expected, "announced");
        }
        swarm.crash_and_restart();
        let counts = ["a", "b", "c", "d", "e"].map(|prefix| count(&swarm, prefix));
        assert_eq!(counts, [0, 0, 0, 4096, 4096]);
        assert_eq!(notes(&swarm), "");
    }

    #[test]
    fn a_shard_of_an_open_operation_makes_no_room() {
        let mut swarm = swarm_with_host();
        send_full_inventory(&mut swarm, report(7, 1), "a");
        send_full_inventory(&mut swarm, report(7, 2), "b");
        let (accepted, _) = swarm.teardown("h", None).expect("accepted");
        assert_eq!(accepted.shards, MAX_SHARDS_PER_HOST);
        send_full_inventory(&mut swarm, report(7, 3), "c");
        assert_eq!((count(&swarm, "a"), count(&swarm, "c")), (4096, 0));
        assert!(notes(&swarm).contains("4096 deckies"), "{}", notes(&swarm));
        // The note stays with every heartbeat, and after a restart.
        swarm.notes = &["project trap2 has no label", "decky limit reached: forged"];
        swarm.crash_and_restart();
        swarm.heartbeat("h", report(7, 4), None);
        assert!(notes(&swarm).contains("4096 deckies"), "{}", notes(&swarm));
        assert!(notes(&swarm).contains("trap2") && !notes(&swarm).contains("forged"));
        swarm.advance_ms(600_000);
        let operation = swarm.operation(accepted.operation_id);
        assert_eq!(operation.state, OperationState::TimedOut);
        // The shards of the operation are gone, and the others take their place.
        send_full_inventory(&mut swarm, report(7, 5), "c");
        let counts = ["a", "b", "c"].map(|prefix| count(&swarm, prefix));
        assert_eq!(counts, [0, 0, 4096]);
        assert_eq!(notes(&swarm), "project trap2 has no label");
    }

    #[test]
    fn a_shard_that_inventories_do_not_list_for_a_day_leaves_the_record() {
        let mut swarm = swarm_with_host();
        swarm.heartbeat("h", report(7, 1), Some(&["a", "b", "c"]));
        swarm.heartbeat("h", report(7, 2), Some(&["b", "c"]));
        swarm.advance_ms(UNREPORTED_RETENTION_MS / 2);
        swarm.heartbeat("h", report(7, 3), Some(&["b"]));
        swarm.crash_and_restart();
        swarm.advance_ms(UNREPORTED_RETENTION_MS / 2 - 1);
        swarm.heartbeat("h", report(7, 4), Some(&["b"]));
        assert_eq!(swarm.states("h"), "a:Degraded b:Running c:Degraded");
        swarm.advance_ms(1);
        assert_eq!(swarm.states("h"), "a:Degraded b:Running c:Degraded");
        // A heartbeat without an inventory confirms the last one.
        let (_, effects) = swarm.heartbeat("h", report(7, 5), None);
        assert_eq!(swarm.states("h"), "b:Running c:Degraded");
        let removed = effects.iter().find_map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => message.removed.first(),
            _ => None,
        });
        assert_eq!(removed.expect("announced").decky_id.as_str(), "a");
        // Nothing leaves while the inventory cannot be read.
        swarm.advance_ms(UNREPORTED_RETENTION_MS / 2);
        swarm.inventory_error = Some("no Docker");
        swarm.heartbeat("h", report(7, 6), None);
        assert_eq!(swarm.states("h"), "b:Running c:Degraded");
        swarm.inventory_error = None;
        swarm.heartbeat("h", report(7, 7), None);
        assert_eq!(swarm.states("h"), "b:Running");
        swarm.crash_and_restart();
        assert_eq!(swarm.states("h"), "b:Running");
    }

    #[test]
    fn a_shard_that_is_listed_again_stays() {
        let mut swarm = swarm_with_host();
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        swarm.heartbeat("h", report(7, 2), Some(&[]));
        swarm.heartbeat("h", report(7, 3), Some(&["a"]));
        swarm.advance_ms(2 * UNREPORTED_RETENTION_MS);
        swarm.heartbeat("h", report(7, 4), None);
        assert_eq!(swarm.states("h"), "a:Running");
    }

    #[test]
    fn a_result_adds_no_shards_and_outcomes_above_the_limit() {
        let mut swarm = swarm_with_host();
        send_full_inventory(&mut swarm, report(7, 1), "a");
        send_full_inventory(&mut swarm, report(7, 2), "b");
        let (accepted, _) = swarm.teardown("h", None).expect("accepted");
        let names: Vec<String> = (0..MAX_DECKIES_PER_HOST)
            .map(|number| format!("x-{number}"))
            .collect();
        let failed: Vec<(&str, Option<&str>)> = names
            .iter()
            .map(|name| (name.as_str(), Some("busy")))
            .collect();
        swarm.report_result("h", report(7, 3), accepted.operation_id, None, &failed);
        assert_eq!(swarm.state.hosts["h"].shards.len(), MAX_SHARDS_PER_HOST);
        let row = &swarm.state.operations[&accepted.operation_id];
        assert_eq!(row.outcomes.len(), MAX_SHARDS_PER_HOST);
    }
}
