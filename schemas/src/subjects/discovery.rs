//! The subjects of NATS service discovery (ADR-32).

/// The name of the controller's NATS Micro service.
pub const SERVICE_NAME: &str = "scuttle";

/// The wildcard subject of NATS service discovery.
pub const SERVICE_DISCOVERY: &str = "$SRV.>";

/// The subject of the request to which every controller replies. Controllers and clients use it to
/// find the controllers.
pub const CONTROLLER_PING: &str = "$SRV.PING.scuttle";

/// The key of the NATS service's metadata that has the identity of the controller's record.
pub const METADATA_RECORD: &str = "scuttle.record";
/// The key of the NATS service's metadata that has the kind of the controller's store.
pub const METADATA_STORE: &str = "scuttle.store";
/// The key of the NATS service's metadata that says whether the controller serves requests.
pub const METADATA_STATE: &str = "scuttle.state";
/// The key of the NATS service's metadata that has the name which the controller records as the
/// requester of this discovery request.
pub const METADATA_REQUESTER: &str = "scuttle.requester";
/// The key of the NATS service's metadata that says why the controller's HTTP address has no web
/// page. Missing if the address has the page, or if HTTP is disabled.
pub const METADATA_NO_PAGE: &str = "scuttle.no_page";
/// The key of the NATS service's metadata that has the [`SCHEMAS_NAMESPACE`].
pub const METADATA_SCHEMAS: &str = "scuttle.schemas";

/// The namespace of the ids of all JSON Schemas, with the version of the protocol.
pub const SCHEMAS_NAMESPACE: &str = "urn:scuttle:v1";

/// A verb of NATS service discovery.
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
