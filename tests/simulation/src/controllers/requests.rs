//! Handles a message that a controller receives: rejects it, queues it for the engine, or starts to
//! gather a list.

use async_nats::Message;
use scuttle_controller::engine::Job;
use scuttle_controller::request::decode::{self, DecodeError};
use scuttle_core::{Input, Reply};
use scuttle_schemas::headers;
use scuttle_schemas::subjects::{self, AgentChannel};

use crate::oracle::reports::Report;
use crate::simulation::{Simulation, note};
use crate::state::controllers::requester::Requester;
use crate::state::controllers::scatter_gather::ScatterGather;
use crate::state::partitioning::{find_endpoint, find_gathered_list};

impl Simulation {
    pub(crate) fn controller_receives(&mut self, controller: usize, message: &Message) {
        let now = self.controller_now(controller);
        let assignment = self.partitioning.assignment(controller);
        let subject = message.subject.as_str();
        if subjects::is_controller_inbox(subject) {
            self.gather_receives(controller, message);
            return;
        }
        let Some(term) = self.controllers[controller].leader_term() else {
            return;
        };
        let channel = [
            AgentChannel::Heartbeat,
            AgentChannel::Results,
            AgentChannel::Progress,
        ]
        .into_iter()
        .find(|channel| channel.host_token(subject).is_some());
        if channel.is_some_and(|channel| !assignment.owns_subject(channel, subject)) {
            return;
        }
        let user = decode::parse_requester(message, true).unwrap_or_default();
        let key = header(message, headers::MSG_ID).map(|key| (user, key.to_owned()));
        let mut requester = Requester {
            reply: message.reply.clone(),
            subject: message.subject.to_string(),
            operation: None,
            key,
            input: None,
        };
        let gathered_list = find_gathered_list(assignment, subject);
        let decoded = if channel == Some(AgentChannel::Progress) {
            decode::decode_progress(message, AgentChannel::Progress.host_token(subject))
        } else if subjects::parse_relaying_partition(subject, assignment.partitions).is_some() {
            decode::decode_relay(message, assignment.partitions)
        } else {
            let Some(endpoint) = gathered_list.or_else(|| find_endpoint(assignment, subject))
            else {
                return;
            };
            let (last, rng) = (&mut term.last_id, &mut self.rng);
            decode::decode_request(endpoint, message, || rng.next_uuid_v7(now, last))
        };
        // A request that cannot be decoded belongs to the first partition.
        let is_first = assignment.is_first();
        if !(decoded.as_ref()).map_or(is_first, |input| assignment.owns_input(input)) {
            return;
        }
        match decoded {
            Ok(input) => {
                if let Some(endpoint) = gathered_list {
                    let payload = message.payload.clone();
                    let gather = ScatterGather::new(requester, endpoint, input, payload);
                    self.start_gather(controller, gather);
                    return;
                }
                let report = Report::from_input(&input);
                requester.operation = match &input {
                    Input::Result { result, .. } => Some(result.operation_id),
                    _ => None,
                };
                if matches!(input, Input::Teardown(_) | Input::Protect(_)) {
                    requester.input = Some(input.clone());
                }
                if let Input::Protect(request) = &input {
                    self.oracle
                        .for_controller(controller)
                        .note_protect_request(controller, request);
                }
                let Some(term) = self.controllers[controller].leader_term() else {
                    return;
                };
                let requester = requester.reply.is_some().then_some(requester);
                let input = assignment.make_linearizable(input);
                term.inbox.push_back(Job {
                    input,
                    context: requester,
                });
                if let Some(report) = report {
                    self.oracle
                        .for_controller(controller)
                        .note_report(controller, report);
                }
                self.schedule_decide(controller);
            }
            Err(DecodeError { error, .. }) => {
                note!(self, "rejected: {}", error.message);
                self.send_reply(controller, &requester, &Reply::Rejected(error));
            }
        }
    }
}

fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(value.as_str())
}
