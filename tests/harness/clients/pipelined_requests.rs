//! Requests that are sent without waiting for their replies.

use anyhow::{Context, Result};
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde_json::Value;

use crate::clients::client::Client;
use crate::wait::with_timeout;

/// The `retry_after_ms` in every `overloaded` reply.
const RETRY_AFTER_MS: u64 = 500;

/// A sender of requests that does not wait for their replies. Each reply is returned with the
/// number of its request.
#[derive(Debug)]
pub struct PipelinedRequests<'a> {
    client: &'a Client,
    inbox: String,
    replies: Subscriber,
}

impl<'a> PipelinedRequests<'a> {
    /// Subscribes to a new inbox for the replies.
    pub async fn new(client: &'a Client) -> Result<Self> {
        let inbox = client.nats().new_inbox();
        let replies = client.nats().subscribe(format!("{inbox}.*")).await?;
        Ok(Self {
            client,
            inbox,
            replies,
        })
    }

    /// Sends a request. [`next_reply`](Self::next_reply) returns its reply together with `number`.
    pub async fn send(&self, number: usize, subject: &'static str, request: &Value) -> Result<()> {
        let reply = format!("{}.{number}", self.inbox);
        let payload = request.to_string().into();
        let nats = self.client.nats();
        nats.publish_with_reply(subject, reply, payload).await?;
        Ok(())
    }

    /// Waits for the next reply to any request. Returns the number of the request and the reply.
    pub async fn next_reply(&mut self) -> Result<(usize, Value)> {
        let reply = with_timeout("a reply arrives", self.replies.next()).await?;
        parse_numbered(&reply.context("the connection is closed")?)
    }
}

fn parse_numbered(reply: &Message) -> Result<(usize, Value)> {
    let number = reply.subject.rsplit('.').next().unwrap_or_default();
    Ok((number.parse()?, serde_json::from_slice(&reply.payload)?))
}

/// Returns whether a reply is `overloaded`.
///
/// # Panics
/// If the reply is `overloaded`, but its `retry_after_ms` or `accepted` is wrong.
pub fn is_overloaded(reply: &Value) -> bool {
    let error = &reply["error"];
    if error["code"] != "overloaded" {
        return false;
    }
    assert_eq!(error["retry_after_ms"], RETRY_AFTER_MS, "{reply}");
    assert_eq!(reply["accepted"], false, "{reply}");
    true
}
