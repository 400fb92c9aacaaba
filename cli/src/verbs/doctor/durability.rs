//! Whether `JetStream` has on disk what it acknowledges: a controller's journal may be there. How it is found out is `scuttle_nats`'s.

use scuttle_nats::Server;
use scuttle_schemas::subjects;

use super::Findings;
use crate::ask::{Bus, denied};
use crate::look::{self, plain};

const CHECK: &str = "durability";

/// Asks each server; a login that may not ask learns nothing.
pub(super) async fn check(bus: &Bus, findings: &mut Findings) {
    let signs = bus.signs();
    let servers = tokio::select! {
        servers = scuttle_nats::query_servers(bus.client()) => servers,
        () = denied(signs, subjects::SERVER_INFO) => {
            let why = format!(
                "{} may not ask the servers how they store: operators may, of nats.conf or of a bus directory as `scuttle init` makes it now",
                plain(bus.user())
            );
            return findings.skip(&[CHECK], &why);
        }
    };
    let late: Vec<_> = (servers.iter())
        .filter(|server| server.loss_window().is_some())
        .collect();
    let Some(longest) = late.iter().filter_map(|server| server.loss_window()).max() else {
        let stores = |server: &&Server| server.sync_interval.is_some();
        let storing: Vec<_> = servers.iter().filter(stores).collect();
        return match (servers.is_empty(), storing.is_empty()) {
            (true, _) => findings.skip(&[CHECK], "no server says how it stores"),
            (false, true) => findings.ok(CHECK, "JetStream is off: --store jetstream needs it"),
            (false, false) => {
                let found = format!(
                    "JetStream fsyncs before it acknowledges: {}",
                    names(&storing)
                );
                findings.ok(CHECK, found);
            }
        };
    };
    let found = format!(
        "JetStream acknowledges before it fsyncs, on {}: with --store jetstream a power cut can take what was accepted in the last {}",
        names(&late),
        look::took(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX)),
    );
    findings.warn(
        CHECK,
        found,
        "set `sync_interval: always` in the jetstream block of each, as nats.conf does, and restart one after another; a controller \
         that stores in its own data directory does not need it",
    );
}

fn names(servers: &[&Server]) -> String {
    let names: Vec<_> = servers.iter().map(|server| plain(&server.name)).collect();
    names.join(", ")
}
