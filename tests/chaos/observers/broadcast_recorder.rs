//! A subscriber to all broadcasts that checks the revisions and records every removal.
//!
//! On each subject, the revisions must obey these rules:
//!
//! - Messages with the same revision have the same content, except repeats of the last revision.
//! - Revisions never decrease. With several controllers, however, messages of a deposed leader may
//!   arrive late. They are counted but are harmless, because readers keep the higher revision.
//! - Revisions skip numbers only where a message may have been lost: the connection of the
//!   subscriber or of a controller was down, or a controller was down (see `outages`).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::{Client, Event, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::hosts::HostsUpdated;
use scuttle_schemas::operations::OperationsUpdated;
use scuttle_schemas::shards::{RemovedShard, ShardRecord, ShardState, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use scuttle_tests::Role;
use scuttle_tests::clients::broadcasts::Broadcast;
use scuttle_tests::wait::{current_timestamp, lock};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cluster::processes::Processes;
use crate::outages::Gap;

/// The maximum time from a connection event until this program processes the last message that
/// arrived before the event. The time can be long, because all programs compete for a few
/// processors.
const MAX_PROCESSING_DELAY: Duration = Duration::from_millis(1500);

/// The times at which the subscriber's connection was lost, was restored, or dropped messages.
type ConnectionEvents = Mutex<Vec<Instant>>;

/// The removal of a shard, as broadcast.
#[derive(Debug, Clone)]
pub(crate) struct Removal {
    pub(crate) at: Timestamp,
    pub(crate) operation: Option<OperationId>,
    pub(crate) revision: u64,
}

/// What a recorder has noted about the broadcasts, and the losses and gaps that it has found.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) messages: u64,
    pub(crate) gaps: u64,
    pub(crate) missed: u64,
    /// The number of messages that arrived after a message with a higher revision.
    pub(crate) late: u64,
    pub(crate) losses: Vec<String>,
    /// The gaps in the revisions that no event of the subscriber's connection explains.
    pub(crate) unexplained: Vec<Gap>,
    pub(crate) removals: BTreeMap<(HostId, DeckyId), Vec<Removal>>,
    /// When each shard was first broadcast after its latest removal. Only shards that were removed
    /// and deployed again are present.
    pub(crate) registered: BTreeMap<(HostId, DeckyId), Timestamp>,
    /// The revision and state of each shard in the last broadcast about it. Cleared after a gap.
    shards: BTreeMap<(HostId, DeckyId), (u64, ShardState)>,
    /// The highest known revision of each shard, with its record, or with `None` if it was removed.
    pub(crate) latest: BTreeMap<(HostId, DeckyId), (u64, Option<ShardRecord>)>,
    /// The hash of the message with each subject and revision.
    pub(crate) content_hashes: BTreeMap<(&'static str, u64), u64>,
}

/// A running recorder. Dropping this value stops the recorder.
pub(crate) struct BroadcastRecorder {
    pub(crate) name: &'static str,
    pub(crate) recording: Arc<Mutex<Recording>>,
    tasks: Vec<JoinHandle<()>>,
}

impl BroadcastRecorder {
    /// Connects to the servers in `url`, a list separated by commas, and subscribes to all three
    /// broadcast subjects.
    pub(crate) async fn start(
        name: &'static str,
        processes: &Processes,
        url: &str,
    ) -> Result<Self> {
        let connection_events = Arc::<ConnectionEvents>::default();
        let events = connection_events.clone();
        let client = processes
            .connect_options(Role::Viewer)
            .event_callback(move |event| {
                let events = events.clone();
                async move {
                    if matches!(
                        event,
                        Event::Disconnected | Event::Connected | Event::SlowConsumer(_)
                    ) {
                        lock(&events).push(Instant::now());
                    }
                }
            })
            .connect(url.split(',').collect::<Vec<_>>())
            .await
            .context("connect a recorder")?;
        let recording = Arc::<Mutex<Recording>>::default();
        let has_several_controllers = processes.size.controllers > 1;
        let tasks = vec![
            subscribe(
                &client,
                &recording,
                &connection_events,
                record_shards,
                has_several_controllers,
            )
            .await?,
            subscribe::<HostsUpdated>(
                &client,
                &recording,
                &connection_events,
                |_, _, _| {},
                has_several_controllers,
            )
            .await?,
            subscribe::<OperationsUpdated>(
                &client,
                &recording,
                &connection_events,
                |_, _, _| {},
                has_several_controllers,
            )
            .await?,
        ];
        client.flush().await?;
        Ok(Self {
            name,
            recording,
            tasks,
        })
    }
}

impl Drop for BroadcastRecorder {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn subscribe<T: Broadcast + Send + 'static>(
    client: &Client,
    recording: &Arc<Mutex<Recording>>,
    connection_events: &Arc<ConnectionEvents>,
    handle: fn(&mut Recording, &T, Arrival),
    has_several_controllers: bool,
) -> Result<JoinHandle<()>> {
    let subscriber = client.subscribe(T::SUBJECT).await?;
    let (recording, connection_events) = (recording.clone(), connection_events.clone());
    Ok(tokio::spawn(record(
        subscriber,
        recording,
        connection_events,
        handle,
        has_several_controllers,
    )))
}

async fn record<T: Broadcast>(
    mut subscriber: Subscriber,
    recording: Arc<Mutex<Recording>>,
    connection_events: Arc<ConnectionEvents>,
    handle: fn(&mut Recording, &T, Arrival),
    has_several_controllers: bool,
) {
    let mut tracker = RevisionTracker::new(has_several_controllers);
    while let Some(received) = subscriber.next().await {
        let mut recording = lock(&recording);
        let message: T = match serde_json::from_slice(&received.payload) {
            Ok(message) => message,
            Err(error) => {
                let loss = format!("{}: unreadable: {error}", T::SUBJECT);
                recording.losses.push(loss);
                continue;
            }
        };
        recording.messages += 1;
        let before = tracker.last;
        let arrival = tracker.apply(&message, &received.payload, &mut recording);
        if let Arrival::InOrder(missed @ 1..) = arrival {
            recording.gaps += 1;
            recording.missed += missed;
            let explained = |down: &Instant| *down + MAX_PROCESSING_DELAY >= tracker.at;
            if !lock(&connection_events).iter().any(explained) {
                let revision = message.revision();
                recording.unexplained.push(Gap {
                    from: tracker.decided.unwrap_or(message.at()),
                    to: current_timestamp(),
                    description: format!(
                        "{}: revision {revision} arrived after {before}",
                        T::SUBJECT
                    ),
                });
            }
        }
        if arrival == Arrival::Late {
            recording.late += 1;
        } else {
            tracker.at = Instant::now();
            tracker.decided = Some(message.at());
        }
        handle(&mut recording, &message, arrival);
    }
}

/// The relation of a message's revision to the revisions that arrived before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// The message is not late. This many messages directly before it are missing.
    InOrder(u64),
    /// A message with a higher revision arrived before, which several controllers may cause.
    Late,
}

/// The state of the revision checks on one subject.
struct RevisionTracker {
    last: u64,
    /// When the last message that was not late arrived.
    at: Instant,
    /// The controller's time of the last message that was not late, or `None` before the first
    /// message.
    decided: Option<Timestamp>,
    has_several_controllers: bool,
}

impl RevisionTracker {
    fn new(has_several_controllers: bool) -> Self {
        Self {
            last: 0,
            at: Instant::now(),
            decided: None,
            has_several_controllers,
        }
    }

    /// Checks the revision and content of a message, and adds violations to the losses in
    /// `recording`. Returns how the message arrived.
    fn apply<T: Broadcast>(
        &mut self,
        message: &T,
        payload: &[u8],
        recording: &mut Recording,
    ) -> Arrival {
        let revision = message.revision();
        let first = self.last == 0;
        if !message.is_repeat() {
            let mut hasher = DefaultHasher::new();
            payload.hash(&mut hasher);
            let content = hasher.finish();
            let known = recording.content_hashes.entry((T::SUBJECT, revision));
            if *known.or_insert(content) != content {
                recording.losses.push(format!(
                    "{}: revision {revision} was broadcast with two different contents",
                    T::SUBJECT
                ));
            }
        }
        if revision < self.last {
            if self.has_several_controllers {
                return Arrival::Late;
            }
            recording.losses.push(format!(
                "{}: revision {revision} after {}",
                T::SUBJECT,
                self.last
            ));
        }
        // A repeat carries the last revision again, so all messages up to that revision should have
        // arrived.
        let expected = self.last + u64::from(!message.is_repeat());
        let missed = revision.saturating_sub(expected);
        self.last = self.last.max(revision);
        Arrival::InOrder(if first { 0 } else { missed })
    }
}

/// Records removals and the latest state of each shard. Reports a loss if a shard leaves the state
/// `teardown_failed` without another attempt or a removal.
fn record_shards(recording: &mut Recording, message: &ShardsUpdated, arrival: Arrival) {
    let updated = message.updated.iter().map(|shard| {
        let key = (shard.host_uuid.clone(), shard.decky_id.clone());
        (key, shard.revision, Some(shard.clone()))
    });
    let removed = message.removed.iter().map(|removed| {
        let key = (removed.host_uuid.clone(), removed.decky_id.clone());
        (key, removed.revision, None)
    });
    for (key, revision, shard) in updated.chain(removed) {
        let known = recording.latest.get(&key).map_or(0, |(known, _)| *known);
        if revision > known {
            recording.latest.insert(key, (revision, shard));
        }
    }
    if arrival == Arrival::Late {
        for removed in &message.removed {
            note_removal(recording, message, removed);
        }
        return;
    }
    if arrival != Arrival::InOrder(0) {
        recording.shards.clear();
    }
    for shard in &message.updated {
        let key = (shard.host_uuid.clone(), shard.decky_id.clone());
        if recording.removals.contains_key(&key) {
            recording
                .registered
                .entry(key.clone())
                .or_insert(message.at);
        }
        let before = recording
            .shards
            .insert(key, (message.revision, shard.state));
        let is_retry_or_failure =
            [ShardState::TeardownFailed, ShardState::TearingDown].contains(&shard.state);
        if let Some((revision, ShardState::TeardownFailed)) = before
            && !is_retry_or_failure
        {
            recording.losses.push(format!(
                "{}/{}: teardown_failed at revision {revision}, and {:?} at {} without another attempt",
                shard.host_uuid, shard.decky_id, shard.state, message.revision
            ));
        }
    }
    for removed in &message.removed {
        let key = (removed.host_uuid.clone(), removed.decky_id.clone());
        recording.shards.remove(&key);
        recording.registered.remove(&key);
        note_removal(recording, message, removed);
    }
}

fn note_removal(recording: &mut Recording, message: &ShardsUpdated, removed: &RemovedShard) {
    let key = (removed.host_uuid.clone(), removed.decky_id.clone());
    let removals = recording.removals.entry(key).or_default();
    removals.push(Removal {
        at: message.at,
        operation: message.operation_id,
        revision: message.revision,
    });
    // A late removal is sorted in among the others.
    removals.sort_by_key(|removal| removal.revision);
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostsUpdated;
    use serde_json::json;

    use super::{Arrival, Recording, RevisionTracker};

    fn apply(
        tracker: &mut RevisionTracker,
        recording: &mut Recording,
        revision: u64,
        updated: &str,
    ) -> Arrival {
        let updated: serde_json::Value = serde_json::from_str(updated).expect("JSON");
        let payload = json!({
            "type": "scuttle.v1.hosts_updated", "revision": revision,
            "at": "2026-11-23T09:11:49.000Z", "updated": updated,
        });
        let payload = payload.to_string();
        let message: HostsUpdated = serde_json::from_str(&payload).expect("valid");
        tracker.apply(&message, payload.as_bytes(), recording)
    }

    #[test]
    fn a_revision_that_skips_goes_back_or_changes_is_detected() {
        let host = |name: &str| {
            format!(
                r#"[{{"host_uuid":"{name}","name":"{name}","address":null,"labels":{{}},"status":"online",
                "last_heartbeat":null,"agent_version":null,"shards":0,"open_operations":0,
                "enrolled_at":"2026-11-23T09:11:49.000Z"}}]"#
            )
        };
        let (a, b) = (host("a"), host("b"));
        for has_several_controllers in [false, true] {
            let mut tracker = RevisionTracker::new(has_several_controllers);
            let mut recording = Recording::default();
            for (revision, updated, missed, losses) in [
                (4, &*a, Some(0), 0),
                (5, &*b, Some(0), 0),
                (5, "[]", Some(0), 0),
                (7, "[]", Some(2), 0),
                (8, &*a, Some(0), 0),
                (8, &*a, Some(0), 0),
                (8, &*b, Some(0), 1),
                (6, "[]", None, 0),
                (6, &*a, None, 0),
                (5, &*a, None, 1),
                (10, &*a, Some(1), 0),
            ] {
                let (arrival, also_lost) = match missed {
                    Some(missed) => (Arrival::InOrder(missed), 0),
                    None if has_several_controllers => (Arrival::Late, 0),
                    None => (Arrival::InOrder(0), 1),
                };
                let found = apply(&mut tracker, &mut recording, revision, updated);
                let lost = std::mem::take(&mut recording.losses).len();
                let expected = (arrival, losses + also_lost);
                assert_eq!((found, lost), expected, "revision {revision} {updated}");
            }
        }
    }
}
