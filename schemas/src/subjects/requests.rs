//! The subjects of requests from clients.

use crate::types::ids::HostId;

/// The subject of requests to tear down one decky or a whole host.
pub const TEARDOWN: &str = "swarm.teardown";
/// The wildcard subject of the requests that [`host_teardown_subject`] describes.
pub const HOST_TEARDOWNS: &str = "swarm.teardown.*";
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

/// The subject of requests to protect a decky or a host from teardowns.
pub const SHARDS_PROTECT: &str = "swarm.shards.protect";

/// The subjects of requests that change something. Only operators may send these requests.
pub const CHANGE_REQUESTS: [&str; 6] = [
    TEARDOWN,
    OPERATIONS_CANCEL,
    HOSTS_ENROLL,
    HOSTS_UPDATE,
    HOSTS_DECOMMISSION,
    SHARDS_PROTECT,
];
/// The subjects of requests that only read. Operators and viewers may send these requests.
pub const READ_REQUESTS: [&str; 4] = [SHARDS_LIST, HOSTS_LIST, OPERATIONS_LIST, OPERATIONS_GET];
/// The prefix of [`HOST_TEARDOWNS`].
const HOST_TEARDOWN_PREFIX: &str = "swarm.teardown.";

/// Returns the subject of requests to tear down one decky or all of a host. With the host in the
/// subject, the permissions of the NATS server can limit an operator to named hosts.
pub fn host_teardown_subject(host: &HostId) -> String {
    format!("{HOST_TEARDOWN_PREFIX}{host}")
}

/// Returns the part of a [`host_teardown_subject`] that names the host, without checking that it
/// is a valid id. Returns `None` for any other subject.
pub fn host_teardown_token(subject: &str) -> Option<&str> {
    let token = subject.strip_prefix(HOST_TEARDOWN_PREFIX)?;
    (!token.contains('.')).then_some(token)
}

/// The wildcard subject of all requests, for the permissions of the controller.
pub const ALL_REQUESTS: &str = "swarm.>";

#[cfg(test)]
mod tests {
    use super::{HOST_TEARDOWNS, TEARDOWN, host_teardown_subject, host_teardown_token};

    #[test]
    fn the_subject_of_a_host_teardown_names_its_host() {
        let subject = host_teardown_subject(&"worker-a".parse().expect("valid"));
        assert_eq!(subject, "swarm.teardown.worker-a");
        assert_eq!(host_teardown_token(&subject), Some("worker-a"));
        assert_eq!(HOST_TEARDOWNS, format!("{TEARDOWN}.*"));
        for other in [TEARDOWN, "swarm.teardown.a.b", "swarm.teardowns.a"] {
            assert_eq!(host_teardown_token(other), None, "{other}");
        }
    }
}
