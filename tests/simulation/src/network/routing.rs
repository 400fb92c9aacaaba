//! Routing: selects the connections that receive a message, and keeps the order of the messages
//! between controllers.

use scuttle_schemas::subjects::{self, AgentChannel};

use crate::simulation::Simulation;
use crate::state::connection::{CLIENT_REPLIES, Connection};
use crate::state::partitioning::find_endpoint;

impl Simulation {
    pub(crate) fn find_receivers(&self, subject: &str) -> Vec<Connection> {
        if let Some(rest) = subject.strip_prefix("_INBOX.") {
            let token = rest.split('.').next().unwrap_or_default();
            let hosts = self.agent_hosts.iter();
            let found = hosts
                .map(|host| host.id.as_str())
                .position(|id| id == token);
            return found.map(Connection::Agent).into_iter().collect();
        }
        if let Some(rest) = subject.strip_prefix(CLIENT_REPLIES) {
            let token = rest.split('.').nth(1).unwrap_or_default();
            let number = || token.get(1..).and_then(|number| number.parse().ok());
            return match token.as_bytes().first() {
                Some(b's') => number().map(Connection::Subscriber),
                Some(b'o') => Some(Connection::Operator),
                _ => None,
            }
            .into_iter()
            .collect();
        }
        if subjects::is_controller_inbox(subject) {
            let token = subject.split('.').nth(1).unwrap_or_default();
            let number = token.get(1..).and_then(|number| number.parse().ok());
            return number.map(Connection::Controller).into_iter().collect();
        }
        if let Some(host) = AgentChannel::Commands.parse_host(subject) {
            let found = self
                .agent_hosts
                .iter()
                .position(|agent_host| agent_host.id == host);
            return found.map(Connection::Agent).into_iter().collect();
        }
        if subjects::BROADCASTS.contains(&subject) {
            let subscribed = self.subscribers.iter().enumerate();
            let subscribed = subscribed.filter(|(_, subscriber)| subscriber.subscribed);
            return subscribed
                .map(|(index, _)| Connection::Subscriber(index))
                .collect();
        }
        // Every controller that believes it leads receives the message. For a short time, two
        // controllers may believe so.
        (0..self.controllers.len())
            .filter(|controller| self.controllers[*controller].is_leader())
            .filter(|controller| self.leader_receives(*controller, subject))
            .map(Connection::Controller)
            .collect()
    }

    /// Returns whether a controller, as leader, subscribes to a subject to which clients, agents or
    /// other leaders send.
    pub(crate) fn leader_receives(&self, controller: usize, subject: &str) -> bool {
        let assignment = self.partitioning.assignment(controller);
        if !assignment.is_one_of_several() {
            return true;
        }
        if subjects::READ_REQUESTS.contains(&subject)
            || subjects::parse_relaying_partition(subject, assignment.partitions).is_some()
        {
            return assignment.is_first();
        }
        !subjects::is_partition_request(subject) || find_endpoint(assignment, subject).is_some()
    }

    /// Returns the delay of a message that would arrive after `delay_ms`. The relays of a leader
    /// share a connection, so a relay is delayed until all earlier relays of that leader have
    /// arrived.
    pub(crate) fn keep_order(&mut self, from: Connection, subject: &str, delay_ms: u64) -> u64 {
        let Connection::Controller(controller) = from else {
            return delay_ms;
        };
        if subjects::parse_relaying_partition(subject, self.partitioning.count).is_none() {
            return delay_ms;
        }
        let last = &mut self.controllers[controller].relayed_until;
        *last = (*last).max(self.now + delay_ms);
        *last - self.now
    }
}
