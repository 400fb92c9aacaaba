//! The agreement of the controllers, once faults have stopped: exactly one leads, and each knows the record as it is durable.

use std::collections::BTreeMap;

use scuttle_controller::engine;
use scuttle_controller::store::{JournalError, StoreError};
use scuttle_core::{Input, Reply, State};
use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::HostsListRequest;
use scuttle_schemas::operations::OperationsListRequest;
use scuttle_schemas::shards::ShardsListRequest;
use serde_json::Value;

use super::{AGREE, Broken, LOST, Oracle, Rows, ensure};
use crate::controller::Process;
use crate::kept::Kept;
use crate::servers::Servers;
use crate::subscribers::{SUBJECTS, key_of, told_part};
use crate::world::World;

/// By subject, what is listed of it, by key.
pub(super) type Lists = [BTreeMap<String, Value>; 3];

impl World {
    /// Whether all controllers run, and exactly one leads each partition, which the servers say as well.
    pub(super) fn one_leads_each(&self) -> bool {
        let run = (self.controllers.iter()).all(|controller| controller.process.is_some());
        let leads = |holder: (usize, u64)| {
            let controller = &self.controllers[holder.0];
            controller.leads() && controller.runs == holder.1
        };
        let mut holders = (self.servers.iter()).map(|servers| servers.holder(self.now));
        let mut leaders = (self.divided.of.all())
            .map(|partition| self.leaders(self.divided.of_partition(partition)));
        run && leaders.all(|leaders| leaders == 1)
            && holders.all(|holder| holder.is_some_and(leads))
    }

    /// Whether every controller has the record as it is durable. Gives what the leaders list.
    pub(super) fn controllers_agree(&mut self) -> Result<Lists, Broken> {
        let mut lists = Lists::default();
        for controller in 0..self.controllers.len() {
            let now = self.controller_now(controller);
            let oracle = self.oracle.of_controller(controller);
            let servers = self.servers.of(controller);
            let Some(process) = &mut self.controllers[controller].process else {
                continue;
            };
            if process.term.is_some() {
                let mut cold = read_again(
                    oracle,
                    servers.map(|servers| (servers, controller)),
                    process,
                )?;
                let known = listed(&mut process.state, now);
                let cold = listed(&mut cold, now);
                ensure(known == cold, AGREE, || {
                    format!("controller {controller} lists {known:?}, and its store {cold:?}")
                })?;
                for (list, known) in lists.iter_mut().zip(known) {
                    list.extend(known);
                }
            } else {
                let caught_up = process.store.catch_up(&mut process.state);
                let mut cold = read_again(
                    oracle,
                    servers.map(|servers| (servers, controller)),
                    process,
                )?;
                match caught_up {
                    Ok(()) => {}
                    // All that it has missed was trimmed: it would read anew before it led.
                    Err(StoreError::Journal(JournalError::Trimmed { .. })) => continue,
                    Err(error) => return Err(unreadable(&error)),
                }
                // What a start sets is what each process has of its own.
                let known = [&mut process.state, &mut cold].map(|state| {
                    state.step(now, Input::Start);
                    format!("{state:?}")
                });
                ensure(known[0] == known[1], AGREE, || {
                    format!("controller {controller} knows {known:?}, and its store the latter")
                })?;
            }
            let holds = scuttle_core::invariants::all(&process.state);
            holds.map_err(|what| Broken::new(AGREE, what))?;
        }
        Ok(lists)
    }
}

/// Reads a store from its beginning, as its next start does: it has what was made durable.
fn read_again(
    oracle: &Oracle,
    servers: Option<(&Servers, usize)>,
    process: &mut Process,
) -> Result<State, Broken> {
    let failed = |error| unreadable(&error);
    let mut from_snapshot = None;
    let (store, state) = match (engine::load(&mut process.store), servers) {
        (Err(StoreError::Journal(JournalError::Trimmed { .. })), Some((servers, controller))) => {
            let rows = servers.snapshot().unwrap_or_default();
            let opened = Kept::open(&rows, Some(servers.journal(controller)));
            let store = from_snapshot.insert(opened.map_err(failed)?);
            let state = engine::load(store);
            (store, state)
        }
        (state, _) => (&mut process.store, state),
    };
    let state = state.map_err(failed)?;
    let mut rows = Rows::default();
    for change in store.take_loaded() {
        rows.take(&change, 0);
    }
    let differs = oracle.rows.difference(&rows);
    ensure(differs.is_none(), LOST, || {
        format!("at the end: {differs:?}")
    })?;
    Ok(state)
}

fn unreadable(error: &StoreError) -> Broken {
    Broken::new(LOST, format!("the store cannot be read: {error}"))
}

/// What a state lists, by key.
fn listed(state: &mut State, now: Timestamp) -> Lists {
    let shards = Input::ShardsList(ShardsListRequest::default());
    let hosts = Input::HostsList(HostsListRequest::default());
    let operations = Input::OperationsList(OperationsListRequest::default());
    let mut index = 0;
    [shards, hosts, operations].map(|input| {
        let (_, _, name, fields) = SUBJECTS[index];
        index += 1;
        let reply = state.step(now, input);
        let list = match &reply {
            Some(Reply::Shards(list)) => serde_json::to_value(list),
            Some(Reply::Hosts(list)) => serde_json::to_value(list),
            Some(Reply::Operations(list)) => serde_json::to_value(list),
            _ => Ok(Value::Null),
        };
        let list = list.unwrap_or_default();
        let records = list[name].as_array().cloned().unwrap_or_default();
        let keyed = records
            .into_iter()
            .map(|record| (key_of(&record, fields), told_part(record)));
        keyed.collect()
    })
}
