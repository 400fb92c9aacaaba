//! `swarm.hosts.update`: changes the name, address or labels of a host, and resets its agent.

use scuttle_schemas::hosts::{HostUpdateAccepted, HostUpdateRequest};
use scuttle_schemas::{ErrorReply, HostId, Timestamp};

use crate::broadcast::shard_changes::ShardChanges;
use crate::errors::{host_decommissioned, host_not_found};
use crate::record::rows::{HostRow, ShardRow};
use crate::state::State;
use crate::state::host::Shard;
use crate::state::identifiers::HostIdentity;
use crate::state::inventory::Inventory;

impl State {
    /// Changes a host. Rejects the request if the host does not exist or is decommissioned, or if
    /// the requested name is the name or id of another active host.
    pub(crate) fn update_host(
        &mut self,
        now: Timestamp,
        request: HostUpdateRequest,
    ) -> Result<HostUpdateAccepted, ErrorReply> {
        let id = request.host_uuid;
        let Some(host) = self.hosts.get(&id) else {
            return Err(host_not_found(&id));
        };
        if !host.is_active() {
            return Err(host_decommissioned(host.identity()));
        }
        if let Some(name) = request.name.as_ref().filter(|name| **name != host.row.name) {
            self.check_is_free(name.as_str(), HostIdentity { name, id: &id })?;
        }
        let before = &host.row;
        let row = HostRow {
            name: request.name.unwrap_or_else(|| before.name.clone()),
            address: request.address.or_else(|| before.address.clone()),
            labels: request.labels.unwrap_or_else(|| before.labels.clone()),
            applied: before.applied.filter(|_| !request.reset_agent),
            ..before.clone()
        };
        let is_renamed = row.name != before.name;
        if row != *before {
            self.put_host(row);
        }
        if request.reset_agent {
            self.readmit(&id);
            self.forget_agent(&id);
        }
        if is_renamed {
            // The records of shards contain the host's name.
            self.announce_shards(now, &id, |_| true);
        }
        Ok(HostUpdateAccepted {
            accepted: true,
            host: self.reply_record(&self.hosts[&id]),
        })
    }

    /// Discards the state of a host's agent that is kept in memory only, as a restart of the
    /// controller does. The next report counts as that of a new agent, and must contain an
    /// inventory.
    fn forget_agent(&mut self, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.resent_to = None;
        host.inventory = Inventory::default();
        host.earlier_agent = None;
    }

    /// Announces the shards of a host again whose records have changed with the host's row, as
    /// `is_affected` says.
    pub(super) fn announce_shards(
        &mut self,
        now: Timestamp,
        id: &HostId,
        is_affected: impl Fn(&ShardRow) -> bool,
    ) {
        let Some(host) = self.hosts.get(id) else {
            return;
        };
        let rows = host.shards.values().map(|Shard { row, .. }| row);
        let affected = rows.filter(|row| is_affected(row));
        let put = affected.map(|row| ShardRow::clone(row)).collect();
        let changes = ShardChanges {
            host: id,
            cause: None,
            put,
            removed: Vec::new(),
        };
        self.change_shards(now, changes);
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::{HostRecord, HostStatus};
    use scuttle_schemas::{ErrorCode, ErrorReply};

    use crate::api::{Effect, Input, Reply};
    use crate::tests::scenario::{Scenario, report};

    fn swarm_with_hosts(names: &[(&str, &str)]) -> Scenario {
        let mut swarm = Scenario::new();
        for (name, id) in names {
            swarm.enroll(name, Some(id)).expect("new");
        }
        swarm
    }

    /// Requests an update that is given as JSON. Returns the host's record and the effects.
    fn update(
        swarm: &mut Scenario,
        request: &str,
    ) -> Result<(HostRecord, Vec<Effect>), ErrorReply> {
        let request = scuttle_schemas::read("host update request", request.as_bytes());
        match swarm.request(Input::UpdateHost(request.expect("a valid request"))) {
            (Reply::HostUpdated(accepted), effects) => Ok((accepted.host, effects)),
            (Reply::Rejected(error), _) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_changes_only_the_fields_that_it_gives() {
        let mut swarm = swarm_with_hosts(&[("worker-h", "h")]);
        let request = r#"{"host_uuid":"h","address":"10.0.0.3","labels":{"rack":"7","row":"1"}}"#;
        update(&mut swarm, request).expect("accepted");
        let (host, effects) =
            update(&mut swarm, r#"{"host_uuid":"h","labels":{"rack":"8"}}"#).expect("accepted");
        let describe = |host: &HostRecord| {
            let labels = serde_json::to_string(&host.labels).expect("JSON");
            (host.name.to_string(), host.address.clone(), labels)
        };
        let expected = (
            "worker-h".to_owned(),
            Some("10.0.0.3".to_owned()),
            r#"{"rack":"8"}"#.to_owned(),
        );
        assert_eq!(describe(&host), expected);
        assert!(
            matches!(&effects[..], [Effect::HostsUpdated(message)] if message.updated == [host])
        );
        swarm.crash_and_restart();
        assert_eq!(describe(&swarm.state.hosts["h"].to_record()), expected);
        let (_, effects) =
            update(&mut swarm, r#"{"host_uuid":"h","labels":{"rack":"8"}}"#).expect("accepted");
        assert_eq!(effects, [], "nothing has changed");
    }

    #[test]
    fn a_host_that_is_unknown_or_decommissioned_is_not_updated() {
        let mut swarm = swarm_with_hosts(&[("worker-h", "h")]);
        let address = |host| format!(r#"{{"host_uuid":"{host}","address":"x"}}"#);
        let error = update(&mut swarm, &address("i")).expect_err("unknown");
        assert_eq!(error.code, ErrorCode::HostNotFound);
        swarm.decommission("h", false).expect("no shards");
        let error = update(&mut swarm, &address("h")).expect_err("decommissioned");
        assert_eq!(error.code, ErrorCode::HostDecommissioned);
    }

    #[test]
    fn a_new_name_is_unique_and_the_old_one_is_free() {
        let mut swarm = swarm_with_hosts(&[("worker-a", "a"), ("worker-b", "b")]);
        let rename = |swarm: &mut Scenario, id: &str, name: &str| {
            update(swarm, &format!(r#"{{"host_uuid":"{id}","name":"{name}"}}"#))
        };
        let error = rename(&mut swarm, "a", "worker-b").expect_err("taken");
        assert_eq!(error.code, ErrorCode::BadRequest);
        rename(&mut swarm, "a", "worker-a").expect("the host's own name");
        rename(&mut swarm, "a", "worker-c").expect("free");
        rename(&mut swarm, "b", "worker-a").expect("no longer in use");
        swarm.crash_and_restart();
        rename(&mut swarm, "b", "worker-c").expect_err("taken");
        let new = swarm.enroll("worker-b", None).expect("no longer in use");
        assert!(!new.repeated);
        swarm.decommission("a", false).expect("no shards");
        rename(&mut swarm, "b", "worker-c").expect("its host is decommissioned");
    }

    #[test]
    fn a_new_name_is_not_the_id_of_another_host_or_its_name_in_another_case() {
        let mut swarm = swarm_with_hosts(&[("worker-a", "a"), ("worker-b", "b")]);
        for (name, expected) in [
            ("b", "the name b is the id of host worker-b (b)"),
            (
                "WORKER-B",
                "differs only in case from that of host worker-b (b)",
            ),
        ] {
            let request = format!(r#"{{"host_uuid":"a","name":"{name}"}}"#);
            let error = update(&mut swarm, &request).expect_err("in use");
            assert_eq!(error.code, ErrorCode::BadRequest);
            assert!(error.message.contains(expected), "{}", error.message);
        }
        for name in ["a", "Worker-A"] {
            let request = format!(r#"{{"host_uuid":"a","name":"{name}"}}"#);
            update(&mut swarm, &request).expect("of the same host");
        }
    }

    #[test]
    fn the_shards_of_a_renamed_host_are_announced_with_its_name() {
        let mut swarm = swarm_with_hosts(&[("worker-h", "h")]);
        swarm.heartbeat("h", report(7, 1), Some(&["a", "b"]));
        swarm.teardown("h", Some("a")).expect("accepted");
        let before = swarm.shards("h");
        let (_, effects) =
            update(&mut swarm, r#"{"host_uuid":"h","name":"worker-i"}"#).expect("accepted");
        let announced: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::ShardsUpdated(message, _) => Some(message.updated.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        assert_eq!(announced, swarm.shards("h"));
        for (before, after) in before.iter().zip(&announced) {
            assert_eq!(after.host_name.as_str(), "worker-i");
            assert!(after.revision > before.revision);
            assert_eq!(
                (after.state, after.operation_id),
                (before.state, before.operation_id)
            );
        }
    }

    #[test]
    fn a_reset_agent_is_heard_again_after_a_report_of_a_later_boot() {
        let mut swarm = swarm_with_hosts(&[("worker-h", "h")]);
        swarm.heartbeat("h", report(9, 1), Some(&["x"]));
        assert!(swarm.heartbeat("h", report(7, 1), Some(&["a"])).0.stale);
        update(&mut swarm, r#"{"host_uuid":"h","reset_agent":true}"#).expect("accepted");
        swarm.crash_and_restart();
        let (reply, _) = swarm.heartbeat("h", report(7, 2), None);
        assert!(!reply.stale && reply.send_inventory);
        swarm.heartbeat("h", report(7, 3), Some(&["a"]));
        assert_eq!(swarm.states("h"), "a:Running x:Degraded");
        assert_eq!(swarm.state.hosts["h"].row.status, HostStatus::Online);
    }

    #[test]
    fn a_reset_agent_gets_its_open_commands_again() {
        let mut swarm = swarm_with_hosts(&[("worker-h", "h")]);
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        swarm.teardown("h", Some("a")).expect("accepted");
        update(&mut swarm, r#"{"host_uuid":"h","reset_agent":true}"#).expect("accepted");
        let (_, effects) = swarm.heartbeat("h", report(7, 2), None);
        let commands = effects.iter();
        let commands = commands.filter(|effect| matches!(effect, Effect::Command { .. }));
        assert_eq!(commands.count(), 1);
    }
}
