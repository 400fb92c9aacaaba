//! Reply subjects, and which of them a request may have.

use crate::subjects::broadcasts::BROADCASTS;
use crate::subjects::partitions::is_partition_request;

/// The wildcard subject of the inboxes of clients and agents.
pub const ALL_INBOXES: &str = "_INBOX.>";
/// The wildcard subject of the replies to another account. The NATS server assigns these subjects.
pub const CROSS_ACCOUNT_REPLIES: &str = "_R_.>";
/// The prefix of the inboxes of controllers, in which they receive replies from `JetStream` and
/// from each other. No other user may publish or subscribe there.
pub const CONTROLLER_INBOX_PREFIX: &str = "_CONTROLLER";

/// Returns whether a reply subject is an inbox of a controller.
pub fn is_controller_inbox(reply: &str) -> bool {
    let rest = reply.strip_prefix(CONTROLLER_INBOX_PREFIX);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Returns whether the reply to a request on the subject `request` may be sent to the subject
/// `reply`.
///
/// The client chooses the reply subject, but the controller may publish on subjects on which the
/// client may not. So a reply must not become, for example, a command or a broadcast. The reply to
/// a request of another controller must go to a controller's inbox.
pub fn is_allowed_reply_subject(request: &str, reply: &str) -> bool {
    if is_partition_request(request) {
        return is_controller_inbox(reply);
    }
    let is_reserved = ["agent.", "swarm.", "scuttle.", "_CONTROLLER.", "$"]
        .iter()
        .any(|prefix| reply.starts_with(prefix));
    !is_reserved && !BROADCASTS.contains(&reply)
}

#[cfg(test)]
mod tests {
    use super::is_allowed_reply_subject;
    use crate::subjects::partitions::partition_request_subject;
    use crate::subjects::requests::{HOSTS_LIST, TEARDOWN};
    use crate::types::partition::Partition;

    #[test]
    fn a_reply_must_not_go_to_a_subject_of_scuttle() {
        for reply in ["_INBOX.x.1", "_R_.abc", "_INBOX_worker.1", "inbox"] {
            assert!(is_allowed_reply_subject(TEARDOWN, reply), "{reply}");
        }
        for reply in [
            "agent.a.commands",
            "shards.updated",
            "swarm.teardown",
            "scuttle.journal.0",
            "_CONTROLLER.1",
            "$SYS.REQ.USER.INFO",
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
