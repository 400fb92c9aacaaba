//! The messages that an agent sends and receives.

use async_nats::{HeaderMap, Message};
use scuttle_agent::machine::Input;
use scuttle_agent::nats::request_id::RequestId;
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::headers::TRACEPARENT;
use scuttle_schemas::subjects;
use serde::Serialize;

use crate::simulation::Simulation;
use crate::state::connection::{Connection, build_message};

impl Simulation {
    pub(crate) fn agent_receives(&mut self, host: usize, received: &Message) {
        let process = &self.agent_hosts[host].process;
        if !process
            .as_ref()
            .is_some_and(|process| process.believes_connected)
        {
            return;
        }
        let input = if received.subject.starts_with("_INBOX.") {
            // Each process has its own inbox, so a reply to an earlier process is lost.
            let own = format!("{}.", self.agent_inbox(host));
            if !received.subject.starts_with(&own) {
                return;
            }
            scuttle_agent::nats::decode_reply(received)
        } else {
            scuttle_agent::nats::decode_command(received)
        };
        let Some(input) = input else { return };
        if let Input::Command {
            command: AgentCommand::Teardown(command),
            ..
        } = &input
        {
            let history = self.oracle.agent_history(host);
            history.boot_commands.arrived.insert(command.operation_id);
        }
        if let Input::HeartbeatReply {
            request,
            reply: Ok(reply),
        } = &input
        {
            self.check_reply_after_reset(host, request.sequence, reply);
        }
        let is_cancel = matches!(
            &input,
            Input::Command {
                command: AgentCommand::Cancel(_),
                ..
            }
        );
        self.agent_handles(host, input);
        // Cancellations are remembered for late copies of the command. Without this, an agent would
        // rarely be killed in between.
        if is_cancel
            && !self.faults_stopped
            && self.plan.kills_agents()
            && self.rng.roll_per_mille(300)
        {
            self.end_agent(host);
        }
    }

    fn agent_inbox(&self, host: usize) -> String {
        let host = &self.agent_hosts[host];
        format!("{}.{}", subjects::agent_inbox_prefix(&host.id), host.boots)
    }

    pub(crate) fn agent_reply_subject(&self, host: usize, request: RequestId) -> String {
        format!("{}.{request}", self.agent_inbox(host))
    }

    pub(crate) fn send_from_agent(
        &mut self,
        host: usize,
        subject: &str,
        reply: Option<&str>,
        traceparent: Option<String>,
        content: &impl Serialize,
    ) {
        let payload = serde_json::to_vec(content).expect("a wire message has a JSON form");
        let headers = traceparent.map(|trace| {
            let mut map = HeaderMap::new();
            map.insert(TRACEPARENT, trace.as_str());
            map
        });
        // The process is not in its place while its effects are performed, so `is_connected` cannot
        // be asked.
        let connected = self.agent_hosts[host].connected;
        let message = build_message(subject, reply, headers, payload.into());
        if connected {
            self.send_connected(Connection::Agent(host), &message);
        }
    }
}
