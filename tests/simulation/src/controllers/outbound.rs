//! Sends a leader's messages after a commit: replies, commands and broadcasts.

use scuttle_controller::outbound::{publisher, replier};
use scuttle_core::{Effect, Reply};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::subjects;

use crate::oracle::partition::host_index;
use crate::simulation::{Simulation, note};
use crate::state::connection::{Connection, build_message};
use crate::state::controllers::leader_term::Outgoing;
use crate::state::controllers::requester::Requester;
use crate::state::event::Event;

impl Simulation {
    pub(crate) fn pause_before_sending(&mut self, controller: usize, run: u64) {
        self.pause_controller(controller);
        let delay_ms = self.controllers[controller].pause.until - self.now;
        self.schedule(delay_ms, Event::SendCommitted { controller, run });
    }

    /// Sends the replies of committed batches and then their effects. Steps down if the controller
    /// no longer holds its lease. A crash or a pause may happen between any two messages.
    pub(crate) fn send_committed(&mut self, controller: usize, run: u64) {
        let interrupted = !self.faults_stopped
            && (self.plan.kills_controllers() || self.plan.pauses_controllers())
            && self
                .rng
                .roll_per_mille(if self.plan.kills_controllers() { 15 } else { 8 });
        let mut remaining = if interrupted {
            self.rng.pick_below(4)
        } else {
            u64::MAX
        };
        loop {
            let holds_lease = self.holds_lease(controller);
            let Some(process) = self.controllers[controller].process_of_run(run) else {
                return;
            };
            let Some(term) = &mut process.term else {
                return;
            };
            if term.outgoing.is_empty() {
                if term.committed.is_empty() {
                    break;
                }
                if !holds_lease {
                    self.step_down(controller);
                    return;
                }
                term.queue_committed();
            }
            if remaining == 0 {
                break;
            }
            remaining -= 1;
            match term.outgoing.pop_front() {
                Some(Outgoing::Reply(requester, reply)) => {
                    self.send_reply(controller, &requester, &reply);
                }
                Some(Outgoing::Effect(effect)) => self.send_effect(controller, effect),
                None => {}
            }
        }
        if remaining == 0 {
            if self.plan.pauses_controllers()
                && !(self.plan.kills_controllers() && self.rng.roll_per_mille(500))
            {
                self.pause_before_sending(controller, run);
            } else {
                let power = self.rng.roll_per_mille(500);
                self.end_controller(controller, power);
            }
        }
    }

    fn send_effect(&mut self, controller: usize, effect: Effect) {
        let checked = self.oracle.check_sent(controller, &effect);
        self.record_check(checked);
        if let Effect::Command {
            host,
            command: AgentCommand::Teardown(command),
            ..
        } = &effect
        {
            let history = self.oracle.agent_history(host_index(host));
            history.boot_commands.sent.insert(command.operation_id);
        }
        let assignment = self.partitioning.assignment(controller);
        let encoder = &mut self.controllers[controller].encoder;
        let Some(outgoing) = publisher::encode_effect(encoder, effect, assignment) else {
            return;
        };
        note!(
            self,
            "publish {controller} {}: {}",
            outgoing.subject,
            String::from_utf8_lossy(&outgoing.payload)
        );
        let message = build_message(&outgoing.subject, None, outgoing.headers, outgoing.payload);
        self.send(Connection::Controller(controller), &message);
    }

    pub(crate) fn send_reply(&mut self, controller: usize, requester: &Requester, reply: &Reply) {
        let checked = self
            .oracle
            .check_reply(controller, requester, reply, &mut self.counts);
        self.record_check(checked);
        let Some(inbox) = &requester.reply else {
            return;
        };
        if !subjects::is_allowed_reply_subject(&requester.subject, inbox) {
            return;
        }
        let encoder = &mut self.controllers[controller].encoder;
        let (headers, payload) = replier::encode_reply(encoder, reply);
        note!(
            self,
            "reply   {controller} {}: {}",
            requester.subject,
            String::from_utf8_lossy(&payload)
        );
        let message = build_message(inbox, None, headers, payload);
        self.send(Connection::Controller(controller), &message);
    }
}
