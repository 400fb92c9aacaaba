//! The subjects between the controller and one agent.

use std::fmt;

use crate::types::ids::HostId;

/// A placeholder in the permissions of a NATS scoped signing key. The NATS server replaces it with
/// the name of the user.
pub(crate) const USER_NAME: &str = "{{name()}}";

/// A kind of subject between the controller and one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentChannel {
    /// Commands from the controller to the agent.
    Commands,
    /// Heartbeats from the agent to the controller, which get a reply.
    Heartbeat,
    /// Results from the agent to the controller, which get a reply.
    Results,
    /// Progress reports from the agent to the controller, which get no reply.
    Progress,
}

impl AgentChannel {
    fn token(self) -> &'static str {
        match self {
            Self::Commands => "commands",
            Self::Heartbeat => "heartbeat",
            Self::Results => "results",
            Self::Progress => "progress",
        }
    }

    /// Returns the subject for one host, for example `agent.worker-a.results`.
    pub fn subject(self, host: &HostId) -> String {
        agent_subject(host, self.token())
    }

    /// Returns the wildcard subject for all hosts, for subscriptions and permissions.
    pub fn wildcard_subject(self) -> String {
        agent_subject("*", self.token())
    }

    /// Returns the subject of an agent, for the permissions of a NATS scoped signing key. The name
    /// of the agent's user, which is the id of its host, is left as a placeholder.
    pub fn user_subject(self) -> String {
        agent_subject(USER_NAME, self.token())
    }

    /// Returns the host that the subject names, or `None` if `subject` is not a valid subject of
    /// this kind.
    pub fn parse_host(self, subject: &str) -> Option<HostId> {
        self.host_token(subject)?.parse().ok()
    }

    /// Returns the host id in a subject, without checking that the id is valid and without
    /// allocating. Returns `None` if `subject` is not of this kind.
    pub fn host_token(self, subject: &str) -> Option<&str> {
        let (host, token) = subject.strip_prefix("agent.")?.split_once('.')?;
        (token == self.token()).then_some(host)
    }
}

fn agent_subject(host: impl fmt::Display, token: &str) -> String {
    format!("agent.{host}.{token}")
}

#[cfg(test)]
mod tests {
    use super::AgentChannel;

    #[test]
    fn an_agent_subject_names_its_host() {
        let host = "worker-a".parse().expect("valid");
        let subject = AgentChannel::Results.subject(&host);
        assert_eq!(subject, "agent.worker-a.results");
        assert_eq!(AgentChannel::Results.parse_host(&subject), Some(host));
        assert_eq!(
            AgentChannel::Heartbeat.wildcard_subject(),
            "agent.*.heartbeat"
        );
        for other in [
            "agent.a.b.results",
            "agent..results",
            "agent.*.results",
            "agent.a",
            "swarm.a.results",
            "agent.a.heartbeat",
        ] {
            assert_eq!(AgentChannel::Results.parse_host(other), None, "{other}");
        }
    }
}
