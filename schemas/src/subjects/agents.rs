//! The subjects between the controller and one agent.

use std::fmt;

use crate::types::ids::HostId;

/// The placeholder for the name of the user, in the permissions of a NATS scoped signing key.
const USER_NAME: &str = "{{name()}}";

/// Returns the prefix of the inboxes of a host's agent. Its permissions allow it to subscribe to
/// these inboxes only.
pub fn agent_inbox_prefix(host: &HostId) -> String {
    format!("_INBOX.{host}")
}

/// Returns the inboxes of the agent whose user has the name of its host, for the permissions of a
/// NATS scoped signing key.
pub fn user_inboxes() -> String {
    format!("_INBOX.{USER_NAME}.>")
}

/// A kind of subject between the controller and one agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentChannel {
    /// From the controller to the agent.
    Commands,
    /// From the agent to the controller, with a reply.
    Heartbeat,
    /// From the agent to the controller, with a reply.
    Results,
    /// From the agent to the controller, without a reply.
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

    /// Returns the subject for one host.
    pub fn subject(self, host: &HostId) -> String {
        agent_subject(host, self.token())
    }

    /// Returns the wildcard subject for all hosts, for subscriptions and permissions.
    pub fn wildcard_subject(self) -> String {
        agent_subject("*", self.token())
    }

    /// Returns the subject for the host whose name the user has, for the permissions of a NATS
    /// scoped signing key.
    pub fn user_subject(self) -> String {
        agent_subject(USER_NAME, self.token())
    }

    /// Returns the host that the subject names, or `None` if it is not a valid subject of this
    /// kind.
    pub fn parse_host(self, subject: &str) -> Option<HostId> {
        self.host_token(subject)?.parse().ok()
    }

    /// Returns the host token of the subject without checking that it is a valid host id. Does not
    /// allocate.
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
