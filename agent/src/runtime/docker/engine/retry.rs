//! Calls to an Engine that may be unreachable for a while, for example during an upgrade of Docker.

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Mutex as BlockingMutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::{Engine, EngineError};

/// The delay between two attempts of the same call.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(250);

/// A client that repeats calls while the Engine is unreachable.
pub(crate) struct RetryingEngine {
    socket: PathBuf,
    /// The maximum duration of an outage of the Engine, measured across all calls.
    max_outage: Duration,
    /// `None` before the Engine is first reached, and during an outage.
    engine: Mutex<Option<Engine>>,
    /// The start of the current outage, if the Engine is unreachable.
    unreachable_since: BlockingMutex<Option<Instant>>,
}

impl RetryingEngine {
    pub(crate) fn new(socket: PathBuf, max_outage: Duration) -> Self {
        Self {
            socket,
            max_outage,
            engine: Mutex::default(),
            unreachable_since: BlockingMutex::default(),
        }
    }

    /// Calls the Engine. While the Engine is unreachable, repeats the call for at most
    /// `max_outage`.
    pub(crate) async fn call<T, Response>(
        &self,
        call: impl Fn(Engine) -> Response,
    ) -> Result<T, EngineError>
    where
        Response: Future<Output = Result<T, EngineError>>,
    {
        // `unreachable_since` alone cannot limit the retries: successful calls reset it, even if
        // the Engine drops the connection of this call on every attempt.
        let mut failing_since = None;
        loop {
            // Without this check, a teardown of many containers would wait for a hanging Engine
            // once for each of them.
            if self.has_given_up() {
                return Err(self.to_outage());
            }
            let response = match self.connect().await {
                Ok(engine) => call(engine).await,
                Err(error) => Err(error),
            };
            match response {
                Err(error) if error.is_unreachable() => {
                    *self.engine.lock().await = None;
                    self.unreachable_since().get_or_insert_with(Instant::now);
                    let since = *failing_since.get_or_insert_with(Instant::now);
                    if self.has_given_up() || since.elapsed() >= self.max_outage {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                response => {
                    *self.unreachable_since() = None;
                    return response;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Engine, EngineError> {
        let mut engine = self.engine.lock().await;
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        // Many calls may have waited for the lock while an earlier one failed to connect.
        if self.has_given_up() {
            return Err(self.to_outage());
        }
        let connected = Engine::connect(&self.socket).await?;
        *self.unreachable_since() = None;
        Ok(engine.insert(connected).clone())
    }

    fn to_outage(&self) -> EngineError {
        EngineError::Unreachable {
            socket: self.socket.clone(),
            cause: format!("no response for {} s", self.max_outage.as_secs()),
        }
    }

    fn has_given_up(&self) -> bool {
        self.unreachable_since()
            .is_some_and(|since| since.elapsed() >= self.max_outage)
    }

    fn unreachable_since(&self) -> MutexGuard<'_, Option<Instant>> {
        let lock = self.unreachable_since.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}
