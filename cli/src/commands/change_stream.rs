//! Follows the changes to the swarm until Ctrl-C, for `scuttle watch -o jsonl` and `scuttle
//! events`.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::client::live_view::{LiveView, Update};
use crate::client::nats_client::Client;
use crate::clock;
use crate::failure::Failure;
use crate::output::format::{Format, write_json_line};
use crate::output::json_types::Event;
use crate::output::message::print_error;

/// The interval at which the view is checked for staleness.
const STALE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The first records of a stream of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// All current records.
    AllRecords,
    /// The deckies whose last change has a higher revision than this one. `None` for no records.
    After(Option<u64>),
}

/// Passes the first records and then each change to `write`, until Ctrl-C. With JSON lines, also
/// writes an event when the records are complete, and when they may be out of date.
pub(super) async fn run(
    client: &Client,
    start: Start,
    format: Format,
    mut write: impl FnMut(&LiveView, &Update) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut view = LiveView::open(client).await?;
    let mut ticks = interval(STALE_CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut is_complete, mut is_stale) = (false, false);
    let write_event = |event: &Event<'_>| match format {
        Format::Jsonl => write_json_line(event),
        _ => Ok(()),
    };
    loop {
        let listed = Listed::of(&view);
        tokio::select! {
            mut update = view.next() => {
                if let Start::After(revision) = start {
                    drop_first_records(&mut update, &view, listed, revision);
                }
                write(&view, &update)?;
            }
            _ = ticks.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        if view.is_complete() && !is_complete {
            is_complete = true;
            write_event(&Event::Complete { at: clock::now() })?;
        }
        match view.stale_reason() {
            Some(reason) if !is_stale => {
                is_stale = true;
                print_error(&reason);
                let since = clock::now();
                write_event(&Event::Stale { since, reason })?;
            }
            None if is_stale => {
                is_stale = false;
                write_event(&Event::Complete { at: clock::now() })?;
            }
            _ => {}
        }
    }
}

/// Which records of a view have been listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    hosts: bool,
    shards: bool,
    operations: bool,
}

impl Listed {
    fn of(view: &LiveView) -> Self {
        Self {
            hosts: view.hosts.is_listed(),
            shards: view.shards.is_listed(),
            operations: view.operations.is_listed(),
        }
    }
}

/// Removes the records of a first listing from an update, except deckies that changed after
/// `revision`. `before` says which records had been listed before the update. A later listing
/// follows missed broadcasts, so it contains only changes.
fn drop_first_records(update: &mut Update, view: &LiveView, before: Listed, revision: Option<u64>) {
    let now = Listed::of(view);
    match update {
        Update::Hosts(changes) if now.hosts && !before.hosts => changes.updated.clear(),
        Update::Operations(changes) if now.operations && !before.operations => {
            changes.updated.clear();
        }
        Update::Shards(changes) if now.shards && !before.shards => {
            changes.updated.retain(|key| {
                let shard = view.shards.get(key);
                shard
                    .zip(revision)
                    .is_some_and(|(shard, after)| shard.revision > after)
            });
        }
        Update::Hosts(_)
        | Update::Shards(_)
        | Update::Operations(_)
        | Update::Problem(_)
        | Update::ListingFailed(_)
        | Update::Nothing => {}
    }
}
