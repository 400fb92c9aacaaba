//! A viewer on the faulty network, who keeps a view by the protocol's gap rule and by nothing else.

use anyhow::{Context, Result};
use scuttle_schemas::shards::ShardRecord;
use scuttle_tests::{Client, ReplicaView};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Small, so that a listing has several pages, between which things happen.
const PAGE_SIZE: u16 = 60;
/// How often the end is tried: each time the broadcasts must have fallen silent before.
const MAX_ATTEMPTS: usize = 5;

/// A viewer at work.
pub(crate) struct Viewer {
    end: watch::Sender<Option<u64>>,
    task: JoinHandle<Result<(Vec<ShardRecord>, usize)>>,
}

impl Viewer {
    /// Lists for the first time, and follows from then on.
    pub(crate) fn start(client: Client) -> Self {
        let (end, end_receiver) = watch::channel(None);
        let task = tokio::spawn(follow(client, end_receiver));
        Self { end, task }
    }

    /// The view at this revision, and how often it listed on the way.
    ///
    /// # Errors
    /// It does not get there.
    pub(crate) async fn finish_at(self, revision: u64) -> Result<(Vec<ShardRecord>, usize)> {
        self.end.send_replace(Some(revision));
        self.task.await.context("the viewer's task died")?
    }
}

async fn follow(
    client: Client,
    mut end_receiver: watch::Receiver<Option<u64>>,
) -> Result<(Vec<ShardRecord>, usize)> {
    let mut view = ReplicaView::open(&client, PAGE_SIZE).await?;
    let revision = loop {
        tokio::select! {
            // A list that is not answered, or silence: the next message's jump makes it list again.
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
    reached.context("the view does not get to the end")?;
    Ok((view.shards(), view.listings()))
}
