//! Waits for the broadcasts that announce the removal of deckies.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use async_nats::Client;
use futures_util::StreamExt;
use scuttle_schemas::{HostId, subjects};
use scuttle_tests::wait::lock;
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The senders that signal the removal of a decky, indexed by the decky's number. `None` if no
/// request waits for the removal.
type Waiting = Arc<Mutex<Vec<Option<oneshot::Sender<()>>>>>;

/// A subscription that signals each broadcast removal to the request that waits for it. Dropping
/// this value ends the subscription.
pub(super) struct Removals {
    waiting: Waiting,
    listener: JoinHandle<Result<()>>,
}

/// The part of a broadcast that is decoded.
#[derive(Deserialize)]
struct Broadcast<'a> {
    #[serde(borrow)]
    removed: Vec<Removed<'a>>,
}

#[derive(Deserialize)]
struct Removed<'a> {
    host_uuid: &'a str,
    decky_id: &'a str,
}

impl Removals {
    /// Subscribes to the broadcasts. The number of a decky is its position in `deckies`.
    pub(super) async fn watch(client: &Client, deckies: Vec<(HostId, String)>) -> Result<Self> {
        let mut broadcasts = client.subscribe(subjects::SHARDS_UPDATED).await?;
        // The server must have the subscription before the first request.
        client.flush().await?;
        let waiting: Waiting = Arc::new(Mutex::new(deckies.iter().map(|_| None).collect()));
        let names = (0..).zip(deckies);
        let numbers: HashMap<String, usize> = names
            .map(|(number, (host, decky))| (format!("{host}/{decky}"), number))
            .collect();
        let shared = waiting.clone();
        let listener = tokio::spawn(async move {
            let mut name = String::new();
            while let Some(broadcast) = broadcasts.next().await {
                let Broadcast { removed } = serde_json::from_slice(&broadcast.payload)?;
                for Removed {
                    host_uuid,
                    decky_id,
                } in removed
                {
                    name.clear();
                    write!(name, "{host_uuid}/{decky_id}")?;
                    let number = numbers.get(&name).copied();
                    let sender = number.and_then(|number| lock(&shared)[number].take());
                    if let Some(sender) = sender {
                        // The request may have stopped waiting.
                        let _ = sender.send(());
                    }
                }
            }
            Ok(())
        });
        Ok(Self { waiting, listener })
    }

    /// Returns a receiver that resolves when the removal of this decky is broadcast. Call this
    /// method before sending the request, because the broadcast may otherwise be missed.
    pub(super) fn expect(&self, number: usize) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.waiting)[number] = Some(sender);
        receiver
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        self.listener.abort();
    }
}
