//! `remove-leftovers`: deletes the streams and buckets that a migration to a local store left
//! behind on the NATS servers, with a login that may delete streams. A controller's login is not
//! allowed to, because a program that can delete its journal can destroy the record by mistake.

pub mod error;
pub(crate) mod left_behind;

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use scuttle_nats::ConnectConfig;
use scuttle_schemas::{PartitionCount, subjects};
use tokio::runtime::Handle;

use crate::nats::connection;
use crate::nats::stream_lookup::find_stream;
use crate::ops::backup::Interrupt;
use crate::ops::confirm::confirm;
use crate::ops::leftovers::error::LeftoversError;
use crate::ops::leftovers::left_behind::{LeftBehind, LeftStream};

/// The timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum time to wait until the marks of stopped controllers in the lease bucket expire.
const MARKS_TIMEOUT: Duration = Duration::from_secs(6);

/// The interval at which the marks are checked.
const MARKS_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The settings of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveLeftovers {
    pub nats: ConnectConfig,
    /// The data directory to which the record was migrated.
    pub data_dir: PathBuf,
    /// Whether to remove the leftovers without asking.
    pub yes: bool,
}

/// The summary of a removal.
#[derive(Debug)]
pub struct RemovedLeftovers {
    streams: Vec<String>,
}

impl fmt::Display for RemovedLeftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.streams[..] {
            [] => f.write_str("nothing was left to remove"),
            [stream] => write!(f, "removed the stream {stream}"),
            streams => write!(f, "removed the streams {}", streams.join(", ")),
        }
    }
}

impl RemoveLeftovers {
    /// Removes what a migration left behind. Can be repeated after a failure. Blocks, so it must
    /// not be called on a thread of the async runtime.
    ///
    /// # Errors
    /// - If no migration to the data directory has left anything behind.
    /// - If a controller uses the leftovers, or has used them since the migration.
    /// - If the operator does not confirm, or the login may not delete streams.
    /// - If the servers or the disk fail.
    pub fn run(&self, interrupt: &Interrupt) -> Result<RemovedLeftovers, LeftoversError> {
        let left = LeftBehind::read(&self.data_dir)?;
        let left = left.ok_or_else(|| LeftoversError::NoList(LeftBehind::path(&self.data_dir)))?;
        let runtime = Handle::current();
        let connected = runtime.block_on(connection::connect_once(&self.nats));
        let context = open_context(connected.map_err(LeftoversError::Connect)?);
        let streams = runtime.block_on(check_unused(&context, &left))?;
        if !self.yes && !streams.is_empty() {
            let question = format!(
                "The record is in {}. Streams on the NATS servers that were left behind:\n  {}\n\
                 Delete them? [yes/no] ",
                self.data_dir.display(),
                streams.join("\n  ")
            );
            if !confirm(&question, interrupt).map_err(LeftoversError::CannotAsk)? {
                return Err(LeftoversError::NotConfirmed);
            }
            // A controller may have started while the operator was thinking.
            runtime.block_on(check_unused(&context, &left))?;
        }
        for stream in &streams {
            let deleted = runtime.block_on(context.delete_stream(stream));
            deleted.map_err(|error| LeftoversError::Delete {
                stream: stream.clone(),
                cause: error.to_string(),
            })?;
        }
        LeftBehind::remove(&self.data_dir)?;
        Ok(RemovedLeftovers { streams })
    }
}

fn open_context(client: Client) -> Context {
    let mut context = jetstream::new(client);
    context.set_timeout(REQUEST_TIMEOUT);
    context
}

/// Lists the streams of the record on the NATS servers, as they are now.
///
/// # Errors
/// If a stream cannot be looked up.
pub(crate) async fn list_streams(
    client: Client,
    partitions: PartitionCount,
) -> Result<LeftBehind, LeftoversError> {
    let context = open_context(client);
    let buckets = [subjects::LEASES_BUCKET, subjects::NAMES_BUCKET];
    let buckets = buckets.map(|bucket| format!("KV_{bucket}"));
    let mut streams = Vec::new();
    for name in subjects::controller_stream_names(partitions) {
        let changes_without_a_record = buckets.contains(&name);
        if let Some(mut found) = look_up(&context, &name).await? {
            found.last_sequence = found.last_sequence.filter(|_| !changes_without_a_record);
            streams.push(found);
        }
    }
    Ok(LeftBehind { streams })
}

/// Returns the stream of this name as it is now, or `None` if it does not exist.
async fn look_up(context: &Context, name: &str) -> Result<Option<LeftStream>, LeftoversError> {
    let found = find_stream(context, name).await;
    let found = found.map_err(|error| LeftoversError::Lookup {
        stream: name.to_owned(),
        cause: error.to_string(),
    })?;
    Ok(found.map(|found| {
        let info = found.cached_info();
        LeftStream {
            name: name.to_owned(),
            created: info.created.to_string(),
            last_sequence: Some(info.state.last_sequence),
        }
    }))
}

/// Checks that no controller uses the leftovers or has used them since the migration. Returns the
/// names of the streams that still exist.
async fn check_unused(context: &Context, left: &LeftBehind) -> Result<Vec<String>, LeftoversError> {
    wait_until_no_controller_runs(context).await?;
    let mut streams = Vec::new();
    for stream in &left.streams {
        let Some(found) = look_up(context, &stream.name).await? else {
            continue;
        };
        let is_same = found.created == stream.created
            && (stream.last_sequence).is_none_or(|last| found.last_sequence == Some(last));
        if !is_same {
            return Err(LeftoversError::Changed(stream.name.clone()));
        }
        streams.push(stream.name.clone());
    }
    Ok(streams)
}

/// Waits until the bucket of leases is empty. Each running controller keeps a mark there, which
/// expires within seconds after the controller has stopped.
async fn wait_until_no_controller_runs(context: &Context) -> Result<(), LeftoversError> {
    let bucket = format!("KV_{}", subjects::LEASES_BUCKET);
    let started = Instant::now();
    loop {
        let found = find_stream(context, &bucket).await;
        let found = found.map_err(|error| LeftoversError::Lookup {
            stream: bucket.clone(),
            cause: error.to_string(),
        })?;
        if found.is_none_or(|found| found.cached_info().state.messages == 0) {
            return Ok(());
        }
        if started.elapsed() > MARKS_TIMEOUT {
            return Err(LeftoversError::InUse);
        }
        tokio::time::sleep(MARKS_POLL_INTERVAL).await;
    }
}
