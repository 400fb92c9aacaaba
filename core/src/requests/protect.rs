//! `swarm.shards.protect`: protects a decky or a host from teardowns. Also rejects the teardown of
//! protected targets.

use scuttle_schemas::protection::{
    PROTECTED_LABEL, ProtectAccepted, ProtectRequest, is_protected_by_label,
};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::errors::shard_not_found;
use crate::plural::format_deckies;
use crate::record::rows::{HostRow, ShardRow};
use crate::state::State;
use crate::state::host::Host;

/// The maximum number of protected targets that the rejection of a teardown names.
const MAX_NAMED_TARGETS: usize = 10;

impl State {
    /// Protects a decky or a host, or lifts the protection that a request has set. Rejects the
    /// request if the target does not exist or the host is decommissioned.
    ///
    /// An operation that is already open continues. A request that changes nothing is accepted and
    /// causes no broadcast.
    pub(crate) fn protect(
        &mut self,
        now: Timestamp,
        request: &ProtectRequest,
    ) -> Result<ProtectAccepted, ErrorReply> {
        let id = &request.host_uuid;
        let host = self.find_active_host(id)?;
        let shard = match &request.decky_id {
            None => None,
            Some(decky) => Some(
                (host.shards.get(decky)).ok_or_else(|| shard_not_found(host.identity(), decky))?,
            ),
        };
        let before = shard.map_or(host.row.protected, |shard| shard.row.protected);
        if before == request.protected {
            // Another controller may have become leader and have changed the protection. Then the
            // commit fails. So the reply needs a commit.
            self.batch.meta_changed = true;
        } else if let Some(shard) = shard {
            let row = ShardRow {
                protected: request.protected,
                last_seen: shard.last_seen(host.inventory_seen_at),
                ..ShardRow::clone(&shard.row)
            };
            let changes = ShardChanges {
                host: id,
                cause: None,
                put: vec![row],
                removed: Vec::new(),
            };
            self.change_shards(now, changes);
        } else {
            let row = HostRow {
                protected: request.protected,
                ..host.row.clone()
            };
            self.put_host(row);
            self.announce_shards(now, id, |row| !is_protected_itself(row));
        }
        Ok(ProtectAccepted {
            accepted: true,
            protected: self.is_protected(id, request.decky_id.as_ref()),
        })
    }

    fn is_protected(&self, host: &HostId, decky: Option<&DeckyId>) -> bool {
        let Some(host) = self.hosts.get(host) else {
            return false;
        };
        match decky {
            None => host.row.protected,
            Some(decky) => {
                (host.shards.get(decky)).is_some_and(|shard| shard.row.is_protected_on(&host.row))
            }
        }
    }
}

/// Checks that a teardown without `override_protection` has no protected target. `targets` are the
/// shards that the teardown of `decky`, or of the whole host, removes.
///
/// # Errors
/// `protected` if the host or one of the targets is protected.
pub(crate) fn check_unprotected<'s>(
    host: &Host,
    decky: Option<&DeckyId>,
    targets: impl Iterator<Item = &'s ShardRow> + Clone,
) -> Result<(), ErrorReply> {
    let protected = (targets.clone()).filter(|row| row.is_protected_on(&host.row));
    let is_host_protected = decky.is_none() && host.row.protected;
    if !is_host_protected && protected.clone().next().is_none() {
        return Ok(());
    }
    let identity = host.identity();
    let names = describe_some(protected.clone().map(|row| row.decky.as_str()));
    let described = match (decky, protected.clone().count()) {
        (Some(decky), _) => {
            let reason = protected.map(|row| describe_reason(host, row)).next();
            let reason = reason.unwrap_or_default();
            format!("decky {decky} of {identity} is protected {reason}")
        }
        (None, 0) => format!("{identity} is protected"),
        (None, count) if is_host_protected => {
            let deckies = format_deckies(count);
            format!("{identity} is protected with its {deckies}: {names}")
        }
        (None, count) => {
            let deckies = format_deckies(targets.count());
            let verb = if count == 1 { "is" } else { "are" };
            format!("{count} of {deckies} of {identity} {verb} protected: {names}")
        }
    };
    Err(ErrorReply::new(
        ErrorCode::Protected,
        format!(
            "{described}; lift the protection first, or request the teardown with \
             override_protection (--override-protection)"
        ),
    ))
}

/// Returns whether a shard is protected even if its host is not.
fn is_protected_itself(row: &ShardRow) -> bool {
    row.protected || is_protected_by_label(&row.labels)
}

fn describe_reason(host: &Host, row: &ShardRow) -> String {
    if is_protected_by_label(&row.labels) {
        format!("by its label {PROTECTED_LABEL}=true")
    } else if host.row.protected {
        "because its host is protected".to_owned()
    } else {
        "by a request".to_owned()
    }
}

/// Lists at most `MAX_NAMED_TARGETS` names, and the number of the others.
fn describe_some<'n>(names: impl Iterator<Item = &'n str> + Clone) -> String {
    let named: Vec<&str> = names.clone().take(MAX_NAMED_TARGETS).collect();
    let text = named.join(", ");
    match names.count() - named.len() {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::shards::ShardRecord;
    use scuttle_schemas::teardown::TeardownPlan;
    use scuttle_schemas::{ErrorCode, ErrorReply};

    use super::MAX_NAMED_TARGETS;
    use crate::api::{Effect, Reply};
    use crate::record::change::Change;
    use crate::tests::scenario::{Scenario, report};

    /// Returns a swarm with the host `h`, whose agent has reported the deckies `a`, `b` and `c`.
    fn swarm_with_host() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a", "b", "c"]));
        swarm
    }

    /// Requests a protection that must be accepted. Returns the shards that it announces.
    fn protect(swarm: &mut Scenario, decky: Option<&str>, protected: bool) -> Vec<ShardRecord> {
        let (_, effects) = swarm.protect("h", decky, protected).expect("accepted");
        announced_shards(&effects)
    }

    fn announced_shards(effects: &[Effect]) -> Vec<ShardRecord> {
        let messages = effects.iter().filter_map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => Some(message.updated.clone()),
            _ => None,
        });
        messages.flatten().collect()
    }

    /// Returns the protected deckies of the host `h`, separated by spaces.
    fn protected_deckies(swarm: &mut Scenario) -> String {
        let shards = swarm.shards("h");
        let protected = shards.iter().filter(|shard| shard.protected);
        let names = protected.map(|shard| shard.decky_id.as_str());
        names.collect::<Vec<_>>().join(" ")
    }

    fn request(swarm: &mut Scenario, fields: &str) -> Reply {
        let request = format!(r#"{{"host_uuid":"h"{fields}}}"#);
        swarm.teardown_json(&request, None, "alice").0
    }

    fn expect_rejected(reply: Reply) -> ErrorReply {
        match reply {
            Reply::Rejected(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn expect_plan(reply: Reply) -> TeardownPlan {
        match reply {
            Reply::Plan(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_protected_decky_is_torn_down_only_by_a_request_that_overrides_the_protection() {
        let mut swarm = swarm_with_host();
        protect(&mut swarm, Some("a"), true);
        for crashed in [false, true] {
            if crashed {
                swarm.crash_and_restart();
            }
            let stored = swarm.journal.len();
            let error = expect_rejected(request(&mut swarm, r#","decky_id":"a""#));
            assert_eq!(error.code, ErrorCode::Protected);
            assert_eq!(
                error.message,
                "decky a of host worker-h (h) is protected by a request; lift the protection \
                 first, or request the teardown with override_protection (--override-protection)"
            );
            let error = expect_rejected(request(&mut swarm, ""));
            assert_eq!(error.code, ErrorCode::Protected);
            let expected = "1 of 3 deckies of host worker-h (h) is protected: a; ";
            assert!(error.message.starts_with(expected), "{}", error.message);
            assert_eq!(swarm.journal.len(), stored, "nothing is stored");
        }
        assert_eq!(swarm.states("h"), "a:Running b:Running c:Running");
        swarm.teardown("h", Some("b")).expect("not protected");
        let override_it = r#","decky_id":"a","override_protection":true"#;
        let reply = request(&mut swarm, override_it);
        assert!(matches!(reply, Reply::Teardown(_)), "{reply:?}");
        assert_eq!(swarm.states("h"), "a:TearingDown b:TearingDown c:Running");
        let error = expect_rejected(request(&mut swarm, r#","decky_id":"a""#));
        assert_eq!(error.code, ErrorCode::Protected, "also while it is open");
    }

    #[test]
    fn a_label_protects_a_decky_until_its_agent_no_longer_reports_the_label() {
        let mut swarm = swarm_with_host();
        let label = "scuttle.protected=true";
        swarm.heartbeat_with_label("h", report(7, 2), &["a", "b"], label);
        assert_eq!(protected_deckies(&mut swarm), "a b");
        let (still_protected, effects) = swarm.protect("h", Some("a"), false).expect("accepted");
        assert!(still_protected, "a request does not lift what a label says");
        assert_eq!(effects, []);
        let error = expect_rejected(request(&mut swarm, r#","decky_id":"a""#));
        assert_eq!(error.code, ErrorCode::Protected);
        let reason = "is protected by its label scuttle.protected=true; ";
        assert!(error.message.contains(reason), "{}", error.message);
        for (sequence, label) in [(3, "scuttle.protected=false"), (4, "protected=true")] {
            swarm.heartbeat_with_label("h", report(7, sequence), &["a", "b"], label);
            assert_eq!(protected_deckies(&mut swarm), "");
        }
        swarm.teardown("h", None).expect("not protected");
    }

    #[test]
    fn a_protected_host_protects_its_present_and_later_deckies() {
        let mut swarm = swarm_with_host();
        protect(&mut swarm, Some("b"), true);
        let announced = protect(&mut swarm, None, true);
        let names: Vec<_> = announced
            .iter()
            .map(|shard| shard.decky_id.as_str())
            .collect();
        assert_eq!(names, ["a", "c"], "the record of b has not changed");
        assert!(announced.iter().all(|shard| shard.protected));
        swarm.crash_and_restart();
        let (_, effects) = swarm.heartbeat("h", report(7, 2), Some(&["a", "b", "c", "d"]));
        let [new] = &announced_shards(&effects)[..] else {
            panic!("expected one shard: {effects:?}");
        };
        assert!(new.protected, "{new:?}");
        let error = expect_rejected(request(&mut swarm, r#","decky_id":"d""#));
        let reason = "is protected because its host is protected; ";
        assert!(error.message.contains(reason), "{}", error.message);
        let error = expect_rejected(request(&mut swarm, ""));
        let expected = "host worker-h (h) is protected with its 4 deckies: a, b, c, d; ";
        assert!(error.message.starts_with(expected), "{}", error.message);
        let (still_protected, _) = swarm.protect("h", Some("a"), false).expect("accepted");
        assert!(still_protected, "by the host");

        protect(&mut swarm, None, false);
        assert_eq!(protected_deckies(&mut swarm), "b", "its own protection");
    }

    #[test]
    fn a_protected_host_without_deckies_is_not_torn_down() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        protect(&mut swarm, None, true);
        let error = expect_rejected(request(&mut swarm, ""));
        assert_eq!(error.code, ErrorCode::Protected);
        let expected = "host worker-h (h) is protected; lift ";
        assert!(error.message.starts_with(expected), "{}", error.message);
        let reply = request(&mut swarm, r#","override_protection":true"#);
        assert!(matches!(reply, Reply::Teardown(_)), "{reply:?}");
    }

    #[test]
    fn a_rejection_names_at_most_ten_protected_deckies() {
        let names: Vec<String> = (0..15).map(|number| format!("d{number:02}")).collect();
        let deckies: Vec<&str> = names.iter().map(String::as_str).collect();
        for (protected, rest) in [(MAX_NAMED_TARGETS, ""), (13, " and 3 more")] {
            let mut swarm = swarm_with_host();
            swarm.heartbeat("h", report(7, 2), Some(&deckies));
            for decky in &deckies[..protected] {
                protect(&mut swarm, Some(decky), true);
            }
            let message = expect_rejected(request(&mut swarm, "")).message;
            let named = deckies[..MAX_NAMED_TARGETS].join(", ");
            let expected = format!("are protected: {named}{rest}; ");
            assert!(message.contains(&expected), "{message}");
        }
    }

    #[test]
    fn a_change_of_protection_is_announced_once_and_a_repeat_changes_nothing() {
        let mut swarm = swarm_with_host();
        for decky in [Some("a"), None] {
            for protected in [true, false] {
                let before = swarm.shards("h");
                let (reply, effects) = swarm.protect("h", decky, protected).expect("accepted");
                assert_eq!(reply, protected);
                let announced = announced_shards(&effects);
                let count = if decky.is_some() { 1 } else { 3 };
                assert_eq!(announced.len(), count);
                for (old, new) in before.iter().zip(&announced) {
                    assert_eq!(new.protected, protected);
                    assert!(new.revision > old.revision);
                }
                let hosts = effects.iter().filter_map(|effect| match effect {
                    Effect::HostsUpdated(message) => Some(message.updated[0].protected),
                    _ => None,
                });
                let expected = decky.is_none().then_some(protected);
                assert_eq!(hosts.collect::<Vec<_>>(), Vec::from_iter(expected));

                let stored = swarm.journal.len();
                let (reply, effects) = swarm.protect("h", decky, protected).expect("accepted");
                assert_eq!((reply, effects), (protected, Vec::new()));
                // A deposed leader must not confirm a protection that its successor has lifted.
                let changes = &swarm.journal[stored..];
                assert!(matches!(changes, [Change::Meta(_)]), "{changes:?}");
            }
        }
    }

    #[test]
    fn the_protection_of_a_decky_ends_with_its_shard_and_survives_a_new_deployment() {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat_with_deployments("h", report(7, 1), &[("a", "1")]);
        protect(&mut swarm, Some("a"), true);
        swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", "2")]);
        assert_eq!(protected_deckies(&mut swarm), "a");

        let override_it = r#","decky_id":"a","override_protection":true"#;
        let Reply::Teardown(accepted) = request(&mut swarm, override_it) else {
            panic!("not accepted");
        };
        let id = accepted.operation_id;
        swarm.report_result("h", report(7, 3), id, None, &[("a", None)]);
        swarm.heartbeat_with_deployments("h", report(7, 4), &[("a", "3")]);
        assert_eq!(swarm.states("h"), "a:Running");
        assert_eq!(protected_deckies(&mut swarm), "");
    }

    #[test]
    fn the_protection_of_a_host_ends_when_it_is_decommissioned() {
        let mut swarm = swarm_with_host();
        protect(&mut swarm, None, true);
        let decommissioned = swarm.decommission("h", true).expect("forced");
        assert!(!decommissioned.host.protected);
        swarm.enroll("worker-h", Some("h")).expect("again");
        swarm.heartbeat("h", report(8, 1), Some(&["a"]));
        assert_eq!(protected_deckies(&mut swarm), "");
        swarm.teardown("h", None).expect("not protected");
    }

    #[test]
    fn an_unknown_or_decommissioned_target_is_not_protected() {
        let mut swarm = swarm_with_host();
        for (host, decky, code) in [
            ("i", None, ErrorCode::HostNotFound),
            ("i", Some("a"), ErrorCode::HostNotFound),
            ("h", Some("x"), ErrorCode::ShardNotFound),
        ] {
            let error = swarm.protect(host, decky, true).expect_err("unknown");
            assert_eq!(error.code, code);
        }
        swarm.decommission("h", true).expect("forced");
        for decky in [None, Some("a")] {
            let error = swarm.protect("h", decky, true).expect_err("decommissioned");
            assert_eq!(error.code, ErrorCode::HostDecommissioned);
        }
    }

    #[test]
    fn a_plan_marks_protected_targets_and_holds_while_their_protection_is_the_same() {
        let mut swarm = swarm_with_host();
        let before = expect_plan(request(&mut swarm, r#","dry_run":true"#));
        protect(&mut swarm, Some("b"), true);
        let plan = expect_plan(request(&mut swarm, r#","dry_run":true"#));
        let marks: Vec<bool> = plan.targets.iter().map(|target| target.protected).collect();
        assert_eq!(marks, [false, true, false]);
        assert_ne!(plan.plan, before.plan);

        let expecting =
            |plan: &str| format!(r#","override_protection":true,"expect_plan":"{plan}""#);
        let error = expect_rejected(request(&mut swarm, &expecting(&before.plan)));
        assert_eq!(error.code, ErrorCode::PlanChanged, "b was not protected");
        let without_override = format!(r#","expect_plan":"{}""#, plan.plan);
        let error = expect_rejected(request(&mut swarm, &without_override));
        assert_eq!(error.code, ErrorCode::Protected);
        protect(&mut swarm, Some("c"), true);
        let error = expect_rejected(request(&mut swarm, &expecting(&plan.plan)));
        assert_eq!(error.code, ErrorCode::PlanChanged);
        protect(&mut swarm, Some("c"), false);
        let reply = request(&mut swarm, &expecting(&plan.plan));
        assert!(matches!(reply, Reply::Teardown(_)), "{reply:?}");
    }

    #[test]
    fn a_key_distinguishes_a_request_that_overrides_the_protection() {
        let mut swarm = swarm_with_host();
        protect(&mut swarm, Some("a"), true);
        let mut send = |override_it: bool, key| {
            let request = format!(
                r#"{{"host_uuid":"h","decky_id":"a","override_protection":{override_it}}}"#
            );
            swarm.teardown_json(&request, Some(key), "alice").0
        };
        assert_eq!(
            expect_rejected(send(false, "k")).code,
            ErrorCode::Protected,
            "a rejected request does not use its key"
        );
        let first = send(true, "k");
        let Reply::Teardown(first) = first else {
            panic!("{first:?}");
        };
        let error = expect_rejected(send(false, "k"));
        assert_eq!(error.code, ErrorCode::IdempotencyConflict);
        let Reply::Teardown(repeated) = send(true, "k") else {
            panic!("not accepted");
        };
        assert!(repeated.repeated && repeated.operation_id == first.operation_id);
    }

    #[test]
    fn an_open_operation_continues_when_its_target_is_protected() {
        let mut swarm = swarm_with_host();
        let (open, _) = swarm.teardown("h", Some("a")).expect("accepted");
        protect(&mut swarm, Some("a"), true);
        assert_eq!(swarm.states("h"), "a:TearingDown b:Running c:Running");
        swarm.report_result("h", report(7, 2), open.operation_id, None, &[("a", None)]);
        assert_eq!(swarm.states("h"), "b:Running c:Running");
    }
}
