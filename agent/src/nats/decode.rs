//! Decodes the messages that an agent receives over NATS into inputs of the machine: commands, and
//! replies to its requests.

use async_nats::{HeaderValue, Message, StatusCode};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::headers::{TRACEPARENT, parse_traceparent};
use scuttle_schemas::{ErrorReplyBody, ReadError, ReadErrorKind, read};
use serde::de::DeserializeOwned;

use super::malformed::MalformedMessage;
use super::request_id::RequestId;
use crate::machine::Input;
use crate::machine::input::RequestFailure;

/// The largest payload that is decoded as a command, in bytes. Valid commands are below 1 KiB.
const MAX_COMMAND_BYTES: usize = 16 * 1024;

/// Decodes a message on the command subject.
pub(crate) fn decode_command(message: &Message) -> Result<Input, MalformedMessage> {
    let payload = &message.payload;
    if payload.len() > MAX_COMMAND_BYTES {
        return Err(MalformedMessage::TooLong);
    }
    let command: AgentCommand = read("command", payload).map_err(|error| classify(&error))?;
    let headers = message.headers.as_ref();
    let header = headers.and_then(|headers| headers.get(TRACEPARENT));
    Ok(Input::Command {
        command,
        traceparent: parse_traceparent(header.map(HeaderValue::as_str)),
    })
}

fn classify(error: &ReadError) -> MalformedMessage {
    match error.kind() {
        ReadErrorKind::NotUtf8 | ReadErrorKind::NotJson => MalformedMessage::NotJson,
        ReadErrorKind::Invalid => MalformedMessage::InvalidCommand,
    }
}

/// Decodes a reply. A malformed reply also yields an input, so that the machine sends the request
/// again. A reply that belongs to no request of this agent yields no input.
pub(crate) fn decode_reply(message: &Message) -> (Option<Input>, Option<MalformedMessage>) {
    let token = message.subject.rsplit_once('.').map(|(_, token)| token);
    let Some(request) = token.and_then(|token| token.parse().ok()) else {
        return (None, Some(MalformedMessage::UnknownRequest));
    };
    let (input, is_malformed) = match request {
        RequestId::Heartbeat(request) => {
            let reply = decode_body("heartbeat reply", message);
            let is_malformed = reply == Err(RequestFailure::InvalidReply);
            (Input::HeartbeatReply { request, reply }, is_malformed)
        }
        RequestId::Result(operation_id) => {
            let reply = decode_body("result reply", message);
            let is_malformed = reply == Err(RequestFailure::InvalidReply);
            let input = Input::ResultReply {
                operation_id,
                reply,
            };
            (input, is_malformed)
        }
    };
    let malformed = is_malformed.then_some(MalformedMessage::InvalidReply);
    (Some(input), malformed)
}

fn decode_body<T: DeserializeOwned>(
    what: &'static str,
    message: &Message,
) -> Result<T, RequestFailure> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(RequestFailure::NoResponders);
    }
    read(what, &message.payload).map_err(|_| {
        match read::<ErrorReplyBody>("error reply", &message.payload) {
            Ok(body) => RequestFailure::Rejected(body.error),
            Err(_) => RequestFailure::InvalidReply,
        }
    })
}

#[cfg(test)]
#[allow(
    unreachable_pub,
    reason = "the file belongs to another crate, where these items are public"
)]
#[path = "../../../tests/harness/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use async_nats::Message;
    use proptest::prelude::*;

    use super::corpus;
    use super::{
        Input, MAX_COMMAND_BYTES, MalformedMessage, RequestFailure, decode_command, decode_reply,
    };

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

    /// Decodes a payload as a command and as every kind of reply. Returns whether it is a command.
    fn decode_everywhere(payload: &[u8]) -> bool {
        let command = decode_command(&message("agent", payload));
        assert!(
            command.is_err() || payload.len() <= MAX_COMMAND_BYTES,
            "{command:?}"
        );
        for subject in [HEARTBEAT, RESULT] {
            let (input, malformed) = decode_reply(&message(subject, payload));
            let is_invalid = matches!(
                input.expect("an input, even for an invalid reply"),
                Input::HeartbeatReply {
                    reply: Err(RequestFailure::InvalidReply),
                    ..
                } | Input::ResultReply {
                    reply: Err(RequestFailure::InvalidReply),
                    ..
                }
            );
            assert_eq!(
                malformed,
                is_invalid.then_some(MalformedMessage::InvalidReply)
            );
        }
        command.is_ok()
    }

    #[test]
    fn no_payload_of_the_corpus_is_a_command() {
        for (name, payload) in corpus::load_all(env!("CARGO_MANIFEST_DIR")) {
            assert!(!decode_everywhere(&payload), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_decoded_without_a_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            decode_everywhere(&payload);
        }

        #[test]
        fn a_damaged_command_is_decoded_without_a_panic(at in 0..300_usize, mask in 1..=255_u8, cut in 0..400_usize) {
            let mut payload = br#"{"type":"scuttle.v1.teardown_command",
                "operation_id":"0197a8f1-0000-7000-8000-00000000dead","host_uuid":"worker-a",
                "decky_id":null,"attempt":1,"controller_epoch":1795425109000,
                "not_after":"2026-11-23T09:21:49.000Z"}"#.to_vec();
            prop_assert!(decode_everywhere(&payload));
            payload.truncate(cut);
            if let Some(byte) = payload.get_mut(at) {
                *byte ^= mask;
            }
            decode_everywhere(&payload);
        }

        #[test]
        fn any_reply_token_is_decoded_without_a_panic(token in "[^ \r\n]{0,100}") {
            let (input, malformed) = decode_reply(&message(&format!("_INBOX.a.{token}"), b"{}"));
            prop_assert_eq!(input.is_none(), malformed == Some(MalformedMessage::UnknownRequest));
        }
    }
}
