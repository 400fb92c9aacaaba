//! Follows the events of the Docker Engine and notifies the agent when the inventory has changed.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error as Cause;
use bollard::models::EventMessage;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::docker_runtime::DockerRuntime;
use super::engine::{Engine, EngineError};
use crate::runtime::Inventory;

/// The delay between an event and reading the inventory, so that one read covers the several events
/// that the removal of one decky causes.
const EVENT_DEBOUNCE: Duration = Duration::from_millis(50);
/// The interval at which the inventory is read if no event causes a read. The read detects an
/// Engine that hangs, and makes up for lost events.
const RESCAN_INTERVAL: Duration = Duration::from_secs(5);
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
        let mut announced = Announced::Nothing;
        loop {
            let error = match Engine::connect(&self.settings.socket).await {
                Ok(engine) => self.follow(&engine, &mut announced).await,
                Err(error) => error,
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
    async fn follow(&self, engine: &Engine, announced: &mut Announced) -> EngineError {
        let mut events = pin!(engine.watch_events());
        loop {
            self.invalidate();
            let inventory = match self.read_inventory().await {
                Ok(inventory) => inventory,
                Err(error) => return error,
            };
            let is_unchanged = match announced {
                Announced::Inventory(last) => Arc::ptr_eq(last, &inventory),
                Announced::Nothing | Announced::Unreachable => {
                    let (deckies, version) = (inventory.len(), engine.api_version());
                    tracing::info!(host_uuid = %self.host, deckies, "following the Docker Engine, API {version}");
                    false
                }
            };
            *announced = Announced::Inventory(inventory);
            if !is_unchanged {
                self.notify_change();
            }
            if let Err(cause) = wait_for_change(events.as_mut()).await {
                return engine.to_stream_error(cause);
            }
        }
    }
}

/// Waits until shortly after an event that may have changed the inventory, or until the next rescan
/// is due. Fails when the stream has ended.
async fn wait_for_change(
    mut events: Pin<&mut impl Stream<Item = Event>>,
) -> Result<(), Option<Cause>> {
    let mut next = async || match events.next().await {
        Some(Ok(event)) => Ok(event),
        Some(Err(cause)) => Err(Some(cause)),
        None => Err(None),
    };
    let first = async {
        loop {
            if may_change_inventory(&next().await?) {
                return Ok::<_, Option<Cause>>(());
            }
        }
    };
    match timeout(RESCAN_INTERVAL, first).await {
        Ok(event) => event?,
        Err(_) => return Ok(()),
    }
    let end = Instant::now() + EVENT_DEBOUNCE;
    while let Ok(event) = timeout_at(end, next()).await {
        event?;
    }
    Ok(())
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
