//! The NATS headers that Scuttle reads and writes, and what stands in them.

use serde::Deserialize;

/// The HTTP-like status of a refusal (ADR-32).
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The message of a refusal (ADR-32).
pub const SERVICE_ERROR: &str = "Nats-Service-Error";
/// The requester's idempotency key.
pub const MSG_ID: &str = "Nats-Msg-Id";
/// Who asks, as the NATS server vouches for it on a shared service import.
pub const REQUEST_INFO: &str = "Nats-Request-Info";
/// W3C trace context, passed on from request to command to result to broadcast.
pub const TRACEPARENT: &str = "traceparent";

/// The most characters of a trace context that is passed on (`00-<32>-<16>-<2>` is 55).
const MAX_TRACEPARENT: usize = 64;

/// What the requester is called when the server says nothing.
pub const UNKNOWN_REQUESTER: &str = "unknown";

/// The user named by a `Nats-Request-Info` header, or `unknown`.
pub fn requester(request_info: Option<&str>) -> String {
    #[derive(Deserialize)]
    struct RequestInfo {
        user: Option<String>,
    }
    request_info
        .and_then(|text| serde_json::from_str::<RequestInfo>(text).ok())
        .and_then(|info| info.user)
        .filter(|user| !user.is_empty())
        .map_or_else(
            || UNKNOWN_REQUESTER.to_owned(),
            |user| crate::text::cut(&user, 128).into_owned(),
        )
}

/// The most characters of an idempotency key.
const MAX_KEY: usize = 128;

/// An idempotency key that breaks its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {MSG_ID} must be 1 to {MAX_KEY} characters")]
pub struct InvalidKey;

/// A request's idempotency key, if it has one.
///
/// # Errors
/// It is empty or too long.
pub fn idempotency_key(header: Option<&str>) -> Result<Option<String>, InvalidKey> {
    match header {
        Some(key) if !(1..=MAX_KEY).contains(&key.chars().count()) => Err(InvalidKey),
        key => Ok(key.map(str::to_owned)),
    }
}

/// A trace context that is fit to be passed on, or nothing.
pub fn traceparent(header: Option<&str>) -> Option<String> {
    header
        .filter(|text| {
            (1..=MAX_TRACEPARENT).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{idempotency_key, requester, traceparent};

    #[test]
    fn the_requester_is_the_user_that_the_server_names() {
        assert_eq!(
            requester(Some(r#"{"acc":"OPERATORS","user":"alice","rtt":1}"#)),
            "alice"
        );
        for nothing in [
            None,
            Some(""),
            Some("{}"),
            Some(r#"{"user":""}"#),
            Some("not json"),
        ] {
            assert_eq!(requester(nothing), "unknown");
        }
    }

    #[test]
    fn a_key_has_1_to_128_characters() {
        assert_eq!(idempotency_key(None), Ok(None));
        let longest = "ä".repeat(128);
        assert_eq!(idempotency_key(Some(&longest)), Ok(Some(longest.clone())));
        assert!(idempotency_key(Some("")).is_err());
        assert!(idempotency_key(Some(&"k".repeat(129))).is_err());
    }

    #[test]
    fn only_a_well_formed_trace_context_is_passed_on() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(Some(context)).as_deref(), Some(context));
        assert_eq!(traceparent(Some("x\r\nInjected: y")), None);
        assert_eq!(traceparent(Some(&"0".repeat(65))), None);
        assert_eq!(traceparent(None), None);
    }
}
