//! Subscriptions to the controller's broadcasts.

use std::fmt::Debug;
use std::marker::PhantomData;

use anyhow::{Context, Result, bail};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::hosts::HostsUpdated;
use scuttle_schemas::operations::OperationsUpdated;
use scuttle_schemas::shards::ShardsUpdated;
use scuttle_schemas::{Timestamp, subjects};
use serde::de::DeserializeOwned;

use crate::clients::client::Client;
use crate::wait::{PATIENCE, within};

/// A broadcast message.
pub trait Broadcast: DeserializeOwned + Debug {
    /// Its subject.
    const SUBJECT: &'static str;
    /// Its revision.
    fn revision(&self) -> u64;
    /// When it was decided.
    fn at(&self) -> Timestamp;
    /// Whether it tells no change: the repeat of the last revision.
    fn is_repeat(&self) -> bool;
}

impl Broadcast for ShardsUpdated {
    const SUBJECT: &'static str = subjects::SHARDS_UPDATED;
    fn revision(&self) -> u64 {
        self.revision
    }
    fn at(&self) -> Timestamp {
        self.at
    }
    fn is_repeat(&self) -> bool {
        self.updated.is_empty() && self.removed.is_empty()
    }
}

impl Broadcast for HostsUpdated {
    const SUBJECT: &'static str = subjects::HOSTS_UPDATED;
    fn revision(&self) -> u64 {
        self.revision
    }
    fn at(&self) -> Timestamp {
        self.at
    }
    fn is_repeat(&self) -> bool {
        self.updated.is_empty()
    }
}

impl Broadcast for OperationsUpdated {
    const SUBJECT: &'static str = subjects::OPERATIONS_UPDATED;
    fn revision(&self) -> u64 {
        self.revision
    }
    fn at(&self) -> Timestamp {
        self.at
    }
    fn is_repeat(&self) -> bool {
        self.updated.is_empty()
    }
}

/// A message as it came.
#[derive(Debug)]
pub struct Told<T> {
    /// What it says.
    pub message: T,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its size in bytes.
    pub length: usize,
}

/// One broadcast subject, from the subscription on.
#[derive(Debug)]
pub struct Broadcasts<T> {
    subscriber: Subscriber,
    seen: Vec<String>,
    kind: PhantomData<T>,
}

impl<T: Broadcast> Broadcasts<T> {
    /// Subscribes; what a later request on the same client causes is heard.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn of(client: &Client) -> Result<Self> {
        Ok(Self {
            subscriber: client.nats().subscribe(T::SUBJECT).await?,
            seen: Vec::new(),
            kind: PhantomData,
        })
    }

    /// The next message.
    ///
    /// # Errors
    /// None comes, or it breaks the protocol.
    pub async fn next(&mut self) -> Result<Told<T>> {
        let message = within(T::SUBJECT, self.subscriber.next())
            .await?
            .context("the connection is closed")?;
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let told = serde_json::from_slice(&message.payload).context(text.clone())?;
        self.seen.push(text);
        Ok(Told {
            message: told,
            headers: message.headers.unwrap_or_default(),
            length: message.payload.len(),
        })
    }

    /// The next message of which `enough` holds; what comes before it is passed over.
    ///
    /// # Errors
    /// None comes; the error shows what came instead.
    pub async fn until(&mut self, what: &str, enough: impl Fn(&T) -> bool) -> Result<Told<T>> {
        let from = self.seen.len();
        let search = async {
            loop {
                let told = self.next().await?;
                if enough(&told.message) {
                    return anyhow::Ok(told);
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(Ok(told)) => Ok(told),
            Ok(Err(error)) => {
                Err(error.context(format!("{what}; seen:\n{}", self.seen[from..].join("\n"))))
            }
            Err(_) => bail!(
                "{what}: not within {PATIENCE:?}; seen:\n{}",
                self.seen[from..].join("\n")
            ),
        }
    }

    /// All messages up to that revision, of which each must be one more than the one before.
    ///
    /// # Errors
    /// A revision is missing, or out of order.
    pub async fn up_to(&mut self, revision: u64) -> Result<Vec<Told<T>>> {
        let mut all: Vec<Told<T>> = Vec::new();
        loop {
            let told = self.next().await?;
            let found = told.message.revision();
            if told.message.is_repeat() {
                if found < revision {
                    bail!("{} ends at {found}, before {revision}", T::SUBJECT);
                }
            } else {
                let expected = all.last().map_or(found, |last| last.message.revision() + 1);
                if found != expected {
                    bail!("{}: revision {found} after {}", T::SUBJECT, expected - 1);
                }
                all.push(told);
            }
            if found >= revision {
                return Ok(all);
            }
        }
    }
}
