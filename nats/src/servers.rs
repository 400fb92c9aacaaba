//! How the NATS servers store what they acknowledge: each is asked, and says it of itself. What is made of it is the asker's own.

use std::time::Duration;

use async_nats::{Client, StatusCode};
use futures_util::StreamExt;
use scuttle_schemas::subjects;
use serde::Deserialize;
use tokio::time::timeout;

/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(2);

/// How long each other may take after the one before: how many servers there are, none of them says.
const NEXT: Duration = Duration::from_millis(500);

/// The most answers that are read: a cluster with `JetStream` has three or five servers, and others beside it no hundred.
const MOST: usize = 256;

/// A NATS server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name: its id, where it was given none.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it puts on disk what `JetStream` stores; none where that is off.
    pub sync_interval: Option<SyncInterval>,
}

/// When a server puts on disk what it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before it acknowledges it.
    Always,
    /// So often, whatever it has acknowledged meanwhile.
    Every(Duration),
}

impl Server {
    /// How old that may be what a power cut takes from this server, though it was acknowledged; none where nothing is.
    pub fn loss_window(&self) -> Option<Duration> {
        match self.sync_interval? {
            SyncInterval::Always => None,
            SyncInterval::Every(interval) => Some(interval),
        }
    }
}

/// All servers that answer, by name. None: this user may not ask, or nobody could hear it, so nothing is known.
pub async fn query_servers(client: &Client) -> Vec<Server> {
    let inbox = client.new_inbox();
    let mut servers = Vec::new();
    let Ok(mut answers) = client.subscribe(inbox.clone()).await else {
        return servers;
    };
    let asked = client.publish_with_reply(subjects::SERVER_INFO, inbox, "".into());
    if asked.await.is_err() {
        return servers;
    }
    let mut patience = FIRST;
    while let Ok(Some(answer)) = timeout(patience, answers.next()).await {
        if answer.status == Some(StatusCode::NO_RESPONDERS) || servers.len() == MOST {
            break;
        }
        servers.extend(read(&answer.payload));
        patience = NEXT;
    }
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    servers
}

/// What a server says; none if it does not say how it stores.
fn read(answer: &[u8]) -> Option<Server> {
    let Answer { server, data } = serde_json::from_slice(answer).ok()?;
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
    })
}

/// An answer to `$SYS.REQ.SERVER.PING.VARZ`.
#[derive(Deserialize)]
struct Answer {
    server: Named,
    data: Variables,
}

#[derive(Deserialize)]
struct Named {
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
    /// Absent where it is off.
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    /// Nanoseconds.
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SyncInterval, read};

    /// As nats-server 2.15.1 says it, cut to what is around the fields that are read.
    fn check(jetstream: &str, sync_interval: Option<SyncInterval>, loss_window: Option<Duration>) {
        let answer = format!(
            r#"{{"server":{{"name":"nats-a","host":"127.0.0.1","id":"NANJY","ver":"2.15.1","jetstream":true,"flags":7,"seq":14}},
                "data":{{"server_id":"NANJY","server_name":"nats-a","version":"2.15.1","proto":1,"cluster":{{}},
                {jetstream}"tls_timeout":2,"mem":15884288}}}}"#
        );
        let server = read(answer.as_bytes()).expect(&answer);
        assert_eq!(
            (server.name.as_str(), server.version.as_str()),
            ("nats-a", "2.15.1")
        );
        assert_eq!(server.sync_interval, sync_interval, "{answer}");
        assert_eq!(server.loss_window(), loss_window, "{answer}");
    }

    #[test]
    fn a_server_says_how_it_stores() {
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
    fn what_says_nothing_is_no_server() {
        for answer in [
            "",
            "{}",
            r#"{"error":{"code":403}}"#,
            r#"{"server":{"name":"a"}}"#,
        ] {
            assert_eq!(read(answer.as_bytes()), None, "{answer}");
        }
    }
}
