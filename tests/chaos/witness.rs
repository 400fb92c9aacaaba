//! A subscriber to all broadcasts, who checks the rule of revisions and remembers every removal that was told.
//!
//! A revision is never told twice with other content, never goes back, and jumps only where a message may have been lost:
//! the subscriber's own connection was down, or the controller or its connection was (`downs`). Of several controllers the one that
//! led before may still be heard, late: readers keep the higher revision, so that is counted and does no harm.

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

use crate::downs::Gap;
use crate::stage::Stage;

/// How much earlier than its loss a message may have been seen: the programs share two or three processors.
const SLACK: Duration = Duration::from_millis(1500);

/// When the own connection went, came, or lost something.
type OwnDowns = Mutex<Vec<Instant>>;

/// A shard's removal, as it was told.
#[derive(Debug, Clone)]
pub(crate) struct Removal {
    pub(crate) at: Timestamp,
    pub(crate) operation: Option<OperationId>,
    pub(crate) revision: u64,
}

/// What a witness has heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) messages: u64,
    pub(crate) gaps: u64,
    pub(crate) missed: u64,
    /// Messages that came after a later one.
    pub(crate) late: u64,
    pub(crate) losses: Vec<String>,
    /// What the own connection does not explain.
    pub(crate) unexplained: Vec<Gap>,
    pub(crate) removals: BTreeMap<(HostId, DeckyId), Vec<Removal>>,
    /// When a shard that is there was first told, if it was not there from the beginning.
    pub(crate) registered: BTreeMap<(HostId, DeckyId), Timestamp>,
    /// The last told state of each shard, and its revision.
    shards: BTreeMap<(HostId, DeckyId), (u64, ShardState)>,
    /// What was told with the highest revision of each shard; nothing if it was removed.
    pub(crate) latest: BTreeMap<(HostId, DeckyId), (u64, Option<ShardRecord>)>,
    /// A hash of what was told with each revision on each subject.
    pub(crate) contents: BTreeMap<(&'static str, u64), u64>,
}

/// One subscriber, until it is dropped.
pub(crate) struct Witness {
    pub(crate) name: &'static str,
    pub(crate) heard: Arc<Mutex<Heard>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Subscribes to all three subjects at `url`.
    pub(crate) async fn start(name: &'static str, stage: &Stage, url: &str) -> Result<Self> {
        let own = Arc::<OwnDowns>::default();
        let downs = own.clone();
        let client = stage
            .options(Role::Viewer)
            .event_callback(move |event| {
                let downs = downs.clone();
                async move {
                    if matches!(
                        event,
                        Event::Disconnected | Event::Connected | Event::SlowConsumer(_)
                    ) {
                        lock(&downs).push(Instant::now());
                    }
                }
            })
            .connect(url.split(',').collect::<Vec<_>>())
            .await
            .context("connect a witness")?;
        let heard = Arc::<Mutex<Heard>>::default();
        let several = stage.size.controllers > 1;
        let tasks = vec![
            follow(&client, &heard, &own, shards, several).await?,
            follow::<HostsUpdated>(&client, &heard, &own, |_, _, _| {}, several).await?,
            follow::<OperationsUpdated>(&client, &heard, &own, |_, _, _| {}, several).await?,
        ];
        client.flush().await?;
        Ok(Self { name, heard, tasks })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn follow<T: Broadcast + Send + 'static>(
    client: &Client,
    heard: &Arc<Mutex<Heard>>,
    own: &Arc<OwnDowns>,
    learn: fn(&mut Heard, &T, Came),
    several: bool,
) -> Result<JoinHandle<()>> {
    let subscriber = client.subscribe(T::SUBJECT).await?;
    let (heard, own) = (heard.clone(), own.clone());
    Ok(tokio::spawn(read(subscriber, heard, own, learn, several)))
}

async fn read<T: Broadcast>(
    mut subscriber: Subscriber,
    heard: Arc<Mutex<Heard>>,
    own: Arc<OwnDowns>,
    learn: fn(&mut Heard, &T, Came),
    several: bool,
) {
    let mut track = Track::new(several);
    while let Some(message) = subscriber.next().await {
        let mut heard = lock(&heard);
        let told: T = match serde_json::from_slice(&message.payload) {
            Ok(told) => told,
            Err(error) => {
                let loss = format!("{}: unreadable: {error}", T::SUBJECT);
                heard.losses.push(loss);
                continue;
            }
        };
        heard.messages += 1;
        let before = track.last;
        let came = track.take(&told, &message.payload, &mut heard);
        if let Came::After(jumped @ 1..) = came {
            heard.gaps += 1;
            heard.missed += jumped;
            let explained = |down: &Instant| *down + SLACK >= track.at;
            if !lock(&own).iter().any(explained) {
                let revision = told.revision();
                heard.unexplained.push(Gap {
                    from: track.decided.unwrap_or(told.at()),
                    to: current_timestamp(),
                    what: format!("{}: revision {revision} came after {before}", T::SUBJECT),
                });
            }
        }
        if came == Came::Late {
            heard.late += 1;
        } else {
            track.at = Instant::now();
            track.decided = Some(told.at());
        }
        learn(&mut heard, &told, came);
    }
}

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// So many are missing before it.
    After(u64),
    /// After a later one.
    Late,
}

/// One subject's revisions.
struct Track {
    last: u64,
    /// When the last message came, and when it was decided.
    at: Instant,
    decided: Option<Timestamp>,
    /// Whether there are several controllers.
    several: bool,
}

impl Track {
    fn new(several: bool) -> Self {
        Self {
            last: 0,
            at: Instant::now(),
            decided: None,
            several,
        }
    }

    /// Takes a message in, and says how it came.
    fn take<T: Broadcast>(&mut self, told: &T, payload: &[u8], heard: &mut Heard) -> Came {
        let revision = told.revision();
        let first = self.last == 0;
        if !told.is_repeat() {
            let mut hasher = DefaultHasher::new();
            payload.hash(&mut hasher);
            let content = hasher.finish();
            let known = heard.contents.entry((T::SUBJECT, revision));
            if *known.or_insert(content) != content {
                heard.losses.push(format!(
                    "{}: revision {revision} told twice with other content",
                    T::SUBJECT
                ));
            }
        }
        if revision < self.last {
            if self.several {
                return Came::Late;
            }
            heard.losses.push(format!(
                "{}: revision {revision} after {}",
                T::SUBJECT,
                self.last
            ));
        }
        // The repeat of the last revision tells nothing new: all up to it should have been seen.
        let expected = self.last + u64::from(!told.is_repeat());
        let jumped = revision.saturating_sub(expected);
        self.last = self.last.max(revision);
        Came::After(if first { 0 } else { jumped })
    }
}

/// Remembers removals, and what was told last; a failed teardown ends only by another try, or with the shard.
fn shards(heard: &mut Heard, told: &ShardsUpdated, came: Came) {
    let updated = told.updated.iter().map(|shard| {
        let key = (shard.host_uuid.clone(), shard.decky_id.clone());
        (key, shard.revision, Some(shard.clone()))
    });
    let removed = told.removed.iter().map(|removed| {
        let key = (removed.host_uuid.clone(), removed.decky_id.clone());
        (key, removed.revision, None)
    });
    for (key, revision, shard) in updated.chain(removed) {
        let known = heard.latest.get(&key).map_or(0, |(known, _)| *known);
        if revision > known {
            heard.latest.insert(key, (revision, shard));
        }
    }
    if came == Came::Late {
        for removed in &told.removed {
            note_removal(heard, told, removed);
        }
        return;
    }
    if came != Came::After(0) {
        heard.shards.clear();
    }
    for shard in &told.updated {
        let key = (shard.host_uuid.clone(), shard.decky_id.clone());
        if heard.removals.contains_key(&key) {
            heard.registered.entry(key.clone()).or_insert(told.at);
        }
        let before = heard.shards.insert(key, (told.revision, shard.state));
        let seen = [ShardState::TeardownFailed, ShardState::TearingDown].contains(&shard.state);
        if let Some((revision, ShardState::TeardownFailed)) = before
            && !seen
        {
            heard.losses.push(format!(
                "{}/{}: teardown_failed at revision {revision}, and {:?} at {} without another try",
                shard.host_uuid, shard.decky_id, shard.state, told.revision
            ));
        }
    }
    for removed in &told.removed {
        let key = (removed.host_uuid.clone(), removed.decky_id.clone());
        heard.shards.remove(&key);
        heard.registered.remove(&key);
        note_removal(heard, told, removed);
    }
}

fn note_removal(heard: &mut Heard, told: &ShardsUpdated, removed: &RemovedShard) {
    let key = (removed.host_uuid.clone(), removed.decky_id.clone());
    let removals = heard.removals.entry(key).or_default();
    removals.push(Removal {
        at: told.at,
        operation: told.operation_id,
        revision: told.revision,
    });
    // One that came late has its place among the others.
    removals.sort_by_key(|removal| removal.revision);
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostsUpdated;
    use serde_json::json;

    use super::{Came, Heard, Track};

    fn told(track: &mut Track, heard: &mut Heard, revision: u64, updated: &str) -> Came {
        let updated: serde_json::Value = serde_json::from_str(updated).expect("JSON");
        let payload = json!({
            "type": "scuttle.v1.hosts_updated", "revision": revision,
            "at": "2026-11-23T09:11:49.000Z", "updated": updated,
        });
        let payload = payload.to_string();
        let message: HostsUpdated = serde_json::from_str(&payload).expect("valid");
        track.take(&message, payload.as_bytes(), heard)
    }

    #[test]
    fn revisions_neither_jump_nor_go_back_nor_change() {
        let host = |name: &str| {
            format!(
                r#"[{{"host_uuid":"{name}","name":"{name}","address":null,"labels":{{}},"status":"online",
                "last_heartbeat":null,"agent_version":null,"shards":0,"open_operations":0,
                "enrolled_at":"2026-11-23T09:11:49.000Z"}}]"#
            )
        };
        let (a, b) = (host("a"), host("b"));
        for several in [false, true] {
            let mut track = Track::new(several);
            let mut heard = Heard::default();
            for (revision, updated, jumped, losses) in [
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
                let (came, also_lost) = match jumped {
                    Some(jumped) => (Came::After(jumped), 0),
                    None if several => (Came::Late, 0),
                    None => (Came::After(0), 1),
                };
                let found = told(&mut track, &mut heard, revision, updated);
                let lost = std::mem::take(&mut heard.losses).len();
                let expected = (came, losses + also_lost);
                assert_eq!((found, lost), expected, "revision {revision} {updated}");
            }
        }
    }
}
