//! The simulated container runtime: deckies are deployed, change their state, and are removed.

use scuttle_agent::machine::Input;
use scuttle_agent::runtime::{Progress, RuntimeError};
use scuttle_schemas::agents::{ProgressStep, ReportedState};
use scuttle_schemas::{DeckyId, OperationId, Text};

use crate::simulation::{Simulation, note};
use crate::state::agents::deckies::{EVIDENCE_ERROR, Observation};
use crate::state::event::Event;

impl Simulation {
    /// Deploys a decky, unless it is already running.
    pub(crate) fn deploy(&mut self, host: usize, name: &DeckyId) {
        if self.agent_hosts[host].deckies.deploy(name) {
            let generation = self.agent_hosts[host].deckies.generations[name];
            note!(self, "deployed h{host}/{name}, generation {generation}");
            self.agent_handles(host, Input::InventoryChanged);
        }
    }

    /// Replaces a decky by a new deployment, if it is running.
    pub(crate) fn recreate(&mut self, host: usize, name: &DeckyId) {
        if self.agent_hosts[host].deckies.recreate(name) {
            let generation = self.agent_hosts[host].deckies.generations[name];
            note!(self, "recreated h{host}/{name}, generation {generation}");
            self.agent_handles(host, Input::InventoryChanged);
        }
    }

    pub(crate) fn change_state(&mut self, host: usize, name: &DeckyId) {
        let states = [
            ReportedState::Pending,
            ReportedState::Running,
            ReportedState::Degraded,
            ReportedState::Failed,
        ];
        let new_state = self.rng.choose(&states).copied();
        let running = &mut self.agent_hosts[host].deckies.running;
        if let (Some(state), Some(new_state)) = (running.get_mut(name), new_state) {
            *state = new_state;
            note!(self, "h{host}/{name} is now {new_state:?}");
            self.agent_handles(host, Input::InventoryChanged);
        }
    }

    /// Removes the next decky of a running teardown, unless the removal is to fail. When no decky
    /// is left, verifies the teardown.
    pub(crate) fn remove_decky(&mut self, host: usize, boot: u64, operation_id: OperationId) {
        let error = self.choose_removal_error();
        let delay_ms = self.rng.pick_below(self.plan.max_removal_ms);
        let agent_host = &mut self.agent_hosts[host];
        let Some(process) = agent_host
            .process
            .as_mut()
            .filter(|_| agent_host.boots == boot)
        else {
            return;
        };
        let Some(teardown) = process.teardowns.get_mut(&operation_id) else {
            return;
        };
        let Some(name) = teardown.remaining.pop_front() else {
            let report = agent_host.deckies.report(teardown);
            process.teardowns.remove(&operation_id);
            let observation = agent_host.deckies.observe(Some((operation_id, report)));
            self.schedule(
                delay_ms.min(30),
                Event::VerifyTeardown {
                    host,
                    boot,
                    observation: Box::new(observation),
                },
            );
            return;
        };
        let fails = error.is_some();
        match error {
            Some(error) => drop(teardown.failed.insert(name.clone(), Text::from(error))),
            None => drop(agent_host.deckies.running.remove(&name)),
        }
        let (remaining, total) = (
            teardown.remaining.len() as u32,
            teardown.targets.len() as u32,
        );
        note!(
            self,
            "agent {host} {} {name} for {operation_id}",
            if fails { "cannot remove" } else { "removes" }
        );
        self.counts.removed += u64::from(!fails);
        let id = self.agent_hosts[host].id.clone();
        let checked = self
            .oracle
            .for_host(&id)
            .check_removal(&id, &name, operation_id);
        self.record_check(checked);
        self.schedule(
            delay_ms,
            Event::RemoveDecky {
                host,
                boot,
                operation: operation_id,
            },
        );
        self.agent_handles(host, Input::InventoryChanged);
        self.agent_handles(
            host,
            Input::Progress(Progress {
                operation_id,
                step: ProgressStep::Removing,
                decky_id: Some(name),
                done: Some(total - remaining),
                total: Some(total),
            }),
        );
    }

    /// Returns the reason why the next removal of a decky fails, or `None` if it succeeds.
    fn choose_removal_error(&mut self) -> Option<&'static str> {
        if self.faults_stopped {
            return None;
        }
        let is_busy = self.rng.roll_per_mille(self.plan.removal_failure_rate);
        let evidence_fails =
            self.plan.saves_evidence && self.rng.roll_per_mille(self.plan.evidence_failure_rate);
        match (evidence_fails, is_busy) {
            (true, _) => Some(EVIDENCE_ERROR),
            (false, true) => Some("container busy"),
            (false, false) => None,
        }
    }

    pub(crate) fn verify_teardown(&mut self, host: usize, boot: u64, observation: Observation) {
        if self.agent_hosts[host].boots != boot || self.agent_hosts[host].process.is_none() {
            return;
        }
        let Some((operation_id, report)) = observation.report else {
            return;
        };
        let id = &self.agent_hosts[host].id;
        self.oracle
            .for_host_mut(id)
            .note_result(host, operation_id, observation.removed);
        note!(self, "agent {host} finishes {operation_id}: {report:?}");
        self.agent_handles(
            host,
            Input::Finished {
                operation_id,
                report,
            },
        );
    }

    pub(crate) fn read_inventory(&mut self, host: usize, boot: u64, observation: Observation) {
        let inventory_fails = self.agent_hosts[host].inventory_fails;
        let is_current = self.agent_hosts[host].boots == boot;
        if let Some(process) = self.agent_hosts[host]
            .process
            .as_mut()
            .filter(|_| is_current)
        {
            process.sending = Some(observation.removed);
            let read = if inventory_fails {
                Err(RuntimeError("the runtime is unavailable".to_owned()))
            } else {
                Ok(observation.inventory.iter().cloned().collect())
            };
            self.agent_handles(host, Input::InventoryRead(read));
        }
    }
}
