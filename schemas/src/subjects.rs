//! Every NATS subject of Scuttle. Nobody else writes one.

use std::fmt;

use crate::HostId;
pub use crate::jetstream::*;

/// The name of the controller's NATS Micro service (ADR-32).
pub const SERVICE_NAME: &str = "scuttle";

/// Teardown of a host or of one decky.
pub const TEARDOWN: &str = "swarm.teardown";
/// Withdraws a queued operation.
pub const OPERATIONS_CANCEL: &str = "swarm.operations.cancel";
/// Pages through operations.
pub const OPERATIONS_LIST: &str = "swarm.operations.list";
/// One operation, whole.
pub const OPERATIONS_GET: &str = "swarm.operations.get";
/// Adds a host to the swarm.
pub const HOSTS_ENROLL: &str = "swarm.hosts.enroll";
/// Takes a host out of the swarm.
pub const HOSTS_DECOMMISSION: &str = "swarm.hosts.decommission";
/// Pages through hosts.
pub const HOSTS_LIST: &str = "swarm.hosts.list";
/// Pages through shards.
pub const SHARDS_LIST: &str = "swarm.shards.list";

/// Broadcast: shards that changed or went.
pub const SHARDS_UPDATED: &str = "shards.updated";
/// Broadcast: hosts that changed.
pub const HOSTS_UPDATED: &str = "hosts.updated";
/// Broadcast: operations that changed.
pub const OPERATIONS_UPDATED: &str = "operations.updated";

/// The requests that change something: operators' alone.
pub const CHANGING: [&str; 4] = [
    TEARDOWN,
    OPERATIONS_CANCEL,
    HOSTS_ENROLL,
    HOSTS_DECOMMISSION,
];
/// The requests that only read.
pub const READING: [&str; 4] = [SHARDS_LIST, HOSTS_LIST, OPERATIONS_LIST, OPERATIONS_GET];
/// What the controller tells everybody.
pub const BROADCASTS: [&str; 3] = [SHARDS_UPDATED, HOSTS_UPDATED, OPERATIONS_UPDATED];

/// Every request subject: to be granted to the one that answers.
pub const REQUESTS: &str = "swarm.>";
/// Discovery of services (ADR-32).
pub const DISCOVERY: &str = "$SRV.>";
/// Where clients are answered, whatever their prefix.
pub const INBOXES: &str = "_INBOX.>";
/// Where the server takes the answers to what came from another account.
pub const ACROSS_ACCOUNTS: &str = "_R_.>";
/// How a permission in a NATS scoped signing key writes the name of the user that it is granted to.
const USER_NAME: &str = "{{name()}}";

/// The prefix of the inboxes of one host's agent, which its permissions let it hear alone.
pub fn inbox_prefix(host: &HostId) -> String {
    format!("_INBOX.{host}")
}

/// Those inboxes, for a user that is named as its host: a permission of a NATS scoped signing key.
pub fn inboxes_of_user() -> String {
    format!("_INBOX.{USER_NAME}.>")
}

/// Whether this is where one controller asks another: its answer goes to an inbox of a controller's.
pub fn is_asked_by_controllers(subject: &str) -> bool {
    subject.starts_with("scuttle.partition.")
}

/// Whether this is where a controller is answered.
pub fn is_controllers_inbox(reply: &str) -> bool {
    let rest = reply.strip_prefix(CONTROLLER_INBOX);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Whether the answer to what was asked on a subject may be sent to this reply subject. Whoever asks chooses it, and the controller
/// may publish where the asker may not: an answer must not become a command or a broadcast. A controller is answered in its inbox.
pub fn may_be_answered(asked: &str, reply: &str) -> bool {
    if is_asked_by_controllers(asked) {
        return is_controllers_inbox(reply);
    }
    let ours = ["agent.", "swarm.", "scuttle.", "_CONTROLLER.", "$"]
        .iter()
        .any(|prefix| reply.starts_with(prefix));
    !ours && !BROADCASTS.contains(&reply)
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
    pub fn of(self, host: &HostId) -> String {
        agent_subject(host, self.token())
    }

    /// This channel of every host: a subject to subscribe.
    pub fn of_all(self) -> String {
        agent_subject("*", self.token())
    }

    /// This channel of the host that a user is named as: a permission of a NATS scoped signing key.
    pub fn of_user(self) -> String {
        agent_subject(USER_NAME, self.token())
    }

    /// The host whose channel this subject is; `None` when it is no such subject.
    pub fn host(self, subject: &str) -> Option<HostId> {
        self.host_text(subject)?.parse().ok()
    }

    /// The same, as it stands there: not checked, and not copied.
    pub fn host_text(self, subject: &str) -> Option<&str> {
        let (host, token) = subject.strip_prefix("agent.")?.split_once('.')?;
        (token == self.token()).then_some(host)
    }
}

fn agent_subject(host: impl fmt::Display, token: &str) -> String {
    format!("agent.{host}.{token}")
}

#[cfg(test)]
mod tests {
    use super::{AgentChannel, HOSTS_LIST, TEARDOWN, asked, may_be_answered};
    use crate::Partition;

    #[test]
    fn an_answer_goes_to_no_subject_of_ours() {
        for reply in ["_INBOX.x.1", "_R_.abc", "_INBOX_worker.1", "inbox"] {
            assert!(may_be_answered(TEARDOWN, reply), "{reply}");
        }
        for reply in [
            "agent.a.commands",
            "shards.updated",
            "swarm.teardown",
            "scuttle.journal.0",
            "_CONTROLLER.1",
            "$SYS.REQ.USER.INFO",
        ] {
            assert!(!may_be_answered(TEARDOWN, reply), "{reply}");
        }
        let asked = asked(Partition::FIRST, HOSTS_LIST);
        assert!(may_be_answered(&asked, "_CONTROLLER.1"));
        for reply in [
            "_INBOX.x.1",
            "_CONTROLLERS.1",
            "_CONTROLLER",
            "scuttle.journal.0",
        ] {
            assert!(!may_be_answered(&asked, reply), "{reply}");
        }
    }

    #[test]
    fn an_agent_subject_names_its_host() {
        let host = "worker-a".parse().expect("valid");
        let subject = AgentChannel::Results.of(&host);
        assert_eq!(subject, "agent.worker-a.results");
        assert_eq!(AgentChannel::Results.host(&subject), Some(host));
        assert_eq!(AgentChannel::Heartbeat.of_all(), "agent.*.heartbeat");
        for other in [
            "agent.a.b.results",
            "agent..results",
            "agent.*.results",
            "agent.a",
            "swarm.a.results",
            "agent.a.heartbeat",
        ] {
            assert_eq!(AgentChannel::Results.host(other), None, "{other}");
        }
    }
}
