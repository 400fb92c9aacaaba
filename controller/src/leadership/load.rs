//! The start of a candidate, before it follows: reads the record from the rows and the journal, and
//! halts if the journal lacks accepted changes. Also compares the replicas of the streams with the
//! configured number.

use std::time::Duration;

use anyhow::Context;
use scuttle_schemas::subjects;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::leadership::buckets::Buckets;
use crate::leadership::candidate::{Candidate, RETRY_DELAY, WaitLog};
use crate::leadership::follower::Follower;
use crate::leadership::halt::Halt;
use crate::nats::replicas::{self, ReplicaDifference};
use crate::store::{JournalError, JournalStream, ReplicatedStore, StoreError};

/// The delay before a halted controller checks again whether the journal is complete. The check
/// reads the rows.
const HALTED_RETRY_DELAY: Duration = Duration::from_secs(3);

impl Candidate<'_> {
    /// Reads the whole record, and retries until it succeeds. If messages that the rows lack were
    /// trimmed from the journal, installs the newest snapshot first. If the journal lacks accepted
    /// changes, halts until it contains them again or an operator has replaced the rows or the
    /// journal. Returns `None` if the process shuts down first.
    ///
    /// # Errors
    /// If the rows cannot be read, or only an operator can resolve the error.
    pub(super) async fn load(&self, buckets: &Buckets) -> anyhow::Result<Option<Follower>> {
        let mut wait_log = WaitLog::default();
        let mut halt: Option<Halt> = None;
        loop {
            let mut retry_delay = RETRY_DELAY;
            let (data_dir, stream) = (self.data_dir.to_owned(), self.stream.clone());
            let loading = spawn_blocking(move || {
                let store = ReplicatedStore::open(&data_dir, Handle::current(), stream)?;
                Follower::load(store)
            });
            match loading.await.context("loading the record panicked")? {
                Ok(follower) => return Ok(Some(follower)),
                Err(StoreError::Journal(JournalError::Trimmed { .. })) => {
                    let fetched = tokio::select! {
                        fetched = buckets.snapshots.install_newest(self.data_dir) => fetched,
                        () = self.shutdown.cancelled() => return Ok(None),
                    };
                    if let Err(error) = fetched {
                        wait_log.log(&error);
                    }
                }
                Err(StoreError::Journal(error)) if error.needs_operator() => {
                    return Err(error.into());
                }
                Err(StoreError::Journal(error)) if error.is_loss() => {
                    if !halt.as_ref().is_some_and(|halt| halt.is_about(&error)) {
                        halt = Some(Halt::start(&error, self, &buckets.leases));
                    }
                    retry_delay = HALTED_RETRY_DELAY;
                }
                Err(StoreError::Journal(error)) => wait_log.log(&error),
                Err(error) => return Err(error.into()),
            }
            if self.is_shut_down_before_retry(retry_delay).await {
                return Ok(None);
            }
        }
    }

    /// Compares the number of replicas of the journal and the buckets with the configured number.
    /// Logs a warning for each difference, and returns the differences.
    pub(super) async fn check_replicas(&self) -> Vec<ReplicaDifference> {
        let JournalStream {
            client,
            name,
            replicas: configured,
            assignment,
            ..
        } = &self.stream;
        let context = async_nats::jetstream::new(client.clone());
        let mut streams = subjects::controller_stream_names(assignment.partitions);
        // Each partition checks its own journal, and the first one also checks the buckets.
        streams.retain(|stream| {
            let is_bucket = stream.starts_with("KV_") || stream.starts_with("OBJ_");
            stream == name || (is_bucket && assignment.is_first())
        });
        let differences = replicas::find_differences(&context, &streams, *configured).await;
        for difference in &differences {
            warn!(
                "{difference}: change it with `scuttle-controller set-replicas` (docs/operations.md), or start the controllers with the present number"
            );
        }
        (self.metrics.stats()).set_replica_differences(differences.len());
        differences
    }
}
