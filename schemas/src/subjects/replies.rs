//! Replies.

use crate::subjects::broadcasts::BROADCASTS;
use crate::subjects::partitions::is_partition_request;

/// Where clients are answered, whatever their prefix.
pub const ALL_INBOXES: &str = "_INBOX.>";
/// Where the server takes the answers to what came from another account.
pub const CROSS_ACCOUNT_REPLIES: &str = "_R_.>";
/// The prefix of the inboxes in which `JetStream`, and one controller another, answers a controller: no agent may hear or write
/// there.
pub const CONTROLLER_INBOX_PREFIX: &str = "_CONTROLLER";
/// Whether this is where a controller is answered.
pub fn is_controller_inbox(reply: &str) -> bool {
    let rest = reply.strip_prefix(CONTROLLER_INBOX_PREFIX);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// Whether the answer to what was asked on a subject may be sent to this reply subject. Whoever asks chooses it, and the controller
/// may publish where the asker may not: an answer must not become a command or a broadcast. A controller is answered in its inbox.
pub fn is_allowed_reply_subject(asked: &str, reply: &str) -> bool {
    if is_partition_request(asked) {
        return is_controller_inbox(reply);
    }
    let ours = ["agent.", "swarm.", "scuttle.", "_CONTROLLER.", "$"]
        .iter()
        .any(|prefix| reply.starts_with(prefix));
    !ours && !BROADCASTS.contains(&reply)
}

#[cfg(test)]
mod tests {
    use super::is_allowed_reply_subject;
    use crate::subjects::partitions::partition_request_subject;
    use crate::subjects::requests::{HOSTS_LIST, TEARDOWN};
    use crate::types::partition::Partition;

    #[test]
    fn an_answer_goes_to_no_subject_of_ours() {
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
        let asked = partition_request_subject(Partition::FIRST, HOSTS_LIST);
        assert!(is_allowed_reply_subject(&asked, "_CONTROLLER.1"));
        for reply in [
            "_INBOX.x.1",
            "_CONTROLLERS.1",
            "_CONTROLLER",
            "scuttle.journal.0",
        ] {
            assert!(!is_allowed_reply_subject(&asked, reply), "{reply}");
        }
    }
}
