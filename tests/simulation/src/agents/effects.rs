//! Carries out the effects that an agent's state machine requests.

use scuttle_agent::machine::{Effect, HeartbeatPage};
use scuttle_agent::nats::request_id::RequestId;
use scuttle_schemas::subjects::AgentChannel;

use crate::simulation::{Simulation, note};
use crate::state::agents::deckies::{RemovedGenerations, RunningTeardown};
use crate::state::agents::host::AgentProcess;
use crate::state::event::Event;

impl Simulation {
    pub(crate) fn perform_agent_effect(
        &mut self,
        host: usize,
        process: &mut AgentProcess,
        effect: Effect,
        removed: Option<&RemovedGenerations>,
    ) {
        let id = self.agent_hosts[host].id.clone();
        match effect {
            Effect::Emit(event) => note!(self, "agent {host}: {event:?}"),
            Effect::ReadInventory => {
                let observation = Box::new(self.agent_hosts[host].deckies.observe(None));
                let (delay_ms, boot) = (self.rng.pick_below(40), self.agent_hosts[host].boots);
                self.schedule(
                    delay_ms,
                    Event::ReadInventory {
                        host,
                        boot,
                        observation,
                    },
                );
            }
            Effect::StartTeardown { teardown, .. } => {
                let now = self.agent_now(host, process.started_at);
                let checked = self
                    .oracle
                    .for_host(&id)
                    .check_teardown_start(host, &id, &teardown, now.wall);
                self.record_check(checked);
                let targets = self.agent_hosts[host].deckies.find_targets(&teardown);
                note!(
                    self,
                    "agent {host} starts {} on {targets:?}",
                    teardown.operation_id
                );
                let operation = teardown.operation_id;
                process
                    .teardowns
                    .insert(operation, RunningTeardown::new(teardown, targets));
                let (delay_ms, boot) = (
                    self.rng.pick_below(self.plan.max_removal_ms),
                    self.agent_hosts[host].boots,
                );
                self.schedule(
                    delay_ms,
                    Event::RemoveDecky {
                        host,
                        boot,
                        operation,
                    },
                );
            }
            Effect::PublishProgress {
                message,
                traceparent,
            } => {
                let subject = AgentChannel::Progress.subject(&id);
                self.send_from_agent(host, &subject, None, traceparent, &message);
            }
            Effect::RequestResult {
                message,
                traceparent,
            } => {
                self.oracle
                    .agent_history(host)
                    .note_result(message.operation_id);
                self.oracle.for_host_mut(&id).note_evidence(&message);
                let reply = self.agent_reply_subject(host, RequestId::Result(message.operation_id));
                let subject = AgentChannel::Results.subject(&id);
                self.send_from_agent(host, &subject, Some(&reply), traceparent, &message);
            }
            Effect::RequestHeartbeat(message) => {
                if let (Some(removed), true) = (removed, message.shards.is_some()) {
                    self.oracle.for_host_mut(&id).note_inventory(
                        host,
                        message.boot_id,
                        message.sequence,
                        removed.clone(),
                    );
                }
                self.agent_hosts[host].last_heartbeat = message.sequence;
                let request = RequestId::Heartbeat(HeartbeatPage {
                    sequence: message.sequence,
                    page: message.page,
                });
                let subject = AgentChannel::Heartbeat.subject(&id);
                let reply = self.agent_reply_subject(host, request);
                self.send_from_agent(host, &subject, Some(&reply), None, &message);
            }
        }
    }
}
