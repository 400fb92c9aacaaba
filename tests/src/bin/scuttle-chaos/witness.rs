//! A subscriber to all broadcasts, who checks the rule of revisions and remembers every removal that was told.
//!
//! A revision is never told twice with other content, never goes back, and jumps only where a message may have been lost:
//! the subscriber's own connection was down, or the controller or its connection was (`downs`).

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use async_nats::{Client, Event, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::hosts::HostsUpdated;
use scuttle_schemas::operations::OperationsUpdated;
use scuttle_schemas::shards::{ShardState, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};
use scuttle_tests::Role;
use scuttle_tests::broadcasts::Broadcast;
use scuttle_tests::wait::{lock, now};
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
    pub(crate) losses: Vec<String>,
    /// What the own connection does not explain.
    pub(crate) unexplained: Vec<Gap>,
    pub(crate) removals: BTreeMap<(HostId, DeckyId), Vec<Removal>>,
    /// When a shard that is there was first told, if it was not there from the beginning.
    pub(crate) registered: BTreeMap<(HostId, DeckyId), Timestamp>,
    /// The last told state of each shard, and its revision.
    shards: BTreeMap<(HostId, DeckyId), (u64, ShardState)>,
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
            .connect(url)
            .await
            .context("connect a witness")?;
        let heard = Arc::<Mutex<Heard>>::default();
        let tasks = vec![
            follow(&client, &heard, &own, |heard, message, whole| {
                shards(heard, message, whole);
            })
            .await?,
            follow::<HostsUpdated>(&client, &heard, &own, |_, _, _| {}).await?,
            follow::<OperationsUpdated>(&client, &heard, &own, |_, _, _| {}).await?,
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
    learn: fn(&mut Heard, &T, bool),
) -> Result<JoinHandle<()>> {
    let subscriber = client.subscribe(T::SUBJECT).await?;
    let (heard, own) = (heard.clone(), own.clone());
    Ok(tokio::spawn(read(subscriber, heard, own, learn)))
}

async fn read<T: Broadcast>(
    mut subscriber: Subscriber,
    heard: Arc<Mutex<Heard>>,
    own: Arc<OwnDowns>,
    learn: fn(&mut Heard, &T, bool),
) {
    let mut track = Track::default();
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
        let jumped = track.jump(&told, &message.payload, &mut heard.losses);
        if jumped > 0 {
            heard.gaps += 1;
            heard.missed += jumped;
            let explained = |down: &Instant| *down + SLACK >= track.at;
            if !lock(&own).iter().any(explained) {
                let revision = told.revision();
                heard.unexplained.push(Gap {
                    from: track.decided.unwrap_or(told.at()),
                    to: now(),
                    what: format!("{}: revision {revision} came after {before}", T::SUBJECT),
                });
            }
        }
        track.at = Instant::now();
        track.decided = Some(told.at());
        learn(&mut heard, &told, jumped == 0);
    }
}

/// One subject's revisions.
struct Track {
    last: u64,
    /// When the last message came, and when it was decided.
    at: Instant,
    decided: Option<Timestamp>,
    contents: BTreeMap<u64, u64>,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            last: 0,
            at: Instant::now(),
            decided: None,
            contents: BTreeMap::new(),
        }
    }
}

impl Track {
    /// Takes a message in, and says how many are missing before it.
    fn jump<T: Broadcast>(&mut self, told: &T, payload: &[u8], losses: &mut Vec<String>) -> u64 {
        let revision = told.revision();
        let first = self.last == 0;
        if revision < self.last {
            losses.push(format!(
                "{}: revision {revision} after {}",
                T::SUBJECT,
                self.last
            ));
        }
        if !told.is_repeat() {
            let mut hasher = DefaultHasher::new();
            payload.hash(&mut hasher);
            let content = hasher.finish();
            if *self.contents.entry(revision).or_insert(content) != content {
                losses.push(format!(
                    "{}: revision {revision} told twice with other content",
                    T::SUBJECT
                ));
            }
        }
        // The repeat of the last revision tells nothing new: all up to it should have been seen.
        let expected = self.last + u64::from(!told.is_repeat());
        let jumped = revision.saturating_sub(expected);
        self.last = self.last.max(revision);
        if first { 0 } else { jumped }
    }
}

/// Remembers removals; a failed teardown ends only by another try, or with the shard. `whole`: nothing was missed before.
fn shards(heard: &mut Heard, told: &ShardsUpdated, whole: bool) {
    if !whole {
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
        heard.removals.entry(key).or_default().push(Removal {
            at: told.at,
            operation: told.operation_id,
            revision: told.revision,
        });
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::hosts::HostsUpdated;
    use serde_json::json;

    use super::Track;

    fn told(track: &mut Track, revision: u64, updated: &str) -> (u64, usize) {
        let updated: serde_json::Value = serde_json::from_str(updated).expect("JSON");
        let payload = json!({
            "type": "scuttle.v1.hosts_updated", "revision": revision,
            "at": "2026-11-23T09:11:49.000Z", "updated": updated,
        });
        let payload = payload.to_string();
        let message: HostsUpdated = serde_json::from_str(&payload).expect("valid");
        let mut losses = Vec::new();
        let jumped = track.jump(&message, payload.as_bytes(), &mut losses);
        (jumped, losses.len())
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
        let mut track = Track::default();
        for (revision, updated, jumped, losses) in [
            (4, &*a, 0, 0),
            (5, &*b, 0, 0),
            (5, "[]", 0, 0),
            (7, "[]", 2, 0),
            (8, &*a, 0, 0),
            (8, &*a, 0, 0),
            (8, &*b, 0, 1),
            (6, "[]", 0, 1),
            (10, &*a, 1, 0),
        ] {
            let found = told(&mut track, revision, updated);
            assert_eq!(found, (jumped, losses), "revision {revision} {updated}");
        }
    }
}
