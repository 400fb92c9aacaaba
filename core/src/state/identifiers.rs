//! The names and ids of the active hosts. An operator addresses a host by either of them, so no
//! name or id of one active host may be that of another one, even in another case.
//!
//! A record of an earlier version may break this rule. Such a record loads, and the rule applies to
//! the next name or id that a request gives.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::{ErrorCode, ErrorReply, HostId, HostName};

use crate::record::rows::HostRow;

/// The name and id of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostIdentity<'a> {
    /// The name.
    pub name: &'a HostName,
    /// The id.
    pub id: &'a HostId,
}

impl HostIdentity<'_> {
    /// Returns the keys of the name and the id, in ascending order and without duplicates.
    pub fn keys(self) -> BTreeSet<String> {
        BTreeSet::from([
            identifier_key(self.name.as_str()),
            identifier_key(self.id.as_str()),
        ])
    }

    /// Checks that no request can confuse this host with another active host.
    ///
    /// # Errors
    /// `bad_request` if the name or the id of this host equals the name or the id of the other one,
    /// except for case.
    pub fn check_distinct_from(self, other: HostIdentity<'_>) -> Result<(), ErrorReply> {
        let Self { name, id } = self;
        let same = |a: &str, b: &str| a.eq_ignore_ascii_case(b);
        let message = if same(name.as_str(), other.name.as_str()) {
            if name == other.name {
                format!("the name {name} belongs to {other}: choose another name")
            } else {
                format!(
                    "the name {name} differs only in case from that of {other}: choose another name"
                )
            }
        } else if same(name.as_str(), other.id.as_str()) {
            format!("the name {name} is the id of {other}: choose another name")
        } else if same(id.as_str(), other.name.as_str()) {
            format!("the id {id} is the name of {other}: choose another id")
        } else if id == other.id {
            format!("the id {id} belongs to {other}: choose another id")
        } else if same(id.as_str(), other.id.as_str()) {
            format!("the id {id} differs only in case from that of {other}: choose another id")
        } else {
            return Ok(());
        };
        Err(ErrorReply::new(ErrorCode::BadRequest, message))
    }
}

impl<'a> From<&'a HostRow> for HostIdentity<'a> {
    fn from(row: &'a HostRow) -> Self {
        Self {
            name: &row.name,
            id: &row.host,
        }
    }
}

impl<'a> From<&'a HostRecord> for HostIdentity<'a> {
    fn from(record: &'a HostRecord) -> Self {
        Self {
            name: &record.name,
            id: &record.host_uuid,
        }
    }
}

/// Prints the name, followed by the id if it differs from the name.
impl fmt::Display for HostIdentity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, id } = self;
        if name.as_str() == id.as_str() {
            write!(f, "host {name}")
        } else {
            write!(f, "host {name} ({id})")
        }
    }
}

/// Returns the key of a name or id. Names and ids that differ only in case have the same key.
pub fn identifier_key(name_or_id: &str) -> String {
    name_or_id.to_ascii_lowercase()
}

/// The ids of the active hosts, by the keys of their names and ids. A key leads to several hosts
/// only in a record of an earlier version.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Identifiers(BTreeMap<String, BTreeSet<HostId>>);

impl Identifiers {
    pub(crate) fn insert(&mut self, host: HostIdentity<'_>) {
        for key in host.keys() {
            self.0.entry(key).or_default().insert(host.id.clone());
        }
    }

    pub(crate) fn remove(&mut self, host: HostIdentity<'_>) {
        for key in host.keys() {
            if let Entry::Occupied(mut hosts) = self.0.entry(key) {
                hosts.get_mut().remove(host.id);
                if hosts.get().is_empty() {
                    hosts.remove();
                }
            }
        }
    }

    /// Returns the ids of the active hosts whose name or id has the same key as this name or id.
    pub(crate) fn find(&self, name_or_id: &str) -> impl Iterator<Item = &HostId> {
        self.0
            .get(&identifier_key(name_or_id))
            .into_iter()
            .flatten()
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::{HostId, HostName};

    use crate::state::identifiers::{HostIdentity, Identifiers};

    fn parse(name: &str, id: &str) -> (HostName, HostId) {
        (name.parse().expect("a name"), id.parse().expect("an id"))
    }

    #[test]
    fn a_name_or_id_of_one_host_is_neither_name_nor_id_of_another() {
        let existing = parse("worker-a", "0197");
        let check = |name: &str, id: &str| {
            let new = parse(name, id);
            let (new, other) = (&new, &existing);
            let new = HostIdentity {
                name: &new.0,
                id: &new.1,
            };
            let other = HostIdentity {
                name: &other.0,
                id: &other.1,
            };
            new.check_distinct_from(other)
                .map_err(|error| error.message)
        };
        assert_eq!(check("w8", "w8"), Ok(()));
        for (name, id, start) in [
            ("worker-a", "w8", "the name worker-a belongs to"),
            (
                "Worker-A",
                "w8",
                "the name Worker-A differs only in case from that of",
            ),
            ("0197", "w8", "the name 0197 is the id of"),
            ("w8", "worker-a", "the id worker-a is the name of"),
            ("w8", "WORKER-A", "the id WORKER-A is the name of"),
            ("w8", "0197", "the id 0197 belongs to"),
        ] {
            let error = check(name, id).expect_err("in use");
            let expected = format!("{start} host worker-a (0197): ");
            assert!(error.starts_with(&expected), "{error}");
        }
    }

    #[test]
    fn the_index_finds_every_host_with_an_identifier_until_the_host_is_removed() {
        let (a, b) = (parse("worker-a", "0197"), parse("w8", "Worker-A"));
        let mut index = Identifiers::default();
        for (name, id) in [&a, &b] {
            index.insert(HostIdentity { name, id });
        }
        assert_eq!(index.find("WORKER-A").collect::<Vec<_>>(), [&a.1, &b.1]);
        index.remove(HostIdentity {
            name: &a.0,
            id: &a.1,
        });
        assert_eq!(index.find("worker-a").collect::<Vec<_>>(), [&b.1]);
        index.remove(HostIdentity {
            name: &b.0,
            id: &b.1,
        });
        assert_eq!(index, Identifiers::default());
    }
}
