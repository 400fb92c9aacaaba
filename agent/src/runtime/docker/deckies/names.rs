//! Decky ids for names that are not valid ids. Every Compose project or DECNET decky gets an id, so
//! that none is left out of the inventory.
//!
//! A valid name is its own id, unless it starts with [`PREFIX`]. Every other name is escaped:
//! `PREFIX`, then the name, with `.` and two hexadecimal digits in place of each byte that is not a
//! letter, a digit, `-` or `_`. An id that would be too long is cut, and ends with `..` and 16
//! hexadecimal digits of the SHA-256 of the name. Different names therefore have different ids.

use std::fmt::Write;

use scuttle_schemas::DeckyId;
use sha2::{Digest, Sha256};

/// The start of every escaped id.
const PREFIX: &str = "n.";
/// The maximum length of a decky id in bytes.
const MAX_ID_BYTES: usize = 64;
/// The number of hexadecimal digits of the hash at the end of a cut id.
const HASH_DIGITS: usize = 16;

/// Returns the id of the decky with this name.
pub(crate) fn to_decky_id(name: &str) -> DeckyId {
    if !name.starts_with(PREFIX)
        && let Ok(id) = name.parse()
    {
        return id;
    }
    let mut id = PREFIX.to_owned();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            id.push(char::from(byte));
        } else {
            let _ = write!(id, ".{byte:02x}");
        }
    }
    if id.len() > MAX_ID_BYTES {
        id.truncate(MAX_ID_BYTES - 2 - HASH_DIGITS);
        id.push_str("..");
        id.push_str(&format!("{:x}", Sha256::digest(name))[..HASH_DIGITS]);
    }
    // Every character that was pushed is valid, and the first is a letter.
    id.parse().expect("an escaped name is a valid decky id")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::to_decky_id;

    #[test]
    fn every_name_has_a_valid_id_that_no_other_name_has() {
        let long = "a".repeat(70);
        let longer = "a".repeat(71);
        let names = [
            "trap", "_odd", "n._odd", "n.5fodd", "n", "", ".", "ü", "a b", "a.20b", "a/b", &long,
            &longer,
        ];
        let ids: Vec<_> = names.iter().map(|name| to_decky_id(name)).collect();
        let expected = [
            "trap",
            "n._odd",
            "n.n.2e_odd",
            "n.n.2e5fodd",
            "n",
            "n.",
            "n..2e",
            "n..c3.bc",
            "n.a.20b",
            "a.20b",
            "n.a.2fb",
        ];
        for (id, expected) in ids.iter().zip(expected) {
            assert_eq!(id.as_str(), expected);
        }
        assert_eq!(ids[11].as_str().len(), 64);
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
