//! A controller that a test plays, for a `scuttle` command that gets unusual replies.

use anyhow::Result;
use async_nats::Subscriber;
use scuttle_tests::{Client, Nats, Role};
use serde_json::{Value, json};

use super::cli_runner::Cli;

/// A server with a `scuttle` command, and with the requests that the command sends.
pub(super) struct FakeController {
    pub(super) cli: Cli,
    /// The connection on which the test replies.
    pub(super) client: Client,
    pub(super) requests: Subscriber,
    _nats: Nats,
    _folder: tempfile::TempDir,
}

impl FakeController {
    /// Starts a server and subscribes to `subject` as its controller. The command has the login of
    /// `role`.
    pub(super) async fn start(role: Role, subject: &'static str) -> Result<Self> {
        let nats = Nats::start().await?;
        let folder = tempfile::tempdir()?;
        let mut environment = Vec::from(nats.environment(role));
        environment.push(("SCUTTLE_NATS_URL", nats.url()));
        let cli = Cli::in_directory(folder.path().to_owned(), environment)?;
        let client = Client::connect(&nats, Role::Controller).await?;
        let requests = client.nats().subscribe(subject).await?;
        client.nats().flush().await?;
        Ok(Self {
            cli,
            client,
            requests,
            _nats: nats,
            _folder: folder,
        })
    }
}

/// Returns the record of an online host whose id is its name.
pub(super) fn online_host(name: &str) -> Value {
    let at = "2026-11-23T09:11:49.000Z";
    json!({
        "host_uuid": name, "name": name, "address": null, "labels": {}, "status": "online", "last_heartbeat": at,
        "agent_version": "1", "shards": 1, "open_operations": 0, "enrolled_at": at,
    })
}
