//! The subjects of requests from clients, and of service discovery.

/// The name of the controller's NATS Micro service (ADR-32).
pub const SERVICE_NAME: &str = "scuttle";

/// The subject of requests to tear down one decky or a whole host.
pub const TEARDOWN: &str = "swarm.teardown";
/// The subject of requests to cancel a queued operation.
pub const OPERATIONS_CANCEL: &str = "swarm.operations.cancel";
/// The subject of requests for one page of the operations.
pub const OPERATIONS_LIST: &str = "swarm.operations.list";
/// The subject of requests for one operation with its shards.
pub const OPERATIONS_GET: &str = "swarm.operations.get";
/// The subject of requests to enroll a host.
pub const HOSTS_ENROLL: &str = "swarm.hosts.enroll";
/// The subject of requests to change the name, address or labels of a host, or to reset its agent.
pub const HOSTS_UPDATE: &str = "swarm.hosts.update";
/// The subject of requests to decommission a host.
pub const HOSTS_DECOMMISSION: &str = "swarm.hosts.decommission";
/// The subject of requests for one page of the hosts.
pub const HOSTS_LIST: &str = "swarm.hosts.list";
/// The subject of requests for one page of the shards.
pub const SHARDS_LIST: &str = "swarm.shards.list";

/// The subjects of requests that change something. Only operators may send these requests.
pub const CHANGE_REQUESTS: [&str; 5] = [
    TEARDOWN,
    OPERATIONS_CANCEL,
    HOSTS_ENROLL,
    HOSTS_UPDATE,
    HOSTS_DECOMMISSION,
];
/// The subjects of requests that only read. Operators and viewers may send these requests.
pub const READ_REQUESTS: [&str; 4] = [SHARDS_LIST, HOSTS_LIST, OPERATIONS_LIST, OPERATIONS_GET];
/// The wildcard subject of all requests, for the permissions of the controller.
pub const ALL_REQUESTS: &str = "swarm.>";
/// The wildcard subject of NATS service discovery (ADR-32).
pub const SERVICE_DISCOVERY: &str = "$SRV.>";

/// A verb of NATS service discovery (ADR-32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryVerb {
    /// Finds the instances of services.
    Ping,
    /// Requests the endpoints of an instance.
    Info,
    /// Requests the request counts of an instance.
    Stats,
}

impl DiscoveryVerb {
    /// All verbs.
    pub const ALL: [Self; 3] = [Self::Ping, Self::Info, Self::Stats];

    fn token(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Info => "INFO",
            Self::Stats => "STATS",
        }
    }

    /// Returns the subjects on which the controller with the instance id `id` is asked: for every
    /// service, for every instance of this service, and for this instance.
    pub fn subjects(self, id: &str) -> [String; 3] {
        let verb = self.token();
        [
            format!("$SRV.{verb}"),
            format!("$SRV.{verb}.{SERVICE_NAME}"),
            format!("$SRV.{verb}.{SERVICE_NAME}.{id}"),
        ]
    }

    /// Returns the verb in a subject of service discovery.
    pub fn parse(subject: &str) -> Option<Self> {
        let verb = subject.strip_prefix("$SRV.")?.split('.').next()?;
        Self::ALL.into_iter().find(|one| one.token() == verb)
    }

    /// Returns the `type` of the reply.
    pub fn reply_type(self) -> &'static str {
        match self {
            Self::Ping => "io.nats.micro.v1.ping_response",
            Self::Info => "io.nats.micro.v1.info_response",
            Self::Stats => "io.nats.micro.v1.stats_response",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DiscoveryVerb;

    #[test]
    fn the_verb_of_a_discovery_subject_is_parsed() {
        for verb in DiscoveryVerb::ALL {
            for subject in verb.subjects("id") {
                assert_eq!(DiscoveryVerb::parse(&subject), Some(verb), "{subject}");
            }
        }
        for other in ["$SRV", "$SRV.SCHEMA", "swarm.PING"] {
            assert_eq!(DiscoveryVerb::parse(other), None, "{other}");
        }
    }
}
