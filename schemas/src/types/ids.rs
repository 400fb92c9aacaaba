//! Names and ids, which are checked when they are created. For example, a `HostId` cannot contain a
//! dot or a wildcard, which would give access to the subjects of other hosts.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::types::timestamp::Timestamp;

/// The error for a text that breaks the rule of a name or id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $pattern:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        #[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
        #[cfg_attr(feature = "generate", schemars(transparent))]
        pub struct $name {
            #[cfg_attr(feature = "generate", schemars(regex(pattern = $pattern)))]
            text: Arc<str>,
            /// The first bytes of the name, as returned by `read_prefix`, for fast comparisons.
            #[cfg_attr(feature = "generate", schemars(skip))]
            prefix: u128,
        }

        impl $name {
            /// The rule for names of this kind, in words.
            pub const RULE: &'static str = $rule;

            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.text
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.cmp(other) == Ordering::Equal
            }
        }

        impl Eq for $name {}

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                (self.prefix.cmp(&other.prefix)).then_with(|| compare_suffixes(&self.text, &other.text))
            }
        }

        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.text.hash(state);
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&[u8]) -> bool = $valid;
                if (1..=64).contains(&text.len()) && valid(text.as_bytes()) {
                    Ok(Self { text: text.into(), prefix: read_prefix(text) })
                } else {
                    Err(InvalidName { what: $what, rule: $rule })
                }
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.text, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::types::decode::parsed(deserializer, $what, Self::from_str)
            }
        }
    };
}

/// The length in bytes of the prefix that is stored next to the pointer to a name. In a `UUIDv7`,
/// the prefix includes the time and some random digits.
const PREFIX_BYTES: usize = size_of::<u128>();

/// Returns the first bytes of a name as a number that sorts like the bytes. Most comparisons of
/// names need only this number. In a lookup among a million names, following the pointer to each
/// name would take most of the time.
fn read_prefix(text: &str) -> u128 {
    let mut bytes = [0; PREFIX_BYTES];
    let length = text.len().min(PREFIX_BYTES);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

/// Compares two names with equal prefixes by the bytes after the prefix. Names that end within the
/// prefix are equal, because a name contains no zero bytes.
///
/// Never compares empty slices: their pointers are dangling, and reading zero bytes from there
/// takes a hundred times as long with AVX-512.
fn compare_suffixes(one: &str, other: &str) -> Ordering {
    if one.len().max(other.len()) <= PREFIX_BYTES {
        return Ordering::Equal;
    }
    one.as_bytes()[PREFIX_BYTES..].cmp(&other.as_bytes()[PREFIX_BYTES..])
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

name! {
    /// The id of a host. An id contains no dot or wildcard, so that it is a single token of a NATS
    /// subject.
    HostId, "host_uuid", "1 to 64 of A-Z a-z 0-9 _ -", "^[A-Za-z0-9_-]{1,64}$",
    |name| name.iter().all(|byte| is_word_byte(*byte))
}

name! {
    /// The id of a decky, which is unique on its host, but not in the swarm.
    DeckyId, "decky_id", "1 to 64 of A-Z a-z 0-9 _ . -, first a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    |name| name[0].is_ascii_alphanumeric() && name.iter().all(|byte| is_word_byte(*byte) || *byte == b'.')
}

name! {
    /// The name of a host, chosen by the operator who enrolls the host.
    HostName, "name", "1 to 64 of A-Z a-z 0-9 . _ -", "^[A-Za-z0-9._-]{1,64}$",
    |name| name.iter().all(|byte| is_word_byte(*byte) || *byte == b'.')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(
            #[cfg_attr(
                feature = "generate",
                schemars(with = "String", extend("format" = "uuid"))
            )]
            pub Uuid,
        );

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

id! {
    /// The id of an operation: a `UUIDv7` that the controller generates when it accepts the
    /// operation, so that ids sort by time.
    OperationId
}

id! {
    /// The id of one run of an agent, its boot: a `UUIDv7` that the agent generates when it starts.
    /// A later boot sorts after an earlier boot.
    BootId
}

impl BootId {
    /// Returns the time at which the boot started, according to the agent's clock: the timestamp of
    /// the `UUIDv7`.
    pub fn started_at(self) -> Timestamp {
        /// The position of the lowest bit of the timestamp.
        const TIMESTAMP_BIT: u32 = 80;
        // A timestamp has 48 bits, which always fit.
        let millis = i64::try_from(self.0.as_u128() >> TIMESTAMP_BIT).unwrap_or(i64::MAX);
        Timestamp::from_millis(millis)
    }
}

#[cfg(test)]
mod tests {
    use super::{DeckyId, HostId, HostName};

    fn check<T: std::str::FromStr>(valid: &[&str], invalid: &[&str]) {
        for name in valid {
            assert!(name.parse::<T>().is_ok(), "{name:?} is valid");
        }
        for name in invalid {
            assert!(name.parse::<T>().is_err(), "{name:?} is invalid");
        }
    }

    #[test]
    fn names_sort_by_their_bytes() {
        let names = [
            "a",
            "a-",
            "aa",
            "b",
            "0123456789abcdef",
            "0123456789abcdeg",
            "0123456789abcdef0",
            "0123456789abcdef01",
        ];
        for one in names {
            for other in names {
                let parsed: [HostId; 2] = [one, other].map(|text| text.parse().expect("valid"));
                assert_eq!(
                    parsed[0].cmp(&parsed[1]),
                    one.cmp(other),
                    "{one} and {other}"
                );
            }
        }
    }

    #[test]
    fn names_are_checked_by_their_rules() {
        let long = "a".repeat(65);
        let longest = "a".repeat(64);
        check::<HostId>(
            &["a", "-", "_x", "0197-AZ", &longest],
            &["", "a.b", "*", ">", "a b", "ä", "a\n", &long],
        );
        check::<DeckyId>(
            &["d", "0", "decky-03.a_b", &longest],
            &["", ".a", "-a", "_a", "a/b", "a*", "a b", "é", &long],
        );
        check::<HostName>(&["worker-a", ".", "a.b_c"], &["", "a b", "a/b", "ö", &long]);
    }
}
