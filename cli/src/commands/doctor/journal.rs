//! Checks the problems that controllers with `--store jetstream` report about their journals. A
//! halted controller replies to service discovery only, and its metadata says why.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use scuttle_schemas::{escape_hidden, subjects};
use serde::Deserialize;
use tokio::time::timeout;

use super::findings::Findings;
use crate::client::nats_client::Client;

const CHECK: &str = "journal";

/// The maximum time to wait for the next controller to reply.
const REPLY_TIMEOUT: Duration = Duration::from_millis(700);

/// The maximum time to wait for all controllers. It ends the check if a client sends replies
/// without end.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The fields of a NATS service's reply to `$SRV.PING` (NATS ADR-32) that the check uses.
#[derive(Deserialize)]
struct ServiceInfo {
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// Adds the problems that the controllers report about their journals. Skips the check if no
/// controller replies.
pub(super) async fn check_journal(client: &Client, findings: &mut Findings) {
    let services = ping_all(client).await;
    let values = |key: &str| -> BTreeSet<String> {
        let values = services.iter().filter_map(|info| info.metadata.get(key));
        values
            .map(|value| escape_hidden(value).into_owned())
            .collect()
    };
    let (halted, replicas) = (
        values(subjects::METADATA_HALTED),
        values(subjects::METADATA_REPLICAS),
    );
    if let Some(reason) = halted.first() {
        findings.fail(
            CHECK,
            1,
            format!("a controller has halted: {reason}"),
            "decide what the record is: restore the stream, or stop all controllers and run `scuttle-controller recover` on \
             the one with the newest rows (docs/operations.md)",
        );
    } else if services.is_empty() {
        findings.skip(&[CHECK], "no controller replies to service discovery");
    } else if let Some(difference) = replicas.first() {
        findings.warn(
            CHECK,
            difference.clone(),
            "change the number of replicas as described in docs/operations.md, or start the controllers with the present number",
        );
    } else {
        findings.ok(CHECK, "no controller reports a problem with its journal");
    }
}

/// Returns the replies of all controllers to service discovery.
async fn ping_all(client: &Client) -> Vec<ServiceInfo> {
    let mut services = Vec::new();
    let nats = client.nats();
    let inbox = nats.new_inbox();
    let ping = format!("$SRV.PING.{}", subjects::SERVICE_NAME);
    let Ok(mut replies) = nats.subscribe(inbox.clone()).await else {
        return services;
    };
    let sent = nats
        .publish_with_reply(ping, inbox, Vec::new().into())
        .await;
    let collecting = async {
        while sent.is_ok()
            && let Ok(Some(reply)) = timeout(REPLY_TIMEOUT, replies.next()).await
        {
            services.extend(serde_json::from_slice::<ServiceInfo>(&reply.payload));
        }
    };
    let _ = timeout(TOTAL_TIMEOUT, collecting).await;
    services
}
