//! Counts malformed messages, and logs only the first of each kind, so that no sender can fill the
//! agent's log.

use std::sync::atomic::Ordering;

use scuttle_schemas::HostId;

use crate::observability::Counters;

/// The ways in which a message can be malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MalformedMessage {
    TooLong,
    NotJson,
    InvalidCommand,
    /// The reply subject names no request of this agent.
    UnknownRequest,
    InvalidReply,
}

impl MalformedMessage {
    const COUNT: usize = 5;

    fn describe(self) -> &'static str {
        match self {
            Self::TooLong => "a payload on the command subject that is too long",
            Self::NotJson => "a payload on the command subject that is not JSON",
            Self::InvalidCommand => "a payload on the command subject that is not a valid command",
            Self::UnknownRequest => "a reply that belongs to no request of this agent",
            Self::InvalidReply => "a reply that does not follow the protocol",
        }
    }
}

/// The kinds of malformed messages that have already been logged.
#[derive(Debug, Default)]
pub(crate) struct MalformedLog([bool; MalformedMessage::COUNT]);

impl MalformedLog {
    /// Counts a malformed message of `bytes` bytes, and logs it if it is the first of its kind.
    pub(crate) fn record(
        &mut self,
        host: &HostId,
        counters: &Counters,
        kind: MalformedMessage,
        bytes: usize,
    ) {
        counters.bad_payloads.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.0[kind as usize], true) {
            let what = kind.describe();
            tracing::warn!(host_uuid = %host, bytes, "ignored {what}; further ones are only counted");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{Counters, MalformedLog, MalformedMessage};

    #[test]
    fn every_malformed_message_is_counted_and_each_kind_is_logged_once() {
        let (mut log, counters) = (MalformedLog::default(), Counters::default());
        let host = "worker-a".parse().expect("valid");
        let (too_long, reply) = (MalformedMessage::TooLong, MalformedMessage::InvalidReply);
        for kind in [too_long, reply, too_long, reply] {
            log.record(&host, &counters, kind, 3);
        }
        assert_eq!(log.0, [true, false, false, false, true]);
        assert_eq!(counters.bad_payloads.load(Ordering::Relaxed), 4);
    }
}
