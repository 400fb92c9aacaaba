//! What comes in over NATS, as inputs of the machine: commands, and answers to this agent's requests. The
//! rest is counted, and each kind of it is logged once: nobody else decides how much this agent logs.

use async_nats::{HeaderValue, Message, StatusCode};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::headers::{TRACEPARENT, parse_traceparent};
use scuttle_schemas::{ErrorReplyBody, HostId, ReadError, ReadErrorKind, read};
use serde::de::DeserializeOwned;

use crate::counters::Counters;
use crate::machine::{Input, RequestId, Unanswered};

/// The largest payload that is read as a command, in bytes: real ones take less than 1 KiB.
const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bad {
    TooLong,
    NotJson,
    Command,
    Token,
    Answer,
}

impl Bad {
    const COUNT: usize = 5;

    fn text(self) -> &'static str {
        match self {
            Self::TooLong => "a payload on the command subject: it is too long",
            Self::NotJson => "a payload on the command subject: it is not JSON",
            Self::Command => "a payload on the command subject: it is no command of this protocol",
            Self::Token => "an answer: it belongs to no request of this agent",
            Self::Answer => "an answer: it is none of this protocol",
        }
    }

    fn of(error: &ReadError) -> Self {
        match error.kind() {
            ReadErrorKind::NotUtf8 | ReadErrorKind::NotJson => Self::NotJson,
            ReadErrorKind::Invalid => Self::Command,
        }
    }
}

/// Which kinds of bad messages were logged.
#[derive(Debug, Default)]
pub(crate) struct Logged([bool; Bad::COUNT]);

impl Logged {
    /// Counts a bad message, and logs it if it is the first of its kind.
    pub(crate) fn count(&mut self, host: &HostId, counters: &Counters, bad: Bad, bytes: usize) {
        Counters::add(&counters.bad_payloads);
        if !std::mem::replace(&mut self.0[bad as usize], true) {
            let what = bad.text();
            tracing::warn!(host_uuid = %host, bytes, "ignored {what}; further ones are only counted");
        }
    }
}

/// What came on the command subject.
pub(crate) fn command(message: &Message) -> Result<Input, Bad> {
    let payload = &message.payload;
    if payload.len() > MAX_COMMAND_BYTES {
        return Err(Bad::TooLong);
    }
    let command: AgentCommand = read("command", payload).map_err(|error| Bad::of(&error))?;
    let headers = message.headers.as_ref();
    let header = headers.and_then(|headers| headers.get(TRACEPARENT));
    Ok(Input::Command {
        command,
        traceparent: parse_traceparent(header.map(HeaderValue::as_str)),
    })
}

/// What came as an answer. One that cannot be read is none: the machine hears so, and asks again.
pub(crate) fn reply(message: &Message) -> (Option<Input>, Option<Bad>) {
    let token = message.subject.rsplit_once('.').map(|(_, token)| token);
    let Some(request) = token.and_then(|token| token.parse().ok()) else {
        return (None, Some(Bad::Token));
    };
    let (input, unreadable) = match request {
        RequestId::Heartbeat { sequence, page } => {
            let answer = answer("heartbeat answer", message);
            let unreadable = answer == Err(Unanswered::Unreadable);
            let input = Input::HeartbeatAnswered {
                sequence,
                page,
                answer,
            };
            (input, unreadable)
        }
        RequestId::Result(operation_id) => {
            let answer = answer("result answer", message);
            let unreadable = answer == Err(Unanswered::Unreadable);
            let input = Input::ResultAnswered {
                operation_id,
                answer,
            };
            (input, unreadable)
        }
    };
    (Some(input), unreadable.then_some(Bad::Answer))
}

fn answer<T: DeserializeOwned>(what: &'static str, message: &Message) -> Result<T, Unanswered> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(Unanswered::NoResponders);
    }
    read(what, &message.payload).map_err(|_| {
        read::<ErrorReplyBody>("refusal", &message.payload).map_or(Unanswered::Unreadable, |body| {
            Unanswered::Refused(body.error)
        })
    })
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "public where it is at home")]
#[path = "../../tests/harness/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use async_nats::Message;
    use proptest::prelude::*;

    use super::corpus;
    use super::{Bad, Counters, Input, Logged, MAX_COMMAND_BYTES, Unanswered, command, reply};

    const HEARTBEAT: &str = "_INBOX.a.h-1-1";
    const RESULT: &str = "_INBOX.a.r-0197a8f1-0000-7000-8000-00000000dead";

    fn message(subject: &str, payload: &[u8]) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: payload.to_vec().into(),
            headers: None,
            status: None,
            description: None,
            length: payload.len(),
        }
    }

    /// Reads a payload wherever one may come; says whether it was a command.
    fn read_everywhere(payload: &[u8]) -> bool {
        let command = command(&message("agent", payload));
        assert!(
            command.is_err() || payload.len() <= MAX_COMMAND_BYTES,
            "{command:?}"
        );
        for subject in [HEARTBEAT, RESULT] {
            let (input, bad) = reply(&message(subject, payload));
            let unreadable = matches!(
                input.expect("an answer, readable or not"),
                Input::HeartbeatAnswered {
                    answer: Err(Unanswered::Unreadable),
                    ..
                } | Input::ResultAnswered {
                    answer: Err(Unanswered::Unreadable),
                    ..
                }
            );
            assert_eq!(bad, unreadable.then_some(Bad::Answer));
        }
        command.is_ok()
    }

    #[test]
    fn nothing_of_the_corpus_is_a_command() {
        for (name, payload) in corpus::all(env!("CARGO_MANIFEST_DIR")) {
            assert!(!read_everywhere(&payload), "{name}");
        }
    }

    #[test]
    fn each_kind_is_logged_once_and_every_one_is_counted() {
        let (mut logged, counters) = (Logged::default(), Counters::default());
        let host = "worker-a".parse().expect("valid");
        for bad in [Bad::TooLong, Bad::Answer, Bad::TooLong, Bad::Answer] {
            logged.count(&host, &counters, bad, 3);
        }
        assert_eq!(logged.0, [true, false, false, false, true]);
        assert_eq!(counters.bad_payloads.load(Ordering::Relaxed), 4);
    }

    proptest! {
        #[test]
        fn any_payload_is_read(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            read_everywhere(&payload);
        }

        #[test]
        fn a_damaged_command_is_read(at in 0..300_usize, mask in 1..=255_u8, cut in 0..400_usize) {
            let mut payload = br#"{"type":"scuttle.v1.teardown_command",
                "operation_id":"0197a8f1-0000-7000-8000-00000000dead","host_uuid":"worker-a",
                "decky_id":null,"attempt":1,"controller_epoch":1795425109000,
                "not_after":"2026-11-23T09:21:49.000Z"}"#.to_vec();
            prop_assert!(read_everywhere(&payload));
            payload.truncate(cut);
            if let Some(byte) = payload.get_mut(at) {
                *byte ^= mask;
            }
            read_everywhere(&payload);
        }

        #[test]
        fn any_token_is_read(token in "[^ \r\n]{0,100}") {
            let (input, bad) = reply(&message(&format!("_INBOX.a.{token}"), b"{}"));
            prop_assert_eq!(input.is_none(), bad == Some(Bad::Token));
        }
    }
}
