//! The output of `scuttle watch` for programs: with `-o jsonl`, all current records and then each
//! change, one JSON object per line; with `-o json`, one document with the current records.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::client::live_view::{LiveView, Update};
use crate::client::nats_client::Client;
use crate::clock;
use crate::failure::Failure;
use crate::output::format::{Format, write_json_line};
use crate::output::json_types::{Event, Snapshot};
use crate::output::message::print_error;

/// The interval at which the view is checked for staleness.
const STALE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Writes the current records and then all changes, one JSON event per line, until Ctrl-C.
pub(super) async fn run(client: &Client) -> Result<(), Failure> {
    let mut view = LiveView::open(client).await?;
    let mut ticks = interval(STALE_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut is_complete, mut is_stale) = (false, false);
    loop {
        tokio::select! {
            update = view.next() => write_update(&view, &update)?,
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        if view.is_complete() && !is_complete {
            is_complete = true;
            write_json_line(&Event::Complete { at: clock::now() })?;
        }
        match view.stale_reason() {
            Some(reason) if !is_stale => {
                is_stale = true;
                print_error(&reason);
                let since = clock::now();
                write_json_line(&Event::Stale { since, reason })?;
            }
            None if is_stale => {
                is_stale = false;
                write_json_line(&Event::Complete { at: clock::now() })?;
            }
            _ => {}
        }
    }
}

/// Waits until all current records are listed, and writes them as one JSON document.
///
/// # Errors
/// If a listing fails. The document is a single answer, so the caller decides whether to try again.
pub(super) async fn write_snapshot(client: &Client) -> Result<(), Failure> {
    let mut view = LiveView::open(client).await?;
    while !view.is_complete() {
        match view.next().await {
            Update::ListingFailed(error) => return Err(error.into()),
            Update::Problem(problem) => print_error(problem),
            _ => {}
        }
    }
    let operations = view.operations.iter().map(|(_, operation)| operation);
    let snapshot = Snapshot {
        at: clock::now(),
        hosts: view.hosts.iter().map(|(_, host)| host).collect(),
        shards: view.shards.iter().map(|(_, shard)| shard).collect(),
        operations: operations.collect(),
    };
    Format::Json.write_one(&snapshot, String::new)
}

fn write_update(view: &LiveView, update: &Update) -> Result<(), Failure> {
    match update {
        Update::Hosts(changes) => {
            let revision = view.hosts.revision();
            let updated = changes.updated.iter().filter_map(|key| view.hosts.get(key));
            updated
                .map(|host| Event::Host { revision, host })
                .try_for_each(|event| write_json_line(&event))
        }
        Update::Shards(changes) => {
            let revision = view.shards.revision();
            for key in &changes.updated {
                if let Some(shard) = view.shards.get(key) {
                    let revision = shard.revision;
                    write_json_line(&Event::Shard { revision, shard })?;
                }
            }
            for (host_uuid, decky_id) in &changes.removed {
                write_json_line(&Event::ShardRemoved {
                    revision,
                    host_uuid,
                    decky_id,
                })?;
            }
            Ok(())
        }
        Update::Operations(changes) => {
            let revision = view.operations.revision();
            for key in &changes.updated {
                if let Some(operation) = view.operations.get(key) {
                    write_json_line(&Event::Operation {
                        revision,
                        operation,
                    })?;
                }
            }
            for operation_id in &changes.removed {
                write_json_line(&Event::OperationRemoved {
                    revision,
                    operation_id: *operation_id,
                })?;
            }
            Ok(())
        }
        // A problem makes the view stale, which `run` reports.
        Update::Problem(_) | Update::ListingFailed(_) | Update::Nothing => Ok(()),
    }
}
