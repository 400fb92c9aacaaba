//! Warns when the NATS servers that keep the journal acknowledge a write before it is on disk. The
//! query to the servers is in `scuttle_nats`.

use std::collections::BTreeSet;

use async_nats::Client;
use scuttle_schemas::{subjects, truncate_chars};
use tracing::{info, warn};

/// The maximum length of a logged server name, in characters.
const MAX_LOGGED_NAME: usize = 128;

/// Queries the NATS servers. Logs a warning for each server that can lose acknowledged writes,
/// unless `warned` contains the server's name, and adds the name to `warned`.
///
/// The query takes half a second, or two seconds if no server replies, so no other work should wait
/// for it.
pub async fn warn_if_not_durable(client: &Client, warned: &mut BTreeSet<String>) {
    let servers = scuttle_nats::server_sync::query_servers(client).await;
    if servers.is_empty() {
        info!(
            "no NATS server reports its sync_interval, so it is unknown whether a power cut could lose acknowledged writes: let \
             this user publish on {}, as nats.conf does",
            subjects::SERVER_INFO
        );
    }
    for server in servers {
        let name = truncate_chars(&server.name, MAX_LOGGED_NAME).into_owned();
        if let Some(interval) = server.loss_window()
            && warned.insert(name.clone())
        {
            warn!(
                "the NATS server {name} acknowledges before it fsyncs: a power cut can lose what was accepted in the last {} s; set \
                 `sync_interval: always` in the jetstream block of its configuration, and restart it",
                interval.as_secs()
            );
        }
    }
}
