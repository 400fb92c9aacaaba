//! Which part of the swarm's hosts a leader answers for. Each leader hears all that is asked and reported, and takes what is its
//! own: so nothing goes through a second controller but lists, whose pages come from all of them, and broadcasts, which one of
//! them numbers.

use std::path::{Path, PathBuf};

use async_nats::Subject;
use memchr::memmem;
use scuttle_core::Input;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{HostId, OperationId, Partition, PartitionCount};
use uuid::Uuid;

use crate::request::endpoint::{Endpoint, Rejected};
use crate::store::FILE_NAME;

/// One partition, of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionAssignment {
    /// Which.
    pub partition: Partition,
    /// Of how many.
    pub of: PartitionCount,
}

impl PartitionAssignment {
    /// All hosts.
    pub const WHOLE: Self = Self {
        partition: Partition::FIRST,
        of: PartitionCount::ONE,
    };

    /// Whether there are others.
    pub fn is_one_of_several(self) -> bool {
        self.of != PartitionCount::ONE
    }

    /// Whether its leader answers what is about no host, merges the lists and numbers the broadcasts.
    pub fn is_first(self) -> bool {
        self.partition == Partition::FIRST
    }

    /// Whether a host is one of its own.
    pub fn owns_host(self, host: &HostId) -> bool {
        !self.is_one_of_several() || self.of.partition_of_host(host) == self.partition
    }

    /// Whether an operation's host is.
    pub fn owns_operation(self, id: OperationId) -> bool {
        self.of.partition_of_operation(id) == self.partition
    }

    /// Whether it takes what an agent says on this subject, of which nothing else is read.
    pub fn owns_subject(self, channel: AgentChannel, subject: &str) -> bool {
        if !self.is_one_of_several() {
            return true;
        }
        let host = channel.host_token(subject);
        host.map_or(self.is_first(), |host| {
            self.of.partition_of_host_text(host) == self.partition
        })
    }

    /// Whether it answers a teardown request, as far as that can be told without reading it all: there are more of these than of
    /// any others, and most are another's.
    pub fn owns_payload(self, payload: &[u8]) -> Option<bool> {
        let host = named(payload).filter(|_| self.is_one_of_several())?;
        Some(self.of.partition_of_host_text(host) == self.partition)
    }

    /// An id for a host that is to be one of its own.
    pub fn new_host_id(self) -> HostId {
        loop {
            let host = Uuid::now_v7().to_string();
            if self.of.partition_of_host_text(&host) == self.partition {
                return host.parse().expect("a UUID is a valid host_uuid");
            }
        }
    }

    /// Whether it answers a request. One that cannot be read is about no host.
    pub fn owns_request(self, read: &Result<Input, Rejected>) -> bool {
        if !self.is_one_of_several() {
            return true;
        }
        match read {
            Ok(Input::Teardown { request, .. }) => self.owns_host(&request.host_uuid),
            Ok(Input::Decommission(request)) => self.owns_host(&request.host_uuid),
            Ok(Input::Cancel(request)) => self.owns_operation(request.operation_id),
            Ok(Input::Enroll { request, .. }) => match &request.host_uuid {
                Some(host) => self.owns_host(host),
                None => self.of.partition_of_name(&request.name) == self.partition,
            },
            // They came on a subject of its own.
            Ok(_) => true,
            Err(_) => self.is_first(),
        }
    }

    /// A request as it comes to the engine. A page for the first partition's leader is to contain all that was told on from here
    /// before it was asked for: it cannot show by a lower revision of its own that it does not. Nor may one host's record be
    /// old, by which it is decided whose a name is.
    #[must_use]
    pub fn make_linearizable(self, input: Input) -> Input {
        let old_is_harm = match &input {
            Input::HostsList(request) => !self.is_first() || request.host_uuid.is_some(),
            Input::ShardsList(_) | Input::OperationsList(_) => !self.is_first(),
            _ => false,
        };
        if old_is_harm && self.is_one_of_several() {
            Input::Linearizable(Box::new(input))
        } else {
            input
        }
    }

    /// Where its rows are, in a controller's data directory.
    pub fn data_dir(self, data_dir: &Path) -> PathBuf {
        if self.is_one_of_several() {
            data_dir.join(format!("partition-{}", self.partition))
        } else {
            data_dir.to_owned()
        }
    }

    /// Those of all partitions whose rows are in a controller's data directory, if there are several.
    pub fn find_data_dirs(data_dir: &Path) -> Vec<PathBuf> {
        let of = PartitionCount::MAX;
        let all = of.iter().map(|partition| Self { partition, of });
        let directories = all.map(|assignment| assignment.data_dir(data_dir));
        directories
            .filter(|path| path.join(FILE_NAME).is_file())
            .collect()
    }

    /// The subject and the name of an endpoint: what only reads is asked of each partition by its leader, where there are several.
    pub fn endpoint_subject(self, endpoint: Endpoint) -> (String, String) {
        let (subject, name) = (endpoint.subject(), endpoint.name());
        if self.is_one_of_several() && endpoint.reads() {
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

    /// Where it says what is to be said on `subject`: broadcasts are numbered by the first.
    pub fn publish_subject(self, subject: Subject) -> Subject {
        if self.is_first() || !subjects::BROADCASTS.contains(&subject.as_str()) {
            return subject;
        }
        subjects::relay_subject(Some(self.partition), &subject).into()
    }
}

/// The host that a teardown request names, if it is written as most programs do. All its fields are texts and numbers; and within
/// a text each quotation mark has a backslash before it. So this is the field, or the request is none.
fn named(payload: &[u8]) -> Option<&str> {
    const FIELD: &[u8] = b"\"host_uuid\":";
    let found = memmem::find(payload, FIELD)?;
    let value = payload[found + FIELD.len()..].trim_ascii_start();
    let text = value.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let host = std::str::from_utf8(&text[..end]).ok()?;
    // Some other way to write a letter.
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
    fn one_partition_serves_what_clients_ask() {
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
    fn a_page_for_another_leader_is_fenced() {
        let of = PartitionCount::new(2).expect("valid");
        let fences = |assignment: PartitionAssignment| {
            let list = Input::ShardsList(ShardsListRequest::default());
            matches!(assignment.make_linearizable(list), Input::Linearizable(_))
        };
        let fences = of
            .iter()
            .map(|partition| fences(PartitionAssignment { partition, of }));
        assert_eq!(fences.collect::<Vec<_>>(), [false, true]);
        let partition = Partition::FIRST;
        let one_host = HostsListRequest {
            host_uuid: Some("a".parse().expect("valid")),
            ..HostsListRequest::default()
        };
        let of_one_host =
            PartitionAssignment { partition, of }.make_linearizable(Input::HostsList(one_host));
        assert!(matches!(of_one_host, Input::Linearizable(_)));
        let list = Input::ShardsList(ShardsListRequest::default());
        assert!(matches!(
            PartitionAssignment::WHOLE.make_linearizable(list),
            Input::ShardsList(_)
        ));
    }

    #[test]
    fn a_host_is_found_where_it_is_named() {
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
            assert_eq!(super::named(request.as_bytes()), host, "{request}");
        }
    }

    #[test]
    fn one_of_several_takes_each_host() {
        let of = PartitionCount::new(4).expect("valid");
        for number in 0..64 {
            let host = format!("worker-{number}").parse().expect("valid");
            let subject = Results.subject(&host);
            let takes =
                |partition| PartitionAssignment { partition, of }.owns_subject(Results, &subject);
            assert_eq!(of.iter().filter(|one| takes(*one)).count(), 1, "{subject}");
        }
        // What names no host is the first's.
        let takes =
            |partition| PartitionAssignment { partition, of }.owns_subject(Results, "nobody's");
        assert_eq!(of.iter().filter(|one| takes(*one)).count(), 1);
    }
}
