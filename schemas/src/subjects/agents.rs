//! Agent subjects.

use std::fmt;

use crate::types::ids::HostId;

/// How a permission in a NATS scoped signing key writes the name of the user that it is granted to.
const USER_NAME: &str = "{{name()}}";

/// The prefix of the inboxes of one host's agent, which its permissions let it hear alone.
pub fn agent_inbox_prefix(host: &HostId) -> String {
    format!("_INBOX.{host}")
}

/// Those inboxes, for a user that is named as its host: a permission of a NATS scoped signing key.
pub fn user_inboxes() -> String {
    format!("_INBOX.{USER_NAME}.>")
}

/// What is said between one agent and the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentChannel {
    /// Controller to agent.
    Commands,
    /// Agent to controller, a request.
    Heartbeat,
    /// Agent to controller, a request.
    Results,
    /// Agent to controller.
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

    /// This channel of one host.
    pub fn subject(self, host: &HostId) -> String {
        agent_subject(host, self.token())
    }

    /// This channel of every host: a subject to subscribe.
    pub fn wildcard_subject(self) -> String {
        agent_subject("*", self.token())
    }

    /// This channel of the host that a user is named as: a permission of a NATS scoped signing key.
    pub fn user_subject(self) -> String {
        agent_subject(USER_NAME, self.token())
    }

    /// The host whose channel this subject is; `None` when it is no such subject.
    pub fn parse_host(self, subject: &str) -> Option<HostId> {
        self.host_token(subject)?.parse().ok()
    }

    /// The same, as it stands there: not checked, and not copied.
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
