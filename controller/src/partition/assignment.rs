//! The part of the swarm that a leader is responsible for. Every leader receives every request and
//! report, and takes those that concern its hosts. So only two kinds of messages pass through a
//! second controller: lists, whose pages come from all leaders, and broadcasts, which the first
//! partition's leader numbers.

use std::path::{Path, PathBuf};

use async_nats::Subject;
use memchr::memmem;
use scuttle_core::Input;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{HostId, OperationId, Partition, PartitionCount};
use uuid::Uuid;

use crate::request::endpoint::Endpoint;

/// One partition, with the total number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionAssignment {
    pub partition: Partition,
    pub partitions: PartitionCount,
}

impl PartitionAssignment {
    /// The assignment of all hosts to a single partition.
    pub const WHOLE: Self = Self {
        partition: Partition::FIRST,
        partitions: PartitionCount::ONE,
    };

    pub fn is_one_of_several(self) -> bool {
        self.partitions != PartitionCount::ONE
    }

    /// Returns whether the partition's leader also takes requests that name no host, gathers the
    /// lists and numbers the broadcasts.
    pub fn is_first(self) -> bool {
        self.partition == Partition::FIRST
    }

    pub fn owns_host(self, host: &HostId) -> bool {
        !self.is_one_of_several() || self.partitions.partition_of_host(host) == self.partition
    }

    /// Returns whether the operation's host belongs to the partition.
    fn owns_operation(self, id: OperationId) -> bool {
        self.partitions.partition_of_operation(id) == self.partition
    }

    /// Returns whether the partition takes the messages that an agent sends on `subject`.
    pub fn owns_subject(self, channel: AgentChannel, subject: &str) -> bool {
        self.owns_subject_host(channel.host_token(subject))
    }

    /// Returns whether the partition takes the messages that an agent sends on a subject with the
    /// host token `host`. The first partition takes messages whose subject names no host.
    pub fn owns_subject_host(self, host: Option<&str>) -> bool {
        if !self.is_one_of_several() {
            return true;
        }
        host.map_or(self.is_first(), |host| {
            self.partitions.partition_of_host_text(host) == self.partition
        })
    }

    /// Returns whether the partition takes a teardown request, or `None` if only decoding the
    /// request can show that. Teardowns are the most frequent requests, and most belong to other
    /// partitions.
    pub fn owns_payload(self, payload: &[u8]) -> Option<bool> {
        let host = find_host(payload).filter(|_| self.is_one_of_several())?;
        Some(self.partitions.partition_of_host_text(host) == self.partition)
    }

    /// Returns whether the partition takes a decoded request.
    pub fn owns_input(self, input: &Input) -> bool {
        if !self.is_one_of_several() {
            return true;
        }
        match input {
            Input::Teardown(args) => self.owns_host(&args.request.host_uuid),
            Input::Decommission(request) => self.owns_host(&request.host_uuid),
            Input::Cancel(request) => self.owns_operation(request.operation_id),
            Input::Enroll { request, .. } => match &request.host_uuid {
                Some(host) => self.owns_host(host),
                None => self.partitions.partition_of_name(&request.name) == self.partition,
            },
            // Others came on a subject of this partition.
            _ => true,
        }
    }

    /// Returns a new id for a host of this partition.
    pub fn new_host_id(self) -> HostId {
        loop {
            let host = Uuid::now_v7().to_string();
            if self.partitions.partition_of_host_text(&host) == self.partition {
                return host.parse().expect("a UUID is a valid host_uuid");
            }
        }
    }

    /// Makes a list request linearizable if a stale page would do harm. The reply to a linearizable
    /// request waits for an append, which a deposed leader cannot make. A stale page does harm in
    /// two cases:
    ///
    /// - A page for the first partition's leader must contain all changes that were relayed before
    ///   the page was requested. Its revision would not show that changes are missing.
    /// - The record of a single host decides which host owns a name.
    #[must_use]
    pub fn make_linearizable(self, input: Input) -> Input {
        let stale_is_harmful = match &input {
            Input::HostsList(request) => !self.is_first() || request.host_uuid.is_some(),
            Input::ShardsList(_) | Input::OperationsList(_) => !self.is_first(),
            _ => false,
        };
        if stale_is_harmful && self.is_one_of_several() {
            Input::Linearizable(Box::new(input))
        } else {
            input
        }
    }

    /// Returns the directory of the partition's rows, within the controller's data directory.
    pub fn data_dir(self, data_dir: &Path) -> PathBuf {
        if self.is_one_of_several() {
            data_dir.join(format!("partition-{}", self.partition))
        } else {
            data_dir.to_owned()
        }
    }

    /// Returns the subject and the name under which the partition's leader serves an endpoint. If
    /// there are several partitions, the subjects for reads are separate for each partition,
    /// because the first partition's leader requests lists from each leader.
    pub fn endpoint_subject(self, endpoint: Endpoint) -> (String, String) {
        let (subject, name) = (endpoint.subject(), endpoint.name());
        if self.is_one_of_several() && endpoint.is_read() {
            let partition = self.partition;
            let name = format!("partition-{partition}-{name}");
            (
                subjects::partition_request_subject(partition, &subject),
                name,
            )
        } else {
            (subject, name.to_owned())
        }
    }

    /// Returns the subject on which the partition's leader publishes a message for `subject`. The
    /// first partition's leader numbers all broadcasts, so the other leaders publish theirs to it.
    pub fn publish_subject(self, subject: Subject) -> Subject {
        if self.is_first() || !subjects::BROADCASTS.contains(&subject.as_str()) {
            return subject;
        }
        subjects::relay_subject(Some(self.partition), &subject).into()
    }
}

/// Returns the host that a teardown request names, if the request has the usual JSON formatting.
/// All fields of a teardown request are strings, numbers and booleans, and within a JSON string
/// each quotation mark follows a backslash. So the first match is the field, or the request is
/// invalid.
fn find_host(payload: &[u8]) -> Option<&str> {
    const FIELD: &[u8] = b"\"host_uuid\":";
    let found = memmem::find(payload, FIELD)?;
    let value = payload[found + FIELD.len()..].trim_ascii_start();
    let text = value.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let host = std::str::from_utf8(&text[..end]).ok()?;
    // With escapes, the host could be spelled in another way.
    (!host.contains('\\')).then_some(host)
}

#[cfg(test)]
mod tests {
    use scuttle_core::Input;
    use scuttle_schemas::hosts::HostsListRequest;
    use scuttle_schemas::shards::ShardsListRequest;
    use scuttle_schemas::subjects::{self, AgentChannel::Results};
    use scuttle_schemas::{Partition, PartitionCount};

    use super::PartitionAssignment;
    use crate::request::endpoint::Endpoint;

    #[test]
    fn the_only_partition_serves_the_subjects_of_clients() {
        for endpoint in Endpoint::ALL {
            let served = (endpoint.subject(), endpoint.name().to_owned());
            assert_eq!(
                PartitionAssignment::WHOLE.endpoint_subject(endpoint),
                served
            );
        }
        assert_eq!(
            PartitionAssignment::WHOLE
                .publish_subject(subjects::SHARDS_UPDATED.into())
                .as_str(),
            subjects::SHARDS_UPDATED
        );
    }

    #[test]
    fn a_page_for_another_leader_is_linearizable() {
        let partitions = PartitionCount::new(2).expect("valid");
        let is_linearizable = |assignment: PartitionAssignment| {
            let list = Input::ShardsList(ShardsListRequest::default());
            matches!(assignment.make_linearizable(list), Input::Linearizable(_))
        };
        let is_linearizable = partitions.iter().map(|partition| {
            is_linearizable(PartitionAssignment {
                partition,
                partitions,
            })
        });
        assert_eq!(is_linearizable.collect::<Vec<_>>(), [false, true]);
        let partition = Partition::FIRST;
        let one_host = HostsListRequest {
            host_uuid: Some("a".parse().expect("valid")),
            ..HostsListRequest::default()
        };
        let for_one_host = PartitionAssignment {
            partition,
            partitions,
        }
        .make_linearizable(Input::HostsList(one_host));
        assert!(matches!(for_one_host, Input::Linearizable(_)));
        let list = Input::ShardsList(ShardsListRequest::default());
        assert!(matches!(
            PartitionAssignment::WHOLE.make_linearizable(list),
            Input::ShardsList(_)
        ));
    }

    #[test]
    fn the_host_of_a_teardown_is_found_without_decoding() {
        for (request, host) in [
            (r#"{"host_uuid":"a"}"#, Some("a")),
            (
                r#"{ "reason": "\"host_uuid\":\"b\"", "host_uuid": "a" }"#,
                Some("a"),
            ),
            (r#"{"host_uuid":"a","oops":1}"#, Some("a")),
            (r#"{"host_uuid" :"a"}"#, None),
            (r#"{"host_uuid":"\u0061"}"#, None),
            (r#"{"host_uuid":1}"#, None),
            (r#"{"host_uuid":"a"#, None),
            ("{}", None),
        ] {
            assert_eq!(super::find_host(request.as_bytes()), host, "{request}");
        }
    }

    #[test]
    fn exactly_one_partition_owns_each_host() {
        let partitions = PartitionCount::new(4).expect("valid");
        for number in 0..64 {
            let host = format!("worker-{number}").parse().expect("valid");
            let subject = Results.subject(&host);
            let takes = |partition| {
                PartitionAssignment {
                    partition,
                    partitions,
                }
                .owns_subject(Results, &subject)
            };
            assert_eq!(
                partitions.iter().filter(|one| takes(*one)).count(),
                1,
                "{subject}"
            );
        }
        // The first partition takes what names no host.
        let takes = |partition| {
            PartitionAssignment {
                partition,
                partitions,
            }
            .owns_subject(Results, "no.host")
        };
        assert_eq!(partitions.iter().filter(|one| takes(*one)).count(), 1);
    }
}
