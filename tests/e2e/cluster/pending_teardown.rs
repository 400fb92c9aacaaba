//! A teardown request whose reply may never arrive, because the leader that received the request
//! lost its lease.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::{ErrorCode, HostId, headers, subjects};
use scuttle_tests::clients::client::parse_reply;
use scuttle_tests::wait::with_timeout;
use scuttle_tests::{Client, RequestError, wait_until};
use serde_json::{Value, json};

/// A teardown request that was sent without waiting for its reply.
pub(crate) struct PendingTeardown {
    /// The idempotency key. It is also the request's `reason`, so that its operation can be found.
    pub(crate) key: String,
    request: Value,
    replies: Subscriber,
}

impl PendingTeardown {
    /// Sends a teardown request and flushes the connection. Does not wait for the reply.
    pub(crate) async fn send(
        operator: &Client,
        host: &HostId,
        decky: &str,
        key: &str,
    ) -> Result<Self> {
        let inbox = operator.nats().new_inbox();
        let replies = operator.nats().subscribe(inbox.clone()).await?;
        let pending = Self {
            key: key.to_owned(),
            request: json!({ "host_uuid": host, "decky_id": decky, "reason": key }),
            replies,
        };
        let (headers, payload) = (pending.headers(), pending.request.to_string());
        let nats = operator.nats();
        nats.publish_with_reply_and_headers(subjects::TEARDOWN, inbox, headers, payload.into())
            .await?;
        nats.flush().await?;
        Ok(pending)
    }

    /// Returns how many `not_leader` replies have arrived. Fails if any other reply has arrived.
    /// The server's notice that the request had no subscriber does not count as a reply.
    pub(crate) async fn count_rejections(&mut self, operator: &Client) -> Result<usize> {
        // All earlier messages for this client arrive before the reply to this request.
        operator.wait_until_ready().await?;
        let mut rejections = 0;
        while let Ok(reply) = tokio::time::timeout(Duration::ZERO, self.replies.next()).await {
            let Some(reply) = reply else { break };
            match parse_reply::<Value>(&reply) {
                Err(RequestError::Rejected(rejection))
                    if rejection.code == ErrorCode::NotLeader =>
                {
                    rejections += 1;
                }
                // The subject had no subscriber; the server reports that with an empty body.
                Err(RequestError::InvalidReply(_)) if reply.payload.is_empty() => {}
                other => bail!("{} got the reply {other:?}", self.key),
            }
        }
        Ok(rejections)
    }

    /// Sends the same request again until it is accepted, and checks that exactly one operation
    /// exists for the request.
    pub(crate) async fn resend(&self, operator: &Client) -> Result<()> {
        let send = || {
            operator.request_with_headers::<Value>(
                subjects::TEARDOWN,
                self.headers(),
                &self.request,
            )
        };
        wait_until("the request is accepted", send, |reply| {
            reply["accepted"] == true
        })
        .await?;
        let operations =
            with_timeout("the list of operations", operator.list_operations()).await??;
        let matching = operations
            .iter()
            .filter(|operation| operation.reason.as_deref() == Some(&*self.key));
        let count = matching.count();
        ensure!(count == 1, "{} has {count} operations", self.key);
        Ok(())
    }

    fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(headers::MSG_ID, &*self.key);
        map
    }
}
