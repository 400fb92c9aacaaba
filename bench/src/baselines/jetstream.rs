//! An alternative that makes a request durable: publishes it to a file-based JetStream stream and
//! waits for the acknowledgement.
//!
//! The alternative is measured twice: on the shared server, which by default syncs within two
//! minutes after the acknowledgement, and on a server that syncs before each acknowledgement.

use anyhow::{Result, ensure};
use scuttle_tests::Client;
use serde_json::{Value, json};

use crate::environment::nats_server::{self, Server};
use crate::environment::shared::Environment;
use crate::load::spec::{LoadSpec, Pace, RequestKind, Targets};
use crate::report::samples::{Sample, Series};

pub(crate) const NAME: &str = "JetStream";
pub(crate) const SYNCED: &str = "JetStream, sync always";

/// The subject whose messages the stream stores.
const SUBJECT: &str = "bench.stored";

/// Creates the stream to which requests are published.
pub(crate) async fn create_stream(client: &Client) -> Result<()> {
    let stream = json!({
        "name": "bench", "subjects": [SUBJECT], "storage": "file", "retention": "limits", "num_replicas": 1
    });
    let payload = stream.to_string().into();
    let reply = client
        .nats()
        .request("$JS.API.STREAM.CREATE.bench", payload)
        .await?;
    let reply: Value = serde_json::from_slice(&reply.payload)?;
    ensure!(
        reply["error"].is_null(),
        "the stream cannot be created: {reply}"
    );
    Ok(())
}

/// Measures publishing to the stream on the shared server.
pub(crate) async fn measure(
    environment: &mut Environment,
    in_flight: u16,
    round: u32,
) -> Result<Sample> {
    let load = publish(environment, in_flight)?;
    let outcome = environment.generator.run(&load).await?;
    let series = Series::new(NAME, in_flight);
    Ok(Sample::from_load(series, round, &outcome))
}

/// Measures publishing on a new server, which syncs before each acknowledgement. The server is
/// stopped afterwards.
pub(crate) async fn measure_synced(
    environment: &mut Environment,
    in_flight: u16,
    round: u32,
) -> Result<Sample> {
    let dir = tempfile::tempdir_in(environment.dir())?;
    let server = Server::start(dir.path(), "nats", Some("always")).await?;
    create_stream(&nats_server::connect(&server.url).await?).await?;
    let mut load = publish(environment, in_flight)?;
    load.url.clone_from(&server.url);
    load.watch = vec![server.id()?];
    let outcome = environment.generator.run(&load).await?;
    let series = Series::new(SYNCED, in_flight);
    Ok(Sample::from_load(series, round, &outcome))
}

fn publish(environment: &Environment, in_flight: u16) -> Result<LoadSpec> {
    environment.load(
        RequestKind::Publish,
        SUBJECT,
        Targets::arbitrary(),
        Pace::InFlight(in_flight),
    )
}
