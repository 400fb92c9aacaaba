//! A viewer behind a proxy. It keeps a view of all shards by following the broadcasts, and lists
//! the shards again only after a gap in the revisions.

use anyhow::{Context, Result};
use scuttle_schemas::shards::ShardRecord;
use scuttle_tests::{Client, ReplicaView};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The number of shards on a page. It is small, so that a list has several pages and the record can
/// change between them.
const PAGE_SIZE: u16 = 60;
/// The maximum number of attempts to reach the final revision. An attempt fails if no broadcast
/// arrives in time or a list request fails.
const MAX_ATTEMPTS: usize = 5;

/// A viewer that runs in a separate task.
pub(crate) struct Viewer {
    end: watch::Sender<Option<u64>>,
    task: JoinHandle<Result<(Vec<ShardRecord>, usize)>>,
}

impl Viewer {
    /// Starts a viewer, which lists the shards and then follows the broadcasts.
    pub(crate) fn start(client: Client) -> Self {
        let (end, end_receiver) = watch::channel(None);
        let task = tokio::spawn(follow(client, end_receiver));
        Self { end, task }
    }

    /// Waits until the view has reached `revision`. Returns the shards in the view, and the number
    /// of lists that the viewer requested.
    ///
    /// # Errors
    /// If the first list fails, or the view does not reach the revision.
    pub(crate) async fn finish_at(self, revision: u64) -> Result<(Vec<ShardRecord>, usize)> {
        self.end.send_replace(Some(revision));
        self.task.await.context("the viewer's task panicked")?
    }
}

async fn follow(
    client: Client,
    mut end_receiver: watch::Receiver<Option<u64>>,
) -> Result<(Vec<ShardRecord>, usize)> {
    let mut view = ReplicaView::open(&client, PAGE_SIZE).await?;
    let revision = loop {
        tokio::select! {
            // An error means that a list got no reply, or that no broadcast arrived. The view lists
            // again after the gap that the next message shows.
            _ = view.follow_until(u64::MAX) => {}
            end = end_receiver.wait_for(Option::is_some) => break end?.unwrap_or_default(),
        }
    };
    let mut reached = view.follow_until(revision).await;
    for _ in 1..MAX_ATTEMPTS {
        if reached.is_ok() {
            break;
        }
        reached = view.follow_until(revision).await;
    }
    reached.context("the view does not reach the final revision")?;
    Ok((view.shards(), view.listings()))
}
