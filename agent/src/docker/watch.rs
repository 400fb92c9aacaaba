//! The inventory: read from the Engine, told only while nothing can have changed since, and read again when the Engine's
//! events say that something has.

use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::errors::Error as Cause;
use bollard::models::EventMessage;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::DockerRuntime;
use super::container::Container;
use super::deckies::Deckies;
use super::engine::{Engine, EngineError};
use crate::runtime::Inventory;

/// How long events are gathered: one decky's end is several.
const GATHER: Duration = Duration::from_millis(50);
/// How often is read anew without an event: it shows that the Engine lives, and mends an event that was lost.
const AGAIN: Duration = Duration::from_secs(5);
/// Between two tries to reach the Engine.
const RETRY: Duration = Duration::from_millis(500);

type Event = Result<EventMessage, Cause>;

/// What `changes` has told of last.
enum Told {
    Nothing,
    /// There is no Engine.
    Away,
    There(Inventory),
}

impl DockerRuntime {
    /// Follows the Engine, for ever: `changes` tells of what it does, of its going and of its coming back.
    pub async fn watch(&self) {
        let mut told = Told::Nothing;
        loop {
            let error = match Engine::connect(&self.settings.socket).await {
                Ok(engine) => self.follow(&engine, &mut told).await,
                Err(error) => error,
            };
            self.touch();
            if !matches!(std::mem::replace(&mut told, Told::Away), Told::Away) {
                // The agent says so in its log when it leaves the inventory out of a heartbeat.
                tracing::debug!(host_uuid = %self.host, "{error}");
                self.tell();
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Until the Engine is lost.
    async fn follow(&self, engine: &Engine, told: &mut Told) -> EngineError {
        let mut events = pin!(engine.events());
        loop {
            self.touch();
            let inventory = match self.read_inventory().await {
                Ok(inventory) => inventory,
                Err(error) => return error,
            };
            let same = match told {
                Told::There(told) => Arc::ptr_eq(told, &inventory),
                Told::Nothing | Told::Away => {
                    let (deckies, version) = (inventory.len(), engine.version());
                    tracing::info!(host_uuid = %self.host, deckies, "following the Docker Engine, API {version}");
                    false
                }
            };
            *told = Told::There(inventory);
            if !same {
                self.tell();
            }
            if let Err(cause) = something_happens(events.as_mut()).await {
                return engine.stream_error(cause);
            }
        }
    }

    /// What is there. One that was read before is told again only if nothing can have changed since.
    pub(super) async fn read_inventory(&self) -> Result<Inventory, EngineError> {
        let mut read = self.read.lock().await;
        let generation = self.generation.load(Ordering::SeqCst);
        if let Some((at, inventory)) = &*read
            && *at == generation
        {
            return Ok(inventory.clone());
        }
        let engine = Engine::connect(&self.settings.socket).await?;
        let deckies = look(&engine, &self.settings.preset).await?;
        self.log_unnamed(&deckies.unnamed);
        let reported = deckies.reported();
        let inventory = match &*read {
            Some((_, last)) if **last == *reported => last.clone(),
            _ => reported.into(),
        };
        *read = Some((generation, inventory.clone()));
        Ok(inventory)
    }

    /// What was read is old from now on.
    pub(super) fn touch(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn tell(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn log_unnamed(&self, names: &[String]) {
        let mut logged = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names.iter().filter(|name| !logged.contains(name)) {
            tracing::warn!(host_uuid = %self.host, %name, "left out of the inventory: no decky may have this name");
        }
        logged.clear();
        logged.extend_from_slice(names);
    }
}

/// What belongs to the swarm now.
pub(super) async fn look(engine: &Engine, preset: &super::Preset) -> Result<Deckies, EngineError> {
    let listed = engine.containers(&preset.label()).await?;
    let containers = listed.into_iter().filter_map(Container::read).collect();
    Ok(preset.sort(containers))
}

/// Returns a moment after something has happened, or when it is time to look anyway; an error when the stream has ended.
async fn something_happens(
    mut events: Pin<&mut impl Stream<Item = Event>>,
) -> Result<(), Option<Cause>> {
    let mut next = async || match events.next().await {
        Some(Ok(event)) => Ok(event),
        Some(Err(cause)) => Err(Some(cause)),
        None => Err(None),
    };
    let first = async {
        loop {
            if matters(&next().await?) {
                return Ok::<_, Option<Cause>>(());
            }
        }
    };
    match timeout(AGAIN, first).await {
        Ok(happened) => happened?,
        Err(_) => return Ok(()),
    }
    let end = Instant::now() + GATHER;
    while let Ok(event) = timeout_at(end, next()).await {
        event?;
    }
    Ok(())
}

/// A health check is an `exec` every few seconds; what it finds is an event of its own.
fn matters(event: &EventMessage) -> bool {
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
