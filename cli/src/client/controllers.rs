//! The controllers that answer service discovery.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures_util::StreamExt;
use scuttle_schemas::{escape_hidden, subjects};
use serde::Deserialize;
use tokio::time::timeout;

use crate::client::nats_client::Client;

/// The maximum time to wait for the next controller to answer.
const REPLY_TIMEOUT: Duration = Duration::from_millis(700);

/// The maximum time to wait for all controllers. It ends the wait if a client sends replies without
/// end.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(2);

/// A controller's reply to `$SRV.PING` (NATS ADR-32).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ControllerInfo {
    pub(crate) id: String,
    pub(crate) version: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl ControllerInfo {
    /// Returns whether the controller serves requests. A controller of version 0.1.0 counts as
    /// serving, because it does not report its state.
    pub(crate) fn is_serving(&self) -> bool {
        let state = self.metadata.get(subjects::METADATA_STATE);
        let has_halted = self.metadata.contains_key(subjects::METADATA_HALTED);
        state.is_none_or(|state| state == "serving") && !has_halted
    }

    /// Returns a value of the metadata without hidden characters.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        let value = self.metadata.get(key)?;
        Some(escape_hidden(value).into_owned())
    }
}

impl fmt::Display for ControllerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (version, id) = (escape_hidden(&self.version), escape_hidden(&self.id));
        write!(f, "scuttle {version}, instance {id}")?;
        if let Some(record) = self.value(subjects::METADATA_RECORD) {
            write!(f, ", record {record}")?;
        }
        if let Some(store) = self.value(subjects::METADATA_STORE) {
            write!(f, ", store {store}")?;
        }
        match self.value(subjects::METADATA_STATE) {
            Some(state) if !self.is_serving() => write!(f, " ({state})"),
            _ => Ok(()),
        }
    }
}

/// Returns the controllers that answer service discovery. The result is empty if none answers.
pub(crate) async fn list_controllers(client: &Client) -> Vec<ControllerInfo> {
    let mut controllers = Vec::new();
    let nats = client.nats();
    let inbox = nats.new_inbox();
    let Ok(mut replies) = nats.subscribe(inbox.clone()).await else {
        return controllers;
    };
    let ping = subjects::CONTROLLER_PING;
    let sent = nats.publish_with_reply(ping, inbox, "".into()).await;
    let collecting = async {
        while sent.is_ok()
            && let Ok(Some(reply)) = timeout(REPLY_TIMEOUT, replies.next()).await
        {
            controllers.extend(serde_json::from_slice::<ControllerInfo>(&reply.payload));
        }
    };
    let _ = timeout(TOTAL_TIMEOUT, collecting).await;
    controllers
}
