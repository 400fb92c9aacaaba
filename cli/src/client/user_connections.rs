//! Asks the NATS servers when each user was last connected. Requests to the servers need the system
//! user of the bus directory.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use scuttle_nats::Credentials;
use scuttle_schemas::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::client_error::ClientError;
use super::connection::Connection;
use super::nats_client::{Client, wait_until_denied};
use crate::admin::keystore::Keystore;
use crate::admin::roles::CONNECTIONS_REQUEST;

/// The maximum time to wait for the first reply.
const FIRST_REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum time to wait for each further reply. Every server of a cluster replies.
const NEXT_REPLY_TIMEOUT: Duration = Duration::from_millis(500);

/// The number of connections in one reply of a server.
const PAGE_SIZE: usize = 1024;

/// The maximum number of pages. A server remembers at most 10,000 closed connections.
const MAX_PAGES: usize = 32;

/// Returns the time at which each user was last connected, by the user's public key. A user is
/// missing if no server remembers a connection of that user.
///
/// # Errors
/// If the connection fails, or if the system user may not ask the servers, because an earlier
/// version has created the bus directory.
pub(crate) async fn query_last_seen(
    keystore: &Keystore,
    connection: &Connection,
) -> Result<BTreeMap<String, Timestamp>, ClientError> {
    let mut connection = connection.clone();
    connection.config.credentials = Credentials::File(keystore.credentials("system"));
    connection.inbox_prefix = None;
    let client = Client::connect(&connection).await?;
    let mut last_seen = BTreeMap::new();
    for page in 0..MAX_PAGES {
        let replies = request_page(&client, page * PAGE_SIZE).await?;
        let is_last = replies.iter().all(|reply| reply.data.is_last_page());
        for ConnectionsPage {
            now, connections, ..
        } in replies.into_iter().map(|reply| reply.data)
        {
            for connection in connections {
                let at = connection.stop.unwrap_or(now);
                let seen = last_seen.entry(connection.authorized_user).or_insert(at);
                *seen = (*seen).max(at);
            }
        }
        if is_last {
            break;
        }
    }
    Ok(last_seen)
}

/// Requests one page of connections from every server.
async fn request_page(
    client: &Client,
    offset: usize,
) -> Result<Vec<ConnectionsReply>, ClientError> {
    let failed = |cause: &dyn std::fmt::Display| ClientError::Failed {
        subject: CONNECTIONS_REQUEST.to_owned(),
        cause: cause.to_string(),
    };
    // 2 selects open and closed connections.
    let request = json!({ "auth": true, "state": 2, "offset": offset, "limit": PAGE_SIZE });
    let events = client.events();
    let inbox = client.nats().new_inbox();
    let mut messages = client.subscribe(&inbox).await?;
    (client.nats())
        .publish_with_reply(CONNECTIONS_REQUEST, inbox, request.to_string().into())
        .await
        .map_err(|error| failed(&error))?;
    let receive = async {
        let mut replies = Vec::new();
        let mut next_timeout = FIRST_REPLY_TIMEOUT;
        while let Ok(Some(message)) = timeout(next_timeout, messages.next()).await {
            replies.push(serde_json::from_slice(&message.payload).map_err(|error| failed(&error))?);
            next_timeout = NEXT_REPLY_TIMEOUT;
        }
        Ok(replies)
    };
    tokio::select! {
        replies = receive => replies,
        () = wait_until_denied(events, CONNECTIONS_REQUEST) => Err(ClientError::PermissionDenied {
            user: client.user().to_owned(),
            subject: CONNECTIONS_REQUEST.to_owned(),
            may_read: false,
        }),
    }
}

/// The reply of a server.
#[derive(Deserialize)]
struct ConnectionsReply {
    data: ConnectionsPage,
}

#[derive(Deserialize)]
struct ConnectionsPage {
    /// The server's time.
    now: Timestamp,
    total: usize,
    offset: usize,
    connections: Vec<ConnectionInfo>,
}

impl ConnectionsPage {
    fn is_last_page(&self) -> bool {
        self.offset + self.connections.len() >= self.total || self.connections.is_empty()
    }
}

/// One connection, open or closed.
#[derive(Deserialize)]
struct ConnectionInfo {
    /// The public key of the user. Empty for a connection that never logged in.
    #[serde(default)]
    authorized_user: String,
    /// The time at which the connection was closed. `None` while it is open.
    #[serde(default)]
    stop: Option<Timestamp>,
}
