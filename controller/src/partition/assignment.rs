//! The part of the swarm that a leader is responsible for.
//!
//! Every leader receives every report and every request for a change, and processes only those for
//! its hosts. Only two kinds of messages pass through a second leader: replies to reads, which the
//! first partition's leader gathers, and broadcasts, whose revisions it assigns.

use std::path::{Path, PathBuf};

use async_nats::Subject;
use memchr::memmem;
use scuttle_core::Input;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{HostId, OperationId, Partition, PartitionCount};
use uuid::Uuid;

use crate::request::endpoint::Endpoint;

/// One partition, together with the total number of partitions.
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

    /// Returns whether this is the first partition. The leader of the first partition also rejects
    /// undecodable requests that name no host, gathers the lists, and assigns the revisions of the
    /// broadcasts.
    pub fn is_first(self) -> bool {
        self.partition == Partition::FIRST
    }

    pub fn owns_host(self, host: &HostId) -> bool {
        !self.is_one_of_several() || self.partitions.partition_of_host(host) == self.partition
    }

    /// Returns whether the operation's id maps to this partition.
    fn owns_operation(self, id: OperationId) -> bool {
        self.partitions.partition_of_operation(id) == self.partition
    }

    /// Returns whether the partition takes the messages that an agent sends on `subject`.
    pub fn owns_subject(self, channel: AgentChannel, subject: &str) -> bool {
        self.owns_subject_host(channel.host_token(subject))
    }

    /// Returns whether the partition takes the messages that an agent sends on a subject that
    /// contains the host id `host`. If the subject contains none, the first partition takes the
    /// message.
    pub fn owns_subject_host(self, host: Option<&str>) -> bool {
        if !self.is_one_of_several() {
            return true;
        }
        host.map_or(self.is_first(), |host| {
            self.partitions.partition_of_host_text(host) == self.partition
        })
    }

    /// Returns whether the partition takes a teardown request, by looking at its encoded payload.
    /// Returns `None` if the request must be decoded first, or if there is only one partition. The
    /// check saves time, because teardowns are the most frequent requests, and most belong to other
    /// partitions.
    pub fn owns_payload(self, payload: &[u8]) -> Option<bool> {
        let host = find_host(payload).filter(|_| self.is_one_of_several())?;
        Some(self.partitions.partition_of_host_text(host) == self.partition)
    }

    /// Returns whether the partition takes a decoded request or report.
    pub fn owns_input(self, input: &Input) -> bool {
        if !self.is_one_of_several() {
            return true;
        }
        match input {
            Input::Teardown(args) => self.owns_host(&args.request.host_uuid),
            Input::UpdateHost(request) => self.owns_host(&request.host_uuid),
            Input::Decommission(request) => self.owns_host(&request.host_uuid),
            Input::Protect(request) => self.owns_host(&request.host_uuid),
            Input::Cancel(request) => self.owns_operation(request.operation_id),
            Input::Enroll { request, .. } => match &request.host_uuid {
                Some(host) => self.owns_host(host),
                None => self.partitions.partition_of_name(&request.name) == self.partition,
            },
            // Others came on a subject of this partition.
            _ => true,
        }
    }

    /// Generates an id that maps to this partition, for a new host.
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
    /// - The page is requested by the first partition's leader. It must contain all changes that
    ///   were relayed before the request, because the revision of the merged list would not show
    ///   that changes are missing.
    /// - The request is for a single host. The host's record determines which host owns a name.
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

    /// Returns the directory for the partition's rows. It is `data_dir` itself if there is only one
    /// partition, otherwise a directory within it.
    pub fn data_dir(self, data_dir: &Path) -> PathBuf {
        if self.is_one_of_several() {
            data_dir.join(format!("partition-{}", self.partition))
        } else {
            data_dir.to_owned()
        }
    }

    /// Returns the subject and the name under which the partition's leader serves an endpoint.
    ///
    /// With several partitions, each leader serves reads on a separate subject, because the first
    /// partition's leader requests a page from each of them.
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
    /// leaders of other partitions send their broadcasts to the first partition's leader, which
    /// assigns the revisions. All other messages are published on `subject`.
    pub fn publish_subject(self, subject: Subject) -> Subject {
        if self.is_first() || !subjects::BROADCASTS.contains(&subject.as_str()) {
            return subject;
        }
        subjects::relay_subject(Some(self.partition), &subject).into()
    }
}

/// Returns the host that the payload of a teardown request names. Returns `None` if no host is
/// found, for example because of unusual JSON formatting or escapes.
///
/// The first match is the field `host_uuid`, unless the request is invalid: all fields of a
/// teardown request are strings, numbers and booleans, and a quotation mark within a JSON string
/// follows a backslash.
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
