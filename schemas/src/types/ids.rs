//! Names and ids. Each is checked when it is made, so that a `HostId` with a dot or a wildcard, which
//! would reach another host's subject, cannot exist.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A name that breaks its rule.
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
            /// See `head`.
            #[cfg_attr(feature = "generate", schemars(skip))]
            head: u128,
        }

        impl $name {
            /// The rule that every value keeps.
            pub const RULE: &'static str = $rule;

            /// The name as text.
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
                (self.head.cmp(&other.head)).then_with(|| after_head(&self.text, &other.text))
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
                    Ok(Self { text: text.into(), head: head(text) })
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

/// How many of a name's first bytes are compared where the name stands. In a UUID they are its time and more.
const HEAD: usize = size_of::<u128>();

/// The first bytes of a name, in their order as a number. A swarm has a million names: to follow each one's pointer
/// was most of what finding one cost.
fn head(text: &str) -> u128 {
    let mut bytes = [0; HEAD];
    let length = text.len().min(HEAD);
    bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
    u128::from_be_bytes(bytes)
}

/// Compares what comes after two names' heads, which are equal, and so of the same length: a name has no zero bytes.
/// (Empty slices are never compared. They point nowhere, and from there AVX-512 takes a hundred times as long to read
/// nothing.)
fn after_head(one: &str, other: &str) -> Ordering {
    if one.len().max(other.len()) <= HEAD {
        return Ordering::Equal;
    }
    one.as_bytes()[HEAD..].cmp(&other.as_bytes()[HEAD..])
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

name! {
    /// `host_uuid`: one worker host. One NATS token.
    HostId, "host_uuid", "1 to 64 of A-Z a-z 0-9 _ -", "^[A-Za-z0-9_-]{1,64}$",
    |name| name.iter().all(|byte| word(*byte))
}

name! {
    /// `decky_id`: one decky on its host. Unique on that host, not in the swarm.
    DeckyId, "decky_id", "1 to 64 of A-Z a-z 0-9 _ . -, first a letter or digit",
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
    |name| name[0].is_ascii_alphanumeric() && name.iter().all(|byte| word(*byte) || *byte == b'.')
}

name! {
    /// A host's name, which operators use.
    HostName, "name", "1 to 64 of A-Z a-z 0-9 . _ -", "^[A-Za-z0-9._-]{1,64}$",
    |name| name.iter().all(|byte| word(*byte) || *byte == b'.')
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
    /// `operation_id`: a `UUIDv7` that the controller makes when it accepts, so ids sort by time.
    OperationId
}

id! {
    /// `boot_id`: a `UUIDv7` that an agent makes when it starts; a later boot sorts after an earlier one.
    BootId
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
    fn names_sort_as_their_bytes() {
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
    fn names_keep_their_rules() {
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
