//! Which of several journals a host's record is in, where its controllers share the hosts among several.

use std::fmt;

use uuid::Uuid;

use crate::types::ids::{HostId, HostName, OperationId};

/// One of the parts that a swarm's hosts are divided into, each with a journal and a leader of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

/// How many parts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(u8);

impl Partition {
    /// The one that there always is. Its leader answers what is about no host, merges the lists, and numbers the broadcasts.
    pub const FIRST: Self = Self(0);

    /// Its number, from 0.
    pub fn index(self) -> usize {
        self.0.into()
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartitionCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartitionCount {
    /// All hosts in one.
    pub const ONE: Self = Self(1);
    /// As many as a controller has permissions for.
    pub const MAX: Self = Self(8);

    /// So many; none if there can be no such number.
    pub fn new(count: u8) -> Option<Self> {
        (1..=Self::MAX.0).contains(&count).then_some(Self(count))
    }

    /// How many.
    pub fn count(self) -> usize {
        self.0.into()
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Partition> + Clone {
        (0..self.0).map(Partition)
    }

    /// The one with this number.
    pub fn partition(self, number: u8) -> Option<Partition> {
        (number < self.0).then_some(Partition(number))
    }

    /// Where a host's record is.
    pub fn partition_of_host(self, host: &HostId) -> Partition {
        self.partition_of_host_text(host.as_str())
    }

    /// The same, of what stands where a host is named: it need not be a valid one.
    pub fn partition_of_host_text(self, host: &str) -> Partition {
        self.partition_of_hash(fnv1a(host))
    }

    /// Where a host is put whose name alone is known.
    pub fn partition_of_name(self, name: &HostName) -> Partition {
        self.partition_of_hash(fnv1a(name.as_str()))
    }

    /// Where an operation's record is: with its host's.
    pub fn partition_of_operation(self, id: OperationId) -> Partition {
        // The last 32 bits.
        let [.., a, b, c, d] = id.0.into_bytes();
        self.partition_of_hash(u32::from_be_bytes([a, b, c, d]))
    }

    fn partition_of_hash(self, hash: u32) -> Partition {
        // Less than `self.0`, which is a `u8`.
        Partition((hash % u32::from(self.0)) as u8)
    }
}

impl OperationId {
    /// For an operation of a host, from a `UUIDv7` of the moment: so that its id alone says where its record is, however many
    /// partitions there are.
    #[must_use]
    pub fn new_for_host(fresh: Uuid, host: &HostId) -> Self {
        let mut bytes = fresh.into_bytes();
        // They are random; the time, the count within it and the version come before.
        bytes[12..].copy_from_slice(&fnv1a(host.as_str()).to_be_bytes());
        Self(Uuid::from_bytes(bytes))
    }
}

/// FNV-1a of 32 bits. NATS servers use it, too, where a subject mapping has `partition(n, token)`: so one could route what hosts
/// say without moving any host's record.
fn fnv1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{PartitionCount, fnv1a};
    use crate::{HostId, OperationId};

    #[test]
    fn the_hash_is_fnv_1a() {
        // From the specification's test vectors.
        assert_eq!(fnv1a(""), 0x811c_9dc5);
        assert_eq!(fnv1a("a"), 0xe40c_292c);
        assert_eq!(fnv1a("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn an_operation_is_where_its_host_is() {
        for number in 0..100 {
            let host: HostId = format!("worker-{number}").parse().expect("valid");
            let id = OperationId::new_for_host(Uuid::now_v7(), &host);
            assert_eq!(id.0.get_version_num(), 7);
            for count in 1..=8 {
                let partitions = PartitionCount::new(count).expect("valid");
                assert_eq!(
                    partitions.partition_of_operation(id),
                    partitions.partition_of_host(&host)
                );
            }
        }
    }

    #[test]
    fn hosts_are_spread_evenly() {
        for count in [2, 4, 8_u8] {
            let partitions = PartitionCount::new(count).expect("valid");
            let mut hosts = vec![0; count.into()];
            for number in 0..8000 {
                let host = format!("worker-{number:05}").parse().expect("valid");
                hosts[usize::from(partitions.partition_of_host(&host).0)] += 1;
            }
            let mean = 8000 / usize::from(count);
            for share in hosts {
                assert!(
                    share * 10 > mean * 9 && share * 10 < mean * 11,
                    "{share} of {mean}"
                );
            }
        }
    }
}
