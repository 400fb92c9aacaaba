//! What one would take instead to make a request durable: `JetStream`, publish and acknowledgement, in a file.
//!
//! The same server as all else has, with its default: what is acknowledged is synced within two minutes. And a second server that
//! syncs before each acknowledgement.

use anyhow::{Result, ensure};
use scuttle_tests::Client;
use serde_json::{Value, json};

use crate::load::{Pace, Targets, What};
use crate::samples::Sample;
use crate::server::{self, Server};
use crate::stage::Stage;

pub(crate) const NAME: &str = "JetStream";
pub(crate) const SYNCED: &str = "JetStream, sync always";

/// What the stream stores.
const SUBJECT: &str = "bench.stored";

/// Makes the stream that is asked for its acknowledgements.
pub(crate) async fn make_stream(client: &Client) -> Result<()> {
    let stream = json!({
        "name": "bench", "subjects": [SUBJECT], "storage": "file", "retention": "limits", "num_replicas": 1
    });
    let payload = stream.to_string().into();
    let answer = client
        .nats()
        .request("$JS.API.STREAM.CREATE.bench", payload)
        .await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    ensure!(answer["error"].is_null(), "no stream can be made: {answer}");
    Ok(())
}

/// Publishes on the server that all share.
pub(crate) async fn ask(stage: &mut Stage, in_flight: u16, round: u32) -> Result<Sample> {
    let order = stage.order(
        What::Stored,
        SUBJECT,
        Targets::any(),
        Pace::InFlight(in_flight),
    )?;
    let load = stage.generator.carry_out(&order).await?;
    Ok(Sample::of(NAME, in_flight, round, &load))
}

/// Publishes on a server of its own, which syncs always; it runs no longer than that.
pub(crate) async fn ask_synced(stage: &mut Stage, in_flight: u16, round: u32) -> Result<Sample> {
    let dir = tempfile::tempdir_in(stage.dir())?;
    let server = Server::start(dir.path(), "nats", Some("always")).await?;
    make_stream(&server::connect(&server.url).await?).await?;
    let mut order = stage.order(
        What::Stored,
        SUBJECT,
        Targets::any(),
        Pace::InFlight(in_flight),
    )?;
    order.url.clone_from(&server.url);
    order.watch = vec![server.id()?];
    let load = stage.generator.carry_out(&order).await?;
    Ok(Sample::of(SYNCED, in_flight, round, &load))
}
