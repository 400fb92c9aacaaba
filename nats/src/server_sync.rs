//! Finds out which NATS servers reply, how many belong to the `JetStream` cluster, and when each
//! syncs the data of `JetStream` to disk.

use std::time::Duration;

use async_nats::{Client, StatusCode};
use futures_util::StreamExt;
use scuttle_schemas::subjects;
use serde::Deserialize;
use tokio::time::timeout;

/// The maximum time to wait for the first reply.
const FIRST_REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum time to wait for each further reply. The number of servers is unknown, so the query
/// ends when no reply arrives within this time.
const NEXT_REPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// The maximum number of servers in a result. A cluster with `JetStream` has three or five servers,
/// plus at most a few dozen others.
const MAX_SERVERS: usize = 256;

/// A NATS server, as described in its reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The configured name of the server, or its id if no name is configured.
    pub name: String,
    pub version: String,
    /// When the server syncs the data of `JetStream` to disk. `None` if `JetStream` is disabled.
    pub sync_interval: Option<SyncInterval>,
    /// The number of servers in the server's `JetStream` cluster, including those that are down.
    /// `None` if the server is not in a cluster.
    pub cluster_size: Option<usize>,
}

/// When a server syncs the data of `JetStream` to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before each acknowledgement.
    Always,
    /// Periodically, independent of acknowledgements.
    Every(Duration),
}

impl Server {
    /// Returns the maximum age of acknowledged data that a power cut can destroy. Returns `None` if
    /// no acknowledged data can be lost, or if `JetStream` is disabled.
    pub fn loss_window(&self) -> Option<Duration> {
        match self.sync_interval? {
            SyncInterval::Always => None,
            SyncInterval::Every(interval) => Some(interval),
        }
    }
}

/// Queries all servers and returns those that reply, sorted by name. The list is empty if the
/// client's user may not send the query, or if no server receives it.
pub async fn query_servers(client: &Client) -> Vec<Server> {
    let inbox = client.new_inbox();
    let mut servers = Vec::new();
    let Ok(mut replies) = client.subscribe(inbox.clone()).await else {
        return servers;
    };
    let published = client.publish_with_reply(subjects::SERVER_INFO, inbox, "".into());
    if published.await.is_err() {
        return servers;
    }
    let mut next_timeout = FIRST_REPLY_TIMEOUT;
    while let Ok(Some(reply)) = timeout(next_timeout, replies.next()).await {
        if reply.status == Some(StatusCode::NO_RESPONDERS) || servers.len() == MAX_SERVERS {
            break;
        }
        servers.extend(parse(&reply.payload));
        next_timeout = NEXT_REPLY_TIMEOUT;
    }
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    servers
}

/// Parses the reply of a server. Returns `None` for an error reply, and for a reply in another
/// format.
fn parse(reply: &[u8]) -> Option<Server> {
    let Reply { server, data } = serde_json::from_slice(reply).ok()?;
    let cluster_size = data.jetstream.meta.map(|meta| meta.cluster_size);
    let sync_interval = data.jetstream.config.map(|config| {
        if config.sync_always {
            SyncInterval::Always
        } else {
            SyncInterval::Every(Duration::from_nanos(config.sync_interval))
        }
    });
    Some(Server {
        name: server.name,
        version: data.version,
        sync_interval,
        cluster_size,
    })
}

/// A reply to `$SYS.REQ.SERVER.PING.VARZ`.
#[derive(Deserialize)]
struct Reply {
    server: ServerName,
    data: Variables,
}

#[derive(Deserialize)]
struct ServerName {
    name: String,
}

#[derive(Deserialize)]
struct Variables {
    version: String,
    #[serde(default)]
    jetstream: JetStream,
}

#[derive(Default, Deserialize)]
struct JetStream {
    /// `None` if `JetStream` is disabled.
    config: Option<Config>,
    /// `None` if the server is not in a cluster.
    meta: Option<MetaGroup>,
}

/// The group of servers that manages the `JetStream` cluster.
#[derive(Deserialize)]
struct MetaGroup {
    cluster_size: usize,
}

#[derive(Deserialize)]
struct Config {
    /// The interval in nanoseconds. Ignored if `sync_always` is set.
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SyncInterval, parse};

    /// Checks a reply in the format of nats-server 2.15.1, shortened to the parts around the
    /// relevant fields.
    fn check(jetstream: &str, sync_interval: Option<SyncInterval>, loss_window: Option<Duration>) {
        let reply = format!(
            r#"{{"server":{{"name":"nats-a","host":"127.0.0.1","id":"NANJY","ver":"2.15.1","jetstream":true,"flags":7,"seq":14}},
                "data":{{"server_id":"NANJY","server_name":"nats-a","version":"2.15.1","proto":1,"cluster":{{}},
                {jetstream}"tls_timeout":2,"mem":15884288}}}}"#
        );
        let server = parse(reply.as_bytes()).expect(&reply);
        assert_eq!(
            (server.name.as_str(), server.version.as_str()),
            ("nats-a", "2.15.1")
        );
        assert_eq!(server.sync_interval, sync_interval, "{reply}");
        assert_eq!(server.loss_window(), loss_window, "{reply}");
        assert_eq!(server.cluster_size, None, "{reply}");
    }

    #[test]
    fn the_sync_interval_of_a_server_is_parsed() {
        let two_minutes = Duration::from_mins(2);
        check(
            r#""jetstream":{"config":{"max_memory":1,"store_dir":"/s","sync_interval":120000000000,"sync_always":true,"strict":true}},"#,
            Some(SyncInterval::Always),
            None,
        );
        check(
            r#""jetstream":{"config":{"max_memory":1,"store_dir":"/s","sync_interval":120000000000,"strict":true},"stats":{}},"#,
            Some(SyncInterval::Every(two_minutes)),
            Some(two_minutes),
        );
        check(r#""jetstream":{},"#, None, None);
        check("", None, None);
    }

    #[test]
    fn the_size_of_the_cluster_is_parsed() {
        let reply = r#"{"server":{"name":"nats-a"},"data":{"version":"2.15.1","jetstream":
            {"config":{"sync_always":true},"meta":{"name":"c","peer":"y","cluster_size":3,"pending":0}}}}"#;
        let server = parse(reply.as_bytes()).expect(reply);
        assert_eq!(server.cluster_size, Some(3));
    }

    #[test]
    fn a_reply_without_the_settings_is_ignored() {
        for reply in [
            "",
            "{}",
            r#"{"error":{"code":403}}"#,
            r#"{"server":{"name":"a"}}"#,
        ] {
            assert_eq!(parse(reply.as_bytes()), None, "{reply}");
        }
    }
}
