//! Waiting for what must come, never for a time.

use std::fmt::Debug;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use scuttle_schemas::Timestamp;

/// How long anything that must happen may take before the test fails: far more than it needs, since a
/// test machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two tries of the same request.
const RETRY: Duration = Duration::from_millis(10);

/// The time now, as the wire writes it.
pub fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Waits for a lock, which a panic elsewhere does not take away.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks again and again until the answer is `enough`, and returns that answer.
///
/// # Errors
/// It was not in time; the error lists every different answer that was seen, with its time.
pub async fn until<T, Asked, E>(
    what: &str,
    ask: impl FnMut() -> Asked,
    enough: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    E: Debug,
    Asked: Future<Output = Result<T, E>>,
{
    ask_until(what, ask, enough, Patience::InAll).await
}

/// The same for work that shows how it goes on: as long as each new answer comes within [`PATIENCE`] of the last.
///
/// # Errors
/// As `until`.
pub async fn until_after_steps<T, Asked, E>(
    what: &str,
    ask: impl FnMut() -> Asked,
    enough: impl Fn(&T) -> bool,
) -> Result<T>
where
    T: Debug,
    E: Debug,
    Asked: Future<Output = Result<T, E>>,
{
    ask_until(what, ask, enough, Patience::ForEachStep).await
}

/// What [`PATIENCE`] is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    InAll,
    ForEachStep,
}

async fn ask_until<T, Asked, E>(
    what: &str,
    mut ask: impl FnMut() -> Asked,
    enough: impl Fn(&T) -> bool,
    patience: Patience,
) -> Result<T>
where
    T: Debug,
    E: Debug,
    Asked: Future<Output = Result<T, E>>,
{
    let start = Instant::now();
    let mut since = start;
    let mut seen: Vec<String> = Vec::new();
    let mut last = String::new();
    let mut tries = tokio::time::interval(RETRY);
    while since.elapsed() < PATIENCE {
        tries.tick().await;
        let answer = ask().await;
        let text = format!("{answer:?}");
        if let Ok(answer) = answer
            && enough(&answer)
        {
            return Ok(answer);
        }
        if text != last {
            seen.push(format!("{:>6} ms: {text}", start.elapsed().as_millis()));
            last = text;
            if patience == Patience::ForEachStep {
                since = Instant::now();
            }
        }
    }
    bail!(
        "{what}: not within {PATIENCE:?}; seen:\n{}",
        seen.join("\n")
    )
}

/// What `future` gives, within [`PATIENCE`].
///
/// # Errors
/// It was not in time; the error names `what`.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(PATIENCE, future)
        .await
        .map_err(|_| anyhow!("{what}: not within {PATIENCE:?}"))
}
