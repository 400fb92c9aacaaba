//! The controller's NATS service, as specified by ADR-32 of the NATS project. `nats micro` and
//! similar tools use the service to find the controller and to read its request counts.

use std::sync::Arc;

use async_nats::Client;
use async_nats::service::{Service, ServiceExt};
use scuttle_schemas::subjects;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::observability::counters::{Counters, Source};
use crate::request::endpoint::Endpoint;
use crate::wire_name::wire_name;

/// Starts the service without endpoints. The caller adds them to the returned service.
pub async fn start(
    client: &Client,
    counters: &Arc<Counters>,
) -> Result<Service, async_nats::Error> {
    let counters = counters.clone();
    client
        .service_builder()
        // Unique: a leader that is suspended or cut off stays subscribed until the server misses
        // it, and in one queue group with the next leader it would receive half of that leader's
        // requests.
        .queue_group(Uuid::now_v7())
        .stats_handler(move |name, _| stats_data(&counters, &name))
        .description("Tears down deckies on a swarm of hosts, and never loses track of a teardown")
        .start(subjects::SERVICE_NAME, env!("CARGO_PKG_VERSION"))
        .await
}

/// Returns the `data` of the endpoint `name` for the reply to `$SRV.STATS`: the counts of accepted,
/// rejected and ignored requests since the start. Returns `null` if there is no such endpoint.
fn stats_data(counters: &Counters, name: &str) -> Value {
    let mut endpoints = Endpoint::ALL.into_iter();
    let Some(endpoint) = endpoints.find(|endpoint| endpoint.name() == name) else {
        return Value::Null;
    };
    let rejections = counters.rejections(endpoint);
    let refused: Map<String, Value> = rejections
        .filter(|(_, count)| *count > 0)
        .map(|(code, count)| (wire_name(code), count.into()))
        .collect();
    let this_source = Source::Endpoint(endpoint);
    let ignored = counters.ignored();
    let ignored: Map<String, Value> = ignored
        .filter(|(source, _, _)| *source == this_source)
        .map(|(_, cause, count)| (cause.label().to_owned(), count.into()))
        .collect();
    json!({ "granted": counters.granted(endpoint), "refused": refused, "ignored": ignored })
}
