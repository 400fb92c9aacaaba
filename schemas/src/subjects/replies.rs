//! Inboxes and other reply subjects, and which of them a request may have.

use crate::subjects::agents::USER_NAME;
use crate::subjects::discovery::CONTROLLER_PING;
use crate::subjects::partitions::is_partition_request;
use crate::types::ids::HostId;

/// The wildcard subject of the inboxes of clients and agents.
pub const ALL_INBOXES: &str = "_INBOX.>";
/// The wildcard subject of the replies to another account. The NATS server assigns these subjects.
pub const CROSS_ACCOUNT_REPLIES: &str = "_R_.>";
/// The prefix of the inboxes of controllers, in which they receive replies from `JetStream` and
/// from each other. No other user may publish or subscribe there.
pub const CONTROLLER_INBOX_PREFIX: &str = "_CONTROLLER";

/// The prefix of the inboxes of clients and agents.
const INBOX_PREFIX: &str = "_INBOX";

/// Returns the prefix of the inboxes of a user. The user's permissions exclude all inboxes with
/// other prefixes, so no user can read the replies to another.
pub fn inbox_prefix(user: &str) -> String {
    format!("{INBOX_PREFIX}.{user}")
}

/// Returns the prefix of the inboxes of a host's agent. The agent's permissions exclude all inboxes
/// with other prefixes.
pub fn agent_inbox_prefix(host: &HostId) -> String {
    inbox_prefix(host.as_str())
}

/// Returns the wildcard subject of a user's inboxes, for the permissions of a NATS scoped signing
/// key. The name of the user, which for an agent is the id of its host, is left as a placeholder.
pub fn user_inboxes() -> String {
    format!("{}.>", inbox_prefix(USER_NAME))
}

/// Returns whether the NATS server has assigned a reply subject, which it does for a request from
/// another account. The server rejects such a reply subject from a client.
pub fn is_cross_account_reply(reply: &str) -> bool {
    reply.starts_with("_R_.")
}

/// Returns whether a reply subject is an inbox of a controller.
pub fn is_controller_inbox(reply: &str) -> bool {
    let rest = reply.strip_prefix(CONTROLLER_INBOX_PREFIX);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Returns whether the reply to a request on the subject `request` may be sent to the subject
/// `reply`.
///
/// The client chooses the reply subject, but the controller may publish on subjects on which the
/// client may not. So a reply goes only to an inbox:
///
/// - the reply to a request between controllers goes to a controller's inbox;
/// - the reply to [`CONTROLLER_PING`] may go to a controller's inbox, because controllers send it
///   too;
/// - any other reply goes to the subject that the NATS server assigns to a request from another
///   account, or to an inbox of clients and agents. Their names are random, and known only to
///   their owner.
pub fn is_allowed_reply_subject(request: &str, reply: &str) -> bool {
    if reply.contains(['*', '>']) || reply.split('.').any(str::is_empty) {
        return false;
    }
    if is_partition_request(request) {
        return is_controller_inbox(reply);
    }
    if request == CONTROLLER_PING && is_controller_inbox(reply) {
        return true;
    }
    let rest = reply.strip_prefix(INBOX_PREFIX);
    rest.is_some_and(|rest| rest.starts_with('.')) || is_cross_account_reply(reply)
}

#[cfg(test)]
mod tests {
    use super::is_allowed_reply_subject;
    use crate::subjects::partitions::partition_request_subject;
    use crate::subjects::requests::{HOSTS_LIST, TEARDOWN};
    use crate::types::partition::Partition;

    #[test]
    fn a_reply_goes_only_to_an_inbox() {
        for reply in ["_INBOX.alice.x.1", "_INBOX.x", "_R_.abc.def"] {
            assert!(is_allowed_reply_subject(TEARDOWN, reply), "{reply}");
        }
        for reply in [
            "agent.a.commands",
            "shards.updated",
            "swarm.teardown",
            "scuttle.journal.0",
            "_CONTROLLER.1",
            "$SYS.REQ.USER.INFO",
            "inbox",
            "_INBOX",
            "_INBOX_worker.1",
            "_INBOX.>",
            "_INBOX.*.1",
            "_INBOX..1",
            "_R_",
        ] {
            assert!(!is_allowed_reply_subject(TEARDOWN, reply), "{reply}");
        }
        let request = partition_request_subject(Partition::FIRST, HOSTS_LIST);
        assert!(is_allowed_reply_subject(&request, "_CONTROLLER.1"));
        for reply in [
            "_INBOX.x.1",
            "_CONTROLLERS.1",
            "_CONTROLLER",
            "scuttle.journal.0",
        ] {
            assert!(!is_allowed_reply_subject(&request, reply), "{reply}");
        }
    }
}
