//! Follows the events of the Docker Engine and notifies the agent when the inventory has changed.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as Cause;
use bollard::models::{EventMessage, EventMessageTypeEnum as EventMessageType};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::deckies::shared_register::ReadError;
use super::docker_runtime::DockerRuntime;
use super::engine::client::Engine;
use crate::runtime::Inventory;

/// The delay between the first event after a quiet time and the read of the inventory. One read
/// then covers the several events that the removal of one decky causes.
const MIN_READ_DELAY: Duration = Duration::from_millis(50);
/// The maximum delay between an event and the read of the inventory. A change is still reported
/// within a second.
const MAX_READ_DELAY: Duration = Duration::from_millis(500);
/// The time without a read after which the next delay is the minimum again.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// The interval without an event after which the Engine is pinged, to detect an Engine that hangs.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The interval at which everything is listed again, to make up for lost events.
const RESCAN_INTERVAL: Duration = Duration::from_mins(1);
/// The delay before a changed container is listed again for the first time. The Engine reports that
/// a container has exited before the Engine has cleaned up and updated its listing. A busy Engine
/// takes long to do so.
const RECHECK_DELAY: Duration = Duration::from_secs(1);
/// The number of times that a changed container is listed again: after 1, 2, 4, 8 and 16 s.
const RECHECKS: u32 = 5;
/// The delay between two attempts to reach the Engine.
const RETRY_DELAY: Duration = Duration::from_millis(500);

type Event = Result<EventMessage, Cause>;

/// The state that the agent was last notified of.
enum Announced {
    Nothing,
    /// The Engine is unreachable.
    Unreachable,
    Inventory(Inventory),
}

impl DockerRuntime {
    /// Follows the Engine forever. The receivers of `changes` are notified of every change of the
    /// inventory, and when the Engine becomes unreachable or reachable again.
    pub async fn watch(&self) {
        let settings = self.stop_settings.read_missing(&self.settings.socket);
        tokio::join!(self.follow_forever(), settings);
    }

    async fn follow_forever(&self) {
        let mut announced = Announced::Nothing;
        loop {
            let error = match Engine::connect(&self.settings.socket).await {
                Ok(engine) => self.follow(&engine, &mut announced).await,
                Err(error) => error.into(),
            };
            self.invalidate();
            let last = std::mem::replace(&mut announced, Announced::Unreachable);
            if !matches!(last, Announced::Unreachable) {
                // The agent logs the reason when it sends a heartbeat without the inventory.
                tracing::debug!(host_uuid = %self.host, "{error}");
                self.notify_change();
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Follows the Engine until a call fails or the event stream ends, and returns the error.
    async fn follow(&self, engine: &Engine, announced: &mut Announced) -> ReadError {
        let mut events = pin!(engine.watch_events());
        let mut rescanned_at = Instant::now();
        let mut recheck = Recheck::default();
        let mut pace = ReadPace::default();
        self.invalidate();
        self.stop_settings.clear();
        loop {
            let read = self.read_during_events(engine, events.as_mut(), &mut recheck);
            let (inventory, is_stale) = match read.await {
                Ok(read) => read,
                Err(error) => return error,
            };
            let is_unchanged = match announced {
                Announced::Inventory(last) => {
                    Arc::ptr_eq(&last.shards, &inventory.shards)
                        && Arc::ptr_eq(&last.notes, &inventory.notes)
                }
                Announced::Nothing | Announced::Unreachable => {
                    let (deckies, version) = (inventory.shards.len(), engine.api_version());
                    tracing::info!(host_uuid = %self.host, deckies, "following the Docker Engine, API {version}");
                    false
                }
            };
            *announced = Announced::Inventory(inventory);
            if !is_unchanged {
                self.notify_change();
            }
            let limit = recheck.due_in().unwrap_or(PING_INTERVAL);
            let change = async {
                if !is_stale {
                    self.wait_for_event(events.as_mut(), limit, &mut recheck)
                        .await?;
                }
                let end = Instant::now() + pace.next_delay(Instant::now());
                self.mark_until(end, events.as_mut(), &mut recheck).await
            };
            match change.await {
                Err(WaitError::Ended(cause)) => return engine.to_stream_error(cause).into(),
                Err(WaitError::TimedOut) if !recheck.is_due(Instant::now()) => {
                    if let Err(error) = engine.ping().await {
                        return error.into();
                    }
                }
                Ok(()) | Err(WaitError::TimedOut) => {}
            }
            for id in recheck.take_due(Instant::now()) {
                self.invalidate_container(&id);
            }
            if rescanned_at.elapsed() >= RESCAN_INTERVAL {
                rescanned_at = Instant::now();
                self.invalidate();
            }
        }
    }

    /// Reads the inventory while draining the event stream, because the Engine drops events for
    /// slow clients. Also returns whether one of these events has marked a part of the cache as
    /// stale.
    async fn read_during_events(
        &self,
        engine: &Engine,
        mut events: Pin<&mut impl Stream<Item = Event>>,
        recheck: &mut Recheck,
    ) -> Result<(Inventory, bool), ReadError> {
        let mut read = pin!(self.read_inventory());
        let mut is_stale = false;
        loop {
            tokio::select! {
                inventory = &mut read => return Ok((inventory?, is_stale)),
                event = self.mark_next(events.as_mut(), recheck) => match event {
                    Ok(marked) => is_stale |= marked,
                    Err(cause) => {
                        // A read that was dropped could leave a write of the register behind.
                        let _ = read.await;
                        return Err(engine.to_stream_error(cause).into());
                    }
                }
            }
        }
    }

    /// Waits until an event marks a part of the cache as stale, for at most `limit`.
    async fn wait_for_event(
        &self,
        mut events: Pin<&mut impl Stream<Item = Event>>,
        limit: Duration,
        recheck: &mut Recheck,
    ) -> Result<(), WaitError> {
        let first = async {
            while !self.mark_next(events.as_mut(), recheck).await? {}
            Ok(())
        };
        let marked = timeout(limit, first).await;
        marked.unwrap_or(Err(WaitError::TimedOut))
    }

    /// Reads events until `end`, and marks as stale the parts of the cache that they affect.
    async fn mark_until(
        &self,
        end: Instant,
        mut events: Pin<&mut impl Stream<Item = Event>>,
        recheck: &mut Recheck,
    ) -> Result<(), WaitError> {
        while let Ok(event) = timeout_at(end, self.mark_next(events.as_mut(), recheck)).await {
            event?;
        }
        Ok(())
    }

    /// Waits for the next event, and returns whether it concerns a part of the cache, which is then
    /// marked as stale.
    ///
    /// # Errors
    /// If the event stream has ended, with the cause if there was one.
    async fn mark_next(
        &self,
        mut events: Pin<&mut impl Stream<Item = Event>>,
        recheck: &mut Recheck,
    ) -> Result<bool, Option<Cause>> {
        match events.next().await {
            Some(Ok(event)) => Ok(self.mark_stale(&event, recheck)),
            Some(Err(cause)) => Err(Some(cause)),
            None => Err(None),
        }
    }

    /// Marks the part of the cache that an event concerns as stale. Returns false if it concerns
    /// none.
    fn mark_stale(&self, event: &EventMessage, recheck: &mut Recheck) -> bool {
        if !may_change_inventory(event) {
            return false;
        }
        let id = event.actor.as_ref().and_then(|actor| actor.id.as_deref());
        match (event.typ, id) {
            (Some(EventMessageType::CONTAINER), Some(id)) => {
                self.invalidate_container(id);
                recheck.add(id, Instant::now());
                // `docker update` changes the restart policy.
                if event.action.as_deref() == Some("update") {
                    self.stop_settings.forget(id);
                }
            }
            (Some(EventMessageType::NETWORK), _) => {
                self.invalidate_networks();
                // The addresses of a container that joins or leaves a network change.
                let actor = event.actor.as_ref();
                let attributes = actor.and_then(|actor| actor.attributes.as_ref());
                if let Some(id) = attributes.and_then(|attributes| attributes.get("container")) {
                    self.invalidate_container(id);
                }
            }
            _ => self.invalidate(),
        }
        true
    }
}

/// The reason why a wait ended without an event.
enum WaitError {
    TimedOut,
    /// The event stream has ended, with an error if there was one.
    Ended(Option<Cause>),
}

impl From<Option<Cause>> for WaitError {
    fn from(cause: Option<Cause>) -> Self {
        Self::Ended(cause)
    }
}

/// Spaces the reads of the inventory. While events keep coming, each delay is twice the last one,
/// so that a burst of events causes few reads and few heartbeats.
#[derive(Debug, Default)]
struct ReadPace {
    delay: Duration,
    /// The time of the last read. `None` before the first one.
    read_at: Option<Instant>,
}

impl ReadPace {
    /// Returns the delay until the read that an event at `now` causes.
    fn next_delay(&mut self, now: Instant) -> Duration {
        let is_busy = (self.read_at).is_some_and(|read_at| now - read_at < QUIET_TIME);
        self.delay = if is_busy {
            (2 * self.delay).min(MAX_READ_DELAY)
        } else {
            MIN_READ_DELAY
        };
        self.read_at = Some(now + self.delay);
        self.delay
    }
}

/// The containers to list again at `due`, with the number of times that each is still listed. The
/// delay doubles each time.
#[derive(Default)]
struct Recheck {
    containers: BTreeMap<String, u32>,
    /// The time of the next recheck. `None` if there are no containers.
    due: Option<Instant>,
}

impl Recheck {
    /// Adds a container that had an event at `now`.
    fn add(&mut self, id: &str, now: Instant) {
        self.containers.insert(id.to_owned(), RECHECKS);
        let due = now + RECHECK_DELAY;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    fn due_in(&self) -> Option<Duration> {
        Some(self.due?.saturating_duration_since(Instant::now()))
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Returns the containers to list again at `now`, and schedules the next recheck. Returns an
    /// empty list if no recheck is due.
    fn take_due(&mut self, now: Instant) -> Vec<String> {
        if !self.is_due(now) {
            return Vec::new();
        }
        let ids = self.containers.keys().cloned().collect();
        self.containers.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        let most_left = self.containers.values().max();
        self.due = most_left.map(|left| now + RECHECK_DELAY * 2_u32.pow(RECHECKS - left));
        ids
    }
}

/// Returns false for events that change no container. A health check, for example, causes an `exec`
/// event every few seconds. If the health has changed, a separate event reports the change.
fn may_change_inventory(event: &EventMessage) -> bool {
    let action = event.action.as_deref().unwrap_or_default();
    ![
        "exec_",
        "top",
        "attach",
        "detach",
        "resize",
        "copy",
        "export",
        "archive-path",
        "extract-to-dir",
    ]
    .iter()
    .any(|noise| action.starts_with(noise))
}

#[cfg(test)]
mod tests {
    use super::{Duration, Instant, MAX_READ_DELAY, MIN_READ_DELAY, QUIET_TIME, ReadPace, Recheck};

    #[test]
    fn a_changed_container_is_listed_again_with_growing_delays() {
        let start = Instant::now();
        let second = |count| start + Duration::from_secs(count);
        let mut recheck = Recheck::default();
        recheck.add("a", start);
        let mut due = Vec::new();
        for now in (0..60).map(second) {
            if recheck.is_due(now) {
                assert_eq!(recheck.take_due(now), ["a"]);
                due.push((now - start).as_secs());
            }
        }
        assert_eq!(due, [1, 3, 7, 15, 31]);
        // A further event brings the next recheck forward.
        recheck.add("b", start);
        assert!(recheck.is_due(second(1)));
        recheck.take_due(second(1));
        recheck.add("c", second(1));
        assert_eq!(recheck.take_due(second(2)), ["b", "c"]);
        assert!(!recheck.is_due(second(3)) && recheck.is_due(second(4)));
    }

    #[test]
    fn the_delay_between_reads_grows_while_events_keep_coming() {
        let mut pace = ReadPace::default();
        let mut now = Instant::now();
        let mut next = |after: Duration| {
            now += after;
            let delay = pace.next_delay(now);
            now += delay;
            delay.as_millis()
        };
        let soon = Duration::from_millis(1);
        let delays: Vec<_> = (0..6).map(|_| next(soon)).collect();
        assert_eq!(delays, [50, 100, 200, 400, 500, 500]);
        assert_eq!(next(QUIET_TIME), MIN_READ_DELAY.as_millis());
        assert!(MAX_READ_DELAY < Duration::from_secs(1));
    }
}
