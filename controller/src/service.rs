//! The Micro service (ADR-32) by which `nats micro` and others find the controller and read its counts.

use async_nats::Client;
use async_nats::service::{Service, ServiceExt};
use scuttle_schemas::subjects;

/// Starts the service, without endpoints.
///
/// # Errors
/// The connection is closed.
pub async fn start(client: &Client) -> Result<Service, async_nats::Error> {
    client
        .service_builder()
        .description("Takes down what runs on a swarm of hosts, and never loses track of it")
        .start(subjects::SERVICE_NAME, env!("CARGO_PKG_VERSION"))
        .await
}
