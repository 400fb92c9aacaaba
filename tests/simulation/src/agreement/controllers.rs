//! Checks that the controllers agree: exactly one leads each partition, and each knows the durable
//! record.

use std::collections::BTreeMap;

use scuttle_controller::engine;
use scuttle_controller::store::{JournalError, StoreError};
use scuttle_core::{Input, Reply, State};
use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::HostsListRequest;
use scuttle_schemas::operations::OperationsListRequest;
use scuttle_schemas::shards::ShardsListRequest;
use serde_json::Value;

use crate::oracle::partition::PartitionOracle;
use crate::oracle::record::Record;
use crate::oracle::violation::{NOTHING_LOST, RECORD_MATCHES, Violation, ensure};
use crate::simulation::Simulation;
use crate::state::clients::subscriber::{LISTED_TYPES, record_key, strip_unannounced};
use crate::state::controllers::process::ControllerProcess;
use crate::storage::controller_store::ControllerStore;
use crate::storage::nats_servers::{LeaseHolder, NatsServers};

/// The listed records by key, for each of `LISTED_TYPES`.
pub(crate) type Lists = [BTreeMap<String, Value>; 3];

impl Simulation {
    /// Returns whether all controllers are running and each partition has exactly one leader, which
    /// also holds the lease on the servers.
    pub(crate) fn each_partition_has_one_leader(&self) -> bool {
        let all_run = (self.controllers.iter()).all(|controller| controller.process.is_some());
        let leads = |holder: LeaseHolder| {
            let controller = &self.controllers[holder.controller];
            controller.is_leader() && controller.run_number == holder.run
        };
        let mut holders = (self.servers.iter()).map(|servers| servers.lease_holder(self.now));
        let mut leaders = (self.partitioning.count.iter())
            .map(|partition| self.count_leaders(self.partitioning.controllers_of(partition)));
        all_run
            && leaders.all(|leaders| leaders == 1)
            && holders.all(|holder| holder.is_some_and(leads))
    }

    /// Checks that the state of every running controller matches the durable record. Returns the
    /// records that the leaders list.
    pub(crate) fn check_controllers(&mut self) -> Result<Lists, Violation> {
        let mut lists = Lists::default();
        for controller in 0..self.controllers.len() {
            let now = self.controller_now(controller);
            let oracle = self.oracle.for_controller(controller);
            let servers = self.servers.for_controller(controller);
            let Some(process) = &mut self.controllers[controller].process else {
                continue;
            };
            if process.term.is_some() {
                let mut stored = reload_store(oracle, servers, controller, process)?;
                let known = list_records(&mut process.state, now);
                let stored = list_records(&mut stored, now);
                ensure(known == stored, RECORD_MATCHES, || {
                    format!("controller {controller} lists {known:?}, but its store has {stored:?}")
                })?;
                for (list, known) in lists.iter_mut().zip(known) {
                    list.extend(known);
                }
            } else {
                let caught_up = process.store.catch_up(&mut process.state);
                let mut stored = reload_store(oracle, servers, controller, process)?;
                match caught_up {
                    Ok(()) => {}
                    // Everything that it missed was trimmed. It would load a snapshot before it
                    // led.
                    Err(StoreError::Journal(JournalError::Trimmed { .. })) => continue,
                    Err(error) => return Err(store_unreadable(&error)),
                }
                // `Start` sets what each process has for itself.
                let known = [&mut process.state, &mut stored].map(|state| {
                    state.step(now, Input::Start);
                    format!("{state:?}")
                });
                ensure(known[0] == known[1], RECORD_MATCHES, || {
                    format!("controller {controller} and its store differ: {known:?}")
                })?;
            }
            let holds = scuttle_core::state::invariants::check_all(&process.state);
            holds.map_err(|what| Violation::new(RECORD_MATCHES, what))?;
        }
        Ok(lists)
    }
}

/// Loads a store as the next start of its controller would. Checks that the store contains exactly
/// the durable record.
fn reload_store(
    oracle: &PartitionOracle,
    servers: Option<&NatsServers>,
    controller: usize,
    process: &mut ControllerProcess,
) -> Result<State, Violation> {
    let failed = |error| store_unreadable(&error);
    let mut from_snapshot = None;
    let (store, state) = match (engine::load(&mut process.store), servers) {
        (Err(StoreError::Journal(JournalError::Trimmed { .. })), Some(servers)) => {
            let rows = servers.snapshot().unwrap_or_default();
            let opened = ControllerStore::open(&rows, Some(servers.open_journal(controller)));
            let store = from_snapshot.insert(opened.map_err(failed)?);
            let state = engine::load(store);
            (store, state)
        }
        (state, _) => (&mut process.store, state),
    };
    let state = state.map_err(failed)?;
    let mut rows = Record::default();
    for change in store.take_loaded() {
        rows.apply(&change, 0);
    }
    let differs = oracle.record.find_difference(&rows);
    ensure(differs.is_none(), NOTHING_LOST, || {
        format!("at the end of the run: {differs:?}")
    })?;
    Ok(state)
}

fn store_unreadable(error: &StoreError) -> Violation {
    Violation::new(NOTHING_LOST, format!("the store cannot be read: {error}"))
}

/// Lists all records of a state.
fn list_records(state: &mut State, now: Timestamp) -> Lists {
    let shards = Input::ShardsList(ShardsListRequest::default());
    let hosts = Input::HostsList(HostsListRequest::default());
    let operations = Input::OperationsList(OperationsListRequest::default());
    let mut index = 0;
    [shards, hosts, operations].map(|input| {
        let listed_type = &LISTED_TYPES[index];
        index += 1;
        let reply = state.step(now, input);
        let list = match &reply {
            Some(Reply::Shards(list)) => serde_json::to_value(list),
            Some(Reply::Hosts(list)) => serde_json::to_value(list),
            Some(Reply::Operations(list)) => serde_json::to_value(list),
            _ => Ok(Value::Null),
        };
        let list = list.unwrap_or_default();
        let records = list[listed_type.records_field]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let keyed = records.into_iter().map(|record| {
            (
                record_key(&record, listed_type.key_fields),
                strip_unannounced(record),
            )
        });
        keyed.collect()
    })
}
