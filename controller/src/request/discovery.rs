//! Service discovery (ADR-32 of the NATS project): `nats micro` and similar tools find the
//! controller and read its request counts. The statistics cover the time since the process started.
//!
//! The controller replies to these requests itself, because the service of the client library ends
//! when a single reply cannot be sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_nats::Message;
use scuttle_schemas::subjects::{
    DiscoveryVerb, METADATA_HALTED, METADATA_PARTITION, METADATA_REPLICAS, METADATA_REQUESTER,
    SERVICE_NAME,
};
use scuttle_schemas::{Partition, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::clock;
use crate::nats::receivers::{Group, GroupSubscriptions, Messages};
use crate::nats::replicas::ReplicaDifference;
use crate::observability::counters::{Counters, Source};
use crate::outbound::replier::Replier;
use crate::request::decode::parse_requester;
use crate::request::endpoint::Endpoint;
use crate::wire_name::wire_name;

const DESCRIPTION: &str =
    "Tears down deckies on a swarm of hosts, and never loses track of a teardown";

/// The metadata of the service, which `scuttle doctor` reads. The keys are in
/// `scuttle_schemas::subjects`.
pub type Metadata = BTreeMap<&'static str, String>;

/// Returns the metadata of a controller that has halted a partition for this reason.
pub fn halted_metadata(partition: Partition, reason: &str) -> Metadata {
    Metadata::from([
        (METADATA_HALTED, reason.to_owned()),
        (METADATA_PARTITION, partition.to_string()),
    ])
}

/// Returns the service metadata in which a leader reports the differences that it found.
pub fn replicas_metadata(differences: &[ReplicaDifference]) -> Metadata {
    let texts = differences.iter().map(ToString::to_string);
    let text = texts.collect::<Vec<_>>().join("; ");
    let metadata = Some((METADATA_REPLICAS, text));
    let metadata = metadata.into_iter().filter(|(_, text)| !text.is_empty());
    metadata.collect()
}

/// The service as one controller offers it.
#[derive(Debug)]
pub struct Service {
    id: String,
    started: Timestamp,
    endpoints: Vec<Served>,
    counters: Arc<Counters>,
    metadata: Metadata,
}

/// An endpoint with the subject on which this leader serves it.
#[derive(Debug)]
struct Served {
    endpoint: Endpoint,
    name: String,
    subject: String,
}

/// The fields that all replies have.
#[derive(Serialize)]
struct Head<'s> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    id: &'s str,
    version: &'static str,
    metadata: &'s Metadata,
}

#[derive(Serialize)]
struct Info<'s> {
    #[serde(flatten)]
    head: Head<'s>,
    description: &'static str,
    endpoints: Vec<EndpointInfo<'s>>,
}

#[derive(Serialize)]
struct Stats<'s> {
    #[serde(flatten)]
    head: Head<'s>,
    started: Timestamp,
    endpoints: Vec<EndpointStats<'s>>,
}

#[derive(Serialize)]
struct EndpointInfo<'s> {
    name: &'s str,
    subject: &'s str,
    /// Always empty, because no queue group is used. A leader that is suspended or disconnected
    /// stays subscribed until the server notices. In a queue group, it would receive a share of the
    /// next leader's requests until then.
    queue_group: &'static str,
    metadata: Map<String, Value>,
}

#[derive(Serialize)]
struct EndpointStats<'s> {
    name: &'s str,
    subject: &'s str,
    queue_group: &'static str,
    num_requests: u64,
    num_errors: u64,
    last_error: String,
    /// In nanoseconds, from the arrival of each request until its reply is sent.
    processing_time: u64,
    average_processing_time: u64,
    data: Value,
}

impl Service {
    /// Creates the service of the instance with this id.
    pub fn new(id: Uuid, counters: Arc<Counters>, metadata: Metadata) -> Self {
        Self {
            id: id.to_string(),
            started: clock::now(),
            endpoints: Vec::new(),
            counters,
            metadata,
        }
    }

    /// Lists an endpoint, which is served on `subject` under the name `name`.
    pub fn add(&mut self, endpoint: Endpoint, name: String, subject: String) {
        self.endpoints.push(Served {
            endpoint,
            name,
            subject,
        });
    }

    /// Subscribes to the subjects of service discovery.
    pub fn subscribe(&self, subscriptions: &mut GroupSubscriptions) -> Messages {
        let subjects = DiscoveryVerb::ALL.map(|verb| verb.subjects(&self.id));
        subscriptions.add(Group::Reads, subjects.into_iter().flatten())
    }

    /// Replies to requests until the subscription ends.
    pub async fn serve(self, mut requests: Messages, mut replier: Replier) {
        while let Some(delivery) = requests.recv().await {
            let request = delivery.message;
            let metadata = self.metadata_for(&request);
            match DiscoveryVerb::parse(&request.subject) {
                Some(verb @ DiscoveryVerb::Ping) => {
                    replier
                        .respond_to_discovery(&request, &self.head(verb, &metadata))
                        .await;
                }
                Some(verb @ DiscoveryVerb::Info) => {
                    replier
                        .respond_to_discovery(&request, &self.info(verb, &metadata))
                        .await;
                }
                Some(verb @ DiscoveryVerb::Stats) => {
                    replier
                        .respond_to_discovery(&request, &self.stats(verb, &metadata))
                        .await;
                }
                None => {}
            }
        }
    }

    /// Returns the metadata, including the name that the controller records as this request's
    /// requester.
    fn metadata_for(&self, request: &Message) -> Metadata {
        let mut metadata = self.metadata.clone();
        if let Ok(requester) = parse_requester(request, false) {
            metadata.insert(METADATA_REQUESTER, requester);
        }
        metadata
    }

    fn head<'s>(&'s self, verb: DiscoveryVerb, metadata: &'s Metadata) -> Head<'s> {
        Head {
            kind: verb.reply_type(),
            name: SERVICE_NAME,
            id: &self.id,
            version: env!("CARGO_PKG_VERSION"),
            metadata,
        }
    }

    fn info<'s>(&'s self, verb: DiscoveryVerb, metadata: &'s Metadata) -> Info<'s> {
        let endpoints = self.endpoints.iter().map(|served| EndpointInfo {
            name: &served.name,
            subject: &served.subject,
            queue_group: "",
            metadata: Map::new(),
        });
        Info {
            head: self.head(verb, metadata),
            description: DESCRIPTION,
            endpoints: endpoints.collect(),
        }
    }

    fn stats<'s>(&'s self, verb: DiscoveryVerb, metadata: &'s Metadata) -> Stats<'s> {
        let endpoints = self.endpoints.iter();
        let endpoints = endpoints.map(|served| self.endpoint_stats(served));
        Stats {
            head: self.head(verb, metadata),
            started: self.started,
            endpoints: endpoints.collect(),
        }
    }

    fn endpoint_stats<'s>(&self, served: &'s Served) -> EndpointStats<'s> {
        let (counters, endpoint) = (&self.counters, served.endpoint);
        let requests = counters.replies_to(endpoint);
        let refused = counters.rejections(endpoint);
        let refused: Vec<_> = refused.filter(|(_, count)| *count > 0).collect();
        let source = Source::Endpoint(endpoint);
        let ignored = counters.ignored();
        let ignored: Map<String, Value> = ignored
            .filter(|(from, _, _)| *from == source)
            .map(|(_, cause, count)| (cause.label().to_owned(), count.into()))
            .collect();
        let processing_time = counters.service.processing_nanos(endpoint);
        EndpointStats {
            name: &served.name,
            subject: &served.subject,
            queue_group: "",
            num_requests: requests,
            num_errors: refused.iter().map(|(_, count)| count).sum(),
            last_error: counters.service.last_error(endpoint),
            processing_time,
            average_processing_time: processing_time.checked_div(requests).unwrap_or(0),
            data: serde_json::json!({
                "granted": counters.granted(endpoint),
                "refused": refused
                    .into_iter()
                    .map(|(code, count)| (wire_name(code), count.into()))
                    .collect::<Map<_, _>>(),
                "ignored": ignored,
            }),
        }
    }
}
