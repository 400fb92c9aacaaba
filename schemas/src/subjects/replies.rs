//! Replies.

use crate::subjects::broadcasts::BROADCASTS;
use crate::subjects::partitions::is_asked_by_controllers;

/// Where clients are answered, whatever their prefix.
pub const INBOXES: &str = "_INBOX.>";
/// Where the server takes the answers to what came from another account.
pub const ACROSS_ACCOUNTS: &str = "_R_.>";
/// The prefix of the inboxes in which `JetStream`, and one controller another, answers a controller: no agent may hear or write
/// there.
pub const CONTROLLER_INBOX: &str = "_CONTROLLER";
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

#[cfg(test)]
mod tests {
    use super::may_be_answered;
    use crate::subjects::partitions::asked;
    use crate::subjects::requests::{HOSTS_LIST, TEARDOWN};
    use crate::types::partition::Partition;

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
}
