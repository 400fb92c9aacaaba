//! Who waits for the broadcast that a decky is gone.

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

/// Who waits for each decky, by the decky's number.
type Waiting = Arc<Mutex<Vec<Option<oneshot::Sender<()>>>>>;

/// The removals that are broadcast from now on.
pub(super) struct Removals {
    waiting: Waiting,
    listening: JoinHandle<Result<()>>,
}

/// The part of a broadcast that is looked at.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    removed: Vec<Removed<'a>>,
}

#[derive(Deserialize)]
struct Removed<'a> {
    host_uuid: &'a str,
    decky_id: &'a str,
}

impl Removals {
    /// Listens for those of these deckies.
    pub(super) async fn watch(client: &Client, deckies: Vec<(HostId, String)>) -> Result<Self> {
        let mut broadcasts = client.subscribe(subjects::SHARDS_UPDATED).await?;
        // The server has the subscription before it is asked for anything.
        client.flush().await?;
        let waiting: Waiting = Arc::new(Mutex::new(deckies.iter().map(|_| None).collect()));
        let names = (0..).zip(deckies);
        let numbers: HashMap<String, usize> = names
            .map(|(number, (host, decky))| (format!("{host}/{decky}"), number))
            .collect();
        let told = waiting.clone();
        let listening = tokio::spawn(async move {
            let mut name = String::new();
            while let Some(broadcast) = broadcasts.next().await {
                let Told { removed } = serde_json::from_slice(&broadcast.payload)?;
                for Removed {
                    host_uuid,
                    decky_id,
                } in removed
                {
                    name.clear();
                    write!(name, "{host_uuid}/{decky_id}")?;
                    let number = numbers.get(&name).copied();
                    let waits = number.and_then(|number| lock(&told)[number].take());
                    if let Some(waits) = waits {
                        // Who waits no longer need not be told.
                        let _ = waits.send(());
                    }
                }
            }
            Ok(())
        });
        Ok(Self { waiting, listening })
    }

    /// Resolves when the decky of this number is gone; to be called before it is asked for.
    pub(super) fn of(&self, number: usize) -> oneshot::Receiver<()> {
        let (gone, told) = oneshot::channel();
        lock(&self.waiting)[number] = Some(gone);
        told
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
