//! Subscriptions to the broadcasts of the controller.

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
use crate::wait::{EVENT_TIMEOUT, with_timeout};

/// A message on one of the broadcast subjects.
pub trait Broadcast: DeserializeOwned + Debug {
    const SUBJECT: &'static str;
    fn revision(&self) -> u64;
    /// Returns the time at which the controller decided the changes in the message.
    fn at(&self) -> Timestamp;
    /// Returns whether the message has no changes and only repeats the last revision.
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

/// A broadcast with its headers and size.
#[derive(Debug)]
pub struct Received<T> {
    pub message: T,
    pub headers: HeaderMap,
    /// The size of the payload in bytes.
    pub length: usize,
}

/// A subscription to one broadcast subject.
#[derive(Debug)]
pub struct Broadcasts<T> {
    subscriber: Subscriber,
    /// The payloads received so far, for error messages.
    received: Vec<String>,
    kind: PhantomData<T>,
}

impl<T: Broadcast> Broadcasts<T> {
    /// Subscribes to the broadcasts of type `T`. The subscription receives every broadcast that is
    /// caused by a later request of the same client.
    pub async fn subscribe(client: &Client) -> Result<Self> {
        Ok(Self {
            subscriber: client.nats().subscribe(T::SUBJECT).await?,
            received: Vec::new(),
            kind: PhantomData,
        })
    }

    /// Waits for the next message and parses it.
    pub async fn next(&mut self) -> Result<Received<T>> {
        let message = with_timeout(T::SUBJECT, self.subscriber.next())
            .await?
            .context("the connection is closed")?;
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let parsed = serde_json::from_slice(&message.payload).context(text.clone())?;
        self.received.push(text);
        Ok(Received {
            message: parsed,
            headers: message.headers.unwrap_or_default(),
            length: message.payload.len(),
        })
    }

    /// Waits for the next message that `matches` accepts, and skips all others.
    ///
    /// # Errors
    /// If no such message arrives within [`EVENT_TIMEOUT`], or an invalid message arrives. The
    /// error names `event` and lists the messages that arrived.
    pub async fn wait_for(
        &mut self,
        event: &str,
        matches: impl Fn(&T) -> bool,
    ) -> Result<Received<T>> {
        let from = self.received.len();
        let search = async {
            loop {
                let received = self.next().await?;
                if matches(&received.message) {
                    return anyhow::Ok(received);
                }
            }
        };
        match tokio::time::timeout(EVENT_TIMEOUT, search).await {
            Ok(Ok(received)) => Ok(received),
            Ok(Err(error)) => {
                let received = self.received[from..].join("\n");
                Err(error.context(format!("{event}; received:\n{received}")))
            }
            Err(_) => bail!(
                "{event}: not within {EVENT_TIMEOUT:?}; received:\n{}",
                self.received[from..].join("\n")
            ),
        }
    }

    /// Receives messages until `revision` is reached, and returns those with changes.
    ///
    /// # Errors
    /// If a revision is not exactly one more than the revision before it, if a repeat shows that
    /// the last revision is lower than `revision`, or if no valid message arrives in time.
    pub async fn collect_up_to(&mut self, revision: u64) -> Result<Vec<Received<T>>> {
        let mut messages: Vec<Received<T>> = Vec::new();
        loop {
            let received = self.next().await?;
            let found = received.message.revision();
            if received.message.is_repeat() {
                if found < revision {
                    bail!("{} ends at {found}, before {revision}", T::SUBJECT);
                }
            } else {
                let expected = messages
                    .last()
                    .map_or(found, |last| last.message.revision() + 1);
                if found != expected {
                    bail!("{}: revision {found} after {}", T::SUBJECT, expected - 1);
                }
                messages.push(received);
            }
            if found >= revision {
                return Ok(messages);
            }
        }
    }
}
