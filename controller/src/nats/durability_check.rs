//! Whether the NATS servers have on disk what they acknowledge: what a controller whose journal is there says when they have not.
//! How it is found out is `scuttle_nats`'s.

use std::collections::BTreeSet;

use async_nats::Client;
use scuttle_schemas::{subjects, truncate_chars};
use tracing::{info, warn};

/// The most characters of a server's name that are logged.
const MAX_NAME: usize = 128;

/// Asks the servers, and warns of each that is not in `told` yet. It takes half a second, or two when nobody answers: nothing
/// should wait for it.
pub async fn look(client: &Client, told: &mut BTreeSet<String>) {
    let servers = scuttle_nats::query_servers(client).await;
    if servers.is_empty() {
        info!(
            "no NATS server says how it stores, so it is not known whether a power cut could take what it has acknowledged: let \
             this user publish on {}, as nats.conf does",
            subjects::SERVER_INFO
        );
    }
    for server in servers {
        let name = truncate_chars(&server.name, MAX_NAME).replace(char::is_control, " ");
        if let Some(interval) = server.loss_window()
            && told.insert(name.clone())
        {
            warn!(
                "the NATS server {name} acknowledges before it fsyncs: a power cut can take what was accepted in the last {} s; set \
                 `sync_interval: always` in the jetstream block of its configuration, and restart it",
                interval.as_secs()
            );
        }
    }
}
