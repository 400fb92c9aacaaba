//! Checks whether `JetStream` fsyncs messages before it acknowledges them. If not, a power cut can
//! lose operations that were accepted by a controller with its journal in `JetStream`.
//! `scuttle_nats` queries the servers.

use scuttle_nats::server_sync::Server;
use scuttle_schemas::subjects;

use super::findings::Findings;
use crate::client::nats_client::{Client, wait_until_denied};
use crate::output::style;

const CHECK: &str = "durability";

/// Queries each server for its storage settings, and adds the result to `findings`. Skips the check
/// if the login does not allow the query, or if no server replies.
pub(super) async fn check_durability(client: &Client, findings: &mut Findings) {
    let events = client.events();
    let servers = tokio::select! {
        servers = scuttle_nats::server_sync::query_servers(client.nats()) => servers,
        () = wait_until_denied(events, subjects::SERVER_INFO) => {
            let reason = format!(
                "{} may not ask the servers how they store data; operators may, with the current nats.conf or `scuttle init`",
                client.user()
            );
            return findings.skip(&[CHECK], &reason);
        }
    };
    let unsafe_servers: Vec<_> = (servers.iter())
        .filter(|server| server.loss_window().is_some())
        .collect();
    let Some(longest) = servers.iter().filter_map(Server::loss_window).max() else {
        let has_jetstream = |server: &&Server| server.sync_interval.is_some();
        let storing: Vec<_> = servers.iter().filter(has_jetstream).collect();
        return match (servers.is_empty(), storing.is_empty()) {
            (true, _) => findings.skip(&[CHECK], "no server reports how it stores data"),
            (false, true) => findings.ok(
                CHECK,
                "JetStream is disabled; only --store jetstream needs it",
            ),
            (false, false) => {
                let names = join_names(&storing);
                let found = format!("JetStream fsyncs before it acknowledges: {names}");
                findings.ok(CHECK, found);
            }
        };
    };
    let found = format!(
        "JetStream acknowledges before it fsyncs, on {}: with --store jetstream, a power cut can lose operations accepted in the last {}",
        join_names(&unsafe_servers),
        style::format_duration(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX)),
    );
    findings.warn(
        CHECK,
        found,
        "set `sync_interval: always` in the jetstream block of each server, as in nats.conf, and restart the servers one at a \
         time; a controller that stores in its data directory does not need this",
    );
}

fn join_names(servers: &[&Server]) -> String {
    let names = servers.iter().map(|server| server.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}
