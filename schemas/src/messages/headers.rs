//! The NATS headers that Scuttle reads and writes, and how their values are checked.

use serde::Deserialize;

/// The header with the HTTP-like status of an error reply (NATS ADR-32).
pub const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";
/// The header with the message of an error reply (NATS ADR-32).
pub const SERVICE_ERROR: &str = "Nats-Service-Error";
/// The header with the idempotency key of a request.
pub const MSG_ID: &str = "Nats-Msg-Id";
/// The header with the user who sent a request. The NATS server sets this header on requests that
/// pass a shared service import.
pub const REQUEST_INFO: &str = "Nats-Request-Info";
/// The header with the W3C trace context, which is passed on from request to command to result to
/// broadcast.
pub const TRACEPARENT: &str = "traceparent";

/// The maximum length of a trace context in bytes. A longer one is ignored. (`00-<32>-<16>-<2>` has
/// 55 bytes.)
const MAX_TRACEPARENT_BYTES: usize = 64;

/// The name of the requester if the NATS server does not name a user.
pub const UNKNOWN_REQUESTER: &str = "unknown";

/// The error for a request whose client tried to set [`REQUEST_INFO`], which only the server may
/// set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the header {REQUEST_INFO} may only be set by the NATS server: send the request without it"
)]
pub struct ForgedRequestInfo;

/// Returns the user that the server vouches for, or `unknown` if the server names none. `headers`
/// must be all headers of the request.
///
/// The server removes a [`REQUEST_INFO`] header that the client wrote, and appends its own. But the
/// server only recognizes lines that end in CRLF, while a reader may also accept a bare LF, and the
/// server does not check how the client's last line ends. So a client can hide a forged header
/// before the server's header, or can make the server's header part of the name or value of another
/// header. In both cases the name of the header occurs where it must not.
///
/// # Errors
/// If the name [`REQUEST_INFO`] occurs twice or in another header, or the value of the header is
/// not JSON.
pub fn parse_requester<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<String, ForgedRequestInfo> {
    let mut vouched = None;
    for (name, value) in headers {
        if name == REQUEST_INFO {
            if vouched.replace(value).is_some() {
                return Err(ForgedRequestInfo);
            }
        } else if name.contains(REQUEST_INFO) || value.contains(REQUEST_INFO) {
            return Err(ForgedRequestInfo);
        }
    }
    vouched.map_or_else(|| Ok(UNKNOWN_REQUESTER.to_owned()), parse_request_info)
}

/// Returns the user in the server's header, or `unknown`. The header's field `name` is not used,
/// because the client chooses its value.
fn parse_request_info(info: &str) -> Result<String, ForgedRequestInfo> {
    #[derive(Deserialize)]
    struct RequestInfo {
        /// The name in the user's JWT.
        name_tag: Option<String>,
        /// The name of a user who signed in with a password, or the public key of a JWT.
        user: Option<String>,
    }
    // The server writes JSON. Anything else is a forged value to which the server's was appended.
    let info: RequestInfo = serde_json::from_str(info).map_err(|_| ForgedRequestInfo)?;
    let given = |name: &String| !name.is_empty();
    let user = info.name_tag.filter(given).or(info.user.filter(given));
    Ok(user.map_or_else(
        || UNKNOWN_REQUESTER.to_owned(),
        |user| crate::types::truncate::truncate_chars(&user, 128).into_owned(),
    ))
}

/// The maximum length of an idempotency key, in characters.
const MAX_KEY_CHARS: usize = 128;

/// The error for an idempotency key that is empty or too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {MSG_ID} must be 1 to {MAX_KEY_CHARS} characters")]
pub struct InvalidKey;

/// Returns the idempotency key of a request, if there is one.
///
/// # Errors
/// If the key is empty or too long.
pub fn parse_idempotency_key(header: Option<&str>) -> Result<Option<String>, InvalidKey> {
    match header {
        Some(key) if !(1..=MAX_KEY_CHARS).contains(&key.chars().count()) => Err(InvalidKey),
        key => Ok(key.map(str::to_owned)),
    }
}

/// Returns the trace context. Returns `None` if it is missing, is too long, or has characters that
/// a trace context cannot have.
pub fn parse_traceparent(header: Option<&str>) -> Option<String> {
    header
        .filter(|text| {
            (1..=MAX_TRACEPARENT_BYTES).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::{
        ForgedRequestInfo, REQUEST_INFO, parse_idempotency_key, parse_requester, parse_traceparent,
    };

    const ALICE: &str = r#"{"acc":"OPERATORS","user":"alice","name":"mallory","rtt":1}"#;

    fn check(headers: &[(&str, &str)], expected: Result<&str, ForgedRequestInfo>) {
        let read = parse_requester(headers.iter().copied());
        assert_eq!(read.as_deref(), expected.as_ref().copied(), "{headers:?}");
    }

    #[test]
    fn the_requester_is_the_user_that_the_server_names() {
        check(&[("a", "b"), (REQUEST_INFO, ALICE)], Ok("alice"));
        let jwt = r#"{"acc":"AC","user":"UABC","name":"mallory","name_tag":"alice"}"#;
        check(&[(REQUEST_INFO, jwt)], Ok("alice"));
        let unnamed = r#"{"user":"UABC","name":"mallory","name_tag":""}"#;
        check(&[(REQUEST_INFO, unnamed)], Ok("UABC"));
        check(&[], Ok("unknown"));
        for nothing in ["{}", r#"{"user":""}"#, r#"{"name":"m"}"#] {
            check(&[(REQUEST_INFO, nothing)], Ok("unknown"));
        }
    }

    #[test]
    fn a_forged_request_info_header_is_detected() {
        let forged = r#"{"user":"root"}"#;
        let twice = [(REQUEST_INFO, forged), (REQUEST_INFO, ALICE)];
        check(&twice, Err(ForgedRequestInfo));
        let glued = format!("x{REQUEST_INFO}: {ALICE}");
        let to_a_value = [(REQUEST_INFO, forged), ("Z", glued.as_str())];
        check(&to_a_value, Err(ForgedRequestInfo));
        let to_a_name = [(REQUEST_INFO, forged), ("ZNats-Request-Info", ALICE)];
        check(&to_a_name, Err(ForgedRequestInfo));
        let folded = format!("{forged} {REQUEST_INFO}: {ALICE}");
        for unreadable in [folded.as_str(), "", "not json"] {
            check(&[(REQUEST_INFO, unreadable)], Err(ForgedRequestInfo));
        }
    }

    #[test]
    fn an_idempotency_key_has_1_to_128_characters() {
        assert_eq!(parse_idempotency_key(None), Ok(None));
        let longest = "ä".repeat(128);
        assert_eq!(
            parse_idempotency_key(Some(&longest)),
            Ok(Some(longest.clone()))
        );
        assert!(parse_idempotency_key(Some("")).is_err());
        assert!(parse_idempotency_key(Some(&"k".repeat(129))).is_err());
    }

    #[test]
    fn only_a_well_formed_trace_context_is_passed_on() {
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(parse_traceparent(Some(context)).as_deref(), Some(context));
        assert_eq!(parse_traceparent(Some("x\r\nInjected: y")), None);
        assert_eq!(parse_traceparent(Some(&"0".repeat(65))), None);
        assert_eq!(parse_traceparent(None), None);
    }
}
