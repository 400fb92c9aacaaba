//! Checks that the names and ids of active hosts are distinct.

use std::collections::BTreeMap;

use scuttle_schemas::hosts::HostStatus;

use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{DISTINCT_HOSTS, Violation};

impl PartitionOracle {
    /// Checks that no name or id of an active host is the name or id of another active host, in any
    /// case.
    pub(crate) fn check_distinct_hosts(&self) -> Result<(), Violation> {
        let mut owners = BTreeMap::new();
        let hosts = self.record.hosts.values();
        for row in hosts.filter(|row| row.status != HostStatus::Decommissioned) {
            for text in [row.name.as_str(), row.host.as_str()] {
                let key = text.to_ascii_lowercase();
                let owner = owners.insert(key, &row.host);
                if let Some(owner) = owner.filter(|owner| **owner != row.host) {
                    let details = format!("{text} leads to host {owner} and host {}", row.host);
                    return Err(Violation::new(DISTINCT_HOSTS, details));
                }
            }
        }
        Ok(())
    }
}
