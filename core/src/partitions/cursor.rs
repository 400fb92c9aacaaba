//! List cursors: where a page ended, as text that is opaque to clients and checked when it comes back.

use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId, OperationId};
use std::str::FromStr;

const SHARDS: &str = "shards:";
const HOSTS: &str = "hosts:";
const OPERATIONS: &str = "operations:";

fn refused() -> ErrorReply {
    ErrorReply::new(
        ErrorCode::BadRequest,
        "after is not a cursor of this list: send the next of the page before, unchanged",
    )
}

fn parse<T: FromStr>(text: &str) -> Result<T, ErrorReply> {
    text.parse().map_err(|_| refused())
}

pub(crate) fn after_shard(host: &HostId, decky: &DeckyId) -> String {
    format!("{SHARDS}{host}/{decky}")
}

pub(crate) fn shard(cursor: &str) -> Result<(HostId, DeckyId), ErrorReply> {
    let pair = cursor
        .strip_prefix(SHARDS)
        .and_then(|pair| pair.split_once('/'));
    let (host, decky) = pair.ok_or_else(refused)?;
    Ok((parse(host)?, parse(decky)?))
}

pub(crate) fn after_host(host: &HostId) -> String {
    format!("{HOSTS}{host}")
}

pub(crate) fn host(cursor: &str) -> Result<HostId, ErrorReply> {
    parse(cursor.strip_prefix(HOSTS).ok_or_else(refused)?)
}

pub(crate) fn after_operation(operation: OperationId) -> String {
    format!("{OPERATIONS}{operation}")
}

pub(crate) fn operation(cursor: &str) -> Result<OperationId, ErrorReply> {
    parse(cursor.strip_prefix(OPERATIONS).ok_or_else(refused)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cursor_comes_back_as_it_went_and_nothing_else_is_one() {
        let (host, decky) = ("worker-a".parse().unwrap(), "decky-03".parse().unwrap());
        let cursor = super::after_shard(&host, &decky);
        assert_eq!(super::shard(&cursor), Ok((host.clone(), decky)));
        assert_eq!(super::host(&super::after_host(&host)), Ok(host));
        for other in [
            "",
            "shards:",
            "shards:a",
            "shards:a.b/c",
            "hosts:worker-a",
            "0",
            "\u{0}",
        ] {
            assert!(super::shard(other).is_err(), "{other:?}");
        }
    }
}
