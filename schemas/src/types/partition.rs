//! Partitions: which partition owns a host, an operation or a name.

use std::fmt;

use uuid::Uuid;

use crate::types::ids::{HostId, HostName, OperationId};

/// One of the partitions among which the hosts of a swarm are divided. Each partition has its own
/// journal and leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

/// The number of partitions in a swarm, 1 to 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionCount(u8);

impl Partition {
    /// The first partition, which always exists. Its leader also merges lists and assigns the
    /// revisions of broadcasts.
    pub const FIRST: Self = Self(0);

    /// Returns the number of the partition, from 0.
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
    /// A single partition, which contains all hosts.
    pub const ONE: Self = Self(1);
    /// The maximum number of partitions. The permissions of a controller cover only this number.
    pub const MAX: Self = Self(8);

    /// Returns a count of 1 to 8 partitions, or `None` if `count` is outside this range.
    pub fn new(count: u8) -> Option<Self> {
        (1..=Self::MAX.0).contains(&count).then_some(Self(count))
    }

    /// Returns the count as a number.
    pub fn count(self) -> usize {
        self.0.into()
    }

    /// Iterates over all partitions.
    pub fn iter(self) -> impl Iterator<Item = Partition> + Clone {
        (0..self.0).map(Partition)
    }

    /// Returns the partition with this number (from 0), or `None` if the number is too high.
    pub fn partition(self, number: u8) -> Option<Partition> {
        (number < self.0).then_some(Partition(number))
    }

    /// Returns the partition that owns a host.
    pub fn partition_of_host(self, host: &HostId) -> Partition {
        self.partition_of_host_text(host.as_str())
    }

    /// Returns the partition that owns the host with this id. The text may be an invalid host id.
    pub fn partition_of_host_text(self, host: &str) -> Partition {
        self.partition_of_hash(fnv1a(host))
    }

    /// Returns the partition that enrolls a host with this name, if the host has no id yet.
    pub fn partition_of_name(self, name: &HostName) -> Partition {
        self.partition_of_hash(fnv1a(name.as_str()))
    }

    /// Returns the partition that owns an operation: the partition of the operation's host.
    pub fn partition_of_operation(self, id: OperationId) -> Partition {
        // See `OperationId::new_for_host`.
        let [.., a, b, c, d] = id.0.into_bytes();
        self.partition_of_hash(u32::from_be_bytes([a, b, c, d]))
    }

    fn partition_of_hash(self, hash: u32) -> Partition {
        // The remainder is less than `self.0`, which is a `u8`.
        Partition((hash % u32::from(self.0)) as u8)
    }
}

impl OperationId {
    /// Returns an id for an operation of a host, made from a new `UUIDv7`. The last 32 bits of the
    /// id are a hash of the host's id. So the operation's id determines its partition, for any
    /// number of partitions.
    #[must_use]
    pub fn new_for_host(uuid: Uuid, host: &HostId) -> Self {
        let mut bytes = uuid.into_bytes();
        // These bytes are random. The time, the counter and the version come before them.
        bytes[12..].copy_from_slice(&fnv1a(host.as_str()).to_be_bytes());
        Self(Uuid::from_bytes(bytes))
    }
}

/// Computes the 32-bit FNV-1a hash. NATS servers use the same hash for the subject mapping
/// `partition(n, token)`, so a server could route the reports of hosts by partition.
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
    fn the_hash_matches_the_test_vectors_of_fnv_1a() {
        assert_eq!(fnv1a(""), 0x811c_9dc5);
        assert_eq!(fnv1a("a"), 0xe40c_292c);
        assert_eq!(fnv1a("foobar"), 0xbf9c_f968);
    }

    #[test]
    fn an_operation_belongs_to_the_partition_of_its_host() {
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
    fn hosts_are_distributed_evenly_over_partitions() {
        for count in [2, 4, 8_u8] {
            let partitions = PartitionCount::new(count).expect("valid");
            let mut hosts = vec![0; count.into()];
            for number in 0..8000 {
                let host = format!("worker-{number:05}").parse().expect("valid");
                hosts[usize::from(partitions.partition_of_host(&host).0)] += 1;
            }
            let mean = 8000 / usize::from(count);
            for count in hosts {
                assert!(
                    count * 10 > mean * 9 && count * 10 < mean * 11,
                    "{count} hosts, mean {mean}"
                );
            }
        }
    }
}
