//! Checks whether `JetStream` fsyncs messages before it acknowledges them. If not, a power cut can
//! lose operations that were accepted by a controller with its journal in `JetStream`.
//! `scuttle_nats` queries the servers. Also finds out whether too few servers are running.

use scuttle_nats::server_sync::Server;
use scuttle_schemas::subjects;

use super::findings::Findings;
use crate::client::nats_client::{Client, wait_until_denied};
use crate::output::style;

const CHECK: &str = "durability";

/// Queries each server for its storage settings. Returns `None` if the login does not allow the
/// query.
pub(super) async fn query_servers(client: &Client) -> Option<Vec<Server>> {
    let events = client.events();
    tokio::select! {
        servers = scuttle_nats::server_sync::query_servers(client.nats()) => Some(servers),
        () = wait_until_denied(events, subjects::SERVER_INFO) => None,
    }
}

/// Describes the missing majority if at most half of the servers of a `JetStream` cluster reply.
/// Controllers with `--store jetstream` then cannot serve.
pub(super) fn describe_missing_majority(servers: &[Server]) -> Option<String> {
    let size = servers.iter().filter_map(|one| one.cluster_size).max()?;
    let replying: Vec<_> = (servers.iter())
        .filter(|one| one.cluster_size.is_some())
        .collect();
    (replying.len() * 2 <= size).then(|| {
        format!(
            "only {} of the {size} servers of the JetStream cluster {} ({}), which is not a majority",
            replying.len(),
            if replying.len() == 1 {
                "replies"
            } else {
                "reply"
            },
            join_names(&replying)
        )
    })
}

/// Adds the result of [`query_servers`] to `findings`. Skips the check if the login does not allow
/// the query, or if no server replies.
pub(super) fn check_durability(
    servers: Option<&[Server]>,
    client: &Client,
    findings: &mut Findings,
) {
    let Some(servers) = servers else {
        let reason = format!(
            "{} may not ask the servers how they store data; operators may, with the current nats.conf or `scuttle init`",
            client.user()
        );
        return findings.skip(&[CHECK], &reason);
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

#[cfg(test)]
mod tests {
    use scuttle_nats::server_sync::Server;

    use super::describe_missing_majority;

    fn describe(count: usize, cluster_size: Option<usize>) -> Option<String> {
        let server = |number| Server {
            name: format!("nats-{number}"),
            version: "2.15.1".to_owned(),
            sync_interval: None,
            cluster_size,
        };
        let servers: Vec<_> = (1..=count).map(server).collect();
        describe_missing_majority(&servers)
    }

    #[test]
    fn half_of_the_servers_of_a_cluster_are_not_a_majority() {
        assert_eq!(
            describe(1, Some(3)).as_deref(),
            Some(
                "only 1 of the 3 servers of the JetStream cluster replies (nats-1), which is not a majority"
            )
        );
        assert!(describe(2, Some(4)).is_some());
        assert_eq!(describe(2, Some(3)), None);
        assert_eq!(describe(1, None), None);
        assert_eq!(describe(0, None), None);
    }
}
