//! List cursors. A cursor marks the end of a page, as a text that clients send back unchanged.
//!
//! Decoding is strict: a text that this module could not have encoded is rejected.

use std::str::FromStr;

use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId};

const SHARDS: &str = "shards:";
const HOSTS: &str = "hosts:";
const OPERATIONS: &str = "operations:";

pub(crate) fn encode_shard(host: &HostId, decky: &DeckyId) -> String {
    format!("{SHARDS}{host}/{decky}")
}

pub(crate) fn decode_shard(cursor: &str) -> Result<(HostId, DeckyId), ErrorReply> {
    let pair = cursor
        .strip_prefix(SHARDS)
        .and_then(|pair| pair.split_once('/'));
    let (host, decky) = pair.ok_or_else(invalid_cursor)?;
    Ok((parse(host)?, parse(decky)?))
}

pub(crate) fn encode_host(host: &HostId) -> String {
    format!("{HOSTS}{host}")
}

pub(crate) fn decode_host(cursor: &str) -> Result<HostId, ErrorReply> {
    parse(cursor.strip_prefix(HOSTS).ok_or_else(invalid_cursor)?)
}

pub(crate) fn encode_operation(operation: OperationId) -> String {
    format!("{OPERATIONS}{operation}")
}

pub(crate) fn decode_operation(cursor: &str) -> Result<OperationId, ErrorReply> {
    parse(cursor.strip_prefix(OPERATIONS).ok_or_else(invalid_cursor)?)
}

fn parse<T: FromStr>(text: &str) -> Result<T, ErrorReply> {
    text.parse().map_err(|_| invalid_cursor())
}

fn invalid_cursor() -> ErrorReply {
    ErrorReply::new(
        ErrorCode::BadRequest,
        "`after` is not a cursor of this list: send `next` of the previous page unchanged",
    )
}

#[cfg(test)]
mod tests {
    use super::{decode_host, decode_shard, encode_host, encode_shard};

    #[test]
    fn only_an_encoded_cursor_is_decoded() {
        let (host, decky) = ("worker-a".parse().unwrap(), "decky-03".parse().unwrap());
        let cursor = encode_shard(&host, &decky);
        assert_eq!(decode_shard(&cursor), Ok((host.clone(), decky)));
        assert_eq!(decode_host(&encode_host(&host)), Ok(host));
        for other in [
            "",
            "shards:",
            "shards:a",
            "shards:a.b/c",
            "hosts:worker-a",
            "0",
            "\u{0}",
        ] {
            assert!(decode_shard(other).is_err(), "{other:?}");
        }
    }
}
